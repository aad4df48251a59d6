/* Processes that are killed or stopped while they make others, or begin another program: what they
 * have made goes on without them, nothing is left over, and no stop is lost. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 150 };

static unsigned long seed = 1;

/* Somewhere within the few milliseconds that a fork takes. */
static void a_while(void)
{
    struct timespec time = { 0, 0 };
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    time.tv_nsec = (long)(seed >> 33) % 3000000;
    nanosleep(&time, NULL);
}

/* Makers are killed at any point of a fork, alone, twice, or with all they have made. Those who are
 * left are the children of this process then, and it must see the end of every one. */
static int kill_makers(void)
{
    int lost = 0;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (int round = 0; round < ROUNDS; round++) {
        int ready[2];
        char byte;
        if (pipe(ready))
            return -1;
        pid_t maker = fork();
        if (maker == 0) {
            setpgid(0, 0);
            if (write(ready[1], "x", 1) != 1)
                _exit(1);
            for (;;) {
                pid_t child = round % 5 == 4 ? vfork() : fork();
                if (child == 0)
                    _exit(0);
                waitpid(child, NULL, 0);
            }
        }
        if (read(ready[0], &byte, 1) != 1)
            return -1;
        a_while();
        kill(round % 2 ? -maker : maker, SIGKILL);
        if (round % 3 == 0)
            kill(maker, SIGKILL);
        while (waitpid(-maker, NULL, 0) > 0)
            ;
        lost += errno != ECHILD || kill(-maker, 0) == 0;
        close(ready[0]);
        close(ready[1]);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    return lost;
}

/* A child is stopped as early as can be, or while it begins another program. */
static int stop_newborns(char *name)
{
    int stopped = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            if (round % 2)
                execl(name, name, "pause", NULL);
            for (;;)
                pause();
        }
        if (round % 2)
            a_while();
        kill(child, SIGSTOP);
        if (waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status))
            stopped++;
        kill(child, SIGCONT);
        if (waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status))
            stopped++;
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    return stopped;
}

/* The first process of a namespace is told its number there. */
static void number_in_namespace(void)
{
    static pid_t told;
    pid_t outer = fork();
    if (outer == 0) {
        if (unshare(CLONE_NEWPID) && unshare(CLONE_NEWUSER | CLONE_NEWPID)) {
            puts("no namespace");
            exit(0);
        }
        long inner = syscall(SYS_clone, CLONE_CHILD_SETTID | SIGCHLD, NULL, NULL, &told, NULL);
        if (inner == 0) {
            printf("called %d, told %d\n", (int)getpid(), told);
            inner = syscall(SYS_clone, CLONE_CHILD_SETTID | SIGCHLD, NULL, NULL, &told, NULL);
            if (inner == 0) {
                printf("called as told %d\n", getpid() == told);
                exit(0);
            }
            waitpid((pid_t)inner, NULL, 0);
            exit(0);
        }
        waitpid((pid_t)inner, NULL, 0);
        exit(0);
    }
    waitpid(outer, NULL, 0);
}

int main(int count, char **words)
{
    if (count > 1) {
        for (;;)
            pause();
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("lost %d\n", kill_makers());
    printf("stopped and continued %d\n", stop_newborns(words[0]));
    number_in_namespace();
    return 0;
}
