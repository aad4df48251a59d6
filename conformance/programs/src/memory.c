/* The allocator and the calls under it: big and small blocks, realloc, mremap, protection, advice. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state = 1;

static uint64_t number(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

int main(void) {
    enum { BLOCKS = 200, ROUNDS = 4000 };
    unsigned char *blocks[BLOCKS] = {0};
    size_t sizes[BLOCKS] = {0};
    for (int round = 0; round < ROUNDS; round++) {
        int which = number() % BLOCKS;
        size_t size = number() % (round % 50 == 0 ? 4 << 20 : 20000) + 1;
        for (size_t at = 0; at < sizes[which]; at += 977)
            if (blocks[which][at] != (unsigned char)which)
                return 1;
        blocks[which] = realloc(blocks[which], size);
        memset(blocks[which], which, size);
        sizes[which] = size;
        if (number() % 5 == 0) {
            free(blocks[which]);
            blocks[which] = NULL;
            sizes[which] = 0;
        }
    }
    size_t total = 0;
    for (int i = 0; i < BLOCKS; i++)
        total += sizes[i];
    printf("allocated %zu\n", total);

    size_t pages = 512;
    char *area = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < pages; i++)
        area[i * 4096] = (char)i;
    area = mremap(area, pages * 4096, 4 * pages * 4096, MREMAP_MAYMOVE);
    int good = area != MAP_FAILED;
    for (size_t i = 0; i < pages; i++)
        good &= area[i * 4096] == (char)i;
    madvise(area, 256 * 4096, MADV_DONTNEED);
    good &= area[4096] == 0 && area[300 * 4096] == (char)300;
    for (size_t i = 0; i < 4 * pages; i += 2)
        good &= mprotect(area + i * 4096, 4096, PROT_READ) == 0;
    good &= mprotect(area, 4 * pages * 4096, PROT_READ | PROT_WRITE) == 0;
    unsigned char vector[2048];
    good &= mincore(area, 4 * pages * 4096, vector) == 0;
    int resident = 0;
    for (size_t i = 0; i < 4 * pages; i++)
        resident += vector[i] & 1;
    printf("good %d resident %d\n", good, resident);
    void *before = sbrk(0);
    sbrk(1 << 20);
    memset(before, 7, 1 << 20);
    sbrk(-(1 << 20));
    printf("brk %d\n", sbrk(0) == before);
    return !good;
}
