/* trace follow|alone PROGRAM ARGUMENTS...: runs a program and traces it, as strace does with and
   without -f; ends as it did. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words)
{
    int status;
    long options = PTRACE_O_EXITKILL;
    if (count < 3)
        return 2;
    if (!strcmp(words[1], "follow"))
        options |= PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
    pid_t program = fork();
    if (program == 0) {
        raise(SIGSTOP);
        execvp(words[2], words + 2);
        _exit(4);
    }
    if (waitpid(program, &status, WUNTRACED) != program || !WIFSTOPPED(status))
        return 3;
    if (ptrace(PTRACE_SEIZE, program, 0, options) || kill(program, SIGCONT))
        return 3;
    for (;;) {
        pid_t task = waitpid(-1, &status, __WALL);
        if (task < 0)
            return 3;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (task == program)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int event = status >> 16, signal = WSTOPSIG(status);
        int stops = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
        if (event == PTRACE_EVENT_STOP && stops)
            ptrace(PTRACE_LISTEN, task, 0, 0L);
        else
            ptrace(PTRACE_CONT, task, 0, event ? 0L : (long)signal);
    }
}
