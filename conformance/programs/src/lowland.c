/* Low addresses where a program has nothing: what is there of others, it can neither wake, nor read by a
 * call, nor run; and it can map what it likes there, also before and while it forks. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, LOW = 0x10000, HIGH = 0x30000 };

static sigjmp_buf back;

static void caught(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static void futexes(const char *when)
{
    unsigned word = 0;
    int refused[3] = { 0 };
    for (long at = LOW; at < HIGH; at += PAGE) {
        refused[0] += syscall(SYS_futex, at, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 && errno == EFAULT;
        refused[1] += syscall(SYS_futex, at, FUTEX_REQUEUE, 0, 1, &word, 0) < 0 && errno == EFAULT;
        refused[2] += syscall(SYS_futex, at, FUTEX_WAIT, 0, NULL, NULL, 0) < 0 && errno == EFAULT;
    }
    printf("%s: %d %d %d\n", when, refused[0], refused[1], refused[2]);
}

/* To where every page begins, and just behind. */
static void jumps(const char *when)
{
    int caught_there = 0;
    for (long at = LOW; at < HIGH; at += PAGE)
        for (volatile long byte = 0; byte <= 3; byte += 3) {
            if (sigsetjmp(back, 1) == 0)
                __asm__ volatile("jmp *%%rdx"
                                 :
                                 : "d"(at + byte), "a"(-1L), "b"(0L), "D"(0L), "S"(0L)
                                 : "memory", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
            else
                caught_there++;
        }
    printf("%s: %d\n", when, caught_there);
}

int main(void)
{
    signal(SIGSEGV, caught);
    signal(SIGBUS, caught);
    setvbuf(stdout, NULL, _IOLBF, 0);
    futexes("nothing there");
    jumps("jumped into");
    printf("still there: %d\n", (int)(write(1, "", 0) == 0 && getsid(0) != getpid()));

    for (int round = 0; round < 4; round++) {
        char *low = mmap((void *)(long)(LOW + round * PAGE), HIGH - LOW, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        memset(low, round + 1, HIGH - LOW);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            memset(low, 9, PAGE);
            long sum = 0;
            for (int i = 0; i < HIGH - LOW; i++)
                sum += low[i];
            munmap(low, HIGH - LOW);
            char *other = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            memset(other, 1, 1 << 20);
            printf("child %d: %ld\n", round, sum);
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        long sum = 0;
        for (int i = 0; i < HIGH - LOW; i++)
            sum += low[i];
        printf("parent %d: %ld, unmapped %d\n", round, sum, munmap(low, HIGH - LOW));
    }
    futexes("nothing there any more");
    return 0;
}
