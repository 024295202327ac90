/* Processes: PID 1, which was started on the host; those of the host; programs that are the host's. */
#include "attacks.h"
#include <dirent.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

/* Where PID 1 is a program of the tree, nothing of the host is to be had from it. */
static bool own_init(void)
{
    char target[PATH_MAX];
    struct stat runs, lies;
    long n = readlink("/proc/1/exe", target, sizeof target - 1);
    if (n < 0) return false;
    target[n] = 0;
    return stat("/proc/1/exe", &runs) == 0 && stat(target, &lies) == 0 && lies.st_dev == runs.st_dev && lies.st_ino == runs.st_ino;
}

#define OWN_INIT "PID 1 is a program of the tree"

static enum outcome trace_init(void)
{
    if (own_init()) return held(OWN_INIT);
    return judge(ptrace(PTRACE_SEIZE, 1, 0, 0), "PTRACE_SEIZE of PID 1");
}

static enum outcome init_memory(void)
{
    if (own_init()) return held(OWN_INIT);
    int fd = open("/proc/1/mem", O_RDWR | O_CLOEXEC);
    return judge(fd, "/proc/1/mem");
}

static enum outcome init_vm(void)
{
    if (own_init()) return held(OWN_INIT);
    char byte;
    struct iovec local = {&byte, 1}, remote = {(void *)0x400000, 1};
    return judge_reached(process_vm_readv(1, &local, 1, &remote, 1, 0), "process_vm_readv of PID 1");
}

static enum outcome init_vm_write(void)
{
    if (own_init()) return held(OWN_INIT);
    /* Text, which cannot be written, or nothing: no harm is done. */
    struct iovec local = {"", 1}, remote = {(void *)0x400000, 1};
    return judge_reached(process_vm_writev(1, &local, 1, &remote, 1, 0), "process_vm_writev of PID 1");
}

static enum outcome init_files(void)
{
    if (own_init()) return held(OWN_INIT);
    char text[PATH_MAX];
    const char *links[] = {"/proc/1/root", "/proc/1/cwd", "/proc/1/exe"};
    for (int i = 0; i < 3; i++)
        if (readlink(links[i], text, sizeof text) >= 0) return through("read the link %s", links[i]);
    if (slurp("/proc/1/environ", text, sizeof text) > 0) return through("read /proc/1/environ");
    const char *dirs[] = {"/proc/1/fd", "/proc/1/map_files"};
    for (int i = 0; i < 2; i++) {
        DIR *entries = opendir(dirs[i]);
        for (struct dirent *entry; entries && (entry = readdir(entries));)
            if (*entry->d_name != '.' && readlinkat(dirfd(entries), entry->d_name, text, sizeof text) >= 0)
                return through("read the link %s/%s", dirs[i], entry->d_name);
    }
    return held("none of its links can be read");
}

static enum outcome init_getfd(void)
{
    if (own_init()) return held(OWN_INIT);
    long pidfd = syscall(SYS_pidfd_open, 1, 0);
    if (pidfd < 0) return judge(-1, "pidfd_open");
    for (int fd = 0; fd < 64; fd++) {
        if (syscall(SYS_pidfd_getfd, pidfd, fd, 0) >= 0) return through("took descriptor %d of PID 1", fd);
        if (errno != EBADF) return judge(-1, "pidfd_getfd");
    }
    return through("PID 1 could have been robbed, had it any descriptor");
}

static enum outcome init_compare(void)
{
    if (own_init()) return held(OWN_INIT);
    return judge_reached(syscall(SYS_kcmp, 1, getpid(), 1 /* VM */, 0, 0), "kcmp with PID 1");
}

static enum outcome init_kill(void)
{
    if (kill(1, SIGKILL) < 0) return judge(-1, "kill PID 1");
    /* The kernel drops what a namespace's PID 1 gets from inside. */
    usleep(50000);
    return kill(1, 0) == 0 ? held("PID 1 takes no notice") : through("PID 1 is gone");
}

/* The program of a process, opened, if it does not lie here: then it is the host's. -1 if it does.
 *
 * Between the host's program and that of the inside, a process runs a bit of memory that nobody can change, has
 * nothing of the host's and no more rights than what is run inside: it may be caught. */
int foreign_program(int pid, char target[PATH_MAX])
{
    char path[64];
    struct stat runs, lies;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    long n = readlink(path, target, PATH_MAX - 1);
    target[n < 0 ? 0 : n] = 0;
    int seals = fcntl(fd, F_GET_SEALS), both = F_SEAL_WRITE | F_SEAL_SEAL;
    int lies_here = fstat(fd, &runs) == 0 && stat(target, &lies) == 0 && lies.st_ino == runs.st_ino;
    if (!lies_here && (seals < 0 || (seals & both) != both)) return fd;
    close(fd);
    return -1;
}

/* Programs that run here but do not lie here (CVE-2019-5736). */
enum outcome program_of(int pid)
{
    char path[64], target[PATH_MAX];
    int fd = foreign_program(pid, target);
    if (fd < 0) return HELD;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int is_through = open(path, O_WRONLY | O_CLOEXEC) >= 0 || errno == ETXTBSY;
    close(fd);
    return is_through ? through("may write %s of process %d", target, pid) : HELD;
}

static enum outcome programs(void) { return each_process(program_of); }

enum outcome environment_of(int pid)
{
    char path[64], text[1 << 16];
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    long n = slurp(path, text, sizeof text);
    if (n > 0 && memmem(text, n, "ATTACK_SECRET=", 14)) return through("the secret of process %d", pid);
    return HELD;
}

static enum outcome environments(void) { return each_process(environment_of); }

static int host_pid(void)
{
    const char *pid = setting("pid");
    return pid ? atoi(pid) : 0;
}

static enum outcome host_kill(void)
{
    if (!host_pid()) return untried("no pid=PID");
    return judge_absent(kill(host_pid(), 0), "signal to a process of the host");
}

static enum outcome host_trace(void)
{
    if (!host_pid()) return untried("no pid=PID");
    return judge_absent(ptrace(PTRACE_SEIZE, host_pid(), 0, 0), "PTRACE_SEIZE of a process of the host");
}

static enum outcome host_oom(void)
{
    char path[64];
    if (!host_pid()) return untried("no pid=PID");
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", host_pid());
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return judge_absent(fd < 0 ? -1 : write(fd, "1", 1), "oom_score_adj of a process of the host");
}

static enum outcome host_nice(void)
{
    if (!host_pid()) return untried("no pid=PID");
    return judge_absent(setpriority(PRIO_PROCESS, host_pid(), 1), "priority of a process of the host");
}

static enum outcome host_limits(void)
{
    struct rlimit limit;
    if (!host_pid()) return untried("no pid=PID");
    return judge_absent(prlimit(host_pid(), RLIMIT_NOFILE, NULL, &limit), "limits of a process of the host");
}

static enum outcome host_affinity(void)
{
    cpu_set_t cpus;
    if (!host_pid()) return untried("no pid=PID");
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    return judge_absent(sched_setaffinity(host_pid(), sizeof cpus, &cpus), "affinity of a process of the host");
}

static enum outcome unkillable(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    return judge(fd < 0 ? -1 : write(fd, "-1000", 5), "oom_score_adj of -1000");
}

const struct attack process_attacks[] = {
    {"trace-init", trace_init, IN_CHROOT, "ptrace of PID 1, which came from the host", 0},
    {"init-memory", init_memory, IN_CHROOT, "/proc/1/mem", 0},
    {"init-vm-read", init_vm, IN_CHROOT, "process_vm_readv of PID 1", 0},
    {"init-vm-write", init_vm_write, IN_CHROOT, "process_vm_writev of PID 1", 0},
    {"init-files", init_files, IN_CHROOT, "root, cwd, exe, environ, fd, map_files of PID 1", 0},
    {"init-getfd", init_getfd, IN_CHROOT, "descriptors of PID 1 by pidfd_getfd", 0},
    {"init-kcmp", init_compare, IN_CHROOT, "kcmp with PID 1", 0},
    {"init-kill", init_kill, NEVER, "KILL to PID 1 from inside", "the kernel protects every PID 1 from its own namespace"},
    {"write-programs", programs, IN_CHROOT, "the host's programs that run here, overwritten (CVE-2019-5736)", 0},
    {"host-environment", environments, IN_CHROOT, "the environment of whoever started us", 0},
    {"host-kill", host_kill, ON_HOST, "a signal to a process of the host", 0},
    {"host-trace", host_trace, ON_HOST, "ptrace of a process of the host", 0},
    {"host-oom", host_oom, ON_HOST, "a process of the host offered to the OOM killer", 0},
    {"host-nice", host_nice, ON_HOST, "the priority of a process of the host", 0},
    {"host-limits", host_limits, ON_HOST, "the limits of a process of the host", 0},
    {"host-affinity", host_affinity, ON_HOST, "a process of the host moved to another CPU", 0},
    {"unkillable", unkillable, IN_CHROOT, "a process that the OOM killer passes over", 0},
    {0},
};
