/* Calls that open up much of the kernel, other ways into the kernel, and rights given back. */
#include "attacks.h"
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#if defined __x86_64__
#include <asm/ldt.h>
#endif

static enum outcome new_user(void) { return judge(unshare(CLONE_NEWUSER), "unshare(NEWUSER)"); }
static enum outcome new_mounts(void) { return judge(unshare(CLONE_NEWNS), "unshare(NEWNS)"); }
static enum outcome new_network(void) { return judge(unshare(CLONE_NEWNET), "unshare(NEWNET)"); }

/* A process made by one of the two calls, which ends at once. */
static enum outcome ended(long pid, const char *call)
{
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, NULL, 0);
    return judge(pid, call);
}

static enum outcome clone_user(void)
{
    return ended(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), "clone(NEWUSER)");
}

static enum outcome clone3_user(void)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    return ended(syscall(SYS_clone3, &args, sizeof args), "clone3(NEWUSER)");
}

static enum outcome clone3_network(void)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {.flags = CLONE_NEWNET, .exit_signal = SIGCHLD};
    return ended(syscall(SYS_clone3, &args, sizeof args), "clone3(NEWNET)");
}

static enum outcome ring(void)
{
    struct io_uring_params params = {0};
    return judge(syscall(SYS_io_uring_setup, 4, &params), "io_uring_setup");
}

static enum outcome faults(void)
{
    return judge(syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* USER_MODE_ONLY */), "userfaultfd");
}

static enum outcome segments(void)
{
#if defined __x86_64__
    struct user_desc entry = {.entry_number = 0, .base_addr = 0, .limit = 0xfff, .seg_32bit = 0, .useable = 1};
    return judge(syscall(SYS_modify_ldt, 1, &entry, sizeof entry), "modify_ldt");
#else
    return held("this machine has no such call");
#endif
}

static enum outcome executable_reads(void)
{
    return judge(personality(PER_LINUX | READ_IMPLIES_EXEC), "personality(READ_IMPLIES_EXEC)");
}

static enum outcome other_system(void) { return judge(personality(PER_SVR4), "personality(SVR4)"); }

/* The 32-bit entry, by which a filter that looks at 64-bit numbers alone is passed. */
static enum outcome entry32(void)
{
#if defined __x86_64__
    /* Arguments below 4 GiB. */
    struct io_uring_params *params = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (params == MAP_FAILED) return untried("no memory below 4 GiB: %s", strerror(errno));
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(425 /* io_uring_setup */), "b"(4), "c"(params) : "memory", "r8", "r9", "r10", "r11");
    errno = result < 0 ? (int)-result : 0;
    return judge(result < 0 ? -1 : 0, "io_uring_setup by int 0x80");
#else
    return held("this machine has no such entry");
#endif
}

static enum outcome entry32_user(void)
{
#if defined __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(310 /* unshare */), "b"(CLONE_NEWUSER) : "memory", "r8", "r9", "r10", "r11");
    errno = result < 0 ? (int)-result : 0;
    return judge(result < 0 ? -1 : 0, "unshare(NEWUSER) by int 0x80");
#else
    return held("this machine has no such entry");
#endif
}

static enum outcome entry_x32(void)
{
#if defined __x86_64__
    return judge(syscall(0x40000000 | SYS_unshare, CLONE_NEWUSER), "unshare(NEWUSER) as x32");
#else
    return held("this machine has no such entry");
#endif
}

/* Capabilities with which root inside is root on the host. */
static const int powers[] = {CAP_SYS_ADMIN, CAP_SYS_MODULE, CAP_SYS_RAWIO,  CAP_SYS_TIME, CAP_SYS_PTRACE,      CAP_SYSLOG,       CAP_MKNOD,
                             CAP_BPF,       CAP_PERFMON,    CAP_MAC_ADMIN,  CAP_MAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_WAKE_ALARM, CAP_BLOCK_SUSPEND,
                             CAP_SYS_PACCT, CAP_LINUX_IMMUTABLE, CAP_SYS_RESOURCE, CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_CHECKPOINT_RESTORE};
#define POWERS (sizeof powers / sizeof *powers)

static enum outcome bounding(void)
{
    for (size_t i = 0; i < POWERS; i++)
        if (prctl(PR_CAPBSET_READ, powers[i]) == 1) return through("a setuid program gets capability %d", powers[i]);
    return held("none of %zu in the bounding set", POWERS);
}

static enum outcome regain(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    if (syscall(SYS_capget, &header, data) < 0) return judge(-1, "capget");
    data[0].permitted |= 1U << CAP_SYS_ADMIN;
    data[0].effective |= 1U << CAP_SYS_ADMIN;
    return judge(syscall(SYS_capset, &header, data), "capset");
}

static enum outcome limits(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_max += 1;
    return judge(setrlimit(RLIMIT_NOFILE, &limit), "a hard limit raised");
}

static enum outcome real_time(void)
{
    struct sched_param param = {.sched_priority = 99};
    return judge(sched_setscheduler(0, SCHED_FIFO, &param), "SCHED_FIFO");
}

static enum outcome immutable(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/immutable", scratch());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return judge(-1, "a file");
    struct fsxattr {
        uint32_t xflags, extsize, nextents, projid, cowextsize;
        char pad[8];
    } attr = {.xflags = 0x8 /* IMMUTABLE */};
    long result = syscall(SYS_ioctl, fd, 0x401c5820 /* FS_IOC_FSSETXATTR */, &attr);
    int e = errno;
    attr.xflags = 0;
    if (result == 0) syscall(SYS_ioctl, fd, 0x401c5820, &attr);
    errno = e;
    return judge(result, "an immutable file");
}

const struct attack call_attacks[] = {
    {"unshare-user", new_user, ON_HOST, "a user namespace with all capabilities", 0},
    {"unshare-mount", new_mounts, IN_CHROOT, "a mount namespace", 0},
    {"unshare-net", new_network, IN_CHROOT, "a network namespace", 0},
    {"clone-user", clone_user, ON_HOST, "a user namespace by clone", 0},
    {"clone3-user", clone3_user, ON_HOST, "a user namespace by clone3, whose flags no filter sees", 0},
    {"clone3-net", clone3_network, IN_CHROOT, "a network namespace by clone3", 0},
    {"io-uring", ring, IN_CHROOT, "calls that no filter sees", 0},
    {"userfaultfd", faults, IN_CHROOT, "page faults that wait, for races in the kernel", 0},
    {"modify-ldt", segments, IN_CHROOT, "segments of its own", 0},
    {"personality-exec", executable_reads, IN_CHROOT, "memory that can be executed if it can be read", 0},
    {"personality-svr4", other_system, IN_CHROOT, "another system's calls", 0},
    {"int80-io-uring", entry32, IN_CHROOT, "a denied call by the 32-bit entry", 0},
    {"int80-user", entry32_user, ON_HOST, "a user namespace by the 32-bit entry", 0},
    {"x32-user", entry_x32, ON_HOST, "a user namespace by the x32 entry", 0},
    {"bounding-set", bounding, IN_CHROOT, "capabilities that a setuid program would get", 0},
    {"regain", regain, IN_CHROOT, "SYS_ADMIN taken back", 0},
    {"raise-limits", limits, IN_CHROOT, "a hard limit of the host's raised", 0},
    {"real-time", real_time, IN_CHROOT, "a CPU for itself", 0},
    {"immutable", immutable, IN_CHROOT, "a file that the host's root cannot remove", 0},
    {0},
};
