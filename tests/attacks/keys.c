/* Keyrings: without a user namespace, root's are the same inside and outside. */
#include "attacks.h"
#include <linux/keyctl.h>

static long keyctl(int operation, long a, long b, long c, long d) { return syscall(SYS_keyctl, operation, a, b, c, d); }

/* ENOKEY and its kin: there is none for us. */
static enum outcome judge_key(long result, const char *call)
{
    if (result < 0 && (errno == ENOKEY || errno == EKEYREVOKED || errno == EKEYEXPIRED)) return held("%s: %s", call, strerror(errno));
    return judge(result, call);
}

static enum outcome read_given(void)
{
    char text[64] = "";
    const char *serial = setting("key");
    if (!serial) return untried("no key=SERIAL");
    return judge_key(keyctl(KEYCTL_READ, atol(serial), (long)text, sizeof text, 0), "read the host's key");
}

static enum outcome found_in(int keyring, const char *call)
{
    const char *name = setting("keyname");
    if (!name) return untried("no keyname=NAME");
    return judge_key(keyctl(KEYCTL_SEARCH, keyring, (long)"user", (long)name, 0), call);
}

static enum outcome user_keyring(void) { return found_in(KEY_SPEC_USER_KEYRING, "search the user's keyring"); }
static enum outcome user_session(void) { return found_in(KEY_SPEC_USER_SESSION_KEYRING, "search the user's session keyring"); }
static enum outcome session(void) { return found_in(KEY_SPEC_SESSION_KEYRING, "search the session keyring"); }

/* A key where the host's root looks for his; taken away again. */
static enum outcome add(void)
{
    long key = syscall(SYS_add_key, "user", "attack-planted", "x", 1, KEY_SPEC_USER_KEYRING);
    int e = errno;
    if (key >= 0) keyctl(KEYCTL_UNLINK, key, KEY_SPEC_USER_KEYRING, 0, 0);
    errno = e;
    return judge_key(key, "add_key to the user's keyring");
}

/* One's own keyring needs no such call to exist, but each is memory of the kernel's. */
static enum outcome own_ring(void) { return judge(keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0), "a session keyring"); }

/* Finds it, or else has the host's kernel run /sbin/request-key. */
static enum outcome upcall(void)
{
    const char *name = setting("keyname");
    if (!name) return untried("no keyname=NAME");
    return judge_key(syscall(SYS_request_key, "user", name, NULL, 0), "request_key");
}

const struct attack key_attacks[] = {
    {"key-read", read_given, ON_HOST, "a key of the host's root by its number", 0},
    {"key-user", user_keyring, ON_HOST, "a key of the host's root by name", 0},
    {"key-user-session", user_session, ON_HOST, "a key of root's sessions on the host", 0},
    {"key-session", session, ON_HOST, "a key of the session that started us", 0},
    {"key-add", add, IN_CHROOT, "a key for the host's root to find", 0},
    {"keyctl", own_ring, IN_CHROOT, "keyctl(2) at all", 0},
    {"key-request", upcall, ON_HOST, "a key of the host's, or its program request-key", 0},
    {0},
};
