/* What a shared mapping stores behind the end of a file is seen through private ones, and copied by
 * them. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void) {
    int fd = open("tail.out", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (pwrite(fd, "hello", 5, 4096) != 5)
        return 2;
    char *shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *copy = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *later = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    strcpy(shared + 4096 + 10, "behind");
    printf("read: %s\n", copy + 4096 + 10);
    copy[4096] = 'H';
    printf("copied: %.5s %s\n", copy + 4096, copy + 4096 + 10);
    later[4096 + 20] = 'x';
    strcpy(shared + 4096 + 10, "BEHIND");
    printf("copied unread: %.5s %s %c\n", later + 4096, later + 4096 + 10, later[4096 + 20]);
    printf("shared: %.5s %s\n", shared + 4096, shared + 4096 + 10);
    return 0;
}
