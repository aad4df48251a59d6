/* Forks beside threads that are born, that end, and that wait in calls; and a store that is refused
 * and allowed in turn. What is printed does not depend on the order in which things happen. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 60 };

static volatile int over;

static void *fork_on(void *unused)
{
    while (!over) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child > 0)
            waitpid(child, NULL, 0);
    }
    return unused;
}

static void *add_one(void *number)
{
    return (void *)((long)number + 1);
}

/* Threads are made and joined while another thread forks. */
static long join_beside_forks(void)
{
    pthread_t forker, threads[4];
    long sum = 0;
    over = 0;
    pthread_create(&forker, NULL, fork_on, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        for (long i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, add_one, (void *)i);
        for (int i = 0; i < 4; i++) {
            void *result;
            pthread_join(threads[i], &result);
            sum += (long)result;
        }
    }
    over = 1;
    pthread_join(forker, NULL);
    return sum;
}

/* What a compiler at run time does that never has memory writable and executable at once. */
static int write_or_execute(void)
{
    int sum = 0;
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(code, "\xb8\x00\x00\x00\x00\xc3", 6); /* mov eax, n; ret */
    for (int round = 0; round < ROUNDS; round++) {
        mprotect(code, 4096, PROT_READ | PROT_WRITE);
        code[1] = (unsigned char)round;
        mprotect(code, 4096, PROT_READ | PROT_EXEC);
        sum += ((int (*)(void))code)();
    }
    return sum;
}

/* The kernel stores the child's number in memory that the fork itself shares. */
static int parent_settid(void)
{
    static pid_t number;
    long child = syscall(SYS_clone, CLONE_PARENT_SETTID | SIGCHLD, NULL, &number, NULL, NULL);
    if (child == 0)
        _exit(0);
    waitpid((pid_t)child, NULL, 0);
    return number == child;
}

static int pipe_ends[2];

static void *poll_it(void *unused)
{
    struct pollfd wanted = { pipe_ends[0], POLLIN, 0 };
    long ready = poll(&wanted, 1, -1);
    (void)unused;
    return (void *)(ready * 100 + (wanted.revents == POLLIN));
}

/* A poll goes on after a signal that nobody handles, and over a fork. */
static long poll_goes_on(void)
{
    pthread_t thread;
    void *result;
    if (pipe(pipe_ends))
        return -1;
    pthread_create(&thread, NULL, poll_it, NULL);
    usleep(50000);
    pthread_kill(thread, SIGWINCH);
    usleep(50000);
    if (fork() == 0)
        _exit(0);
    wait(NULL);
    if (write(pipe_ends[1], "x", 1) != 1)
        return -1;
    pthread_join(thread, &result);
    return (long)result;
}

int main(void)
{
    printf("sum of joined threads %ld\n", join_beside_forks());
    printf("sum of written code %d\n", write_or_execute());
    printf("parent_settid stored %d\n", parent_settid());
    printf("poll %ld\n", poll_goes_on());
    return 0;
}
