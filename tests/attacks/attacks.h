/* Attacks on whoever runs this program inside: each function is one try to get out or to do harm.
 * An attack never does what could not be undone: where it gets through, it stops there. */
#ifndef ATTACKS_H
#define ATTACKS_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Exit statuses. Whatever is neither means that it could not be tried. */
enum outcome { THROUGH = 0, HELD = 1, UNTRIED = 3 };

/* Where an attack must succeed, so that its failure inside says something. */
enum proof {
    IN_CHROOT, /* as root with all capabilities in a mere chroot, with PID 1 outside */
    ON_HOST,   /* in the namespaces of the host's processes; a chroot may have no user namespaces */
    NEVER,     /* nowhere that is safe: see why */
};

struct attack {
    const char *name;
    enum outcome (*run)(void);
    enum proof proof;
    const char *what;
    const char *why; /* NEVER: the reason */
};

/* One table for each file, ended by a name of NULL. */
extern const struct attack mount_attacks[], root_attacks[], device_attacks[], proc_attacks[], process_attacks[],
    kernel_attacks[], call_attacks[], key_attacks[], net_attacks[], limit_attacks[];

/* What came of it, with the reason for people. */
enum outcome through(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum outcome held(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum outcome untried(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a system call's result and errno mean: done is through, forbidden is held, all else a fault of
 * the attack. */
enum outcome judge(long result, const char *call);
/* The same where what is not there is as good as forbidden. */
enum outcome judge_absent(long result, const char *call);
/* The same where the permission is checked first: any other error says that we got past that. */
enum outcome judge_reached(long result, const char *call);
/* Is this errno a refusal? */
bool forbidden(int error);

/* A setting from the command line, KEY=VALUE; NULL if there is none. */
const char *setting(const char *key);
/* Is the host's canary readable at `prefix` followed by its path? */
bool canary_at(const char *prefix);
/* Reads a file's beginning; the number of bytes, or -1. */
long slurp(const char *path, char *buffer, size_t size);
/* A mount namespace of our own where we may have one, so that a success stays with us. */
void own_mounts(void);
/* An empty directory of our own in /tmp. */
const char *scratch(void);

/* Visits of one process: does it lead to the host? */
enum outcome links_of(int pid);
enum outcome descriptors_of(int pid);
enum outcome namespaces_of(int pid);
enum outcome program_of(int pid);
int foreign_program(int pid, char target[PATH_MAX]);
enum outcome environment_of(int pid);
enum outcome memory_of(int pid);
enum outcome watch(void);

/* attacks host, attacks chroot: what follows that word. */
int host(int argc, char **argv);
int weak_chroot(int argc, char **argv);

/* Calls `visit` for each process of /proc, PID 1 first, until one is through. */
enum outcome each_process(enum outcome (*visit)(int pid));

#endif
