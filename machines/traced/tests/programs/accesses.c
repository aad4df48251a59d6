#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <unistd.h>
#include <fcntl.h>
#include <errno.h>
#include <sys/wait.h>
#include <sys/uio.h>
#include <stdlib.h>
static sigjmp_buf jb; static siginfo_t si;
static void h(int s, siginfo_t*i, void*c){ si=*i; siglongjmp(jb,1); }
#define TRY(name, expr) do { if(!sigsetjmp(jb,1)) { expr; printf("%s: ok\n", name); } else printf("%s: sig %d code %d off %lx\n", name, si.si_signo, si.si_code, (unsigned long)si.si_addr & 0xffff); } while(0)
static volatile char sink;
int main(){
 struct sigaction sa; memset(&sa,0,sizeof sa); sa.sa_sigaction=h; sa.sa_flags=SA_SIGINFO|SA_NODEFER; sigaction(SIGSEGV,&sa,0); sigaction(SIGBUS,&sa,0);
 TRY("null read", sink=*(volatile char*)0);
 TRY("null write", *(volatile char*)0=1);
 char*p=mmap(0,16384,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
 TRY("rw", p[0]=1);
 mprotect(p,4096,PROT_READ); TRY("ro write", p[0]=2); TRY("ro read", sink=p[0]);
 mprotect(p+4096,4096,PROT_NONE); TRY("none read", sink=p[4096]); TRY("none write", p[4096]=1);
 TRY("exec nx", ((void(*)(void))(p+8192))());
 TRY("exec ro", ((void(*)(void))(p))());
 munmap(p+8192,4096); TRY("unmapped", sink=p[8192]);
 TRY("noncanonical", sink=*(volatile char*)0x8000000000000000UL);
 TRY("kernel addr", sink=*(volatile char*)0xffffffff81000000UL);
 int fd=open("/tmp/segv.bin",O_RDWR|O_CREAT|O_TRUNC,0600); ftruncate(fd,5000);
 char*f=mmap(0,16384,PROT_READ|PROT_WRITE,MAP_SHARED,fd,0); TRY("file in", f[4999]=1); TRY("file past", sink=f[8192]); TRY("file past w", f[8192]=1);
 char*g=mmap(0,16384,PROT_READ|PROT_WRITE,MAP_PRIVATE,fd,0); TRY("pfile in", g[4999]=1); TRY("pfile past", sink=g[8192]); TRY("pfile past w", g[8192]=1);
 ftruncate(fd,100); TRY("after trunc page1", sink=f[4097]); TRY("after trunc private page1", sink=g[4097]); TRY("page0", sink=f[0]);
 ftruncate(fd,9000); TRY("regrown", sink=f[8192]); TRY("regrown p", g[8192]=3);
 char*r=mmap(0,4096,PROT_READ,MAP_PRIVATE,fd,0); TRY("ro file write", r[0]=1);
 char*w=mmap(0,4096,PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); TRY("wo read", sink=w[0]); TRY("wo write", w[0]=1);
 // EFAULT
 errno=0; long n=write(1,(void*)8,5); printf("write wild %ld %d\n",n,errno);
 int z=open("/dev/zero",O_RDONLY);
 errno=0; n=read(z,(void*)8,5); printf("read wild %ld %d\n",n,errno);
 errno=0; n=read(z,p,10); printf("read into ro %ld %d\n",n,errno);
 char*q=mmap(0,8192,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); munmap(q+4096,4096);
 errno=0; n=read(z,q+4000,200); printf("read half %ld %d\n",n,errno);
 memset(q+4000,'x',96); int pp[2]; pipe(pp); errno=0; n=write(pp[1],q+4000,200); printf("write half %ld %d\n",n,errno);
 errno=0; n=open((char*)8,O_RDONLY); printf("open wild %ld %d\n",n,errno);
 errno=0; n=open(q+4090,O_RDONLY); printf("open unterminated %ld %d\n",n,errno);
 struct iovec v[2]={{q,10},{(void*)16,10}}; errno=0; n=readv(z,v,2); printf("readv %ld %d\n",n,errno);
 errno=0; n=readv(z,(void*)32,2); printf("readv wild %ld %d\n",n,errno);
 errno=0; n=pipe((int*)8); printf("pipe wild %ld %d\n",n,errno);
 int st; pid_t k=fork(); if(!k) _exit(3); errno=0; n=wait4(k,(int*)8,0,0); printf("wait4 wild %d %d\n",n==-1,errno);
 // blocked SEGV kills
 k=fork(); if(!k){ sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK,&s,0); sigset_t o; sigprocmask(SIG_BLOCK,0,&o); printf("blocked %d\n", sigismember(&o,SIGSEGV)); fflush(stdout); char*m=malloc(200000); memset(m,1,200000); sink=*(volatile char*)0; _exit(1);} waitpid(k,&st,0); printf("blocked segv: %x\n", st&0x7f);
 k=fork(); if(!k){ signal(SIGSEGV,SIG_IGN); char*m=malloc(200000); memset(m,1,200000); kill(getpid(),SIGSEGV); sink=*(volatile char*)0; _exit(1);} waitpid(k,&st,0); printf("ignored segv: %x\n", st&0x7f);
 k=fork(); if(!k){ signal(SIGSEGV,SIG_DFL); sink=*(volatile char*)0; _exit(1);} waitpid(k,&st,0); printf("dfl segv: %x\n", st&0x7f);
 k=fork(); if(!k){ signal(SIGSEGV,SIG_DFL); __asm__ volatile("mov $0x1000,%rsp; push %rax"); _exit(1);} waitpid(k,&st,0); printf("bad stack: %x\n", st&0x7f);
 k=fork(); if(!k){ volatile char big[4096]; struct sigaction sb; memset(&sb,0,sizeof sb); sb.sa_sigaction=h; sb.sa_flags=SA_SIGINFO; sigaction(SIGSEGV,&sb,0); __asm__ volatile("mov $0x1000,%rsp; push %rax"); _exit(1);} waitpid(k,&st,0); printf("bad stack with handler: %x\n", st&0x7f);
 // altstack overflow
 k=fork(); if(!k){ stack_t ss={.ss_sp=mmap(0,65536,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0),.ss_size=65536}; sigaltstack(&ss,0); struct sigaction sb; memset(&sb,0,sizeof sb); sb.sa_sigaction=h; sb.sa_flags=SA_SIGINFO|SA_ONSTACK; sigaction(SIGSEGV,&sb,0); if(!sigsetjmp(jb,1)){ volatile char *x; for(;;){ x=alloca(4000); x[0]=1; } } printf("overflow caught code %d\n", si.si_code); fflush(stdout); _exit(7);} waitpid(k,&st,0); printf("overflow: %x\n", st);
 return 0; }
