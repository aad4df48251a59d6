/* mmap of what cannot be mapped, or not so: which error comes first. And /dev/zero, shared. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACE ((char *)0x100000000000)

static sigjmp_buf back;

static void caught(int signal) { siglongjmp(back, signal); }

static void map(const char *what, void *at, size_t bytes, int prot, int flags, int fd, off_t from) {
    errno = 0;
    void *got = mmap(at, bytes, prot, flags, fd, from);
    printf("  %s: %s\n", what, got == MAP_FAILED ? strerrorname_np(errno) : "mapped");
    if (got != MAP_FAILED && got != PLACE)
        munmap(got, bytes);
}

static void every_way(const char *name, int fd) {
    const int replace = MAP_FIXED_NOREPLACE;
    char *beyond = (char *)0x7ffffffff000;
    printf("%s\n", name);
    map("empty", PLACE, 0, PROT_READ, MAP_PRIVATE, fd, 0);
    map("over a mapping", PLACE, 4096, PROT_READ, MAP_PRIVATE | replace, fd, 0);
    map("of no type", NULL, 4096, PROT_READ, 0, fd, 0);
    map("of an unknown type", NULL, 4096, PROT_READ, 7, fd, 0);
    map("beyond the end", beyond, 8192, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    map("below the beginning", NULL, 1L << 62, PROT_READ, MAP_PRIVATE, fd, 0);
    map("unaligned", PLACE + 1, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    map("from an odd offset", NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 17);
    map("from far on", NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0x7ffffffffffff000);
    map("private", NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    map("private to write", NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    map("shared", NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    map("shared to write", NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0);
    map("validated", NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE, fd, 0);
    map("validated with more", NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | 0x8000000, fd, 0);
    map("grows down", NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0);
}

static void lines_of(const char *what) {
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, offset;
        char rights[5], name[256] = "";
        if (sscanf(line, "%lx-%*x %4s %lx %*s %*s %255[^\n]", &start, rights, &offset, name) >= 3 &&
            start >= (unsigned long)PLACE && start < (unsigned long)PLACE + (1 << 20))
            printf("%s: %lx %s %lx %s\n", what, start, rights, offset, name);
    }
    fclose(maps);
}

static void touch(const char *what, volatile char *at) {
    int signal = sigsetjmp(back, 1);
    if (signal == 0)
        printf("%s: %d\n", what, *at);
    else
        printf("%s: %s\n", what, sigabbrev_np(signal));
}

static void shared_zeroes(void) {
    int fd = open("/dev/zero", O_RDWR), to_read = open("/dev/zero", O_RDONLY);
    char *map = mmap(PLACE, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    if (fork() == 0) {
        map[1] = 7;
        _exit(0);
    }
    wait(NULL);
    printf("written by the child: %d\n", map[1]);
    lines_of("from the beginning");
    mmap(PLACE, 8192, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_FIXED, fd, 4096);
    lines_of("from its second page");
    touch("its first page", PLACE);
    touch("behind its end", PLACE + 4096);
    mmap(PLACE, 8192, PROT_READ, MAP_SHARED | MAP_FIXED, to_read, 4096);
    lines_of("only to read");
    touch("its second page", PLACE + 4096);
    printf("to write: %d\n", mprotect(PLACE, 4096, PROT_READ | PROT_WRITE) == 0 ? 0 : errno);
}

int main(void) {
    int pipes[2], sockets[2];
    if (pipe(pipes) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
        return 2;
    mmap(PLACE, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    every_way("end of a pipe to read", pipes[0]);
    every_way("end of a pipe to write", pipes[1]);
    every_way("directory", open(".", O_RDONLY));
    every_way("path", open(".", O_PATH));
    every_way("file without a mapping", open("/proc/self/limits", O_RDONLY));
    every_way("file to write", open("written.out", O_WRONLY | O_CREAT, 0600));
    every_way("file to read", open("written.out", O_RDONLY));
    every_way("no memory", open("/dev/null", O_RDWR));
    every_way("zeroes", open("/dev/zero", O_RDWR));
    every_way("zeroes to read", open("/dev/zero", O_RDONLY));
    every_way("zeroes to write", open("/dev/zero", O_WRONLY));
    every_way("closed", 99);
    signal(SIGBUS, caught);
    signal(SIGSEGV, caught);
    shared_zeroes();
    return 0;
}
