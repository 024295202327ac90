/* Processes that come in from the host: each is looked at as soon as it is there, before it has become the
 * program that is to be run inside. */
#include "attacks.h"
#include <sys/ptrace.h>

/* A process whose program does not lie here is still the host's: is it ours to trace or write? */
enum outcome memory_of(int pid)
{
    char path[64], target[PATH_MAX];
    struct stat runs, now;
    int fd = foreign_program(pid, target);
    if (fd < 0) return HELD;
    fstat(fd, &runs);
    close(fd);
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int mem = open(path, O_RDWR | O_CLOEXEC);
    if (mem < 0) return HELD;
    close(mem);
    /* It may have become another in the meantime. */
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    if (stat(path, &now) < 0 || now.st_ino != runs.st_ino) return HELD;
    return through("opened the memory of %s, process %d", target, pid);
}

/* attacks watch until=FILE: ends when the file is there. */
enum outcome watch(void)
{
    enum outcome (*visits[])(int) = {memory_of, environment_of, links_of, descriptors_of, program_of, namespaces_of};
    const char *until = setting("until");
    if (!until) return untried("no until=FILE");
    /* The last word is the pid that was given last. */
    int newest = open("/proc/loadavg", O_RDONLY | O_CLOEXEC), seen = 0;
    if (newest < 0) return untried("/proc/loadavg: %s", strerror(errno));
    for (long round = 0; round % 256 || access(until, F_OK) < 0; round++) {
        char text[128];
        long n = pread(newest, text, sizeof text - 1, 0);
        text[n < 0 ? 0 : n] = 0;
        char *word = strrchr(text, ' ');
        int last = word ? atoi(word) : 0;
        for (int pid = last; pid > 1 && pid > last - 3; pid--) {
            if (pid == getpid() || syscall(SYS_kill, pid, 0) < 0) continue;
            seen++;
            for (size_t i = 0; i < sizeof visits / sizeof *visits; i++)
                if (visits[i](pid) == THROUGH) return THROUGH;
        }
    }
    if (seen < 1000) return untried("looked only %d times", seen);
    return held("looked at processes %d times", seen);
}
