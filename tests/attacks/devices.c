/* Devices: nodes made here, nodes that lay in the tree before, nodes that are in /dev; ports. */
#include "attacks.h"
#include <dirent.h>
#include <sys/sysmacros.h>
#if defined __x86_64__ || defined __i386__
#include <sys/io.h>
#endif

/* `disk=MAJOR:MINOR` is a block device with the canary's text at its beginning. */
static bool disk(dev_t *device)
{
    unsigned major_number, minor_number;
    const char *text = setting("disk");
    if (!text || sscanf(text, "%u:%u", &major_number, &minor_number) != 2) return false;
    *device = makedev(major_number, minor_number);
    return true;
}

static enum outcome made(mode_t type, dev_t device, const char *what)
{
    char path[PATH_MAX], text[16384];
    snprintf(path, sizeof path, "%s/node", scratch());
    unlink(path);
    if (mknod(path, type | 0600, device) < 0) return judge(-1, "mknod");
    if (slurp(path, text, sizeof text) >= 0) return through("made and read %s", what);
    return judge_absent(-1, what);
}

static enum outcome mknod_disk(void)
{
    dev_t device;
    if (!disk(&device)) return untried("no disk=MAJOR:MINOR");
    return made(S_IFBLK, device, "a disk");
}

static enum outcome mknod_kmsg(void) { return made(S_IFCHR, makedev(1, 11), "kmsg"); }

static enum outcome mknod_mem(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/mem", scratch());
    unlink(path);
    return judge(mknod(path, S_IFCHR | 0600, makedev(1, 1)), "mknod of /dev/mem");
}

static enum outcome mknodat_disk(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/mem", scratch());
    unlink(path);
    int dir = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return judge(mknodat(dir, "mem", S_IFBLK | 0666, makedev(8, 0)), "mknodat of a block device");
}

static enum outcome planted(const char *path)
{
    char text[16384]; /* a record of the kernel log is read whole */
    struct stat st;
    if (lstat(path, &st) < 0 || !(S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) return untried("no node %s", path);
    return judge_absent(slurp(path, text, sizeof text), path);
}

static enum outcome planted_disk(void) { return planted("/planted/disk"); }
static enum outcome planted_kmsg(void) { return planted("/planted/kmsg"); }

static enum outcome planted_write(void)
{
    return judge_absent(open("/planted/disk", O_WRONLY | O_CLOEXEC), "/planted/disk for writing");
}

static bool usual(const char *name)
{
    const char *names[] = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

static enum outcome other_nodes(void)
{
    int seen = 0;
    DIR *dev = opendir("/dev");
    if (!dev) return held("/dev: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(dev));) {
        char path[300];
        struct stat st;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        if (lstat(path, &st) < 0 || !(S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) continue;
        seen++;
        if (usual(entry->d_name)) continue;
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0) return through("opened %s", path);
    }
    closedir(dev);
    return held("%d nodes, all of them usual", seen);
}

/* A node that is called null may be something else. */
static enum outcome false_nodes(void)
{
    const struct {
        const char *path;
        dev_t device;
    } right[] = {{"/dev/null", makedev(1, 3)}, {"/dev/zero", makedev(1, 5)},    {"/dev/full", makedev(1, 7)},
                 {"/dev/tty", makedev(5, 0)},  {"/dev/urandom", makedev(1, 9)}, {"/dev/random", makedev(1, 8)}};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct stat st;
        if (stat(right[i].path, &st) < 0) continue;
        if (!S_ISCHR(st.st_mode) || st.st_rdev != right[i].device) return through("%s is something else", right[i].path);
    }
    return held("all are what they are called");
}

static enum outcome port_permission(void)
{
#if defined __x86_64__ || defined __i386__
    return judge(ioperm(0x80, 1, 1), "ioperm");
#else
    return held("this machine has no such call");
#endif
}

static enum outcome port_level(void)
{
#if defined __x86_64__ || defined __i386__
    return judge(iopl(3), "iopl");
#else
    return held("this machine has no such call");
#endif
}

const struct attack device_attacks[] = {
    {"mknod-disk", mknod_disk, IN_CHROOT, "a disk's node, made and read", 0},
    {"mknod-kmsg", mknod_kmsg, IN_CHROOT, "the host's kernel log by a node", 0},
    {"mknod-mem", mknod_mem, IN_CHROOT, "the host's memory by a node", 0},
    {"mknodat-sda", mknodat_disk, IN_CHROOT, "the first SCSI disk by mknodat", 0},
    {"planted-disk", planted_disk, IN_CHROOT, "a disk's node that lay in the tree before", 0},
    {"planted-disk-write", planted_write, IN_CHROOT, "the same, for writing", 0},
    {"planted-kmsg", planted_kmsg, IN_CHROOT, "the kernel log's node that lay in the tree before", 0},
    {"other-nodes", other_nodes, IN_CHROOT, "nodes of /dev beyond the usual", 0},
    {"false-nodes", false_nodes, IN_CHROOT, "nodes of /dev that are not what they are called", 0},
    {"ioperm", port_permission, IN_CHROOT, "ports of the machine", 0},
    {"iopl", port_level, IN_CHROOT, "all ports of the machine", 0},
    {0},
};
