/* Mounts: new ones, other flags for those that are there, and taking away what covers something. */
#include "attacks.h"
#include <linux/mount.h>

static enum outcome new_mount(const char *type, const char *options)
{
    own_mounts();
    return judge(mount("attack", scratch(), type, 0, options), type);
}

static enum outcome mount_proc(void) { return new_mount("proc", NULL); }
static enum outcome mount_sysfs(void) { return new_mount("sysfs", NULL); }
static enum outcome mount_tmpfs(void) { return new_mount("tmpfs", NULL); }
static enum outcome mount_devtmpfs(void) { return new_mount("devtmpfs", NULL); }
static enum outcome mount_cgroup2(void) { return new_mount("cgroup2", NULL); }
static enum outcome mount_debugfs(void) { return new_mount("debugfs", NULL); }
static enum outcome mount_bpf(void) { return new_mount("bpf", NULL); }

static enum outcome mount_securityfs(void) { return new_mount("securityfs", NULL); }

static enum outcome mount_overlay(void)
{
    return new_mount("overlay", "lowerdir=/tmp:/etc");
}

static enum outcome mount_disk(void)
{
    const char *disk = "/planted/ext4";
    struct stat st;
    if (stat(disk, &st) < 0) return untried("no %s: %s", disk, strerror(errno));
    own_mounts();
    return judge(mount(disk, scratch(), "ext4", MS_RDONLY, NULL), "ext4 from a node in the tree");
}

/* A hierarchy of version 1 with no controller: its release agent is a program that the host runs. */
static enum outcome release_agent(void)
{
    own_mounts();
    if (mount("attack", scratch(), "cgroup", 0, "none,name=attack") < 0) return judge(-1, "cgroup v1");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/release_agent", scratch());
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    enum outcome outcome = judge(fd < 0 ? -1 : write(fd, "/bin/false", 10), "write release_agent");
    umount2(scratch(), MNT_DETACH);
    return outcome;
}

static enum outcome bind(void)
{
    own_mounts();
    return judge(mount("/proc", scratch(), NULL, MS_BIND | MS_REC, NULL), "bind /proc elsewhere");
}

static enum outcome bind_over(void)
{
    own_mounts();
    return judge(mount("/tmp", "/proc", NULL, MS_BIND, NULL), "bind over /proc");
}

static enum outcome move(void)
{
    own_mounts();
    return judge(mount("/proc", scratch(), NULL, MS_MOVE, NULL), "move /proc away");
}

static enum outcome propagation(void)
{
    return judge(mount(NULL, "/", NULL, MS_SHARED, NULL), "share the root's mounts");
}

static enum outcome remount_dev(void)
{
    own_mounts();
    return judge(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL), "remount / with devices");
}

/* The mount points below /proc and /sys, or the first; NULL when there are no more. */
static const char *next_cover(FILE *mountinfo)
{
    static char line[4096], point[1024];
    while (fgets(line, sizeof line, mountinfo))
        if (sscanf(line, "%*s %*s %*s %*s %1023s", point) == 1 && (!strncmp(point, "/proc/", 6) || !strncmp(point, "/sys/", 5)))
            return point;
    return NULL;
}

static enum outcome each_cover(int (*act)(const char *point), const char *name)
{
    own_mounts();
    FILE *mountinfo = fopen("/proc/self/mountinfo", "re");
    if (!mountinfo) return untried("no mountinfo: %s", strerror(errno));
    int seen = 0, last = 0;
    for (const char *point; (point = next_cover(mountinfo)); seen++) {
        if (act(point) == 0) return through("%s %s", name, point);
        if (!forbidden(errno)) return untried("%s %s: %s", name, point, strerror(errno));
        last = errno;
    }
    fclose(mountinfo);
    if (!seen) return untried("nothing is mounted below /proc and /sys");
    return held("%s %d mounts: %s", name, seen, strerror(last));
}

static int unmount(const char *point) { return umount2(point, MNT_DETACH); }
static int writable(const char *point) { return mount(NULL, point, NULL, MS_REMOUNT | MS_BIND, NULL); }
static enum outcome umount_covers(void) { return each_cover(unmount, "unmount"); }
static enum outcome remount_covers(void) { return each_cover(writable, "remount writable"); }

static enum outcome fs_open(void) { return judge(syscall(SYS_fsopen, "tmpfs", 0), "fsopen"); }
static enum outcome fs_pick(void) { return judge(syscall(SYS_fspick, AT_FDCWD, "/", 0), "fspick"); }

static enum outcome tree_clone(void)
{
    return judge(syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), "open_tree(CLONE)");
}

static enum outcome tree_move(void)
{
    own_mounts();
    return judge(syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, scratch(), 0), "move_mount");
}

static enum outcome set_attributes(void)
{
    own_mounts();
    struct mount_attr attr = {.attr_clr = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY};
    return judge(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0x8000 /* AT_RECURSIVE */, &attr, sizeof attr), "mount_setattr");
}

const struct attack mount_attacks[] = {
    {"mount-proc", mount_proc, IN_CHROOT, "a second /proc without masks", 0},
    {"mount-sysfs", mount_sysfs, IN_CHROOT, "a second, writable /sys", 0},
    {"mount-tmpfs", mount_tmpfs, IN_CHROOT, "any new mount", 0},
    {"mount-devtmpfs", mount_devtmpfs, IN_CHROOT, "the host's device nodes", 0},
    {"mount-cgroup2", mount_cgroup2, IN_CHROOT, "the cgroup tree", 0},
    {"mount-debugfs", mount_debugfs, IN_CHROOT, "the kernel's debug files", 0},
    {"mount-bpf", mount_bpf, IN_CHROOT, "a bpf file system", 0},
    {"mount-securityfs", mount_securityfs, IN_CHROOT, "the policies of the host's security modules", 0},
    {"mount-overlay", mount_overlay, IN_CHROOT, "an overlay of other directories", 0},
    {"mount-disk", mount_disk, IN_CHROOT, "a disk by a node that lies in the tree", 0},
    {"release-agent", release_agent, IN_CHROOT, "cgroup v1: a program that the host's kernel runs (CVE-2022-0492)", 0},
    {"bind-proc", bind, IN_CHROOT, "/proc at a place without covers", 0},
    {"bind-over-proc", bind_over, IN_CHROOT, "a forged /proc for who comes in", 0},
    {"move-proc", move, IN_CHROOT, "/proc moved away", 0},
    {"share-mounts", propagation, IN_CHROOT, "mounts that propagate", 0},
    {"remount-dev", remount_dev, IN_CHROOT, "the root with device nodes that work", 0},
    {"remount-covers", remount_covers, IN_CHROOT, "what is read-only below /proc and /sys, writable", 0},
    {"umount-covers", umount_covers, IN_CHROOT, "what covers files below /proc and /sys, away", 0},
    {"fsopen", fs_open, IN_CHROOT, "the new mount calls: fsopen", 0},
    {"fspick", fs_pick, IN_CHROOT, "the new mount calls: fspick", 0},
    {"open-tree", tree_clone, IN_CHROOT, "the new mount calls: a clone of the root", 0},
    {"move-mount", tree_move, IN_CHROOT, "the new mount calls: move_mount", 0},
    {"mount-setattr", set_attributes, IN_CHROOT, "the new mount calls: mount_setattr", 0},
    {0},
};
