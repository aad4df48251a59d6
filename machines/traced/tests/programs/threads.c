#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int total; static pthread_mutex_t m=PTHREAD_MUTEX_INITIALIZER;
static void*f(void*a){ for(int i=0;i<1000;i++){ char*p=malloc(5000); memset(p,i,5000); pthread_mutex_lock(&m); total++; pthread_mutex_unlock(&m); free(p);} return a; }
int main(){ pthread_t t[16]; for(int i=0;i<16;i++) pthread_create(&t[i],0,f,(void*)(long)i); long s=0; for(int i=0;i<16;i++){void*r; pthread_join(t[i],&r); s+=(long)r;} printf("%d %ld\n",total,s); return 0; }
