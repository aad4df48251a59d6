/* Names of anonymous memory, as the kernel shows them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

static void name(char *at, long bytes, const char *name) {
    int answer = prctl(PR_SET_VMA, 0, at, bytes, name);
    printf("%s\n", answer ? strerror(errno) : "named");
}

int main(void) {
    char line[512];
    char *area = mmap(NULL, 4 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    name(area, 4096, "first of four");
    name(area + 2 * 4096, 4096, "third");
    name(area + 1, 4096, "unaligned");
    name(area, 4096, "a[b");
    name(area, 4096, (char *)8);
    name((char *)4096, 4096, "nothing there");
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char *shown = strstr(line, "[anon");
        sscanf(line, "%lx-%lx", &start, &end);
        if (shown)
            printf("%ld %ld %s", (long)(start - (unsigned long)area) / 4096, (long)(end - start) / 4096, shown);
    }
    return 0;
}
