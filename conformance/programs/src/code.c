/* Code that is made while the program runs: written, made executable, changed, run by a child. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;

static void handler(int number, siginfo_t *info, void *context) {
    (void)context;
    printf("signal %d code %d\n", number, info->si_code);
    siglongjmp(back, 1);
}

static void emit(unsigned char *at, int value) {
    unsigned char code[] = {0xb8, value & 0xff, value >> 8 & 0xff, 0, 0, 0xc3};
    memcpy(at, code, sizeof code);
}

static int call(void *at) {
    if (sigsetjmp(back, 1) != 0)
        return -1;
    return ((int (*)(void))at)();
}

int main(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    unsigned char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    emit(page, 1);
    emit(page + 4096, 2);
    printf("%d\n", call(page));
    mprotect(page, 8192, PROT_READ | PROT_EXEC);
    printf("%d %d\n", call(page), call(page + 4096));
    mprotect(page, 8192, PROT_READ | PROT_WRITE);
    emit(page, 300);
    printf("%d\n", call(page));
    mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
    for (int i = 0; i < 1000; i++) {
        emit(page, i);
        if (call(page) != i)
            return 1;
    }
    if (fork() == 0) {
        emit(page, 77);
        _exit(call(page));
    }
    int status;
    wait(&status);
    printf("child %d parent %d\n", WEXITSTATUS(status), call(page));
    return 0;
}
