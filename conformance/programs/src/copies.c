/* Copies between the memories of two programs, small and large. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, BYTES = 6 << 20, MANY = 1024 };

static char *map(size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void say(const char *name, ssize_t answer)
{
    printf("%s: %zd %s\n", name, answer, answer < 0 ? strerror(errno) : "-");
}

int main(void)
{
    char *theirs = map(BYTES), *ours = map(BYTES);
    int ends[2];
    char byte;
    memset(theirs, 1, BYTES);
    if (pipe(ends))
        return 1;
    pid_t child = fork();
    if (child == 0) {
        memset(theirs, 2, BYTES);
        theirs[BYTES - 1] = 3;
        munmap(theirs + BYTES / 2, PAGE);
        if (write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    if (read(ends[0], &byte, 1) != 1)
        return 1;
    struct iovec local = { ours + 5, BYTES / 2 - 5 }, remote = { theirs + 5, BYTES / 2 - 5 };
    say("read", process_vm_readv(child, &local, 1, &remote, 1, 0));
    printf("bytes: %d %d %d\n", ours[4], ours[5], ours[BYTES / 2 - 1]);
    local.iov_len = remote.iov_len = BYTES - 5;
    say("read up to a hole", process_vm_readv(child, &local, 1, &remote, 1, 0));
    remote = (struct iovec){ theirs + BYTES / 2, PAGE };
    say("read a hole", process_vm_readv(child, &local, 1, &remote, 1, 0));
    struct iovec pieces[2] = { { ours, 1 }, { ours + BYTES - 100, 99 } };
    remote = (struct iovec){ theirs + BYTES - 100, 100 };
    say("read pieces", process_vm_readv(child, pieces, 2, &remote, 1, 0));
    printf("bytes: %d %d\n", ours[0], ours[BYTES - 2]);
    memset(ours, 4, BYTES);
    local = (struct iovec){ ours, BYTES / 2 };
    remote = (struct iovec){ theirs, BYTES / 2 };
    say("write", process_vm_writev(child, &local, 1, &remote, 1, 0));
    say("read back", process_vm_readv(child, &(struct iovec){ ours + BYTES / 2, 1 }, 1, &remote, 1, 0));
    printf("bytes: %d %d\n", ours[BYTES / 2], theirs[0]);
    local.iov_len = (size_t)-1;
    say("no length", process_vm_readv(child, &local, 1, &remote, 1, 0));
    local.iov_len = 0;
    say("nothing", process_vm_readv(child, &local, 1, &remote, 1, 0));
    say("flags", process_vm_readv(child, &local, 1, &remote, 1, 1));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    say("nothing of nobody", process_vm_readv(child, &local, 1, &remote, 1, 0));
    local.iov_len = 1;
    say("nobody", process_vm_readv(child, &local, 1, &remote, 1, 0));

    /* One that would take very long does not keep another from going on. */
    child = fork();
    if (child == 0) {
        static struct iovec from[MANY], to[MANY];
        for (int i = 0; i < MANY; i++) {
            from[i] = (struct iovec){ theirs, BYTES };
            to[i] = (struct iovec){ ours, BYTES };
        }
        if (write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            process_vm_readv(getpid(), to, MANY, from, MANY, 0);
    }
    if (read(ends[0], &byte, 1) != 1)
        return 1;
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    printf("killed in a copy: %d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return 0;
}
