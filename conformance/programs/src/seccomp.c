/* Filters of a program's own: what they refuse is refused, what they allow goes on, in threads,
 * children and the programs they execute. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define IF(call, answer) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, answer)
#define ELSE(answer) BPF_STMT(BPF_RET | BPF_K, answer)
#define COUNT(filter) (sizeof filter / sizeof filter[0])

static int install(const struct sock_filter *filter, size_t count, int by_call, unsigned flags) {
    struct sock_fprog program = {.len = count, .filter = (struct sock_filter *)filter};
    if (by_call)
        return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* In memory that cannot be written. */
static const struct sock_filter refusing[] = {
    NUMBER,
    IF(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV),
    IF(SYS_sysinfo, SECCOMP_RET_TRAP | 77),
    IF(SYS_getpgrp, SECCOMP_RET_ERRNO | 0),
    IF(SYS_times, SECCOMP_RET_TRACE | 5),
    IF(SYS_syslog, SECCOMP_RET_KILL_PROCESS),
    IF(SYS_swapon, SECCOMP_RET_KILL_THREAD),
    IF(SYS_uname, SECCOMP_RET_LOG),
    ELSE(SECCOMP_RET_ALLOW),
};

static void say(const char *what, long answer) {
    printf("%s: %ld %s\n", what, answer, answer < 0 ? strerror(errno) : "");
}

static volatile int trapped, of, data, known;

static void trap(int number, siginfo_t *info, void *context) {
    (void)context;
    trapped = number, of = info->si_syscall, data = info->si_errno;
    known = info->si_code == 1 && info->si_arch == 0xc000003e && info->si_call_addr != NULL;
}

static void use(const char *who) {
    printf("%s: getppid %d, ", who, syscall(SYS_getppid) < 0 ? errno : 0);
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(area, 1, 1 << 20);
    mprotect(area, 4096, PROT_READ);
    munmap(area, 1 << 20);
    printf("seccomp %d\n", prctl(PR_GET_SECCOMP));
    fflush(stdout);
}

static void *thread(void *who) {
    use(who);
    return NULL;
}

static void in_child(const char *who, int what) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        use(who);
        if (what == 1)
            syscall(SYS_syslog);
        if (what == 2)
            syscall(SYS_swapon);
        if (what == 3)
            signal(SIGSYS, SIG_IGN), syscall(SYS_sysinfo);
        if (what == 4)
            execlp("sh", "sh", "-c", "echo in a shell; grep ^Seccomp: /proc/self/status; ls / | grep -c etc", NULL);
        _exit(4);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%s: status %x\n", who, status & ~0x80);
}

/* Nothing but what it needs, all else kills: those too that others make in its memory. */
static void narrow(void) {
    static struct sock_filter filter[] = {
        NUMBER,
        IF(SYS_write, SECCOMP_RET_ALLOW),
        IF(SYS_clone, SECCOMP_RET_ALLOW),
        IF(SYS_wait4, SECCOMP_RET_ALLOW),
        IF(SYS_set_robust_list, SECCOMP_RET_ALLOW),
        IF(SYS_gettid, SECCOMP_RET_ALLOW),
        IF(SYS_rt_sigprocmask, SECCOMP_RET_ALLOW),
        IF(SYS_exit_group, SECCOMP_RET_ALLOW),
        ELSE(SECCOMP_RET_KILL),
    };
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fflush(stdout);
    if (install(filter, COUNT(filter), 1, 0))
        _exit(1);
    memset(area, 1, 1 << 19);
    pid_t child = fork();
    memset(area, 2, 1 << 20);
    if (child == 0) {
        write(1, "narrow child\n", 13);
        syscall(SYS_getuid);
        _exit(5);
    }
    int status;
    waitpid(child, &status, 0);
    write(1, status == (SIGSYS | 0x80) || status == SIGSYS ? "killed\n" : "not killed\n", 7);
    _exit(6);
}

int main(void) {
    struct sigaction action = {.sa_sigaction = trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_t one;
    say("mode", prctl(PR_GET_SECCOMP));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    say("no filter", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL));
    say("unknown flags", install(refusing, COUNT(refusing), 1, 1 << 20));
    say("too short", install(refusing, 0, 1, 0));
    say("nonsense", install(refusing, 2, 0, 0));
    unsigned action_asked = SECCOMP_RET_TRAP;
    say("trap is known", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action_asked));
    in_child("before", 0);
    say("installed", install(refusing, COUNT(refusing), 0, 0));
    printf("kept: %x\n", refusing[2].k);
    say("mode", prctl(PR_GET_SECCOMP));
    say("getppid", syscall(SYS_getppid));
    say("getpgrp", syscall(SYS_getpgrp));
    say("times", syscall(SYS_times, NULL));
    char names[400];
    say("uname", syscall(SYS_uname, names));
    long answer = syscall(SYS_sysinfo, NULL);
    printf("trap: %d of %d, data %d, known %d, answer %ld\n", trapped, of == SYS_sysinfo, data, known,
           answer == -1 ? -(long)errno : answer);
    use("itself");
    pthread_create(&one, NULL, thread, "a thread");
    pthread_join(one, NULL);
    in_child("a child", 0);
    in_child("killed", 1);
    in_child("its thread killed", 2);
    in_child("trapped and ignored", 3);
    in_child("a shell", 4);
    struct sock_filter second[] = {
        NUMBER, IF(SYS_getppid, SECCOMP_RET_ALLOW), IF(SYS_getpgrp, SECCOMP_RET_ERRNO | ENOTTY), ELSE(SECCOMP_RET_ALLOW)};
    say("a second", install(second, COUNT(second), 1, SECCOMP_FILTER_FLAG_TSYNC));
    say("getppid", syscall(SYS_getppid));
    say("getpgrp", syscall(SYS_getpgrp));
    say("getpid", syscall(SYS_getpid) == getpid());
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        narrow();
    int status;
    waitpid(child, &status, 0);
    printf("narrow: %x\n", status);
    return 0;
}
