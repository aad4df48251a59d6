/* Buffers far larger than what there is to read. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20 };
static const size_t LARGE = 1ul << 30;

static char *fresh(void)
{
    int prot = PROT_READ | PROT_WRITE;
    return mmap(NULL, LARGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Pages that are there at the start, and behind what was read, up to where nobody could need any. */
static const char *extent(char *buffer, size_t used)
{
    static char text[64];
    static unsigned char present[(64ul << 20) / PAGE];
    size_t first = (used + 2 * MIB + PAGE - 1) / PAGE * PAGE;
    size_t pages = 0;
    for (size_t at = first; at < LARGE; at += sizeof present * PAGE) {
        size_t bytes = LARGE - at < sizeof present * PAGE ? LARGE - at : sizeof present * PAGE;
        if (mincore(buffer + at, bytes, present) != 0)
            return "mincore";
        for (size_t i = 0; i < bytes / PAGE; i++)
            pages += present[i] & 1;
    }
    snprintf(text, sizeof text, "%zu pages beyond", pages);
    munmap(buffer, LARGE);
    return text;
}

static void say(const char *name, ssize_t got, char *buffer)
{
    printf("%s: %zd %s", name, got, got < 0 ? strerror(errno) : "-");
    if (got > 0)
        printf(" %d..%d", buffer[0], buffer[got - 1]);
    printf(" %s\n", extent(buffer, got > 0 ? (size_t)got : 0));
}

static int file_of(size_t bytes)
{
    int file = memfd_create("file", 0);
    char *piece = malloc(MIB);
    for (size_t at = 0; at < bytes; at += MIB) {
        memset(piece, (int)(at / MIB) + 1, MIB);
        if (write(file, piece, bytes - at < MIB ? bytes - at : MIB) < 0)
            exit(1);
    }
    free(piece);
    lseek(file, 0, SEEK_SET);
    return file;
}

static void files(void)
{
    int file = file_of(5 * MIB + 77);
    char *buffer = fresh();
    say("file", read(file, buffer, LARGE), buffer);
    buffer = fresh();
    say("file at its end", read(file, buffer, LARGE), buffer);
    lseek(file, 4 * MIB, SEEK_SET);
    buffer = fresh();
    say("file from its middle", read(file, buffer, LARGE), buffer);
    buffer = fresh();
    say("file at an offset", pread(file, buffer, LARGE, 100), buffer);
    buffer = fresh();
    struct iovec pieces[] = { { buffer, 3 * MIB }, { buffer + 3 * MIB, LARGE - 3 * MIB } };
    say("file in pieces", preadv(file, pieces, 2, MIB), buffer);
    close(file);
    file = open("/proc/self/comm", O_RDONLY);
    buffer = fresh();
    say("file that has no size", read(file, buffer, LARGE), buffer);
    close(file);
}

static void streams(void)
{
    int ends[2];
    char *buffer = fresh();
    if (pipe(ends) || write(ends[1], "hello", 5) != 5)
        exit(1);
    say("pipe", read(ends[0], buffer, LARGE), buffer);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || write(ends[1], "hello", 5) != 5)
        exit(1);
    buffer = fresh();
    struct iovec pieces[] = { { buffer, 2 }, { buffer + 2, LARGE - 2 } };
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };
    say("socket", recvmsg(ends[0], &message, 0), buffer);
}

/* Much more than a pipe holds, and a reader that asks for all of it at once. */
static void long_stream(void)
{
    int ends[2];
    size_t total = 0, bytes = 9 * MIB;
    char *buffer = fresh();
    if (pipe(ends))
        exit(1);
    if (fork() == 0) {
        char *data = malloc(bytes);
        memset(data, 7, bytes);
        close(ends[0]);
        _exit(write(ends[1], data, bytes) != (ssize_t)bytes);
    }
    close(ends[1]);
    for (;;) {
        ssize_t got = read(ends[0], buffer + total, LARGE - total);
        if (got <= 0)
            break;
        total += (size_t)got;
    }
    wait(NULL);
    printf("long stream: %zu %d\n", total, memchr(buffer, 0, total) == NULL);
}

/* One write of more zeroes, all of them untouched, than a host has areas for pages. */
static void untouched(void)
{
    enum { MANY = 300 * MIB, PIECE = 1 << 16 };
    int ends[2];
    char *buffer = fresh();
    if (pipe(ends))
        exit(1);
    if (fork() == 0) {
        static char piece[PIECE];
        size_t total = 0, strange = 0;
        close(ends[1]);
        for (;;) {
            ssize_t got = read(ends[0], piece, PIECE);
            if (got <= 0)
                break;
            total += (size_t)got;
            strange += piece[0] != 0 || piece[got - 1] != (total == MANY ? 5 : 0);
        }
        _exit(total != MANY || strange);
    }
    close(ends[0]);
    buffer[MANY - 1] = 5;
    ssize_t put = write(ends[1], buffer, MANY);
    int status = -1;
    close(ends[1]);
    wait(&status);
    printf("untouched: %zd %d\n", put, status);
    munmap(buffer, LARGE);
}

int main(void)
{
    files();
    streams();
    long_stream();
    untouched();
    return 0;
}
