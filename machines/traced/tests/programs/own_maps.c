#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
static void show(const char*t){ printf("--- %s\n",t); fflush(stdout); int fd=open("/proc/self/maps",O_RDONLY); char b[65536]; long n; while((n=read(fd,b,sizeof b))>0) write(1,b,n); close(fd);} 
int main(){ show("start"); char*p=malloc(1000000); memset(p,1,1000000); show("malloc"); char*q=mmap(0,1<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); mprotect(q+8192,4096,1); show("mprotect"); munmap(q+65536,4096); madvise(q,4096,MADV_DONTNEED); q=mremap(q,4096,40960,MREMAP_MAYMOVE); show("mremap"); mmap(0,8192,3,MAP_SHARED|MAP_ANONYMOUS,-1,0); int fd=open("/etc/passwd",O_RDONLY); mmap(0,8192,1,MAP_SHARED,fd,0); mmap(0,8192,3,MAP_PRIVATE,fd,0); show("files"); char big[300000]; memset(big,1,sizeof big); show("stack"); sbrk(50000); mlock(p,5000); show("brk"); return big[5]-1; }
