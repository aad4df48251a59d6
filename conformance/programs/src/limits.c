// Resource limits of memory that are set by, and bind, a program that runs as another user than the
// one it was started by.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(e) do { errno = 0; long r = (long)(e); printf("%s: %s\n", #e, r == -1 ? strerrorname_np(errno) : "done"); } while (0)

static char *const at = (char *)0x100000000000;

static void limit(int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit both = { soft, hard };
	if (setrlimit(resource, &both))
		perror("setrlimit");
}

static void stranger(void)
{
	if (geteuid() == 0 && setresuid(1000, 1000, 1000))
		perror("setresuid");
}

static void locked(void)
{
	stranger();
	limit(RLIMIT_MEMLOCK, 1 << 20, 1 << 20);
	SAY(mlock(at, 2 << 20));
	SAY(mlock(at, 1 << 20));
	SAY(munlock(at, 1 << 20));
	limit(RLIMIT_MEMLOCK, 0, 0);
	SAY(mlock(at, 4096));
	SAY(mlockall(MCL_FUTURE));
	SAY(mmap(at, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_LOCKED, -1, 0));
}

static void address_space(void)
{
	stranger();
	limit(RLIMIT_AS, 200 << 20, RLIM_INFINITY);
	SAY(mmap(0, 200 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	limit(RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY);
	SAY(mmap(0, 200 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void data(void)
{
	stranger();
	limit(RLIMIT_DATA, 100 << 20, RLIM_INFINITY);
	SAY(mmap(0, 100 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	SAY(mmap(0, 100 << 20, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void before(void)
{
	limit(RLIMIT_MEMLOCK, 0, 0);
	stranger();
	SAY(mlock(at, 4096));
}

static void stack(void)
{
	stranger();
	limit(RLIMIT_STACK, 64 << 20, RLIM_INFINITY);
	volatile char *here = __builtin_frame_address(0);
	for (long below = 0; below < 60 << 20; below += 4096)
		here[-below] = 1;
	printf("a large stack\n");
}

int main(void)
{
	void (*const all[])(void) = { locked, address_space, data, before, stack };
	setvbuf(stdout, NULL, _IONBF, 0);
	mmap(at, 4 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		int status;
		if (!fork()) {
			all[i]();
			_exit(0);
		}
		wait(&status);
		printf("%u: %x\n", i, status);
	}
	return 0;
}
