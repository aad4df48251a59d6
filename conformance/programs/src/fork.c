/* A tree of processes: private memory, shared memory, pipes, exit statuses. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    enum { CHILDREN = 6, PAGES = 64 };
    char *private = malloc(PAGES * 4096);
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ends[2];
    if (shared == MAP_FAILED || pipe(ends) != 0)
        return 2;
    memset(private, 'p', PAGES * 4096);
    for (int i = 0; i < CHILDREN; i++) {
        if (fork() == 0) {
            for (int page = 0; page < PAGES; page++)
                private[page * 4096] = (char)('0' + i);
            if (fork() == 0) {
                private[1] = 'g';
                __sync_fetch_and_add(&shared[1], private[0]);
                _exit(private[4096] == '0' + i ? 0 : 1);
            }
            int status;
            wait(&status);
            __sync_fetch_and_add(&shared[0], i + 1);
            if (private[1] != 'p' || status != 0)
                _exit(99);
            if (write(ends[1], &private[4096], 1) != 1)
                _exit(98);
            _exit(i);
        }
    }
    int sum = 0, letters = 0;
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        char letter;
        wait(&status);
        sum += WEXITSTATUS(status);
        if (read(ends[0], &letter, 1) == 1)
            letters += letter;
    }
    int untouched = 1;
    for (int page = 0; page < PAGES * 4096; page++)
        untouched &= private[page] == 'p';
    printf("statuses %d letters %d shared %d %d untouched %d\n", sum, letters, shared[0], shared[1],
           untouched);
    return sum == 15 && untouched ? 0 : 1;
}
