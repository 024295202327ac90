/* The host's side: what is there to be found and must not be found, for as long as a command runs. And a
 * chroot that forgets its working directory, which is where attacks must succeed. */
#include "attacks.h"
#include <linux/keyctl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

static void must(long result, const char *what)
{
    if (result >= 0) return;
    fprintf(stderr, "attacks: %s: %s\n", what, strerror(errno));
    exit(4);
}

static int listener(int family, struct sockaddr *address, socklen_t length)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd, "socket");
    must(bind(fd, address, length), "bind");
    must(listen(fd, 8), "listen");
    must(getsockname(fd, address, &length), "getsockname");
    return fd;
}

/* attacks host [K=V...] -- COMMAND...: the command has all settings in the variable ATTACKS, a secret in its
 * environment, a key in its session, and descriptors of the host that are not closed at exec. */
int host(int argc, char **argv)
{
    char all[4096] = "", name[64];
    int i = 0;
    for (; i < argc && strcmp(argv[i], "--"); i++) {
        strncat(all, argv[i], sizeof all - strlen(all) - 1);
        strncat(all, " ", sizeof all - strlen(all) - 1);
    }
    if (i + 1 >= argc) return 2;
    snprintf(name, sizeof name, "attack-canary-%d", getpid());

    must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0), "session keyring");
    /* As a login does: who has the session has what is in the user's keyring. */
    must(syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING), "link of the user's keyring");
    long session = syscall(SYS_add_key, "user", name, "canary", 6, KEY_SPEC_SESSION_KEYRING);
    must(session, "key of the session");
    long key = syscall(SYS_add_key, "user", name, "canary", 6, KEY_SPEC_USER_KEYRING);
    must(key, "key of the user");
    /* Should we be killed, it does not stay. */
    must(syscall(SYS_keyctl, KEYCTL_SET_TIMEOUT, key, 300), "timeout of the key");
    must(syscall(SYS_keyctl, KEYCTL_SETPERM, key, 0x3f3f0000), "permissions of the key");

    int shm = shmget(getpid(), 4096, IPC_CREAT | IPC_EXCL | 0600), sem = semget(getpid(), 1, IPC_CREAT | IPC_EXCL | 0600);
    must(shm, "shmget");
    must(sem, "semget");
    char queue[80];
    snprintf(queue, sizeof queue, "/%s", name);
    int mq = mq_open(queue, O_RDWR | O_CREAT | O_CLOEXEC, 0600, NULL);
    must(mq, "mq_open");
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    strcpy(path.sun_path + 1, name);
    listener(AF_UNIX, (struct sockaddr *)&path, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    listener(AF_INET, (struct sockaddr *)&address, sizeof address);

    size_t used = strlen(all);
    snprintf(all + used, sizeof all - used, "pid=%d key=%ld keyname=%s ipc=%d queue=%s abstract=%s port=%d", getpid(), key, name, getpid(), queue, name,
             ntohs(address.sin_port));
    setenv("ATTACKS", all, 1);
    setenv("ATTACK_SECRET", "canary", 1);
    pid_t pid = fork();
    must(pid, "fork");
    if (pid == 0) {
        /* Two that nobody may inherit: the host's root, and a file of its. */
        must(dup2(open("/", O_RDONLY | O_DIRECTORY), 9), "dup2");
        must(dup2(open("/etc/passwd", O_RDWR), 10), "dup2");
        execvp(argv[i + 1], argv + i + 1);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    syscall(SYS_keyctl, KEYCTL_UNLINK, key, KEY_SPEC_USER_KEYRING);
    shmctl(shm, IPC_RMID, NULL);
    semctl(sem, 0, IPC_RMID);
    mq_unlink(queue);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}

/* attacks chroot DIR COMMAND... */
int weak_chroot(int argc, char **argv)
{
    if (argc < 2) return 2;
    must(chroot(argv[0]), "chroot");
    execv(argv[1], argv + 1);
    fprintf(stderr, "attacks: %s: %s\n", argv[1], strerror(errno));
    return 127;
}
