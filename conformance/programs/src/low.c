// The lowest addresses: who gets them, and what a hint below them becomes.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static char *volatile zero = NULL;

static void say(const char *what, void *got)
{
	printf("%s: ", what);
	if (got == MAP_FAILED)
		printf("%s\n", strerrorname_np(errno));
	else if ((uintptr_t)got <= 0x100000 || got == (void *)0x100000000000)
		printf("%p\n", got);
	else
		printf("somewhere\n");
}

static void low(void)
{
	say("hint 1", mmap((void *)1, 4096, RW, ANON, -1, 0));
	say("hint 0x1000", mmap((void *)0x1000, 4096, RW, ANON, -1, 0));
	say("hint 0x2000", mmap((void *)0x2000, 4096, RW, ANON, -1, 0));
	say("fixed 0x1000", mmap((void *)0x1000, 4096, RW, ANON | MAP_FIXED, -1, 0));
	void *at = mmap(zero, 8192, RW, ANON | MAP_FIXED, -1, 0);
	say("fixed 0", at);
	if (at == zero) {
		zero[0] = 'a';
		zero[4096] = 'b';
		printf("%c%c\n", zero[0], zero[4096]);
		say("moved away", mremap(zero, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x100000000000));
		printf("%c\n", *(volatile char *)0x100000000000);
		say("moved back", mremap((void *)0x100000000000, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, zero));
		printf("%c\n", zero[0]);
		printf("%d\n", munmap(zero, 8192));
	}
	void *page = mmap(NULL, 4096, RW, ANON, -1, 0);
	at = mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, zero);
	say("moved to 0", at);
	fflush(stdout);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int stranger = 0; stranger < 2; stranger++) {
		int status;
		if (!fork()) {
			if (stranger && geteuid() == 0 && setresuid(1000, 1000, 1000))
				perror("setresuid");
			low();
			_exit(0);
		}
		wait(&status);
		printf("%x\n", status);
	}
	return 0;
}
