/* fallocate that takes pages out of a mapped file, or puts some in: what follows moves, and private
 * copies of it go. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_PAGES 6

static char *shared, *private;

static void show(const char *when) {
    printf("%s: ", when);
    for (int i = 0; i < NR_PAGES - 2; i++)
        printf("%c%c ", shared[i * 4096] ?: '.', private[i * 4096] ?: '.');
    putchar('\n');
}

static void change(const char *what, int fd, int mode, off_t from) {
    printf("%s: %s\n", what, fallocate(fd, mode, from, 4096) == 0 ? "done" : strerrorname_np(errno));
    show(what);
}

static void copy_all(void) {
    for (int i = 0; i < NR_PAGES - 2; i++)
        private[i * 4096] = 'A' + i;
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    int fd = open("shifted.out", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char page[4096];
    for (int i = 0; i < NR_PAGES; i++) {
        memset(page, 'a' + i, sizeof page);
        if (pwrite(fd, page, sizeof page, i * 4096L) != sizeof page)
            return 2;
    }
    shared = mmap(NULL, NR_PAGES * 4096, PROT_READ, MAP_SHARED, fd, 0);
    private = mmap(NULL, NR_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    copy_all();
    show("copied");
    change("taken out", fd, FALLOC_FL_COLLAPSE_RANGE, 4096);
    copy_all();
    change("put in", fd, FALLOC_FL_INSERT_RANGE, 2 * 4096);
    copy_all();
    change("zeroed", fd, FALLOC_FL_ZERO_RANGE, 4096);
    change("punched", fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096);
    change("from an odd offset", fd, FALLOC_FL_COLLAPSE_RANGE, 17);
    if (fork() == 0) {
        fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096);
        show("taken out by the child");
        _exit(0);
    }
    wait(NULL);
    show("seen by the parent");
    return 0;
}
