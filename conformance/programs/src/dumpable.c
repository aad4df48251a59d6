/* A process that lets nobody look at it goes on as before. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void use_memory(const char *when) {
    char big[100000];
    memset(big, 1, sizeof big);
    int fd = open("/etc/passwd", O_RDONLY);
    char *file = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(area, 7, 1 << 20);
    sigset_t all, now;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    memset(area + 4096, 8, 1 << 19);
    sigprocmask(SIG_SETMASK, NULL, &now);
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    madvise(area, 1 << 20, MADV_DONTNEED);
    printf("%s: dumpable %d, file %c, blocked %d, memory %d, stack %d\n", when, prctl(PR_GET_DUMPABLE),
           file == MAP_FAILED ? '?' : file[0], sigismember(&now, SIGSEGV), area[5], big[99999]);
    char path[64];
    FILE *maps = fopen("/proc/self/maps", "r");
    printf("maps: %d\n", maps && fgets(path, sizeof path, maps) != NULL);
    if (maps)
        fclose(maps);
    struct iovec parts[2] = {{"ab", 2}, {"cd\n", 3}};
    fflush(stdout);
    writev(1, parts, 2);
    close(fd), munmap(area, 1 << 20);
}

static void in_child(const char *when, int ending) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        use_memory(when);
        fflush(stdout);
        signal(SIGQUIT, SIG_IGN);
        raise(SIGQUIT);
        if (ending == 1)
            abort();
        if (ending == 2)
            *(volatile char *)8 = 1;
        if (ending == 3)
            execlp("echo", "echo", "another program", NULL);
        _exit(3);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%s: status %x, core %d\n", when, status & ~0x80, WIFSIGNALED(status) && WCOREDUMP(status));
}

int main(void) {
    struct rlimit cores = {RLIM_INFINITY, RLIM_INFINITY};
    setvbuf(stdout, NULL, _IOLBF, 0);
    setrlimit(RLIMIT_CORE, &cores);
    use_memory("at first");
    printf("wrongly: %d\n", prctl(PR_SET_DUMPABLE, 2));
    printf("not dumpable: %d\n", prctl(PR_SET_DUMPABLE, 0));
    use_memory("afterwards");
    in_child("a child", 0);
    in_child("aborts", 1);
    in_child("faults", 2);
    in_child("executes", 3);
    prctl(PR_SET_DUMPABLE, 1);
    use_memory("again");
    pid_t child = fork();
    if (child == 0) {
        printf("other rights: %d\n", geteuid() == 0 ? setresuid(65534, 65534, 65534) : unshare(CLONE_NEWUSER));
        use_memory("with other rights");
        _exit(0);
    }
    wait(NULL);
    return 0;
}
