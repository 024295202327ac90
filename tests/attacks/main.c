/* attacks list            names, where each is proved, and what it tries
 * attacks NAME [K=V...]   one attack; status 0: it got through, 1: held, else not tried
 * attacks all [K=V...]    each in a process of its own: "NAME<TAB>OUTCOME<TAB>DETAIL"
 * attacks watch until=FILE  looks at each process that comes in, until the file is there
 * attacks host [K=V...] -- COMMAND...   the host's side, for as long as the command runs
 * attacks chroot DIR COMMAND...         where they must succeed */
#include "attacks.h"
#include <dirent.h>
#include <stdarg.h>
#include <sys/mman.h>

static const struct attack *const tables[] = {mount_attacks, root_attacks,   device_attacks, proc_attacks, process_attacks,
                                              kernel_attacks, call_attacks, key_attacks,   net_attacks,  limit_attacks};
#define TABLES (sizeof tables / sizeof *tables)

static char **settings;
static char *detail; /* shared with the process that runs the attack */
enum { DETAIL = 256 };

static void say(const char *format, va_list args)
{
    vsnprintf(detail, DETAIL, format, args);
    for (char *c = detail; *c; c++)
        if (*c == '\t' || *c == '\n') *c = ' ';
}

#define SAYS(name, which)                  \
    enum outcome name(const char *format, ...) \
    {                                      \
        va_list args;                      \
        va_start(args, format);            \
        say(format, args);                 \
        va_end(args);                      \
        return which;                      \
    }
SAYS(through, THROUGH)
SAYS(held, HELD)
SAYS(untried, UNTRIED)

bool forbidden(int error)
{
    return error == EPERM || error == EACCES || error == EROFS || error == ENOSYS;
}

enum outcome judge(long result, const char *call)
{
    if (result >= 0) return through("%s", call);
    if (forbidden(errno)) return held("%s: %s", call, strerror(errno));
    return untried("%s: %s", call, strerror(errno));
}

enum outcome judge_absent(long result, const char *call)
{
    int e = errno;
    if (result < 0 && (e == ENOENT || e == ENXIO || e == ENODEV || e == ESRCH || e == ECONNREFUSED || e == EAFNOSUPPORT ||
                       e == EOPNOTSUPP))
        return held("%s: %s", call, strerror(e));
    errno = e;
    return judge(result, call);
}

enum outcome judge_reached(long result, const char *call)
{
    if (result >= 0) return through("%s", call);
    if (forbidden(errno)) return held("%s: %s", call, strerror(errno));
    return through("%s gets past the permission: %s", call, strerror(errno));
}

const char *setting(const char *key)
{
    size_t length = strlen(key);
    for (char **s = settings; s && *s; s++)
        if (!strncmp(*s, key, length) && (*s)[length] == '=') return *s + length + 1;
    return NULL;
}

long slurp(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return -1;
    long n = read(fd, buffer, size - 1);
    int e = errno;
    close(fd);
    errno = e;
    if (n >= 0) buffer[n] = 0;
    return n;
}

bool canary_at(const char *prefix)
{
    char path[PATH_MAX], text[64];
    const char *canary = setting("canary");
    if (!canary) return false;
    snprintf(path, sizeof path, "%s%s", prefix, canary);
    return slurp(path, text, sizeof text) > 0 && strstr(text, "canary");
}

void own_mounts(void)
{
    if (unshare(CLONE_NEWNS) == 0) mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

const char *scratch(void)
{
    static char dir[] = "/tmp/attack.XXXXXX";
    static bool made;
    if (!made && !mkdtemp(dir)) return "/tmp";
    made = true;
    return dir;
}

enum outcome each_process(enum outcome (*visit)(int pid))
{
    if (visit(1) == THROUGH) return THROUGH;
    DIR *proc = opendir("/proc");
    if (!proc) return untried("there is no /proc");
    int seen = 0;
    for (struct dirent *entry; (entry = readdir(proc));) {
        int pid = atoi(entry->d_name);
        if (pid <= 1 || pid == getpid()) continue;
        seen++;
        if (visit(pid) == THROUGH) return THROUGH;
    }
    closedir(proc);
    return held("nothing in %d processes", seen + 1);
}

static int run(const struct attack *attack)
{
    *detail = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        _exit(attack->run());
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (WTERMSIG(status) == SIGSYS) {
        snprintf(detail, DETAIL, "killed by the filter");
        return HELD;
    }
    snprintf(detail, DETAIL, "signal %d", WTERMSIG(status));
    return UNTRIED;
}

static const char *word(int outcome)
{
    return outcome == THROUGH ? "through" : outcome == HELD ? "held" : "untried";
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : "";
    if (!strcmp(wanted, "host")) return host(argc - 2, argv + 2);
    if (!strcmp(wanted, "chroot")) return weak_chroot(argc - 2, argv + 2);
    settings = argc > 2 ? argv + 2 : NULL;
    detail = mmap(NULL, DETAIL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (detail == MAP_FAILED) return 4;
    if (!strcmp(wanted, "watch")) {
        int outcome = watch();
        printf("watch\t%s\t%s\n", word(outcome), detail);
        return outcome;
    }
    bool all = !strcmp(wanted, "all"), list = !strcmp(wanted, "list");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < TABLES; i++) {
        for (const struct attack *a = tables[i]; a->name; a++) {
            if (list) {
                const char *proof[] = {"chroot", "host", "never"};
                printf("%s\t%s\t%s\t%s\n", a->name, proof[a->proof], a->what, a->why ? a->why : "");
            } else if (all) {
                int outcome = run(a);
                printf("%s\t%s\t%s\n", a->name, word(outcome), detail);
            } else if (!strcmp(wanted, a->name)) {
                int outcome = run(a);
                printf("%s\t%s\t%s\n", a->name, word(outcome), detail);
                return outcome;
            }
        }
    }
    if (all || list) return 0;
    fprintf(stderr, "usage: attacks list | all | NAME [KEY=VALUE...] | host [KEY=VALUE...] -- COMMAND... | chroot DIR COMMAND...\n");
    return 2;
}
