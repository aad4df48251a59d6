/* Programs that start programs: vfork, posix_spawn, execve from a thread, system, popen. */
#define _GNU_SOURCE
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void *replace(void *name) {
    char *argv[] = {name, "last", NULL};
    execve(name, argv, environ);
    return NULL;
}

int main(int argc, char **argv) {
    int status;
    if (argc > 1) {
        printf("started as %s with %s\n", argv[1], getenv("MARK") ? getenv("MARK") : "nothing");
        return (int)strlen(argv[1]);
    }
    setenv("MARK", "a mark", 1);
    fflush(stdout);
    if (vfork() == 0) {
        execl(argv[0], argv[0], "vfork", NULL);
        _exit(99);
    }
    wait(&status);
    printf("vfork %d\n", WEXITSTATUS(status));
    fflush(stdout);
    pid_t child;
    char *spawned[] = {argv[0], "spawned", NULL};
    posix_spawn(&child, argv[0], NULL, NULL, spawned, environ);
    waitpid(child, &status, 0);
    printf("spawn %d\n", WEXITSTATUS(status));
    printf("missing %d\n", execl("/no/such/program", "x", NULL));
    fflush(stdout);
    printf("system %d\n", WEXITSTATUS(system("exit 5")));
    FILE *pipe = popen("echo through a pipe; exit 3", "r");
    char line[100] = {0};
    if (!fgets(line, sizeof line, pipe))
        return 1;
    printf("popen %s%d\n", line, WEXITSTATUS(pclose(pipe)));
    fflush(stdout);
    pthread_t thread;
    pthread_create(&thread, NULL, replace, argv[0]);
    pthread_join(thread, NULL);
    return 98;
}
