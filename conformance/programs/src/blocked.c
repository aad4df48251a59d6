/* SIGSEGV and SIGBUS blocked, ignored, waited for and read: whoever serves the pages of a program by
 * these very signals has to keep them out of its sight. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static sigset_t both, old;
static sigjmp_buf back;
static volatile sig_atomic_t caught, code, blocked_inside, blocked_before, who;

static int is_blocked(int number) {
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, number);
}

static int is_pending(int number) {
    sigset_t now;
    sigpending(&now);
    return sigismember(&now, number);
}

static void note(int number, siginfo_t *info, void *context) {
    ucontext_t *interrupted = context;
    caught = number;
    code = info->si_code;
    who = info->si_code <= 0 ? info->si_pid == getpid() : 0;
    blocked_inside = is_blocked(SIGSEGV) * 10 + is_blocked(SIGBUS);
    blocked_before =
        sigismember(&interrupted->uc_sigmask, SIGSEGV) * 10 + sigismember(&interrupted->uc_sigmask, SIGBUS);
}

static void handle(int number, int flags, const sigset_t *mask) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};
    if (mask)
        action.sa_mask = *mask;
    sigaction(number, &action, NULL);
}

static void tell(const char *what) {
    printf("%s: signal %d code %d own %d, inside %02d, before %02d; now %d%d\n", what, caught, code,
           who, blocked_inside, blocked_before, is_blocked(SIGSEGV), is_blocked(SIGBUS));
    caught = code = who = blocked_inside = blocked_before = 0;
}

static char *pages(int count) {
    return mmap(NULL, count * 4096L, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Pages that are missing are nobody's business but the kernel's. */
static void served_while_blocked(void) {
    handle(SIGSEGV, 0, NULL);
    sigprocmask(SIG_BLOCK, &both, NULL);
    long sum = 0;
    for (int round = 0; round < 250; round++) {
        volatile char *area = pages(4);
        for (int page = 0; page < 4; page++)
            area[page * 4096] = (char)page, sum += area[page * 4096];
        munmap((void *)area, 4 * 4096);
    }
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    printf("served: %ld, handler kept %d, flags %x, blocked %d%d\n", sum,
           now.sa_sigaction == note, now.sa_flags & (SA_NODEFER | SA_SIGINFO | SA_ONSTACK),
           is_blocked(SIGSEGV), is_blocked(SIGBUS));
    signal(SIGBUS, SIG_IGN);
    volatile char *area = pages(1);
    area[7] = 1;
    sigaction(SIGBUS, NULL, &now);
    printf("ignored: %d\n", now.sa_handler == SIG_IGN);
    signal(SIGBUS, SIG_DFL);
}

static void waits(void) {
    int got;
    siginfo_t info;
    struct timespec none = {0, 0};
    kill(getpid(), SIGSEGV);
    printf("pending %d\n", is_pending(SIGSEGV));
    sigwait(&both, &got);
    printf("sigwait %d, pending %d\n", got, is_pending(SIGSEGV));
    raise(SIGBUS);
    got = sigwaitinfo(&both, &info);
    printf("sigwaitinfo %d code %d own %d\n", got, info.si_code, info.si_pid == getpid());
    kill(getpid(), SIGSEGV);
    is_pending(SIGSEGV);
    got = sigwaitinfo(&both, &info);
    printf("of kill %d code %d own %d\n", got, info.si_code, info.si_pid == getpid());
    union sigval value = {.sival_int = 77};
    sigqueue(getpid(), SIGSEGV, value);
    got = sigtimedwait(&both, &info, &none);
    printf("of sigqueue %d code %d value %d\n", got, info.si_code, info.si_value.sival_int);
    got = sigtimedwait(&both, &info, &none);
    printf("nothing: %d %s\n", got, strerror(errno));
    raise(SIGSEGV), raise(SIGSEGV), raise(SIGBUS);
    int first = sigtimedwait(&both, NULL, &none), second = sigtimedwait(&both, NULL, &none);
    printf("once each: %d %d %d\n", first, second, sigtimedwait(&both, NULL, &none));
    raise(SIGSEGV);
    signal(SIGSEGV, SIG_IGN);
    printf("ignored means gone: %d\n", is_pending(SIGSEGV));
    raise(SIGSEGV);
    printf("blocked and ignored: %d\n", is_pending(SIGSEGV));
    handle(SIGSEGV, 0, NULL);
    sigtimedwait(&both, NULL, &none);
}

static void *waiter(void *set) {
    int got;
    sigwait(set, &got);
    return (void *)(long)got;
}

static void *sender(void *unused) {
    (void)unused;
    kill(getpid(), SIGSEGV);
    return NULL;
}

/* A signal for the process is taken by whichever thread waits for it. */
static void threads_wait(void) {
    pthread_t one, two;
    void *got;
    pthread_create(&one, NULL, waiter, &both);
    kill(getpid(), SIGSEGV);
    pthread_join(one, &got);
    printf("a thread took %ld\n", (long)got);
    pthread_create(&one, NULL, waiter, &both);
    pthread_kill(one, SIGBUS);
    pthread_join(one, &got);
    printf("a thread took %ld of its own\n", (long)got);
    pthread_create(&two, NULL, sender, NULL);
    int here;
    sigwait(&both, &here);
    pthread_join(two, NULL);
    printf("the first took %d\n", here);
}

static atomic_int taken;

static void take(int number) {
    (void)number;
    atomic_store(&taken, gettid() != getpid());
}

static void *open_ear(void *unused) {
    (void)unused;
    pthread_sigmask(SIG_UNBLOCK, &both, NULL);
    while (!atomic_load(&taken))
        sched_yield();
    return NULL;
}

/* All block it but one: that one gets it. */
static void one_does_not_block(void) {
    pthread_t one;
    signal(SIGSEGV, take);
    pthread_create(&one, NULL, open_ear, NULL);
    kill(getpid(), SIGSEGV);
    pthread_join(one, NULL);
    printf("the open one took it: %d, pending %d\n", atomic_load(&taken), is_pending(SIGSEGV));
}

static void descriptors(void) {
    struct signalfd_siginfo info;
    int fd = signalfd(-1, &both, SFD_NONBLOCK), ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, got;
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    printf("nothing to read: %d, ready %d\n", (int)read(fd, &info, sizeof info), poll(&poller, 1, 0));
    kill(getpid(), SIGBUS);
    printf("ready %d %d, pending %d\n", poll(&poller, 1, 0), epoll_wait(ep, &got, 1, 0),
           is_pending(SIGBUS));
    int bytes = (int)read(fd, &info, sizeof info);
    printf("read %d: signal %u code %d own %d, pending %d\n", bytes, info.ssi_signo, info.ssi_code,
           info.ssi_pid == (unsigned)getpid(), is_pending(SIGBUS));
    fcntl(fd, F_SETFL, 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        kill(parent, SIGSEGV);
        _exit(is_blocked(SIGSEGV) * 10 + is_pending(SIGBUS));
    }
    bytes = (int)read(fd, &info, sizeof info);
    printf("read %d: signal %u code %d of the child %d\n", bytes, info.ssi_signo, info.ssi_code,
           info.ssi_pid == (unsigned)child);
    int status;
    waitpid(child, &status, 0);
    printf("child %x\n", status);
    close(fd), close(ep);
}

static void *tell_mask(void *unused) {
    (void)unused;
    return (void *)(long)(is_blocked(SIGSEGV) * 10 + is_blocked(SIGBUS));
}

static void inherited(void) {
    pthread_t one;
    void *mask;
    pthread_create(&one, NULL, tell_mask, NULL);
    pthread_join(one, &mask);
    printf("a thread inherits %02ld\n", (long)mask);
    raise(SIGSEGV);
    pid_t child = fork();
    if (child == 0)
        _exit(is_blocked(SIGSEGV) * 10 + is_pending(SIGSEGV));
    int status;
    waitpid(child, &status, 0);
    printf("a child inherits %x\n", status);
    sigwait(&both, &status);
}

/* Masks that hold for one call. */
static void masks_of_calls(void) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    handle(SIGSEGV, 0, NULL);
    handle(SIGUSR1, 0, NULL);
    raise(SIGSEGV);
    int answer = sigsuspend(&none);
    printf("sigsuspend %d %s: ", answer, strerror(errno));
    tell("let in");
    raise(SIGSEGV);
    struct timespec at_once = {0, 0};
    answer = ppoll(NULL, 0, NULL, &none);
    printf("ppoll %d %s: ", answer, strerror(errno));
    tell("let in");
    sigprocmask(SIG_UNBLOCK, &both, NULL);
    answer = pselect(0, NULL, NULL, NULL, &at_once, &all);
    printf("pselect %d: ", answer);
    tell("kept out");
    sigset_t user;
    sigemptyset(&user);
    sigaddset(&user, SIGUSR1);
    sigprocmask(SIG_BLOCK, &user, NULL);
    raise(SIGUSR1);
    answer = sigsuspend(&both);
    printf("sigsuspend %d: ", answer);
    tell("with both blocked");
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static void unblock_on_return(int number, siginfo_t *info, void *context) {
    note(number, info, context);
    sigdelset(&((ucontext_t *)context)->uc_sigmask, SIGSEGV);
    sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGBUS);
}

static void masks_of_handlers(void) {
    handle(SIGUSR1, 0, &both);
    raise(SIGUSR1);
    tell("both in the mask");
    handle(SIGUSR1, SA_RESETHAND, &both);
    raise(SIGUSR1);
    tell("once");
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    printf("default again: %d, segv in its mask %d\n", now.sa_handler == SIG_DFL,
           sigismember(&now.sa_mask, SIGSEGV));
    handle(SIGCHLD, SA_RESETHAND, &both);
    raise(SIGCHLD), raise(SIGCHLD);
    tell("twice, once handled");
    handle(SIGSEGV, SA_NODEFER, NULL);
    raise(SIGSEGV);
    tell("not deferred");
    handle(SIGSEGV, SA_RESETHAND | SA_NODEFER, NULL);
    raise(SIGSEGV);
    tell("not deferred, once");
    sigaction(SIGSEGV, NULL, &now);
    printf("default again: %d flags %x\n", now.sa_handler == SIG_DFL,
           now.sa_flags & (SA_RESETHAND | SA_NODEFER | SA_SIGINFO));
    sigprocmask(SIG_BLOCK, &both, NULL);
    struct sigaction action = {.sa_sigaction = unblock_on_return, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t segv;
    sigemptyset(&segv);
    sigaddset(&segv, SIGSEGV);
    sigprocmask(SIG_SETMASK, &segv, NULL);
    raise(SIGUSR1);
    tell("changed in the frame");
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static char *wall;
static int depth;

static void deeper(int number, siginfo_t *info, void *context) {
    (void)context;
    printf("depth %d: signal %d code %d at %+ld\n", depth, number, info->si_code,
           (long)((char *)info->si_addr - wall));
    if (++depth < 3)
        wall[depth] = 1;
    siglongjmp(back, 1);
}

/* A fault in a handler of faults. */
static void nested(void) {
    struct sigaction action = {.sa_sigaction = deeper, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    wall = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sigsetjmp(back, 1) == 0)
        wall[0] = 1;
    printf("blocked afterwards %d\n", is_blocked(SIGSEGV));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        depth = 0;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, NULL);
        wall[0] = 1;
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("deferred, nested: %x\n", status & 0x7f);
}

static int on_stack(char *base, long bytes) {
    char here;
    return &here >= base && &here < base + bytes;
}

static char *spare;

static void where(int number, siginfo_t *info, void *context) {
    (void)context;
    stack_t now;
    sigaltstack(NULL, &now);
    printf("signal %d code %d, on the other stack %d, flags %x\n", number, info->si_code,
           on_stack(spare, 65536), now.ss_flags);
    mprotect(wall, 4096, PROT_READ | PROT_WRITE);
}

static void stacks(void) {
    spare = pages(16);
    stack_t stack = {.ss_sp = spare, .ss_size = 65536}, small = {.ss_sp = pages(1), .ss_size = 64};
    struct sigaction action = {.sa_sigaction = where, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    for (int disarm = 0; disarm < 2; disarm++) {
        stack.ss_flags = disarm ? 1 << 31 : 0;
        sigaltstack(&stack, NULL);
        int refused = sigaltstack(&small, NULL);
        printf("too small: %d\n", refused);
        madvise(spare, 65536, MADV_DONTNEED);
        for (int times = 0; times < 2; times++) {
            mprotect(wall, 4096, PROT_READ);
            wall[1] = 1;
        }
    }
}

/* Whatever is started by this begins with signals blocked and ignored. */
static void start(char **arguments) {
    sigprocmask(SIG_BLOCK, &both, NULL);
    signal(SIGSEGV, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    execv(arguments[0], arguments);
}

static void started(void) {
    struct sigaction first = {.sa_handler = SIG_DFL}, before;
    sigfillset(&first.sa_mask);
    sigaction(SIGCHLD, &first, &before);
    printf("SIGCHLD was ignored %d\n", before.sa_handler == SIG_IGN);
    int numbers[] = {SIGSEGV, SIGBUS, SIGPIPE};
    for (int index = 0; index < 3; index++) {
        struct sigaction now;
        sigaction(numbers[index], numbers[index] == SIGPIPE ? &first : NULL, &now);
        printf("signal %d: blocked %d, ignored %d\n", numbers[index], is_blocked(numbers[index]),
               now.sa_handler == SIG_IGN);
    }
    served_while_blocked();
    raise(SIGBUS);
    printf("pending %d\n", is_pending(SIGBUS));
    fflush(stdout);
    sigprocmask(SIG_UNBLOCK, &both, NULL);
}

static void over_exec(const char *self) {
    sigprocmask(SIG_BLOCK, &both, NULL);
    signal(SIGBUS, SIG_IGN);
    raise(SIGSEGV);
    execl(self, self, "again", NULL);
}

int main(int count, char **arguments) {
    sigemptyset(&both);
    sigaddset(&both, SIGSEGV);
    sigaddset(&both, SIGBUS);
    sigprocmask(SIG_BLOCK, NULL, &old);
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(60);
    if (count > 1 && strcmp(arguments[1], "start") == 0)
        start(arguments + 2);
    if (count > 1 && strcmp(arguments[1], "started") == 0)
        return started(), 0;
    if (count > 1) {
        int got = 0;
        struct sigaction now;
        sigaction(SIGBUS, NULL, &now);
        printf("after exec: blocked %d%d, pending %d, ignored %d\n", is_blocked(SIGSEGV),
               is_blocked(SIGBUS), is_pending(SIGSEGV), now.sa_handler == SIG_IGN);
        sigwait(&both, &got);
        printf("taken %d\n", got);
        sigprocmask(SIG_UNBLOCK, &both, NULL);
        volatile char *area = pages(8);
        for (int page = 0; page < 8; page++)
            area[page * 4096] = 1;
        raise(SIGBUS);
        fflush(stdout);
        sigprocmask(SIG_BLOCK, &both, NULL);
        *(volatile char *)8 = 1;
        return 0;
    }
    served_while_blocked();
    waits();
    threads_wait();
    one_does_not_block();
    descriptors();
    inherited();
    masks_of_calls();
    masks_of_handlers();
    nested();
    stacks();
    over_exec(arguments[0]);
    return 1;
}
