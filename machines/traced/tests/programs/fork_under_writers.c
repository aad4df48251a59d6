/* threads writing while the main thread forks repeatedly; children verify snapshot consistency; reads in flight */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <sys/mman.h>
static volatile int stop; static char *area; 
static void*w(void*a){ long k=(long)a; unsigned n=0; while(!stop){ for(int p=0;p<16;p++) area[(k*16+p)*4096+ (n&4095)]=n; n++; } return 0; }
static int pp[2];
static void*rd(void*a){ char *b=malloc(65536); for(;;){ long n=read(pp[0],b,65536); if(n<=0) return (void*)(n<0); for(long i=0;i<n;i++) if(b[i]!='q') { printf("bad byte\n"); return (void*)1;} } }
int main(){ area=mmap(0,1<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); pipe(pp); pthread_t t[4],r; pthread_create(&r,0,rd,0); for(long i=0;i<4;i++) pthread_create(&t[i],0,w,(void*)i);
 char q[3000]; memset(q,'q',sizeof q); int bad=0;
 for(int i=0;i<30;i++){ write(pp[1],q,sizeof q); int k=fork(); if(!k){ long s=0; for(int j=0;j<1<<20;j+=64) s+=area[j]; long s2=0; for(int j=0;j<1<<20;j+=64) s2+=area[j]; area[5]=1; _exit(s!=s2); } int st; waitpid(k,&st,0); if(st) {bad++;} }
 stop=1; for(int i=0;i<4;i++) pthread_join(t[i],0); close(pp[1]); void*res; pthread_join(r,&res); printf("bad %d reader %ld\n",bad,(long)res); return bad||res; }
