/* A file through its mappings and through calls, by two processes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int fd = open("mapped.out", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, 16 * 4096) != 0)
        return 2;
    char *map = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *copy = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    for (int i = 0; i < 16; i++)
        sprintf(map + i * 4096, "page %d by the parent\n", i);
    copy[3 * 4096] = 'C';
    if (fork() == 0) {
        strcpy(map + 5 * 4096, "page 5 by the child\n");
        if (pwrite(fd, "PAGE", 4, 6 * 4096) != 4)
            _exit(1);
        struct iovec vectors[2] = {{map + 7 * 4096, 4}, {copy + 3 * 4096, 4}};
        lseek(fd, 8 * 4096, SEEK_SET);
        if (writev(fd, vectors, 2) != 8)
            _exit(1);
        msync(map, 16 * 4096, MS_SYNC);
        _exit(0);
    }
    int status;
    wait(&status);
    printf("child %d\n", WEXITSTATUS(status));
    printf("%.20s%.22s%.22s%.22s", map + 5 * 4096, map + 6 * 4096, map + 8 * 4096, copy + 3 * 4096);
    char line[64] = {0};
    if (pread(fd, line, 21, 2 * 4096) != 21)
        return 1;
    printf("%s", line);
    if (ftruncate(fd, 9 * 4096) != 0)
        return 1;
    munmap(copy, 16 * 4096);
    return 0;
}
