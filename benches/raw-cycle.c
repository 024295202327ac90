/*
 * The cold cycle by bare system calls: what the kernel itself costs.
 *
 *     raw-cycle DIR LAYER BRIDGE ADDRESS/BITS [COMMAND ARGUMENT...]
 *
 * An overlay of DIR/root over LAYER on DIR/live, the network namespace named after DIR's last part, a
 * cable to BRIDGE with an address, cgroups with their limits and device program, a PID 1 in namespaces
 * of its own that makes the same /proc, /sys, /dev, masks and files as a subhost has by default, takes
 * the same capabilities and filters, and runs COMMAND (/bin/true); then all of it gone, or invisible by
 * name, as after subhost-stop. Tools are measured against this, so it takes the shortest way that there
 * is: one process, one fork for PID 1, one for COMMAND, no file of its own, no check, no lock, nothing
 * remembered. It must never be used for anything else.
 *
 * defaults.h, made by the benchmark, has the lists and programs that the library uses.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/openat2.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include "defaults.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define UNIFIED "/sys/fs/cgroup/unified"
#define PIDS "/sys/fs/cgroup/pids"

static void die(const char *doing) {
    fprintf(stderr, "raw-cycle: %s: %s\n", doing, strerror(errno));
    _exit(1);
}

static long must(long result, const char *doing) {
    if (result < 0)
        die(doing);
    return result;
}

/* --- netlink ------------------------------------------------------------------------------------- */

struct message {
    struct nlmsghdr header;
    char rest[512];
};

static void *grow(struct message *m, unsigned size) {
    void *at = (char *)m + m->header.nlmsg_len;
    m->header.nlmsg_len += NLMSG_ALIGN(size);
    return memset(at, 0, NLMSG_ALIGN(size));
}

static struct rtattr *put(struct message *m, unsigned short type, const void *data, unsigned size) {
    struct rtattr *attribute = grow(m, RTA_LENGTH(size));
    attribute->rta_type = type;
    attribute->rta_len = RTA_LENGTH(size);
    if (size)
        memcpy(RTA_DATA(attribute), data, size);
    return attribute;
}

static void close_nest(struct message *m, struct rtattr *nest) {
    nest->rta_len = (char *)m + m->header.nlmsg_len - (char *)nest;
}

static void begin(struct message *m, unsigned short type, unsigned short flags) {
    m->header = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = type,
                                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags };
}

static struct ifinfomsg *link_header(struct message *m, int index, unsigned flags, unsigned change) {
    struct ifinfomsg *info = grow(m, sizeof *info);
    info->ifi_index = index;
    info->ifi_flags = flags;
    info->ifi_change = change;
    return info;
}

static void ask(int fd, struct message *m, const char *doing) {
    char answer[4096];
    must(send(fd, m, m->header.nlmsg_len, 0), doing);
    must(recv(fd, answer, sizeof answer, 0), doing);
    struct nlmsgerr *error = NLMSG_DATA((struct nlmsghdr *)answer);
    if (error->error) {
        errno = -error->error;
        die(doing);
    }
}

static int netlink(void) {
    return must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "netlink");
}

/* --- file systems -------------------------------------------------------------------------------- */

static int move(int mount, int target) {
    return syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

struct option {
    const char *key, *value;
};

static int make(const char *type, unsigned attributes, const struct option *options) {
    int fs = must(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type);
    for (; options && options->key; options++)
        must(syscall(SYS_fsconfig, fs, options->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, options->key,
                     options->value, 0), options->key);
    must(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0), type);
    int mount = must(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes), type);
    close(fs);
    return mount;
}

static int find(int from, const char *path) {
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    return syscall(SYS_openat2, from, path, &how, sizeof how);
}

static void mount_on(const char *path, int mount) {
    int target = must(find(AT_FDCWD, path), path);
    must(move(mount, target), path);
    close(target);
}

static int copy(int from, const char *path) {
    return syscall(SYS_open_tree, from, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

static void attributes(int mount, uint64_t set) {
    struct mount_attr attr = { .attr_set = set };
    must(syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr), "mount_setattr");
}

static void mask(int proc, int sys, int dev) {
    static const struct option nothing[] = { { "mode", "0555" }, { "size", "4k" }, { "nr_inodes", "1" }, { 0 } };
    int empty = -1;
    for (size_t i = 0; i < COUNT(masked); i++) {
        int is_sys = masked[i][1] == 's';
        int target = find(is_sys ? sys : proc, masked[i] + (is_sys ? 5 : 6));
        if (target < 0)
            continue;
        struct stat meta;
        must(fstat(target, &meta), masked[i]);
        if (!S_ISDIR(meta.st_mode)) {
            int null = must(copy(dev, "null"), "null");
            must(move(null, target), masked[i]);
            close(null);
        } else if (empty < 0) {
            empty = make("tmpfs", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, nothing);
            must(move(empty, target), masked[i]);
        } else {
            int again = must(copy(empty, ""), "empty");
            must(move(again, target), masked[i]);
            close(again);
        }
        close(target);
    }
    int net = must(copy(proc, "sys/net"), "sys/net");
    for (size_t i = 0; i < COUNT(read_only); i++) {
        int target = find(proc, read_only[i] + 6);
        if (target < 0)
            continue;
        int again = must(copy(target, ""), read_only[i]);
        attributes(again, MOUNT_ATTR_RDONLY);
        must(move(again, target), read_only[i]);
        close(again);
        close(target);
    }
    mount_on("/proc/sys/net", net);
    close(net);
}

static int devices_dir(void) {
    static const struct option small[] = { { "mode", "0755" }, { "size", "1m" }, { 0 } };
    static const struct { const char *target, *name; } links[] = {
        { "pts/ptmx", "ptmx" }, { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" },
        { "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" } };
    static const struct { const char *name; int major, minor; } nodes[] = {
        { "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 } };
    int dev = make("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, small);
    for (size_t i = 0; i < COUNT(links); i++)
        must(symlinkat(links[i].target, dev, links[i].name), links[i].name);
    must(mkdirat(dev, "pts", 0755), "pts");
    must(mkdirat(dev, "shm", 0755), "shm");
    must(mkdirat(dev, "mqueue", 0755), "mqueue");
    for (size_t i = 0; i < COUNT(nodes); i++)
        must(mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].name);
    return dev;
}

static void bind_file(const char *path, const char *text, int *detached) {
    int fd = must(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), path);
    must(write(fd, text, strlen(text)), path);
    close(fd);
    *detached = must(copy(AT_FDCWD, path), path);
    attributes(*detached, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
}

/* --- PID 1 --------------------------------------------------------------------------------------- */

static void confine(void) {
    struct sock_fprog filter = { COUNT(calls), (struct sock_filter *)calls };
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2];
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int cap = 0; cap < 64; cap++)
        if (!(kept >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            break;
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), "seccomp");
    must(syscall(SYS_capget, &header, data), "capget");
    data[0].effective = data[0].permitted &= (uint32_t)kept;
    data[1].effective = data[1].permitted &= (uint32_t)(kept >> 32);
    data[0].inheritable = data[1].inheritable = 0;
    must(syscall(SYS_capset, &header, data), "capset");
}

static int pid1(const char *name, const char *live, int network, const char *pids, char **command) {
    static const struct option run_options[] = { { "mode", "0755" }, { "size", "50m" }, { 0 } };
    static const struct option shm_options[] = { { "mode", "1777" }, { 0 } };
    static const struct option pts_options[] = {
        { "newinstance", 0 }, { "ptmxmode", "0666" }, { "mode", "0620" }, { "gid", "5" }, { 0 } };
    const unsigned safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    const unsigned noexec = safe | MOUNT_ATTR_NOEXEC;
    int tasks = must(open(pids, O_WRONLY | O_CLOEXEC), pids);
    must(write(tasks, "0", 1), pids);
    close(tasks);
    must(setns(network, CLONE_NEWNET), "setns");
    must(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP), "unshare");
    must(mount(0, "/", 0, MS_REC | MS_SLAVE, 0), "slave");
    char path[256], line[256];
    int hosts, hostname;
    snprintf(path, sizeof path, "/run/%s.hosts", name);
    bind_file(path, "127.0.0.1\tlocalhost\n::1\tlocalhost\n", &hosts);
    snprintf(path, sizeof path, "/run/%s.hostname", name);
    snprintf(line, sizeof line, "%s\n", name);
    bind_file(path, line, &hostname);
    int proc = make("proc", noexec, 0), sys = make("sysfs", noexec | MOUNT_ATTR_RDONLY, 0), dev = devices_dir();
    int root = must(open(live, O_PATH | O_DIRECTORY | O_CLOEXEC), live);
    attributes(root, MOUNT_ATTR_NODEV);
    must(fchdir(root), live);
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(chdir("/"), "/");
    must(sethostname(name, strlen(name)), "sethostname");
    mount_on("/proc", proc);
    mount_on("/sys", sys);
    mount_on("/dev", dev);
    mount_on("/dev/pts", make("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, pts_options));
    mount_on("/dev/shm", make("tmpfs", safe, shm_options));
    mount_on("/dev/mqueue", make("mqueue", noexec, 0));
    mask(proc, sys, dev);
    mount_on("/run", make("tmpfs", safe, run_options));
    mount_on("/etc/hosts", hosts);
    mount_on("/etc/hostname", hostname);
    must(setsid(), "setsid");
    int child = must(fork(), "fork");
    if (!child) {
        confine();
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        execv(command[0], command);
        die(command[0]);
    }
    confine();
    int status;
    must(waitpid(child, &status, 0), "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- the host's side ----------------------------------------------------------------------------- */

static void make_cgroup(const char *parent, const char *path) {
    if (mkdir(path, 0755) == 0)
        return;
    if (errno != ENOENT)
        die(path);
    must(mkdir(parent, 0755), parent);
    must(mkdir(path, 0755), path);
}

static int bound_devices(const char *path) {
    int cgroup = must(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
    union bpf_attr load = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = COUNT(devices),
                            .insns = (uint64_t)devices, .license = (uint64_t)"GPL" };
    int program = must(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load), "BPF_PROG_LOAD");
    union bpf_attr attach = { .target_fd = cgroup, .attach_bpf_fd = program, .attach_type = BPF_CGROUP_DEVICE,
                              .attach_flags = BPF_F_ALLOW_MULTI };
    must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach), "BPF_PROG_ATTACH");
    close(program);
    return cgroup;
}

static int make_network(const char *file, int *inner) {
    close(must(open(file, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444), file));
    int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "ns/net");
    must(unshare(CLONE_NEWNET), "unshare");
    must(mount("/proc/self/ns/net", file, 0, MS_BIND, 0), file);
    *inner = netlink();
    int namespace = must(open(file, O_RDONLY | O_CLOEXEC), file);
    must(setns(home, CLONE_NEWNET), "setns");
    close(home);
    return namespace;
}

static void make_cable(int host, int inner, int namespace, const char *link, const char *bridge, const char *name,
                       struct in_addr address, int bits) {
    static const unsigned char outer_mac[6] = { 0xfe, 0, 0, 0, 0, 0x0b }, inner_mac[6] = { 2, 0, 0, 0, 0, 0x0b };
    struct message m;
    begin(&m, RTM_NEWLINK, 0);
    link_header(&m, 1, IFF_UP, IFF_UP);
    ask(inner, &m, "lo up");

    int master = if_nametoindex(bridge);
    begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    link_header(&m, 0, IFF_UP, IFF_UP);
    put(&m, IFLA_IFNAME, link, strlen(link) + 1);
    put(&m, IFLA_ADDRESS, outer_mac, 6);
    put(&m, IFLA_MASTER, &master, 4);
    struct rtattr *info = put(&m, IFLA_LINKINFO, 0, 0);
    put(&m, IFLA_INFO_KIND, "veth", 5);
    struct rtattr *data = put(&m, IFLA_INFO_DATA, 0, 0), *peer = put(&m, VETH_INFO_PEER, 0, 0);
    link_header(&m, 0, 0, 0);
    put(&m, IFLA_IFNAME, "eth0", 5);
    put(&m, IFLA_ADDRESS, inner_mac, 6);
    put(&m, IFLA_NET_NS_FD, &namespace, 4);
    close_nest(&m, peer);
    close_nest(&m, data);
    close_nest(&m, info);
    ask(host, &m, "veth");

    char alias[64];
    snprintf(alias, sizeof alias, "subhost:%s:0", name);
    begin(&m, RTM_NEWLINK, 0);
    link_header(&m, 0, 0, 0);
    put(&m, IFLA_IFNAME, link, strlen(link) + 1);
    put(&m, IFLA_IFALIAS, alias, strlen(alias));
    ask(host, &m, "alias");

    begin(&m, RTM_NEWLINK, 0);
    link_header(&m, 0, IFF_UP, IFF_UP);
    put(&m, IFLA_IFNAME, "eth0", 5);
    ask(inner, &m, "eth0 up");

    begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *given = grow(&m, sizeof *given);
    *given = (struct ifaddrmsg){ .ifa_family = AF_INET, .ifa_prefixlen = bits, .ifa_index = 2 };
    put(&m, IFA_LOCAL, &address, 4);
    put(&m, IFA_ADDRESS, &address, 4);
    ask(inner, &m, "address");
}

static void discard_cable(int host, const char *link) {
    struct message m;
    char gone[16];
    int none = 0, index = if_nametoindex(link);
    begin(&m, RTM_NEWLINK, 0);
    link_header(&m, index, 0, IFF_UP);
    put(&m, IFLA_MASTER, &none, 4);
    ask(host, &m, "down");
    snprintf(gone, sizeof gone, "gone%d", index);
    begin(&m, RTM_NEWLINK, 0);
    link_header(&m, index, 0, 0);
    put(&m, IFLA_IFNAME, gone, strlen(gone) + 1);
    ask(host, &m, "rename");
}

int main(int argc, char **argv) {
    static char *usual[] = { "/bin/true", 0 };
    if (argc < 5) {
        fprintf(stderr, "usage: raw-cycle DIR LAYER BRIDGE ADDRESS/BITS [COMMAND ARGUMENT...]\n");
        return 2;
    }
    char **command = argc > 5 ? argv + 5 : usual;
    char *slash = strchr(argv[4], '/'), *name = strrchr(argv[1], '/') + 1;
    struct in_addr address;
    *slash = 0;
    inet_pton(AF_INET, argv[4], &address);

    char live[256], options[1024], file[256], link[16], unified[256], pids[256], tasks[300];
    snprintf(live, sizeof live, "%s/live", argv[1]);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/root,workdir=%s/work,index=on", argv[2], argv[1], argv[1]);
    snprintf(file, sizeof file, "/run/netns/%s", name);
    snprintf(link, sizeof link, "%.13s0", name);
    snprintf(unified, sizeof unified, UNIFIED "/subhost-raw/%s", name);
    snprintf(pids, sizeof pids, PIDS "/subhost-raw/%s", name);

    must(mount("overlay", live, "overlay", 0, options), live);
    int inner, namespace = make_network(file, &inner), host = netlink();
    make_cable(host, inner, namespace, link, argv[3], name, address, atoi(slash + 1));
    close(inner);

    make_cgroup(UNIFIED "/subhost-raw", unified);
    int cgroup = bound_devices(unified);
    make_cgroup(PIDS "/subhost-raw", pids);
    snprintf(tasks, sizeof tasks, "%s/pids.max", pids);
    int limit = must(open(tasks, O_WRONLY | O_CLOEXEC), tasks);
    must(write(limit, "8192", 4), tasks);
    close(limit);
    snprintf(tasks, sizeof tasks, "%s/tasks", pids);

    struct clone_args args = { .flags = CLONE_NEWPID | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = cgroup };
    int child = must(syscall(SYS_clone3, &args, sizeof args), "clone3"), status;
    if (!child)
        _exit(pid1(name, live, namespace, tasks, command));
    close(cgroup);
    close(namespace);
    must(waitpid(child, &status, 0), "waitpid");

    must(rmdir(unified), unified);
    rmdir(UNIFIED "/subhost-raw");
    must(rmdir(pids), pids);
    rmdir(PIDS "/subhost-raw");
    discard_cable(host, link);
    must(umount2(file, MNT_DETACH), file);
    must(unlink(file), file);
    must(umount2(live, 0), live);
    snprintf(file, sizeof file, "/run/%s.hosts", name);
    must(unlink(file), file);
    snprintf(file, sizeof file, "/run/%s.hostname", name);
    must(unlink(file), file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
