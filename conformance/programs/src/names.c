/* The names of mapped files in maps and smaps: those that the files have by now, byte for byte. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE ((char *)0x100000000000)

static char here[4096];

/* The name in the line of PLACE, behind the directory that the program was started in. */
static void name_in(const char *file, const char *when) {
    char line[8192];
    FILE *maps = fopen(file, "r");
    while (fgets(line, sizeof line, maps)) {
        char *name = strchr(line, '/');
        if (strncmp(line, "100000000000-", 13) != 0 || name == NULL)
            continue;
        if (strncmp(name, here, strlen(here)) == 0)
            name += strlen(here);
        printf("%s: ", when);
        for (; *name != '\n' && *name != 0; name++)
            printf(*name >= 32 && *name < 127 ? "%c" : "<%02x>", (unsigned char)*name);
        putchar('\n');
    }
    fclose(maps);
}

static void names(const char *when) {
    name_in("/proc/self/maps", when);
    name_in("/proc/self/smaps", when);
}

static void map(int fd) {
    if (ftruncate(fd, 8192) != 0 ||
        mmap(PLACE, 8192, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) != PLACE)
        exit(3);
}

int main(void) {
    if (getcwd(here, sizeof here) == NULL || mkdir("one", 0700) != 0)
        return 2;
    int fd = open("one/a b\n", O_RDWR | O_CREAT, 0600);
    map(fd);
    names("made");
    rename("one/a b\n", "one/c");
    names("called something else");
    link("one/c", "one/d");
    unlink("one/c");
    names("only its other name left");
    rename("one", "two");
    names("its directory called something else");
    close(fd);
    rename("two", "three");
    names("closed");
    unlink("three/d");
    names("gone");
    rmdir("three");
    names("its directory gone");
    fd = open("x\xff\xfey\\\t\xc3\xa4", O_RDWR | O_CREAT, 0600);
    map(fd);
    names("no text");
    unlink("x\xff\xfey\\\t\xc3\xa4");
    names("no text, gone");
    map(memfd_create("memory \xff", 0));
    names("memory");
    return 0;
}
