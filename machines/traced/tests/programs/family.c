/* A process with threads, a forked child and a vforked one, that waits to be looked at: it writes
 * the numbers of its tasks to the file named by its argument, then sleeps. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static FILE *list;

static void *touch_and_sleep(void *unused)
{
	char *memory = malloc(300000);
	memset(memory, 1, 300000);
	fprintf(list, "%ld\n", (long)syscall(SYS_gettid));
	fflush(list);
	sleep(3);
	free(memory);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t threads[3];
	if (argc < 2 || !(list = fopen(argv[1], "w")))
		return 2;
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, touch_and_sleep, NULL);
	sleep(1);
	pid_t child = fork();
	if (child == 0) {
		touch_and_sleep(NULL);
		_exit(0);
	}
	fprintf(list, "%d\nready\n", (int)getpid());
	fflush(list);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	int status;
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}
