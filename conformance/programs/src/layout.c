// Where things are placed, with every layout a kernel chooses from, and nothing at random.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void with(const char *name, unsigned long persona, rlim_t stack)
{
	int status;
	printf("== %s\n", name);
	if (!fork()) {
		struct rlimit limit = { stack, RLIM_INFINITY };
		personality(ADDR_NO_RANDOMIZE | persona);
		if (setrlimit(RLIMIT_STACK, &limit))
			perror("setrlimit");
		execl("/proc/self/exe", "prog", "show", (char *)NULL);
		_exit(1);
	}
	wait(&status);
	printf("%x\n", status);
}

static void *map(void *hint, size_t bytes, int flags)
{
	return mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void show(void)
{
	char *one = map(NULL, 4096, 0), *two = map(NULL, 8192, 0);
	printf("%p %p %p\n", one, two, map(NULL, 1 << 20, 0));
	printf("low %p\n", map(NULL, 4096, MAP_32BIT));
	munmap(two, 8192);
	printf("again %p, near %p\n", map(NULL, 4096, 0), map((void *)0x100000000000, 4096, 0));
	fflush(stdout);
	if (!fork()) {
		printf("child %p\n", map(NULL, 1 << 20, 0));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], range[64], rights[8];
	// A program that is linked to lie low has nothing there that was searched room for.
	while (fgets(line, sizeof line, maps))
		if (!strstr(line, "[stack]") && (strtoul(line, NULL, 16) >> 32 || !strncmp(line, "00000000-", 9)) && sscanf(line, "%63s %7s", range, rights) == 2)
			printf("%s %s\n", range, rights);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1) {
		show();
		return 0;
	}
	with("usual", 0, 8 << 20);
	with("upwards", ADDR_COMPAT_LAYOUT, 8 << 20);
	with("upwards, any stack", ADDR_COMPAT_LAYOUT, RLIM_INFINITY);
	with("a page at zero", MMAP_PAGE_ZERO, 8 << 20);
	with("stack of 16 MiB", 0, 16 << 20);
	with("stack of 1 GiB", 0, 1UL << 30);
	with("stack of 1 TiB", 0, 1UL << 40);
	with("any stack", 0, RLIM_INFINITY);
	return 0;
}
