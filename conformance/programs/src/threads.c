/* Eight threads: a queue with a condition variable, thread-local storage, a barrier, big stacks. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 8, JOBS = 20000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t start;
static int queue[JOBS], head, tail, closed;
static long long sum;
static __thread long long mine;

static long long fill_stack(int depth) {
    char room[4096];
    memset(room, depth & 0xff, sizeof room);
    return depth == 0 ? room[0] : room[17] * 0 + fill_stack(depth - 1) + 1;
}

static void *work(void *arg) {
    pthread_barrier_wait(&start);
    char *heap = malloc(100000);
    memset(heap, 1, 100000);
    for (;;) {
        pthread_mutex_lock(&lock);
        while (head == tail && !closed)
            pthread_cond_wait(&ready, &lock);
        if (head == tail) {
            sum += mine;
            pthread_mutex_unlock(&lock);
            break;
        }
        int job = queue[head++];
        pthread_mutex_unlock(&lock);
        mine += (long long)job * heap[job % 100000];
    }
    free(heap);
    return (void *)(fill_stack(200) + (long)arg);
}

int main(void) {
    pthread_t threads[WORKERS];
    pthread_barrier_init(&start, NULL, WORKERS + 1);
    for (long i = 0; i < WORKERS; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    pthread_barrier_wait(&start);
    for (int i = 0; i < JOBS; i++) {
        pthread_mutex_lock(&lock);
        queue[tail++] = i;
        pthread_cond_signal(&ready);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
    closed = 1;
    pthread_cond_broadcast(&ready);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < WORKERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        printf("thread %d: %ld\n", i, (long)result);
    }
    printf("sum %lld\n", sum);
    return 0;
}
