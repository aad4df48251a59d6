/* /proc/PID/mem: reads and writes what the program's memory is, touched or not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *what, long answer) {
    printf("%s: %ld %s\n", what, answer, answer < 0 ? strerror(errno) : "");
}

__attribute__((noinline, aligned(64))) int answer(void) {
    __asm__ volatile("");
    return 0x11223344;
}

static const char constant[64] = "cannot be written";
static char bytes[1 << 20];

int main(void) {
    int fd = open("/proc/self/mem", O_RDWR), ro = open("/proc/self/mem", O_RDONLY);
    char *area = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(area + 4000, "across a page, untouched before");
    say("read", pread(fd, bytes, 32, (off_t)(uintptr_t)(area + 4000)));
    puts(bytes);
    say("untouched", pread(fd, bytes, 4096, (off_t)(uintptr_t)(area + 5 * 4096)));
    printf("zero: %d\n", bytes[5]);
    say("written", pwrite(fd, "hello", 6, (off_t)(uintptr_t)(area + 6 * 4096)));
    puts(area + 6 * 4096);
    mprotect(area, 4096, PROT_NONE);
    say("no rights", pread(fd, bytes, 16, (off_t)(uintptr_t)area));
    say("forced", pwrite(fd, "x", 1, (off_t)(uintptr_t)area));
    mprotect(area, 4096, PROT_READ);
    printf("%c\n", area[0]);
    say("constant", pwrite(fd, "CAN", 3, (off_t)(uintptr_t)constant));
    printf("%s\n", *(const char *volatile *)&(const char *){constant});
    say("code", pread(fd, bytes, 64, (off_t)(uintptr_t)answer));
    char *at = memmem(bytes, 64, "\x44\x33\x22\x11", 4);
    say("changed", pwrite(fd, "\x45", 1, (off_t)(uintptr_t)answer + (at - bytes)));
    printf("%x\n", answer());
    munmap(area + 7 * 4096, 4096);
    say("nothing there", pread(fd, bytes, 16, 64));
    say("up to a hole", pread(fd, bytes, 3 * 4096, (off_t)(uintptr_t)(area + 5 * 4096)) > 0);
    say("to a bad place", pread(fd, (char *)8, 16, (off_t)(uintptr_t)(area + 4096)));
    say("seek", lseek(fd, (off_t)(uintptr_t)(area + 6 * 4096), SEEK_SET) == (off_t)(uintptr_t)(area + 6 * 4096));
    say("read", read(fd, bytes, 3));
    say("moved on", read(fd, bytes + 3, 3));
    puts(bytes);
    say("place", lseek(fd, 0, SEEK_CUR) == (off_t)(uintptr_t)(area + 6 * 4096 + 6));
    say("not to write", pwrite(ro, "x", 1, (off_t)(uintptr_t)(area + 4096)));
    say("none", pread(fd, bytes, 0, 64));
    say("vdso", pread(fd, bytes, 4, (off_t)getauxval(AT_SYSINFO_EHDR)));
    printf("%.3s\n", bytes + 1);
    char *large = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(large, 9, 1 << 20);
    say("large", pread(fd, bytes, 1 << 20, (off_t)(uintptr_t)large));
    printf("%d\n", memcmp(bytes, large, 1 << 20));
    char *file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, open("/etc/passwd", O_RDONLY), 0);
    say("a shared file", pwrite(fd, "x", 1, (off_t)(uintptr_t)file));
    int go[2];
    pipe(go);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        strcpy(area + 4096, "the parent's is another");
        read(go[0], &byte, 1);
        puts(area + 2 * 4096);
        fflush(stdout);
        _exit(0);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    int other = open(path, O_RDWR);
    say("to a child", pwrite(other, "from the parent", 16, (off_t)(uintptr_t)(area + 2 * 4096)));
    write(go[1], "x", 1);
    waitpid(child, NULL, 0);
    say("own", pread(fd, bytes, 4, (off_t)(uintptr_t)(area + 2 * 4096)));
    printf("%d\n", bytes[0]);
    return 0;
}
