/* refuse WHAT PROGRAM ARGUMENTS...: runs a program under a filter, as a container does. WHAT is the
   number of a call that fails with EPERM, or NUMBER:ERRNO; `unknown`, and every call that Linux does
   not have fails with ENOSYS; `listened`, and the filter has a listener. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BEYOND = 0x1000 };

static int install(struct sock_filter *filter, unsigned short length, unsigned flags)
{
    struct sock_fprog program = { length, filter };
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    /* It is there as long as somebody holds it. */
    return listener < 0 || (flags && fcntl(listener, F_SETFD, 0));
}

int main(int count, char **words)
{
    if (count < 3)
        return 2;
    int listened = !strcmp(words[1], "listened");
    int unknown = !strcmp(words[1], "unknown");
    char *end = NULL;
    unsigned number = strtoul(words[1], &end, 10);
    unsigned error = *end == ':' ? atoi(end + 1) : EPERM;
    unsigned test = BPF_JEQ, action = SECCOMP_RET_ERRNO | error;
    if (listened) {
        number = BEYOND;
        action = SECCOMP_RET_USER_NOTIF;
    } else if (unknown) {
        number = BEYOND;
        test = BPF_JGE;
        action = SECCOMP_RET_ERRNO | ENOSYS;
    }
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | test | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    unsigned flags = listened ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || install(filter, sizeof filter / sizeof filter[0], flags))
        return 3;
    execvp(words[2], words + 2);
    return 4;
}
