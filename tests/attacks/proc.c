/* The kernel's files: what is written to configure the host, and what is read to learn about it. */
#include "attacks.h"
#include <dirent.h>
#include <sys/klog.h>

/* Opens a file of the kernel's; what covers one, a device or a directory, is none. */
static int open_file(const char *path, int flags)
{
    struct stat st;
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))) return fd;
    close(fd);
    errno = EACCES;
    return -1;
}

/* Opens for writing and writes back what is there: that is all it takes to change it. */
static enum outcome rewrite(const char *path)
{
    char text[4096];
    long n = slurp(path, text, sizeof text);
    int fd = open_file(path, O_WRONLY);
    if (fd < 0) return judge_absent(-1, path);
    if (n <= 0) return through("opened %s for writing", path);
    return judge(write(fd, text, n), path);
}

/* A tree of files: is there one that can be opened for writing? */
struct search {
    const char *const *but; /* beginnings of paths that do not count */
    int seen, depth;
    char found[PATH_MAX];
};

static bool excepted(const struct search *search, const char *path)
{
    for (const char *const *but = search->but; *but; but++)
        if (!strncmp(path, *but, strlen(*but))) return true;
    return false;
}

static bool writable_below(struct search *search, const char *dir)
{
    DIR *entries = opendir(dir);
    if (!entries || search->depth > 12) return false;
    bool found = false;
    search->depth++;
    for (struct dirent *entry; !found && (entry = readdir(entries));) {
        char path[PATH_MAX];
        struct stat st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) >= (int)sizeof path) continue;
        if (excepted(search, path) || lstat(path, &st) < 0) continue;
        if (S_ISDIR(st.st_mode)) {
            found = writable_below(search, path);
            continue;
        }
        /* Of the others, root may open what has no way to be written. */
        if (!S_ISREG(st.st_mode) || !(st.st_mode & 0222)) continue;
        search->seen++;
        int fd = open_file(path, O_WRONLY);
        if (fd < 0) continue;
        close(fd);
        found = true;
        strcpy(search->found, path);
    }
    search->depth--;
    closedir(entries);
    return found;
}

static enum outcome search(const char *dir, const char *const *but)
{
    struct search search = {.but = but};
    if (writable_below(&search, dir)) return through("%s can be written", search.found);
    if (!search.seen) return held("nothing is at %s", dir);
    return held("none of %d files can be written", search.seen);
}

static enum outcome core_pattern(void) { return rewrite("/proc/sys/kernel/core_pattern"); }
static enum outcome overcommit(void) { return rewrite("/proc/sys/vm/overcommit_memory"); }
static enum outcome file_max(void) { return rewrite("/proc/sys/fs/file-max"); }
static enum outcome uevent_helper(void) { return rewrite("/sys/kernel/uevent_helper"); }
static enum outcome modprobe(void) { return rewrite("/proc/sys/kernel/modprobe"); }
static enum outcome irq(void) { return rewrite("/proc/irq/default_smp_affinity"); }

static enum outcome sysrq(void)
{
    return judge_absent(open_file("/proc/sysrq-trigger", O_WRONLY), "/proc/sysrq-trigger");
}

static enum outcome sysctls(void)
{
    /* Those of the namespaces that are the subhost's own. */
    static const char *const but[] = {"/proc/sys/net/",       "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/kernel/sem",
                                      "/proc/sys/kernel/shm", "/proc/sys/kernel/msg",      "/proc/sys/fs/mqueue/",        "/proc/sys/user/",
                                      "/proc/sys/kernel/ns_last_pid",
                                      "/proc/sys/kernel/auto_msgmni", NULL};
    return search("/proc/sys", but);
}

static enum outcome proc_writes(void)
{
    /* sys: above. pressure: a wish to be woken up, no setting. */
    static const char *const but[] = {"/proc/sys/", "/proc/pressure/", "/proc/0", "/proc/1", "/proc/2", "/proc/3", "/proc/4",
                                      "/proc/5",    "/proc/6",         "/proc/7", "/proc/8", "/proc/9", "/proc/self", "/proc/thread-self", NULL};
    return search("/proc", but);
}

static enum outcome sys_writes(void)
{
    static const char *const but[] = {"/sys/fs/cgroup", "/sys/kernel/debug", "/sys/kernel/tracing", NULL};
    return search("/sys", but);
}

static enum outcome uevent(void)
{
    int fd = open_file("/sys/devices/virtual/mem/null/uevent", O_WRONLY);
    return judge_absent(fd < 0 ? -1 : write(fd, "change", 6), "an event for the host's udev");
}

static enum outcome power(void)
{
    return judge_absent(open_file("/sys/power/state", O_WRONLY), "/sys/power/state");
}

static enum outcome binfmt(void)
{
    own_mounts();
    const char *there = "/proc/sys/fs/binfmt_misc/register";
    if (open_file(there, O_WRONLY) >= 0) return through("opened %s", there);
    if (mount("attack", scratch(), "binfmt_misc", 0, NULL) < 0) return judge_absent(-1, "binfmt_misc");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/register", scratch());
    return judge(open(path, O_WRONLY | O_CLOEXEC), path);
}

/* Reads a file that tells about the host; an empty one, or one of zeros, tells nothing. */
static enum outcome tells(const char *path)
{
    char text[4096];
    long n = slurp(path, text, sizeof text);
    if (n < 0) return judge_absent(-1, path);
    if (n == 0) return held("%s is empty", path);
    return through("%s says %.60s", path, text);
}

static enum outcome any_tells(const char *const *paths)
{
    enum outcome last = HELD;
    for (; *paths && last == HELD; paths++) last = tells(*paths);
    return last;
}

static enum outcome kcore(void) { return tells("/proc/kcore"); }
static enum outcome keys_file(void) { return tells("/proc/keys"); }

static enum outcome timers(void)
{
    static const char *const paths[] = {"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/latency_stats", NULL};
    return any_tells(paths);
}

static enum outcome memory_maps(void)
{
    static const char *const paths[] = {"/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/vmallocinfo",
                                        "/proc/slabinfo",   "/proc/pagetypeinfo", "/proc/iomem", NULL};
    enum outcome outcome = HELD;
    for (const char *const *path = paths; *path && outcome == HELD; path++) {
        /* Without the right to see them, the addresses are zero. */
        char text[4096];
        long n = slurp(*path, text, sizeof text);
        if (n <= 0) continue;
        if (!strcmp(*path, "/proc/iomem") && !strncmp(text, "00000000-00000000", 17) && strstr(text, "\n00000000-00000000")) continue;
        outcome = through("%s can be read", *path);
    }
    return outcome == HELD ? held("none can be read") : outcome;
}

static enum outcome kallsyms(void)
{
    char line[256];
    FILE *symbols = fopen("/proc/kallsyms", "re");
    if (!symbols) return judge_absent(-1, "/proc/kallsyms");
    while (fgets(line, sizeof line, symbols))
        if (strtoull(line, NULL, 16) > 0x100000000ULL) return through("an address of the kernel: %.40s", line);
    return held("no address");
}

static enum outcome kmsg_file(void)
{
    return judge_absent(open_file("/proc/kmsg", O_RDONLY), "/proc/kmsg");
}

static enum outcome log_call(void)
{
    char text[256];
    return judge(klogctl(3 /* READ_ALL, which takes nothing out */, text, sizeof text), "syslog(2)");
}

static bool readable_below(const char *dir, char *found)
{
    DIR *entries = opendir(dir);
    if (!entries) return false;
    bool yes = false;
    for (struct dirent *entry; !yes && (entry = readdir(entries));) {
        char path[PATH_MAX], text[64];
        struct stat st;
        if (*entry->d_name == '.' || snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) >= (int)sizeof path) continue;
        if (lstat(path, &st) < 0) continue;
        if (S_ISDIR(st.st_mode)) yes = readable_below(path, found);
        else if (S_ISREG(st.st_mode) && slurp(path, text, sizeof text) > 0) {
            yes = true;
            strcpy(found, path);
        }
    }
    closedir(entries);
    return yes;
}

static enum outcome firmware(void)
{
    char found[PATH_MAX];
    if (readable_below("/sys/firmware", found)) return through("read %s", found);
    return held("nothing of /sys/firmware can be read");
}

static enum outcome debug(void)
{
    char found[PATH_MAX];
    const char *dirs[] = {"/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security"};
    for (int i = 0; i < 3; i++)
        if (readable_below(dirs[i], found)) return through("read %s", found);
    return held("nothing of it can be read");
}

const struct attack proc_attacks[] = {
    {"core-pattern", core_pattern, IN_CHROOT, "a program that the host's kernel runs: core_pattern", 0},
    {"modprobe-path", modprobe, IN_CHROOT, "a program that the host's kernel runs: modprobe", 0},
    {"uevent-helper", uevent_helper, IN_CHROOT, "a program that the host's kernel runs: uevent_helper", 0},
    {"binfmt-misc", binfmt, IN_CHROOT, "a program that the host's kernel runs: binfmt_misc", 0},
    {"sysrq", sysrq, IN_CHROOT, "the magic key: sysrq-trigger", 0},
    {"sysctl-vm", overcommit, IN_CHROOT, "vm.overcommit_memory of the host", 0},
    {"sysctl-fs", file_max, IN_CHROOT, "fs.file-max of the host", 0},
    {"sysctl-any", sysctls, IN_CHROOT, "any sysctl of the host outside net", 0},
    {"irq-affinity", irq, IN_CHROOT, "interrupts of the host", 0},
    {"proc-writes", proc_writes, IN_CHROOT, "any file of /proc that can be written", 0},
    {"sys-writes", sys_writes, IN_CHROOT, "any file of /sys that can be written", 0},
    {"sys-uevent", uevent, IN_CHROOT, "an event for the host's udev", 0},
    {"sys-power", power, IN_CHROOT, "the machine put to sleep", 0},
    {"proc-kcore", kcore, IN_CHROOT, "the kernel's memory", 0},
    {"proc-kallsyms", kallsyms, IN_CHROOT, "addresses of the kernel", 0},
    {"proc-keys", keys_file, IN_CHROOT, "the keys of the host's users", 0},
    {"proc-timers", timers, IN_CHROOT, "timers and scheduling of the host's processes", 0},
    {"proc-memory", memory_maps, IN_CHROOT, "the layout of the kernel's memory", 0},
    {"proc-kmsg", kmsg_file, IN_CHROOT, "the host's kernel log by /proc", 0},
    {"syslog-call", log_call, IN_CHROOT, "the host's kernel log by syslog(2)", 0},
    {"sys-firmware", firmware, IN_CHROOT, "tables of the firmware, with its keys", 0},
    {"sys-debug", debug, IN_CHROOT, "debug and security files of the kernel", 0},
    {0},
};
