/* The first program stops itself, and others of the tree run on and continue it. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 20, BYTES = 1 << 20 };

static void *wait_for_ever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

int main(void)
{
    pthread_t thread;
    int went_on[2];
    if (pipe(went_on))
        return 1;
    pid_t first = getpid();
    pid_t other = fork();
    if (other == 0) {
        for (int round = 0; round < ROUNDS; round++) {
            struct pollfd answer = { went_on[0], POLLIN, 0 };
            char byte;
            do {
                /* Memory of its own, which somebody has to serve. */
                char *fresh = malloc(BYTES);
                memset(fresh, round, BYTES);
                free(fresh);
                kill(first, SIGCONT);
            } while (poll(&answer, 1, 5) == 0);
            if (read(went_on[0], &byte, 1) != 1)
                return 1;
        }
        return 0;
    }
    pthread_create(&thread, NULL, wait_for_ever, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        raise(SIGSTOP);
        if (write(went_on[1], "x", 1) != 1)
            return 1;
    }
    int status;
    waitpid(other, &status, 0);
    printf("stopped %d times, status %d\n", ROUNDS, status);
    return 0;
}
