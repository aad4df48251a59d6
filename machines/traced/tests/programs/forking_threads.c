#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
#include <string.h>
static void*f(void*a){ for(int i=0;i<8;i++){ int k=fork(); if(!k){ char*m=malloc(50000); memset(m,1,50000); _exit(i);} int st; if(waitpid(k,&st,0)!=k||WEXITSTATUS(st)!=i) return (void*)1; } return 0; }
int main(){ pthread_t t[4]; long bad=0; for(int i=0;i<4;i++) pthread_create(&t[i],0,f,0); for(int i=0;i<4;i++){ void*r; pthread_join(t[i],&r); bad+=(long)r; } printf("bad %ld\n",bad); return bad!=0; }
