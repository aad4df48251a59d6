/* Calls that are in the kernel while another thread changes the memory that they name: what is there
 * when the data comes counts. What is printed does not depend on the order in which things happen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static atomic_int blocked;
static int ends[2];
static char *buffer;

/* Waits until the thread that has said so sleeps in its call. */
static void wait_until_it_sleeps(void)
{
    char path[64], text[256];
    while (blocked == 0)
        sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", blocked);
    for (;;) {
        int file = open(path, O_RDONLY);
        ssize_t got = read(file, text, sizeof text - 1);
        close(file);
        text[got > 0 ? got : 0] = 0;
        char *end = strrchr(text, ')');
        if (end != NULL && end[1] != 0 && end[2] == 'S')
            return;
        sched_yield();
    }
}

struct result {
    long value;
    int error;
};

static void *read_it(void *place)
{
    struct result *result = place;
    blocked = (int)syscall(SYS_gettid);
    result->value = syscall(SYS_read, ends[0], buffer, 100);
    result->error = result->value < 0 ? errno : 0;
    return NULL;
}

static void *receive_it(void *place)
{
    struct result *result = place;
    struct iovec *pieces = (struct iovec *)(buffer + PAGE);
    pieces[0] = (struct iovec){ buffer, 2 };
    pieces[1] = (struct iovec){ buffer + 8, 90 };
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };
    blocked = (int)syscall(SYS_gettid);
    result->value = syscall(SYS_recvmsg, ends[0], &message, 0);
    result->error = result->value < 0 ? errno : 0;
    return NULL;
}

static void drop(void) { madvise(buffer, PAGE, MADV_DONTNEED); }
static void free_it(void) { madvise(buffer, PAGE, MADV_FREE); }

static void forbid_and_allow(void)
{
    mprotect(buffer, PAGE, PROT_NONE);
    mprotect(buffer, PAGE, PROT_READ | PROT_WRITE);
}

static void protect_and_allow(void)
{
    mprotect(buffer, PAGE, PROT_READ);
    mprotect(buffer, PAGE, PROT_READ | PROT_WRITE);
}

static void map_over(void)
{
    mmap(buffer, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void unmap_and_map(void)
{
    munmap(buffer, PAGE);
    map_over();
}

static void move_and_map(void)
{
    char *other = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mremap(buffer, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other);
    map_over();
}

static void fork_once(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
}

/* The child writes where the parent's call will. */
static void fork_and_write(void)
{
    pid_t child = fork();
    if (child == 0) {
        buffer[0] = '!';
        _exit(buffer[1] == 1);
    }
    waitpid(child, NULL, 0);
}

static void take_away(void) { munmap(buffer, PAGE); }
static void forbid_writing(void) { mprotect(buffer, PAGE, PROT_READ); }

static void run(const char *name, void *(*call)(void *), void (*change)(void))
{
    pthread_t thread;
    struct result result = { 0, 0 };
    int kind = call == read_it ? pipe(ends) : socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    if (kind != 0)
        exit(1);
    if (call == receive_it) {
        int other = ends[0];
        ends[0] = ends[1];
        ends[1] = other;
    }
    blocked = 0;
    buffer = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(buffer, 1, PAGE);
    pthread_create(&thread, NULL, call, &result);
    wait_until_it_sleeps();
    change();
    if (write(ends[1], "hello", 5) != 5)
        exit(1);
    pthread_join(thread, NULL);
    printf("%s: %ld %s", name, result.value, result.error ? strerror(result.error) : "-");
    if (result.error == 0)
        printf(" %.2s %d", buffer, buffer[99]);
    printf("\n");
    close(ends[0]);
    close(ends[1]);
}

static atomic_int go_on;
static pthread_t forker;

static void *fork_when_joined(void *unused)
{
    (void)unused;
    while (go_on == 0)
        sched_yield();
    for (int i = 0; i < 8; i++)
        fork_once();
    go_on = 2;
    while (go_on == 2)
        sched_yield();
    return NULL;
}

static void *join_it(void *unused)
{
    (void)unused;
    blocked = (int)syscall(SYS_gettid);
    pthread_join(forker, NULL);
    return NULL;
}

/* A thread forks while another waits for its end, in the very page that the kernel stores the
 * child's number in. */
static int join_a_forker(void)
{
    pthread_t joiner;
    blocked = 0;
    pthread_create(&forker, NULL, fork_when_joined, NULL);
    pthread_create(&joiner, NULL, join_it, NULL);
    wait_until_it_sleeps();
    go_on = 1;
    while (go_on != 2)
        sched_yield();
    int answer = pthread_kill(forker, 0);
    go_on = 3;
    pthread_join(joiner, NULL);
    return answer;
}

enum { TURNS = 300, LENGTH = 16 * PAGE };

static void *turn_rights(void *unused)
{
    (void)unused;
    while (go_on == 4) {
        mprotect(buffer, LENGTH, PROT_READ | PROT_EXEC);
        mprotect(buffer, LENGTH, PROT_READ | PROT_WRITE);
        buffer[0] = 1;
        sched_yield();
    }
    return NULL;
}

/* The rights that a call needs are there at every moment; those that it does not need come and go. */
static int write_while_rights_turn(void)
{
    pthread_t turner;
    int file = memfd_create("written", 0), failed = 0;
    buffer = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(buffer, 1, LENGTH);
    go_on = 4;
    pthread_create(&turner, NULL, turn_rights, NULL);
    for (int i = 0; i < TURNS; i++)
        failed += pwrite(file, buffer, LENGTH, 0) != LENGTH;
    go_on = 5;
    pthread_join(turner, NULL);
    close(file);
    return failed;
}

int main(void)
{
    run("dropped", read_it, drop);
    run("freed", read_it, free_it);
    run("forbidden and allowed", read_it, forbid_and_allow);
    run("protected and allowed", read_it, protect_and_allow);
    run("mapped over", read_it, map_over);
    run("unmapped and mapped", read_it, unmap_and_map);
    run("moved away and mapped", read_it, move_and_map);
    run("forked", read_it, fork_once);
    run("forked and written", read_it, fork_and_write);
    run("taken away", read_it, take_away);
    run("not writable", read_it, forbid_writing);
    run("socket dropped", receive_it, drop);
    run("socket unmapped and mapped", receive_it, unmap_and_map);
    run("socket forked", receive_it, fork_and_write);
    printf("a forker that is joined: %d\n", join_a_forker());
    printf("failed while rights turned: %d\n", write_while_rights_turn());
    return 0;
}
