/* Calls that wait for files, and what they answer. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, BYTES = 5 << 20, ROUNDS = 20 };

static int file;
static char *shared;

static void say(const char *name, int answer)
{
    printf("%s: %d %s\n", name, answer, answer < 0 ? strerror(errno) : "-");
}

static int pages_of(char *at)
{
    static unsigned char present[BYTES / PAGE];
    int pages = 0;
    if (mincore(at, BYTES, present) != 0)
        return -1;
    for (int i = 0; i < BYTES / PAGE; i++)
        pages += present[i] & 1;
    return pages;
}

static void *sync_on(void *number)
{
    long failed = 0;
    char *at = shared + (long)number * PAGE;
    for (int i = 0; i < ROUNDS; i++) {
        at[0] = (char)i;
        failed += msync(at, PAGE, MS_SYNC) != 0;
    }
    return (void *)failed;
}

int main(void)
{
    file = open("synced", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, BYTES) != 0)
        return 1;
    shared = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    memset(shared, 3, BYTES);
    say("sync", msync(shared, BYTES, MS_SYNC));
    say("async", msync(shared, BYTES, MS_ASYNC));
    say("both", msync(shared, BYTES, MS_SYNC | MS_ASYNC));

    char *copy = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, file, 0);
    printf("populated: %d %d\n", pages_of(copy), copy[BYTES - 1]);
    copy = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    say("populate", madvise(copy, BYTES, MADV_POPULATE_WRITE));
    shared[0] = 4;
    printf("copied: %d\n", copy[0]);
    copy = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    say("lock", mlock(copy + PAGE, 4 * PAGE));
    shared[PAGE] = 5;
    printf("locked: %d\n", copy[PAGE]);

    pthread_t threads[4];
    long failed = 0;
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, sync_on, (void *)i);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        failed += (long)result;
    }
    printf("failed at once: %ld\n", failed);
    munmap(shared + PAGE, PAGE);
    say("sync over a hole", msync(shared, 4 * PAGE, MS_SYNC));
    return 0;
}
