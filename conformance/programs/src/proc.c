/* The files of /proc that speak of memory, read by those they are about and by their relatives. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 20];

static char *read_all(const char *path) {
    int fd = open(path, O_RDONLY), got = 0, more;
    while ((more = (int)read(fd, text + got, sizeof text - 1 - got)) > 0)
        got += more;
    text[got] = 0;
    close(fd);
    return text;
}

static long number(const char *path, const char *name) {
    char *at = strstr(read_all(path), name);
    return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

static void word(const char *path, const char *name) {
    char *at = strstr(read_all(path), name);
    printf("%s%.*s\n", name, at ? (int)strcspn(at + strlen(name), "\n") : 0, at ? at + strlen(name) : "");
}

/* The names of all lines, so that none is missing and none too many. */
static void names(const char *path) {
    printf("%s:", path);
    for (char *line = strtok(read_all(path), "\n"); line; line = strtok(NULL, "\n"))
        printf(" %.*s", (int)strcspn(line, ":"), line);
    printf("\n");
}

/* One line of the area that holds an address, or the sum over all areas. */
static long of_area(const char *path, void *address, const char *name) {
    long sum = 0;
    int inside = 0;
    for (char *line = strtok(read_all(path), "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = !address || ((unsigned long)address >= start && (unsigned long)address < end);
        else if (inside && strncmp(line, name, strlen(name)) == 0)
            sum += strtol(line + strlen(name), NULL, 10);
    }
    return sum;
}

static void area(const char *what, const char *path, void *at) {
    const char *lines[] = {"Size:", "Rss:", "Pss:", "Pss_Dirty:", "Shared_Clean:", "Shared_Dirty:",
                           "Private_Clean:", "Private_Dirty:", "Anonymous:", "Locked:"};
    printf("%s:", what);
    for (int line = 0; line < 10; line++)
        printf(" %s %ld", lines[line], of_area(path, at, lines[line]));
    printf("\n");
}

static long field(const char *path, int wanted) {
    char *at = strrchr(read_all(path), ')');
    for (int number = 2; number < wanted; number++)
        at = strchr(at + 1, ' ');
    return strtol(at + 1, NULL, 10);
}

static void *in_thread(void *unused) {
    (void)unused;
    printf("thread: %d, size %d\n", number("/proc/thread-self/status", "\nVmSize:") == number("/proc/self/status", "\nVmSize:"),
           field("/proc/thread-self/stat", 23) / 1024 == number("/proc/self/status", "\nVmSize:"));
    return NULL;
}

int main(void) {
    const char *status = "/proc/self/status", *smaps = "/proc/self/smaps";
    setvbuf(stdout, NULL, _IOLBF, 0);
    names(status);
    names("/proc/self/smaps_rollup");
    word(status, "State:");
    word(status, "TracerPid:");
    word(status, "\nSeccomp:");
    word(status, "NoNewPrivs:");
    word(status, "Cpus_allowed_list:");
    long before = number(status, "\nVmRSS:"), size = number(status, "\nVmSize:");
    char *room = mmap(NULL, (1 << 20) + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *big = room + 4096;
    mprotect(big, 1 << 20, PROT_READ | PROT_WRITE);
    memset(big, 1, 1 << 20);
    long after = number(status, "\nVmRSS:");
    printf("resident grew by about a MiB: %d, not by two: %d, size by %ld\n", after >= before + 768,
           after < before + 2048, number(status, "\nVmSize:") - size);
    printf("stat agrees: %d\n", field("/proc/self/stat", 23) / 1024 == number(status, "\nVmSize:"));
    printf("rollup agrees: %d\n", labs(number("/proc/self/smaps_rollup", "\nRss:") - of_area(smaps, NULL, "Rss:")) < 64);
    char *own = big + 4096;
    area("touched", smaps, own);
    mlock(own, 40960);
    printf("locked %ld\n", number(status, "\nVmLck:"));
    area("locked", smaps, own);
    munlock(own, 40960);
    munmap(big, 1 << 19);
    own = big + (1 << 19);
    printf("peak kept: %d\n", number(status, "\nVmPeak:") >= size + 1024);
    char *shared = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(shared, 1, 8 * 4096);
    printf("shmem %ld\n", number(status, "\nRssShmem:"));
    int to_child[2], to_parent[2];
    char path[64], byte;
    pipe(to_child), pipe(to_parent);
    pid_t child = fork();
    if (child == 0) {
        read(to_child[0], &byte, 1);
        area("inherited", smaps, own);
        for (int page = 0; page < 8; page++)
            byte += shared[page * 4096];
        area("shared", smaps, shared);
        memset(own, 2, 1 << 19);
        area("copied", smaps, own);
        write(to_parent[1], "x", 1);
        read(to_child[0], &byte, 1);
        _exit(0);
    }
    write(to_child[1], "x", 1);
    read(to_parent[0], &byte, 1);
    snprintf(path, sizeof path, "/proc/%d/smaps", child);
    area("the child's", path, own);
    snprintf(path, sizeof path, "/proc/%d/status", child);
    printf("the child's size: %d\n", number(path, "\nVmSize:") == number(status, "\nVmSize:"));
    write(to_child[1], "x", 1);
    waitpid(child, NULL, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGBUS, SIG_IGN);
    raise(SIGSEGV);
    kill(getpid(), SIGSEGV);
    word(status, "SigPnd:");
    word(status, "ShdPnd:");
    word(status, "SigBlk:");
    word(status, "SigIgn:");
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    word(status, "NoNewPrivs:");
    return 0;
}
