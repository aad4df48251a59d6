/* A program moves, protects and unmaps its vDSO, as those do that restore or sandbox others. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf back;
static int code;

static void caught(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    code = info->si_code;
    siglongjmp(back, 1);
}

static void look(const char *what, const volatile char *at) {
    if (sigsetjmp(back, 1) == 0)
        printf("%s: %02x\n", what, *at & 0xff);
    else
        printf("%s: SIGSEGV code %d\n", what, code);
}

struct area {
    char *start;
    size_t bytes;
    char name[32];
};

/* The family, lowest first. */
static int family(struct area *areas, int most) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int count = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char *name = strchr(line, '[');
        if (!name || (strncmp(name, "[vdso", 5) && strncmp(name, "[vvar", 5)) || count == most)
            continue;
        sscanf(line, "%lx-%lx", &start, &end);
        name[strcspn(name, "\n")] = 0;
        areas[count].start = (char *)start;
        areas[count].bytes = end - start;
        strcpy(areas[count++].name, name);
    }
    fclose(maps);
    return count;
}

static void *symbol(char *image, const char *wanted) {
    Elf64_Ehdr *header = (Elf64_Ehdr *)image;
    Elf64_Phdr *parts = (Elf64_Phdr *)(image + header->e_phoff);
    Elf64_Sym *symbols = NULL;
    char *names = NULL;
    for (int part = 0; part < header->e_phnum; part++) {
        if (parts[part].p_type != PT_DYNAMIC)
            continue;
        for (Elf64_Dyn *entry = (Elf64_Dyn *)(image + parts[part].p_offset); entry->d_tag; entry++) {
            if (entry->d_tag == DT_SYMTAB)
                symbols = (Elf64_Sym *)(image + entry->d_un.d_ptr);
            if (entry->d_tag == DT_STRTAB)
                names = image + entry->d_un.d_ptr;
        }
    }
    for (Elf64_Sym *one = symbols + 1; one < symbols + 64; one++)
        if (strcmp(names + one->st_name, wanted) == 0)
            return image + one->st_value;
    return NULL;
}

static void ask_time(char *image) {
    int (*get)(clockid_t, struct timespec *) = symbol(image, "__vdso_clock_gettime");
    struct timespec now = {0, 0};
    int answer = get(CLOCK_REALTIME, &now);
    printf("time: %d, later than 2020: %d\n", answer, now.tv_sec > 1577836800);
}

int main(void) {
    struct area areas[8];
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int count = family(areas, 8);
    char *code_at = (char *)getauxval(AT_SYSINFO_EHDR);
    size_t whole = areas[count - 1].start + areas[count - 1].bytes - areas[0].start;
    ask_time(code_at);
    for (int one = 0; one < count; one++) {
        struct area *area = &areas[one];
        int write = mprotect(area->start, area->bytes, PROT_READ | PROT_WRITE);
        printf("%s: writable %d %d, ", area->name, write, write ? errno : 0);
        if (area->start == code_at)
            mprotect(area->start, area->bytes, PROT_READ | PROT_EXEC);
        int split = munmap(area->start, 4096), no = errno;
        void *grown = mremap(area->start, area->bytes, area->bytes + 4096, MREMAP_MAYMOVE);
        printf("split %d %d, grown %d %d\n", split, no, grown == MAP_FAILED, errno);
    }
    mprotect(code_at, 4096, PROT_NONE);
    printf("protected in part: %s\n", strerror(errno));
    mprotect(code_at, areas[count - 1].bytes, PROT_NONE);
    look("no rights", code_at);
    mprotect(code_at, areas[count - 1].bytes, PROT_READ | PROT_EXEC);
    look("rights", code_at);
    char *room = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int one = 0; one < count; one++) {
        char *to = room + (areas[one].start - areas[0].start);
        void *at = mremap(areas[one].start, areas[one].bytes, areas[one].bytes,
                          MREMAP_MAYMOVE | MREMAP_FIXED, to);
        printf("%s: moved %d\n", areas[one].name, at == to);
    }
    char *moved = room + (code_at - areas[0].start);
    look("where it was", code_at);
    look("where it is", moved + 1);
    ask_time(moved);
    pid_t child = fork();
    if (child == 0) {
        ask_time(moved);
        munmap(moved, areas[count - 1].bytes);
        look("unmapped in the child", moved + 1);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    look("still in the parent", moved + 1);
    char *over = mmap(moved, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("a part replaced: %d\n", over == MAP_FAILED);
    over = mmap(moved, areas[count - 1].bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    look("replaced", over);
    over[0] = 1;
    munmap(room, whole);
    look("unmapped", moved + 1);
    look("data too", room);
    printf("areas left: %d\n", family(areas, 8));
    fflush(stdout);
    signal(SIGSEGV, SIG_DFL);
    *(volatile char *)moved = 1;
    return 0;
}
