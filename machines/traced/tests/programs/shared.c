#include <sys/mman.h>
#include <stdio.h>
#include <unistd.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
int main(){ int fd=open("/tmp/mm1.bin",O_RDWR|O_CREAT|O_TRUNC,0600); char b[20000]; memset(b,'a',sizeof b); write(fd,b,sizeof b);
 fprintf(stderr,"A\n"); char*p=mmap(0,20000,3,MAP_SHARED,fd,0); fprintf(stderr,"map %p\n",p); 
 fprintf(stderr,"read %c\n",p[0]); p[5]='B'; fprintf(stderr,"written\n"); p[19999]='Z'; 
 int r=msync(p,20000,MS_SYNC); fprintf(stderr,"msync %d\n",r); pread(fd,b,20,0); printf("%.10s\n",b);
 char*a=mmap(0,8192,3,MAP_SHARED|MAP_ANONYMOUS,-1,0); fprintf(stderr,"anon\n"); int k=fork(); if(!k){ a[0]=9; p[7]='C'; _exit(0);} int st; waitpid(k,&st,0); printf("%d %c st %x\n",a[0],p[7],st); return 0; }
