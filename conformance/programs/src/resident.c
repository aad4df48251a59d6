/* mincore of a file of which the kernel has some pages: it is not the question that brings them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NR_PAGES 64

static void show(const char *what, char *map) {
    unsigned char states[NR_PAGES];
    memset(states, 9, sizeof states);
    if (mincore(map, NR_PAGES * 4096, states) != 0)
        perror("mincore");
    printf("%s: ", what);
    for (int i = 0; i < NR_PAGES; i++)
        putchar('0' + states[i]);
    putchar('\n');
}

int main(void) {
    int fd = open("resident.out", O_RDWR | O_CREAT | O_TRUNC, 0600);
    static char bytes[NR_PAGES * 4096 - 100];
    if (write(fd, bytes, sizeof bytes) != sizeof bytes || fsync(fd) != 0)
        return 2;
    int to_read = open("resident.out", O_RDONLY);
    char *map = mmap(NULL, NR_PAGES * 4096, PROT_READ, MAP_SHARED, fd, 0);
    char *other = mmap(NULL, NR_PAGES * 4096, PROT_READ, MAP_PRIVATE, to_read, 0);
    show("written", map);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    show("dropped", map);
    show("asked again", map);
    show("open to read", other);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    if (pread(fd, bytes, 1, 9 * 4096) != 1)
        return 1;
    show("one was read", map);
    show("open to read", other);
    return 0;
}
