/* Programs that fork and fork, and all write to the same few pages: each has its own. */
#define _GNU_SOURCE
#include <errno.h>
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

enum { PAGE = 4096, GENERATIONS = 6, FORKS = 40, LARGE = 4 << 20, THREAD_PAGES = 64 };

static char with_contents[3 * PAGE] = { 1 };
static char without[2 * PAGE];
static char *small, *large, *wiped, *not_copied;

static char *map(size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* What is written of each memory: all of the small ones, some pages of the large one. */
static void put(char *stack, int value)
{
    memset(stack, value, 2 * PAGE);
    memset(with_contents, value, sizeof with_contents);
    memset(without, value, sizeof without);
    memset(small, value, 16 * PAGE);
    for (int at = 0; at < LARGE; at += 97 * PAGE)
        large[at + value] = (char)value;
    wiped[0] = (char)value;
}

static int all(const char *bytes, size_t nr, int value)
{
    for (size_t at = 0; at < nr; at++)
        if (bytes[at] != value)
            return 0;
    return 1;
}

static int has(const char *stack, int value)
{
    int same = all(stack, 2 * PAGE, value) && all(with_contents, sizeof with_contents, value) &&
               all(without, sizeof without, value) && all(small, 16 * PAGE, value);
    for (int at = 0; at < LARGE; at += 97 * PAGE)
        same &= large[at + value] == value && large[at + value + 1] == 0;
    return same;
}

/* How many of this program and its descendants found something wrong. */
static int descend(int generation)
{
    char stack[2 * PAGE], go;
    int ends[2], status, wrong = 0;
    put(stack, 2 * generation);
    if (pipe(ends))
        return 1;
    pid_t child = fork();
    if (child == 0) {
        /* The parent has written by then. */
        wrong += read(ends[0], &go, 1) != 1 || !has(stack, 2 * generation);
        wrong += wiped[0] != 0 || madvise(not_copied, PAGE, MADV_NORMAL) != -1 || errno != ENOMEM;
        close(ends[0]);
        close(ends[1]);
        not_copied = mmap(not_copied, PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        madvise(not_copied, PAGE, MADV_DONTFORK);
        if (generation < GENERATIONS)
            wrong += descend(generation + 1);
        _exit(wrong);
    }
    put(stack, 2 * generation + 1);
    if (write(ends[1], "x", 1) != 1)
        return 1;
    waitpid(child, &status, 0);
    wrong += WEXITSTATUS(status) + !has(stack, 2 * generation + 1);
    close(ends[0]);
    close(ends[1]);
    return wrong;
}

/* The kernel stores a child's number in the child's memory alone. */
static int numbered(void)
{
    struct {
        int before, number, after;
    } *page = (void *)map(PAGE);
    int wrong = 0;
    for (int i = 1; i <= FORKS; i++) {
        int status;
        page->before = page->number = page->after = -i;
        pid_t child = (pid_t)syscall(SYS_clone, CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, 0,
                                     0, &page->number, 0);
        if (child == 0)
            _exit(page->before != -i || page->number != syscall(SYS_getpid) || page->after != -i);
        waitpid(child, &status, 0);
        wrong += status != 0 || page->before != -i || page->number != -i || page->after != -i;
    }
    return wrong;
}

static volatile unsigned long *counted;
static volatile int is_over;

static void *count(void *unused)
{
    for (unsigned long nr = 1; !is_over; nr++)
        for (int page = 0; page < THREAD_PAGES; page++)
            counted[page * (PAGE / sizeof *counted)] = nr;
    return unused;
}

/* A thread goes up the pages: what a child sees of it is what there was at one moment. */
static int beside_a_thread(void)
{
    pthread_t thread;
    int wrong = 0;
    counted = (void *)map(THREAD_PAGES * PAGE);
    if (pthread_create(&thread, NULL, count, NULL))
        return 1;
    for (int i = 0; i < FORKS; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            unsigned long before = counted[0];
            int torn = 0;
            for (int page = 1; page < THREAD_PAGES; page++) {
                unsigned long now = counted[page * (PAGE / sizeof *counted)];
                torn |= now > before || now + 1 < counted[0];
                before = now;
            }
            _exit(torn);
        }
        waitpid(child, &status, 0);
        wrong += status != 0;
    }
    is_over = 1;
    pthread_join(thread, NULL);
    return wrong;
}

int main(void)
{
    small = malloc(16 * PAGE);
    large = map(LARGE);
    wiped = map(PAGE);
    not_copied = map(PAGE);
    if (!small || madvise(wiped, PAGE, MADV_WIPEONFORK) || madvise(not_copied, PAGE, MADV_DONTFORK))
        return 2;
    memset(large, 0, LARGE);
    printf("generations: %d wrong\n", descend(1));
    fflush(stdout);
    memset(large, 0, LARGE);
    printf("again: %d wrong\n", descend(1));
    printf("numbered: %d wrong\n", numbered());
    printf("beside a thread: %d wrong\n", beside_a_thread());
    return 0;
}
