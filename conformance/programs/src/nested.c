/* Calls whose arguments lead to more memory, none of which has been touched before. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <mqueue.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* Pages of their own in the read-only part of the program. */
static const struct sock_filter code[PAGE / sizeof(struct sock_filter)]
    __attribute__((aligned(4096))) = { { 6, 0, 0, 0xffff } };

static char *fresh(void)
{
    int prot = PROT_READ | PROT_WRITE;
    return mmap(NULL, 16 * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void say(const char *name, int answer)
{
    printf("%s: %d %s\n", name, answer, answer < 0 ? strerror(errno) : "-");
}

int main(void)
{
    int end = socket(AF_INET, SOCK_DGRAM, 0);
    struct sock_fprog program = { 1, (struct sock_filter *)code };
    say("filter", setsockopt(end, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));

    struct ifconf list = { .ifc_len = PAGE, .ifc_buf = fresh() + PAGE - 8 };
    say("interfaces", ioctl(end, SIOCGIFCONF, &list));
    printf("first: %.2s\n", list.ifc_req[0].ifr_name);

    struct ifreq request = { .ifr_name = "lo" };
    struct ethtool_value *value = (struct ethtool_value *)(fresh() + 2 * PAGE - 4);
    request.ifr_data = (void *)value;
    value->cmd = ETHTOOL_GTSO;
    say("ethtool", ioctl(end, SIOCETHTOOL, &request));

    int file = open("/proc/self/exe", O_RDONLY);
    struct fiemap *extents = (struct fiemap *)(fresh() + PAGE - sizeof(struct fiemap));
    extents->fm_length = ~0ull;
    extents->fm_extent_count = 100;
    int answer = ioctl(file, FS_IOC_FIEMAP, extents);
    printf("extents: %d\n", answer < 0 && errno == EFAULT);

    answer = prctl(0x41555856 /* PR_GET_AUXV */, fresh() + PAGE - 16, 64, 0, 0);
    printf("auxv: %d\n", answer < 0 && errno == EFAULT);
    struct sigevent event = { .sigev_notify = SIGEV_NONE };
    printf("notify: %d\n", mq_notify(-1, &event));
    return 0;
}
