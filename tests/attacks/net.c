/* What the host talks by: its interfaces, its loopback, its sockets without a file, its IPC objects; and
 * protocols that few look after. */
#include "attacks.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <mqueue.h>
#include <net/if.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

static enum outcome family(int number, int type, const char *name)
{
    int fd = socket(number, type, 0);
    /* A family that the kernel has not refuses the type or the protocol, or is none. */
    if (fd < 0 && (errno == EAFNOSUPPORT || errno == ESOCKTNOSUPPORT || errno == EPROTONOSUPPORT || errno == EINVAL))
        return held("%s: %s", name, strerror(errno));
    return judge(fd, name);
}

static enum outcome vsock(void) { return family(AF_VSOCK, SOCK_STREAM, "AF_VSOCK"); }
static enum outcome alg(void) { return family(AF_ALG, SOCK_SEQPACKET, "AF_ALG"); }

static enum outcome odd_families(void)
{
    const int families[] = {AF_AX25, AF_IPX, AF_APPLETALK, AF_X25, AF_ROSE, AF_KEY, AF_RDS, AF_CAN, AF_TIPC, AF_BLUETOOTH, AF_PHONET, AF_NFC, AF_XDP, AF_SMC};
    const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        for (size_t j = 0; j < sizeof types / sizeof *types; j++) {
            /* PF_KEY wants its version, and others are content with any. */
            int fd = socket(families[i], types[j], families[i] == AF_KEY ? 2 : 0);
            if (fd >= 0) return through("a socket of family %d", families[i]);
        }
    return held("none of %zu: %s", sizeof families / sizeof *families, strerror(errno));
}

static enum outcome host_interface(void)
{
    const char *name = setting("link");
    if (!name) return untried("no link=NAME");
    if (if_nametoindex(name)) return through("saw the host's %s", name);
    return held("there is no %s: %s", name, strerror(errno));
}

/* A packet socket on every interface that there is: one of the host's is seen by its name. */
static enum outcome sniff(void)
{
    const char *name = setting("link");
    if (!name) return untried("no link=NAME");
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(3 /* ETH_P_ALL */));
    if (fd < 0) return judge(-1, "a packet socket");
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(3), .sll_ifindex = (int)if_nametoindex(name)};
    if (!address.sll_ifindex) return held("there is no %s to listen on", name);
    return judge(bind(fd, (struct sockaddr *)&address, sizeof address), "listen on the host's interface");
}

static enum outcome loopback(void)
{
    const char *port = setting("port");
    if (!port) return untried("no port=PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return judge(-1, "socket");
    long result = connect(fd, (struct sockaddr *)&address, sizeof address);
    if (result < 0 && (errno == ENETUNREACH || errno == EADDRNOTAVAIL)) return held("%s", strerror(errno));
    return judge_absent(result, "a service on the host's loopback");
}

static enum outcome abstract_socket(void)
{
    const char *name = setting("abstract");
    if (!name) return untried("no abstract=NAME");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return judge(-1, "socket");
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
    return judge_absent(connect(fd, (struct sockaddr *)&address, length), "an abstract socket of the host");
}

static enum outcome audit(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);
    if (fd < 0 && (errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT)) return held("no audit: %s", strerror(errno));
    if (fd < 0) return judge(-1, "audit socket");
    struct sockaddr_nl group = {.nl_family = AF_NETLINK, .nl_groups = 1 /* AUDIT_NLGRP_READLOG */};
    return judge(bind(fd, (struct sockaddr *)&group, sizeof group), "the host's audit log");
}

static int ipc_key(void)
{
    const char *key = setting("ipc");
    return key ? atoi(key) : 0;
}

static enum outcome memory(void)
{
    if (!ipc_key()) return untried("no ipc=KEY");
    return judge_absent(shmget(ipc_key(), 1, 0), "shared memory of the host");
}

static enum outcome semaphores(void)
{
    if (!ipc_key()) return untried("no ipc=KEY");
    return judge_absent(semget(ipc_key(), 1, 0), "semaphores of the host");
}

static enum outcome queue(void)
{
    const char *name = setting("queue");
    if (!name) return untried("no queue=NAME");
    return judge_absent(mq_open(name, O_RDONLY), "a message queue of the host");
}

const struct attack net_attacks[] = {
    {"af-vsock", vsock, IN_CHROOT, "the hypervisor by AF_VSOCK", 0},
    {"af-alg", alg, IN_CHROOT, "the kernel's ciphers by AF_ALG", 0},
    {"odd-families", odd_families, IN_CHROOT, "a module for a rare protocol, loaded by a socket", 0},
    {"host-interface", host_interface, ON_HOST, "an interface of the host seen", 0},
    {"host-packets", sniff, ON_HOST, "packets of the host's interface", 0},
    {"host-loopback", loopback, ON_HOST, "a service on the host's loopback", 0},
    {"host-abstract", abstract_socket, ON_HOST, "an abstract socket of the host", 0},
    {"audit", audit, ON_HOST, "the host's audit log", 0},
    {"host-shm", memory, ON_HOST, "System V shared memory of the host", 0},
    {"host-sem", semaphores, ON_HOST, "System V semaphores of the host", 0},
    {"host-mqueue", queue, ON_HOST, "a POSIX message queue of the host", 0},
    {0},
};
