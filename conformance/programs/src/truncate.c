/* Files that get shorter and longer while they are mapped, in every way that this is done. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 4, BYTES = PAGES * PAGE, SHORT = PAGE + PAGE / 2 };

static sigjmp_buf back;

static void on_bus(int signal)
{
    siglongjmp(back, signal);
}

static void show(const char *name, volatile char *at)
{
    printf("  %s:", name);
    for (int half = 0; half < 2 * PAGES; half++) {
        if (sigsetjmp(back, 1) == 0)
            printf(" %d", at[half * PAGE / 2]);
        else
            printf(" bus");
    }
    printf("\n");
}

static void by_descriptor(int file, const char *path, off_t bytes)
{
    (void)path;
    if (ftruncate(file, bytes) != 0)
        perror("ftruncate");
}

static void by_path(int file, const char *path, off_t bytes)
{
    (void)file;
    if (truncate(path, bytes) != 0)
        perror("truncate");
}

static void by_a_child(int file, const char *path, off_t bytes)
{
    (void)file;
    if (fork() == 0)
        _exit(truncate(path, bytes) != 0);
    wait(NULL);
}

static void by_a_program(int file, const char *path, off_t bytes)
{
    char number[32];
    (void)file;
    snprintf(number, sizeof number, "%ld", (long)bytes);
    if (fork() == 0) {
        execlp("truncate", "truncate", "-s", number, path, NULL);
        _exit(1);
    }
    wait(NULL);
}

static void by_opening(int file, const char *path, off_t bytes)
{
    if (bytes == SHORT)
        close(open(path, O_RDWR | O_TRUNC));
    if (ftruncate(file, bytes) != 0)
        perror("ftruncate");
}

static void by_creating(int file, const char *path, off_t bytes)
{
    if (bytes == SHORT)
        close((int)syscall(SYS_creat, path, 0600));
    if (ftruncate(file, bytes) != 0)
        perror("ftruncate");
}

static void run(const char *name, void (*resize)(int, const char *, off_t))
{
    const char *path = "resized";
    int file = open(path, O_RDWR | O_CREAT, 0600);
    char page[PAGE];
    for (int i = 0; i < PAGES; i++) {
        memset(page, i + 1, PAGE);
        if (pwrite(file, page, PAGE, i * PAGE) != PAGE)
            perror("pwrite");
    }
    int prot = PROT_READ | PROT_WRITE;
    char *shared = mmap(NULL, BYTES, prot, MAP_SHARED, file, 0);
    char *copied = mmap(NULL, BYTES, prot, MAP_PRIVATE, file, 0);
    char *untouched = mmap(NULL, BYTES, prot, MAP_PRIVATE, file, 0);
    for (int i = 0; i < PAGES; i++) {
        copied[i * PAGE] = (char)(11 + i);
        copied[i * PAGE + PAGE / 2] = (char)(21 + i);
    }
    printf("%s\n", name);
    show("shared", shared);
    resize(file, path, SHORT);
    show("shared, shorter", shared);
    show("copied, shorter", copied);
    show("untouched, shorter", untouched);
    resize(file, path, BYTES);
    show("shared, longer", shared);
    show("copied, longer", copied);
    show("untouched, longer", untouched);
    copied[2 * PAGE] = 31;
    shared[3 * PAGE] = 32;
    /* Shorter and longer again with nobody looking. */
    resize(file, path, SHORT);
    resize(file, path, BYTES);
    show("shared, at last", shared);
    show("copied, at last", copied);
    int result = pread(file, page, 1, 3 * PAGE) == 1 ? page[0] : -1;
    printf("  file: %d\n", result);
    munmap(shared, BYTES);
    munmap(copied, BYTES);
    munmap(untouched, BYTES);
    close(file);
    unlink(path);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    struct sigaction action = { .sa_handler = on_bus };
    sigaction(SIGBUS, &action, NULL);
    run("ftruncate", by_descriptor);
    run("truncate", by_path);
    run("truncate by a child", by_a_child);
    run("truncate by a program", by_a_program);
    run("open", by_opening);
    run("creat", by_creating);
    return 0;
}
