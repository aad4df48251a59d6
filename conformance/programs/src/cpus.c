// Which CPUs a program may have, while it has one thread, while threads answer each other so often
// that who serves them may want them on one CPU, and after it has chosen.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int to[2], from[2];

static void say(const char *when) {
    cpu_set_t set;
    memset(&set, 0xff, sizeof set);
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof set, &set);
    int untouched = ((unsigned char *)&set)[bytes] == 0xff;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "Cpus_allowed", 12)) printf("%s", line);
    if (status) fclose(status);
    printf("%s: %ld bytes, %d CPUs, rest untouched %d\n", when, bytes,
           CPU_COUNT_S(bytes, &set), untouched);
}

static void *answer(void *unused) {
    char letter;
    while (read(to[0], &letter, 1) == 1)
        if (write(from[1], &letter, 1) != 1) break;
    return unused;
}

int main(void) {
    say("alone");
    pthread_t thread;
    if (pipe(to) || pipe(from) || pthread_create(&thread, 0, answer, 0)) return 1;
    char letter = 'a';
    for (int round = 0; round < 5000; round++)
        if (write(to[1], &letter, 1) != 1 || read(from[0], &letter, 1) != 1) return 1;
    say("with a busy thread");
    close(to[1]);
    pthread_join(thread, 0);
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    printf("chosen: %d\n", sched_setaffinity(0, sizeof first, &first));
    say("then");
    printf("too small: %ld\n", syscall(SYS_sched_getaffinity, 0, 1UL, &first));
    return 0;
}
