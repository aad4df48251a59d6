/* What a core dump would hold is inherited by children and kept over exec. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char filter[] = "/proc/self/coredump_filter";

static void show(const char *who) {
    char text[32] = "";
    int fd = open(filter, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        perror(who);
    printf("%s: %s", who, text);
    fflush(stdout);
    close(fd);
}

static void set(const char *bits) {
    int fd = open(filter, O_WRONLY);
    printf("set %s: %zd\n", bits, write(fd, bits, strlen(bits)));
    close(fd);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        show(argv[1]);
        return 0;
    }
    show("at first");
    set("0x1c");
    show("set");
    if (fork() == 0) {
        show("child");
        set("0xfffff");
        show("child, all");
        execl("/proc/self/exe", argv[0], "child's next", NULL);
        return 1;
    }
    int status;
    wait(&status);
    printf("child: %x\n", status);
    show("parent");
    set("0");
    fflush(stdout);
    execl("/proc/self/exe", argv[0], "next", NULL);
    return 1;
}
