/* Calls that only hosts make: modules, kernels, clocks, swap, accounting, power, names. */
#include "attacks.h"
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/fanotify.h>
#include <sys/quota.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

static enum outcome module(void) { return judge_reached(syscall(SYS_init_module, "attack", 6, ""), "init_module"); }

static enum outcome module_file(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    return judge_reached(syscall(SYS_finit_module, fd, "", 0), "finit_module");
}

static enum outcome module_out(void)
{
    return judge_reached(syscall(SYS_delete_module, "no_such_module_for_an_attack", O_NONBLOCK), "delete_module");
}

static enum outcome kexec(void) { return judge_reached(syscall(SYS_kexec_load, 0, 0xffff, NULL, 0xffff0000UL), "kexec_load"); }
static enum outcome kexec_file(void) { return judge_reached(syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0), "kexec_file_load"); }

/* The command asks for something that a pid namespace's reboot does not know, but who may ask is checked first. */
static enum outcome power_off(void) { return judge_reached(reboot(RB_ENABLE_CAD), "reboot"); }

static enum outcome clock_set(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return judge(clock_settime(CLOCK_REALTIME, &now), "clock_settime");
}

static enum outcome day_set(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return judge(settimeofday(&now, NULL), "settimeofday");
}

static enum outcome clock_adjust(void)
{
    struct timex timex = {0};
    if (adjtimex(&timex) < 0) return judge(-1, "adjtimex");
    timex.modes = ADJ_TICK; /* the same that it is */
    return judge(adjtimex(&timex), "adjtimex");
}

static enum outcome clock_wake(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    timer_t timer;
    return judge_absent(timer_create(CLOCK_REALTIME_ALARM, &event, &timer), "a timer that wakes the machine");
}

static enum outcome swap_on(void) { return judge_reached(swapon("/no/such/file", 0), "swapon"); }
static enum outcome swap_off(void) { return judge_reached(swapoff("/no/such/file"), "swapoff"); }

static enum outcome accounting(void) { return judge_reached(acct("/no/such/file"), "acct"); }

static enum outcome quota(void)
{
    return judge_absent(quotactl(QCMD(Q_QUOTAOFF, USRQUOTA), "/planted/disk", 0, NULL), "quotactl");
}

static enum outcome program(void)
{
    struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0}, {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (uintptr_t)code, .insn_cnt = 2, .license = (uintptr_t) "GPL"};
    return judge(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr), "bpf: a program");
}

static enum outcome map(void)
{
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
    return judge(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, 48), "bpf: a map");
}

static enum outcome perf(bool whole_machine)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_CPU_CLOCK};
    attr.exclude_kernel = !whole_machine;
    attr.exclude_hv = 1;
    int pid = whole_machine ? -1 : 0, cpu = whole_machine ? 0 : -1;
    return judge(syscall(SYS_perf_event_open, &attr, pid, cpu, -1, 0), "perf_event_open");
}
static enum outcome perf_all(void) { return perf(true); }
static enum outcome perf_self(void) { return perf(false); }

static enum outcome fanotify(void) { return judge(fanotify_init(FAN_CLASS_CONTENT, O_RDONLY), "fanotify_init"); }
static enum outcome name(void) { return judge(sethostname("attack", 6), "sethostname"); }
static enum outcome domain(void) { return judge(setdomainname("attack", 6), "setdomainname"); }

const struct attack kernel_attacks[] = {
    {"init-module", module, IN_CHROOT, "a kernel module", 0},
    {"finit-module", module_file, IN_CHROOT, "a kernel module from a file", 0},
    {"delete-module", module_out, IN_CHROOT, "a kernel module taken out", 0},
    {"kexec", kexec, IN_CHROOT, "another kernel", 0},
    {"kexec-file", kexec_file, IN_CHROOT, "another kernel from a file", 0},
    {"reboot", power_off, IN_CHROOT, "reboot(2)", 0},
    {"clock-settime", clock_set, IN_CHROOT, "the host's clock", 0},
    {"settimeofday", day_set, IN_CHROOT, "the host's clock by the old call", 0},
    {"adjtimex", clock_adjust, IN_CHROOT, "the host's clock made faster", 0},
    {"alarm-timer", clock_wake, IN_CHROOT, "a timer that wakes the machine", 0},
    {"swapon", swap_on, IN_CHROOT, "swap", 0},
    {"swapoff", swap_off, IN_CHROOT, "swap taken away", 0},
    {"acct", accounting, IN_CHROOT, "process accounting", 0},
    {"quotactl", quota, NEVER, "quotas of the host's file systems", "it takes a file system with quotas that would then be off"},
    {"bpf-program", program, IN_CHROOT, "code in the kernel", 0},
    {"bpf-map", map, IN_CHROOT, "a map of the kernel's", 0},
    {"perf-host", perf_all, IN_CHROOT, "measuring all of the host", 0},
    {"perf-self", perf_self, IN_CHROOT, "perf events at all", 0},
    {"fanotify", fanotify, IN_CHROOT, "permission events for whole file systems", 0},
    {"sethostname", name, IN_CHROOT, "the host name", 0},
    {"setdomainname", domain, IN_CHROOT, "the NIS domain", 0},
    {0},
};
