// Threads with windows side by side in one space. Each knows what every page of its window holds and
// allows, whatever the others map, unmap, protect, move, guard, drop and fork meanwhile.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, PAGES = 24, PAGE = 4096 };
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

struct page {
    int mapped, prot, shared, guarded;
    uint64_t word;
};

struct window {
    uint64_t owner, dice, writes;
    struct page pages[PAGES];
};

static char *base;
static int rounds, has_guards;
static _Thread_local sigjmp_buf escape;
static _Thread_local volatile sig_atomic_t code;

static void on_signal(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    code = info->si_code;
    siglongjmp(escape, 1);
}

static void die(const char *what, struct window *w, int n) {
    char text[200];
    struct page *p = &w->pages[n];
    int len = snprintf(text, sizeof text,
                       "%s: page %d of %d: mapped %d prot %d shared %d guarded %d word %lx code %d errno %d\n",
                       what, n, (int)w->owner, p->mapped, p->prot, p->shared, p->guarded, (long)p->word,
                       (int)code, errno);
    if (write(2, text, len) < 0)
        abort();
    _exit(1);
}

static uint64_t dice(struct window *w, uint64_t sides) {
    w->dice = w->dice * 6364136223846793005u + 1;
    return (w->dice >> 33) % sides;
}

static char *at(struct window *w, int n) { return base + (w->owner * PAGES + n) * PAGE; }

// The si_code that an access ends with; 0 where it is done.
static int expected(struct page *p, int want) {
    if (!p->mapped)
        return SEGV_MAPERR;
    if (want == PROT_WRITE ? !(p->prot & PROT_WRITE) : !p->prot)
        return SEGV_ACCERR;
    return p->guarded ? SEGV_MAPERR : 0;
}

static int load(volatile uint64_t *where, uint64_t *word) {
    code = 0;
    if (sigsetjmp(escape, 1))
        return code;
    *word = *where;
    return 0;
}

static int store(volatile uint64_t *where, uint64_t word) {
    code = 0;
    if (sigsetjmp(escape, 1))
        return code;
    *where = word;
    return 0;
}

static void check_all(struct window *w, const char *who) {
    for (int n = 0; n < PAGES; n++) {
        uint64_t word = 0;
        int end = load((void *)at(w, n), &word);
        if (end != expected(&w->pages[n], PROT_READ))
            die(who, w, n);
        if (end == 0 && word != w->pages[n].word)
            die(who, w, n);
    }
}

static int all_mapped(struct window *w, int first, int nr) {
    for (int n = first; n < first + nr; n++)
        if (!w->pages[n].mapped)
            return 0;
    return 1;
}

static void round_of(struct window *w) {
    int nr = 1 + dice(w, 6), first = dice(w, PAGES - nr + 1), n = dice(w, PAGES);
    struct page *p = &w->pages[n];
    switch (dice(w, 22)) {
    case 0 ... 4: {
        uint64_t word = (w->owner + 1) << 56 | ++w->writes;
        int end = store((void *)at(w, n), word);
        if (end != expected(p, PROT_WRITE))
            die("store", w, n);
        if (end == 0)
            p->word = word;
        break;
    }
    case 5 ... 9: {
        uint64_t word = 0;
        int end = load((void *)at(w, n), &word);
        if (end != expected(p, PROT_READ) || (end == 0 && word != p->word))
            die("load", w, n);
        break;
    }
    case 10 ... 11: {
        int shared = dice(w, 3) == 0;
        int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED;
        if (mmap(at(w, first), nr * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
            die("mmap", w, first);
        for (int i = first; i < first + nr; i++)
            w->pages[i] = (struct page){1, PROT_READ | PROT_WRITE, shared, 0, 0};
        break;
    }
    case 12:
        if (munmap(at(w, first), nr * PAGE))
            die("munmap", w, first);
        for (int i = first; i < first + nr; i++)
            w->pages[i] = (struct page){0};
        break;
    case 13 ... 14: {
        int prots[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
        int prot = prots[dice(w, 4)];
        if (!all_mapped(w, first, nr))
            break;
        if (mprotect(at(w, first), nr * PAGE, prot))
            die("mprotect", w, first);
        for (int i = first; i < first + nr; i++)
            w->pages[i].prot = prot;
        break;
    }
    case 15 ... 16: {
        int to = dice(w, PAGES - nr + 1);
        if (abs(to - first) < nr)
            break;
        for (int i = 0; i < nr; i++) {
            if (!w->pages[first + i].mapped)
                continue;
            int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
            if (mremap(at(w, first + i), PAGE, PAGE, flags, at(w, to + i)) == MAP_FAILED)
                die("mremap", w, first + i);
            w->pages[to + i] = w->pages[first + i];
            w->pages[first + i] = (struct page){0};
        }
        break;
    }
    case 17:
        if (!all_mapped(w, first, nr))
            break;
        if (madvise(at(w, first), nr * PAGE, MADV_DONTNEED))
            die("dontneed", w, first);
        for (int i = first; i < first + nr; i++)
            if (!w->pages[i].shared)
                w->pages[i].word = 0;
        break;
    case 18: {
        int install = dice(w, 2);
        if (!has_guards || !all_mapped(w, first, nr))
            break;
        if (madvise(at(w, first), nr * PAGE, install ? MADV_GUARD_INSTALL : MADV_GUARD_REMOVE)) {
            if (errno == EINTR)
                break;
            die("guard", w, first);
        }
        for (int i = first; i < first + nr; i++) {
            w->pages[i].guarded = install;
            if (install && !w->pages[i].shared)
                w->pages[i].word = 0;
        }
        break;
    }
    case 19:
        check_all(w, "all");
        break;
    default: {
        if (dice(w, 4))
            break;
        pid_t child = fork();
        if (child < 0)
            die("fork", w, 0);
        if (child == 0) {
            check_all(w, "child");
            for (int i = 0; i < PAGES; i++)
                if (!w->pages[i].shared && expected(&w->pages[i], PROT_WRITE) == 0)
                    store((void *)at(w, i), ~0ul);
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status != 0)
            die("wait", w, 0);
    }
    }
}

static void *work(void *arg) {
    struct window *w = arg;
    for (int i = 0; i < rounds; i++)
        round_of(w);
    check_all(w, "end");
    return NULL;
}

int main(int argc, char **argv) {
    rounds = argc > 1 ? atoi(argv[1]) : 2000;
    unsigned seed = argc > 2 ? atoi(argv[2]) : 0;
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    // Far from where the library maps for itself.
    base = (char *)0x200000000000;
    char *probe = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    has_guards = madvise(probe, PAGE, MADV_GUARD_INSTALL) == 0;
    pthread_t threads[THREADS];
    static struct window windows[THREADS];
    for (int i = 0; i < THREADS; i++) {
        windows[i].owner = i;
        windows[i].dice = i + 100 * seed;
        pthread_create(&threads[i], NULL, work, &windows[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    puts("every window holds what its thread wrote");
    return 0;
}
