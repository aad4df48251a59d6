// A child's memory is written from outside before the child has run: it finds what was written.
#include <stdio.h>
#include <fcntl.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
int main(void){
  int bad=0;
  for(int round=0;round<300;round++){
    char*page=mmap(0,4096,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
    strcpy(page,"before");
    int go[2];pipe(go);
    pid_t child=fork();
    if(!child){char b;read(go[0],&b,1);_exit(strcmp(page,"after")!=0);}
    char path[64];snprintf(path,sizeof path,"/proc/%d/mem",child);
    int fd=open(path,O_RDWR);
    if(pwrite(fd,"after",6,(off_t)page)!=6)bad++;
    write(go[1],"x",1);
    int st;waitpid(child,&st,0);bad+=WEXITSTATUS(st);
    close(fd);close(go[0]);close(go[1]);munmap(page,4096);
  }
  printf("stale %d\n",bad);return 0;}
