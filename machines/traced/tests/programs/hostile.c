#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>
#include <signal.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/syscall.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/prctl.h>
#include <sched.h>
#include <sys/resource.h>
static int st; static char *name;
#define CHILD(n, ...) do { fflush(stdout); name=n; int k=fork(); if(!k){ __VA_ARGS__; _exit(42);} waitpid(k,&st,0); printf("%s: %s %d\n", n, WIFSIGNALED(st)?"sig":"exit", WIFSIGNALED(st)?WTERMSIG(st):WEXITSTATUS(st)); } while(0)
static void*thexec(void*a){ execl("/bin/true","true",NULL); return 0; }
static void*spin(void*a){ for(;;) pause(); }
static int cl(void*a){ *(int*)a=5; return 3; }
int main(){
 CHILD("munmap all", munmap(0,0x7ffffffff000));
 CHILD("mprotect none", mprotect((void*)((unsigned long)&main & ~0xfffUL),4096,PROT_NONE));
 CHILD("jump low", ((void(*)(void))0x10000)());
 CHILD("jump stack", char b[64]; memset(b,0x90,64); ((void(*)(void))b)());
 CHILD("syscall -1", errno=0; long r=syscall(-1); printf("r %ld %d\n",r,errno); fflush(stdout));
 CHILD("syscall 24263", errno=0; long r=syscall(24263,1,2,3); printf("r %ld %d\n",r,errno); fflush(stdout));
 CHILD("syscall 99999", errno=0; long r=syscall(99999,1,2,3); printf("r %ld %d\n",r,errno); fflush(stdout));
 CHILD("x32", errno=0; long r=syscall(0x40000000|39); printf("r %ld %d\n",r,errno); fflush(stdout));
 CHILD("map at stub", char*p=mmap((void*)0x10000,4096,3,MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED,-1,0); printf("p %p\n",p); fflush(stdout); if(p!=MAP_FAILED) { p[0]=1; printf("ok %d\n", p[0]);} fflush(stdout));
 CHILD("exec in thread", pthread_t t; pthread_create(&t,0,spin,0); pthread_create(&t,0,thexec,0); pthread_join(t,0));
 CHILD("exit with threads", pthread_t t; for(int i=0;i<5;i++) pthread_create(&t,0,spin,0); exit(9));
 CHILD("pthread_exit main", pthread_t t; pthread_create(&t,0,spin,0); usleep(1000); kill(getpid(),SIGTERM); pthread_exit(0));
 CHILD("vfork exec", int k=vfork(); if(!k){ execl("/bin/false","false",NULL); _exit(1);} int s; waitpid(k,&s,0); _exit(WEXITSTATUS(s)+10));
 CHILD("clone vm", char*s=malloc(65536); int v=0; int k=clone(cl,s+65536,CLONE_VM|SIGCHLD,&v); int ss; waitpid(k,&ss,0); printf("v %d st %d\n",v,WEXITSTATUS(ss)); fflush(stdout));
 CHILD("process_vm_readv", char a[10]="hello",b[10]={0}; struct iovec l={b,6},r={a,6}; long n=process_vm_readv(getpid(),&l,1,&r,1,0); printf("n %ld %s\n",n,b); fflush(stdout));
 CHILD("process_vm_readv parent", char b[10]={0}; struct iovec l={b,6},r={&name,8}; long n=process_vm_readv(getppid(),&l,1,&r,1,0); printf("n %ld %d\n",n, *(char**)b==name); fflush(stdout));
 CHILD("stack overflow", volatile char*x; for(;;){ x=alloca(10000); x[0]=1; });
 CHILD("rlimit as", struct rlimit r={300<<20,300<<20}; setrlimit(RLIMIT_AS,&r); void*p=mmap(0,400<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); printf("%s\n", p==MAP_FAILED?"refused":"given"); fflush(stdout));
 CHILD("dontfork", char*p=mmap(0,4096,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); p[0]=7; madvise(p,4096,MADV_DONTFORK); int k=fork(); if(!k){ volatile char c=p[0]; _exit(1);} int s; waitpid(k,&s,0); printf("child sig %d\n", WTERMSIG(s)); fflush(stdout));
 CHILD("wipeonfork", char*p=mmap(0,4096,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); p[0]=7; madvise(p,4096,MADV_WIPEONFORK); int k=fork(); if(!k){ _exit(p[0]);} int s; waitpid(k,&s,0); printf("child sees %d\n", WEXITSTATUS(s)); fflush(stdout));
 CHILD("robust", pthread_mutexattr_t a; pthread_mutexattr_init(&a); pthread_mutexattr_setrobust(&a,PTHREAD_MUTEX_ROBUST); pthread_mutexattr_setpshared(&a,1); pthread_mutex_t*m=mmap(0,4096,3,MAP_SHARED|MAP_ANONYMOUS,-1,0); pthread_mutex_init(m,&a); int k=fork(); if(!k){ pthread_mutex_lock(m); kill(getpid(),9);} waitpid(k,0,0); int e=pthread_mutex_lock(m); printf("lock %d\n", e==EOWNERDEAD); fflush(stdout));
 CHILD("grandchild kill", int k=fork(); if(!k){ for(;;) { if(!fork()) _exit(0); } } usleep(100000); kill(k,9); waitpid(k,0,0));
 CHILD("wait no child", errno=0; int r=waitpid(-1,0,0); printf("%d %d\n",r,errno); fflush(stdout));
 CHILD("bad rsp syscall", __asm__ volatile("xor %%esp,%%esp; mov $39,%%eax; syscall; ud2":::"memory"));
 return 0; }
