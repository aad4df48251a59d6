/* A file that can only be appended to is not mapped for stores. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int set_flags(int fd, int flags) {
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static void map(const char *how, int fd, int prot, int kind) {
    errno = 0;
    char *at = mmap(NULL, 4096, prot, kind, fd, 0);
    printf("%s, %s, prot %d: %s\n", how, kind == MAP_SHARED ? "shared" : "private", prot, strerror(errno));
    if (at != MAP_FAILED) {
        if (prot & PROT_WRITE)
            at[1] = 'y';
        printf("holds %.3s\n", at);
        munmap(at, 4096);
    }
}

static void map_each_way(const char *how, int fd) {
    int prots[] = {PROT_READ, PROT_READ | PROT_WRITE};
    for (int i = 0; i < 2; i++) {
        map(how, fd, prots[i], MAP_SHARED);
        map(how, fd, prots[i], MAP_PRIVATE);
    }
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    int before = open("log", O_RDWR | O_CREAT, 0600);
    write(before, "abc", 3);
    int flags = 0;
    if (ioctl(before, FS_IOC_GETFLAGS, &flags) < 0 || set_flags(before, flags | FS_APPEND_FL) < 0) {
        puts("the file system has no such files, or not for us");
        return 0;
    }
    map_each_way("opened before", before);
    int only = open("log", O_RDONLY), append = open("log", O_RDWR | O_APPEND);
    map_each_way("to be read", only);
    map_each_way("to be appended to", append);
    set_flags(before, flags);
    map_each_way("an ordinary file again", append);
    return 0;
}
