/* What a program sees of its own faults: numbers, codes, addresses, on an alternate stack too. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static sigjmp_buf back;
static siginfo_t seen;

static void handler(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    seen = *info;
    siglongjmp(back, 1);
}

static void touch(const char *name, volatile char *at, int write, char *base) {
    if (sigsetjmp(back, 1) == 0) {
        if (write)
            *at = 1;
        else
            (void)*at;
        printf("%s: fine\n", name);
    } else {
        printf("%s: signal %d code %d at %+ld\n", name, seen.si_signo, seen.si_code,
               base ? (long)((char *)seen.si_addr - base) : (long)seen.si_addr);
    }
}

static int deeper(int depth) {
    volatile char room[8192];
    room[0] = (char)depth;
    return deeper(depth + 1) + room[0];
}

/* A fault's signal, sent while it is blocked, is pending until it is let through. */
static void held_back(int number) {
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigpending(&pending);
    printf("pending at first: %d\n", sigismember(&pending, number));
    raise(number);
    sigpending(&pending);
    printf("pending: %d, another: %d\n", sigismember(&pending, number),
           sigismember(&pending, SIGUSR2));
    if (sigsetjmp(back, 0) == 0)
        sigprocmask(SIG_UNBLOCK, &set, NULL);
    else
        printf("let through: signal %d\n", seen.si_signo);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigpending(&pending);
    printf("pending at last: %d\n", sigismember(&pending, number));
}

int main(void) {
    static char alternate[65536];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);

    char *area = mmap(NULL, 4 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area + 2 * 4096, 4096);
    touch("null", NULL, 0, NULL);
    touch("read of read-only", area + 5, 0, area);
    touch("write of read-only", area + 7, 1, area);
    touch("hole", area + 2 * 4096 + 9, 1, area);
    mprotect(area, 4096, PROT_NONE);
    touch("none", area, 0, area);
    mprotect(area, 4096, PROT_READ | PROT_WRITE);
    touch("write again", area + 7, 1, area);

    FILE *file = tmpfile();
    fputs("short", file);
    fflush(file);
    char *map = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    touch("in the file", map + 4, 0, map);
    touch("past the file", map + 4096, 0, map);
    touch("write past the file", map + 4097, 1, map);

    struct rlimit limit = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_STACK, &limit);
    if (sigsetjmp(back, 1) == 0)
        printf("%d\n", deeper(0));
    else
        printf("stack overflow: signal %d code %d\n", seen.si_signo, seen.si_code);

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    printf("blocked\n");
    if (sigsetjmp(back, 1) == 0)
        sigprocmask(SIG_UNBLOCK, &set, NULL);
    else
        printf("delivered: signal %d\n", seen.si_signo);
    held_back(SIGSEGV);
    held_back(SIGBUS);
    fflush(stdout);
    signal(SIGSEGV, SIG_DFL);
    *(volatile int *)16 = 1;
    return 0;
}
