/* What a process says of its memory and its rights as a whole: kept, inherited, refused. */
#define _GNU_SOURCE
#include <errno.h>
#include <elf.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SET_MDWE 65
#define GET_MDWE 66
#define GET_AUXV 0x41555856

static void say(const char *what, long answer) {
    printf("%s: %ld %s\n", what, answer, answer < 0 ? strerror(errno) : "");
}

static sigjmp_buf back;

static void caught(int number) {
    (void)number;
    siglongjmp(back, 1);
}

static int runs(char *code) {
    if (sigsetjmp(back, 1))
        return 0;
    ((void (*)(void))code)();
    return 1;
}

static void execution(void) {
    char *area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area[0] = (char)0xc3;
    printf("runs %d, ", runs(area));
    int denied = mprotect(area, 4096, PROT_READ | PROT_EXEC);
    printf("mprotect %d %d, ", denied, denied ? errno : 0);
    void *both = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("mmap %d, runs %d\n", both != MAP_FAILED, runs(area));
}

static void child(const char *self, const char *word) {
    fflush(stdout);
    if (fork() == 0) {
        if (self)
            execl(self, self, word, NULL);
        printf("forked: mdwe %d, ", prctl(GET_MDWE, 0, 0, 0, 0));
        execution();
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

int main(int count, char **arguments) {
    signal(SIGSEGV, caught);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count > 1) {
        printf("%s: mdwe %d, no new privs %d, personality %x, ", arguments[1],
               prctl(GET_MDWE, 0, 0, 0, 0), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), personality(-1));
        execution();
        return 0;
    }
    say("no new privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("with arguments", prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
    say("set wrongly", prctl(PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0));
    say("set", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    say("no new privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("seccomp", prctl(PR_GET_SECCOMP));
    say("thp", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    say("thp disable", prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    say("thp", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    say("dumpable", prctl(PR_GET_DUMPABLE));
    Elf64_auxv_t auxv[64] = {0};
    long bytes = prctl(GET_AUXV, auxv, sizeof auxv, 0, 0);
    printf("auxv: %d, entry %d\n", bytes > 0, auxv[0].a_type != 0);
    execution();
    child(NULL, NULL);
    say("personality", personality(READ_IMPLIES_EXEC) >= 0);
    execution();
    char *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data[0] = (char)0xc3;
    printf("data runs %d\n", runs(data));
    child(NULL, NULL);
    child(arguments[0], "executed");
    personality(0);
    say("mdwe", prctl(GET_MDWE, 0, 0, 0, 0));
    say("mdwe, unknown", prctl(SET_MDWE, 4, 0, 0, 0));
    say("mdwe, alone", prctl(SET_MDWE, 2, 0, 0, 0));
    say("mdwe, more", prctl(SET_MDWE, 1, 1, 0, 0));
    say("mdwe", prctl(SET_MDWE, 1, 0, 0, 0));
    say("mdwe, back", prctl(SET_MDWE, 0, 0, 0, 0));
    say("mdwe", prctl(GET_MDWE, 0, 0, 0, 0));
    execution();
    child(NULL, NULL);
    child(arguments[0], "denied");
    return 0;
}
