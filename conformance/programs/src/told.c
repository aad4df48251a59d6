// What the kernel stores while it forks, beside another thread: the child's number for both sides, and
// a descriptor of it, in memory that was written before, only read, or never touched.
#define _GNU_SOURCE
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 48, WORDS = 4096 / sizeof(pid_t) };

static void *rest(void *unused)
{
    pause();
    return unused;
}

static volatile pid_t *fresh(int round)
{
    volatile pid_t *words = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (round % 3 == 0)
        words[0] = words[WORDS] = 7;
    else if (round % 3 == 1)
        (void)words[0], (void)words[WORDS];
    return words;
}

int main(void)
{
    pthread_t other;
    int told = 0, own = 0, kept = 0, descriptors = 0;
    pthread_create(&other, NULL, rest, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        volatile pid_t *words = fresh(round);
        struct clone_args wish;
        memset(&wish, 0, sizeof wish);
        wish.flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_PIDFD;
        wish.parent_tid = (uintptr_t)&words[0];
        wish.child_tid = (uintptr_t)&words[WORDS];
        wish.pidfd = (uintptr_t)&words[2 * WORDS];
        wish.exit_signal = SIGCHLD;
        long child = syscall(SYS_clone3, &wish, sizeof wish);
        if (child == 0)
            _exit(words[WORDS] == getpid());
        int status;
        waitpid((pid_t)child, &status, 0);
        own += WEXITSTATUS(status);
        told += words[0] == child;
        kept += words[WORDS] == (round % 3 == 0 ? 7 : 0);
        descriptors += words[2 * WORDS] > 2;
        close(words[2 * WORDS]);
    }
    printf("clone3: %d %d %d %d\n", told, own, kept, descriptors);
    told = own = kept = 0;
    for (int round = 0; round < ROUNDS; round++) {
        volatile pid_t *words = fresh(round);
        long flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD;
        long child = syscall(SYS_clone, flags, NULL, &words[0], &words[WORDS], NULL);
        if (child == 0)
            _exit(words[WORDS] == getpid());
        int status;
        waitpid((pid_t)child, &status, 0);
        own += WEXITSTATUS(status);
        told += words[0] == child;
        kept += words[WORDS] == (round % 3 == 0 ? 7 : 0);
    }
    printf("clone: %d %d %d\n", told, own, kept);
    fflush(stdout);
    _exit(0);
}
