/* Hundreds of processes and a thousand threads at once, forks up to the limit, and programs that begin
 * other programs: nothing is left over. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 500, THREADS = 1000, PROGRAMS = 8, BYTES = 100000 };

static pthread_barrier_t all_there;

static void many_processes(void)
{
    int go[2], ended = 0, sum = 0;
    if (pipe(go))
        exit(1);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        if (child == 0) {
            char byte, *own = malloc(BYTES);
            close(go[1]);
            if (read(go[0], &byte, 1) != 0)
                _exit(100);
            memset(own, i, BYTES);
            _exit(i % 7);
        }
        if (child < 0)
            exit(1);
    }
    close(go[1]);
    close(go[0]);
    for (int status; waitpid(-1, &status, 0) > 0; ended++)
        sum += WEXITSTATUS(status);
    printf("%d processes, sum %d\n", ended, sum);
}

static void *be_there(void *number)
{
    char own[5000];
    memset(own, 1, sizeof own);
    pthread_barrier_wait(&all_there);
    return number;
}

static void many_threads(void)
{
    static pthread_t threads[THREADS];
    pthread_attr_t small;
    long sum = 0;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_barrier_init(&all_there, NULL, THREADS + 1);
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], &small, be_there, (void *)i))
            exit(1);
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < THREADS; i++) {
        void *number;
        pthread_join(threads[i], &number);
        sum += (long)number;
    }
    printf("%d threads, sum %ld\n", THREADS, sum);
}

/* Forks until the limit of its user refuses them, and is then killed with all it has made. */
static void fork_up_to_the_limit(void)
{
    int full[2], ended = 0;
    char byte;
    /* In a process of its own, which the orphans come to. */
    pid_t warden = fork();
    if (warden != 0) {
        waitpid(warden, NULL, 0);
        return;
    }
    if (pipe(full))
        exit(1);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t bomb = fork();
    if (bomb == 0) {
        struct rlimit limit = { 60, 60 };
        setpgid(0, 0);
        /* A user who has nothing else running, where this may be chosen. */
        if (setresuid(64001, 64001, 64001) && getuid() == 0)
            _exit(1);
        setrlimit(RLIMIT_NPROC, &limit);
        for (;;)
            if (fork() < 0 && (errno != EAGAIN || write(full[1], "x", 1) != 1))
                _exit(1);
    }
    setpgid(bomb, bomb);
    close(full[1]);
    int was_full = read(full[0], &byte, 1) == 1;
    kill(-bomb, SIGKILL);
    for (int status; waitpid(-bomb, &status, 0) > 0; ended++)
        was_full &= WIFSIGNALED(status);
    printf("limit met %d, some ended %d, left %d\n", was_full, ended > 0, kill(-bomb, 0) == 0);
    exit(0);
}

/* A process that has begun one program after another has no children of theirs. */
static void look_for_children(void)
{
    int status = 0;
    pid_t child = waitpid(-1, &status, __WALL | WNOHANG);
    printf("child %d, error %d\n", child > 0, child < 0 ? errno : 0);
}

int main(int count, char **words)
{
    int nth = count > 1 ? atoi(words[1]) : 0;
    if (nth == 0) {
        many_processes();
        many_threads();
        fflush(stdout);
        fork_up_to_the_limit();
    }
    if (nth < PROGRAMS) {
        char next[12];
        snprintf(next, sizeof next, "%d", nth + 1);
        execl(words[0], words[0], next, NULL);
    }
    look_for_children();
    return 0;
}
