#!/bin/bash
# How long does a cold cycle take: overlay root, one cable to a bridge, boot, /bin/true, all torn down?
#
#     cold-cycle.sh [--syscalls] DIR [ROUNDS]
#
# DIR holds the built tools (build them with --release). ROUNDS, 30 if not given, are timed after 3 that
# are not. In each round every command has its turn, so that what the machine does meanwhile meets all of
# them; what a command leaves to the kernel is waited for before the next one, outside the measured time.
# The figures depend on the machine. The ratios to the shell script, taken in the same run, do much less.
#
# --syscalls prints, instead of times, how many system calls each tool makes and which (needs strace).
# BENCH_TREE names the system tree that serves as layer, for example one that debootstrap made. It is
# only read. If unset, a small one is made of busybox-static.
#
# Needs root, bash, iproute2 and busybox-static. It works in mount and network namespaces of its own, in a
# directory of mktemp's, and must touch nothing of the host.
set -euo pipefail
export LC_ALL=C # The point in $EPOCHREALTIME and what sort and awk take for a number.

die() {
    echo "cold-cycle.sh: $*" >&2
    exit 1
}

usage() {
    echo "usage: cold-cycle.sh [--syscalls] DIR [ROUNDS]" >&2
    exit 2
}

# --- outside: a directory and namespaces, and the end of both -----------------------------------------

outside() {
    local mode=times tools rounds here tool program child status=0
    while [[ ${1-} == -* ]]; do
        case $1 in
        --syscalls) mode=syscalls ;;
        *) usage ;;
        esac
        shift
    done
    [[ $# -ge 1 && $# -le 2 ]] || usage
    rounds=${2:-30}
    [[ $rounds =~ ^[1-9][0-9]*$ ]] || usage
    [[ $EUID == 0 ]] || die "must be root"
    tools=$(realpath -e -- "$1") || exit 1
    for tool in mount net enter start stop info init; do
        [[ -x $tools/subhost-$tool ]] || die "no subhost-$tool in $tools: build the tools first"
    done
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    for program in ip nsenter unshare pivot_root; do
        type -P "$program" >/dev/null || die "there is no $program"
    done
    if [[ -n ${BENCH_TREE-} ]]; then
        [[ -e $BENCH_TREE/bin/true ]] || die "BENCH_TREE=$BENCH_TREE: no system tree, there is no bin/true"
        BENCH_TREE=$(realpath -e -- "$BENCH_TREE")
    else
        type -P busybox >/dev/null || die "there is no busybox: install busybox-static, or set BENCH_TREE"
    fi
    [[ $mode == times || -n $(type -P strace) ]] || die "there is no strace"

    here=$(dirname -- "$(realpath -e -- "$0")")
    # Removed from out here, where nothing that is mounted in there can be seen or reached.
    TOP=$(mktemp -d "${TMPDIR:-/tmp}/cold-cycle.XXXXXX")
    trap 'rm -rf --one-file-system -- "$TOP"' EXIT
    # In the background, because a trap would wait for the end of a program in the foreground.
    env -i PATH="$PATH" LC_ALL=C \
        BENCH_INSIDE="$here" BENCH_TREE="${BENCH_TREE-}" SUBHOST="$TOP/opt" \
        unshare -m -n --propagation private \
        "${BASH:-bash}" "$here/cold-cycle.sh" "$mode" "$tools" "$rounds" &
    child=$!
    trap 'kill -TERM "$child" 2>/dev/null || true' INT TERM HUP
    wait "$child" || status=$?
    # A signal ends wait at once: the child is still tidying up.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child" || status=$?
    done
    exit "$status"
}

# --- inside -------------------------------------------------------------------------------------------

inside() {
    local mode=$1
    tools=$2 rounds=$3
    trap tidy EXIT
    trap 'exit 143' INT TERM HUP
    set_up
    case $mode in
    times) times ;;
    syscalls) syscalls ;;
    esac
}

# Namespaces end with their last process: what could stay behind is a subhost's PID 1.
tidy() {
    "$tools/subhost-stop" -q -k --sync bench >&2 || true
}

set_up() {
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /var/log
    mkdir -m 700 "$SUBHOST"
    mkdir "$SUBHOST/probe" "$SUBHOST"/probe/{root,work,live}
    if ! mount -t overlay -o "lowerdir=$SUBHOST/probe,upperdir=$SUBHOST/probe/root,workdir=$SUBHOST/probe/work" \
        probe "$SUBHOST/probe/live" 2>/dev/null; then
        # The file system of this place cannot be an overlay's upper one.
        mount -t tmpfs -o mode=700 tmpfs "$SUBHOST"
    else
        umount "$SUBHOST/probe/live"
    fi
    where=$(findmnt -n -o FSTYPE -T "$SUBHOST")

    layer=$SUBHOST/layers/base
    mkdir -p "$layer"
    if [[ -n $BENCH_TREE ]]; then
        mount --bind "$BENCH_TREE" "$layer"
        mount -o remount,bind,ro "$layer"
        what=$BENCH_TREE
    else
        mkdir "$layer"/{bin,dev,etc,mnt,proc,root,run,sys,tmp}
        local busybox name
        busybox=$(type -P busybox)
        cp "$busybox" "$layer/bin/busybox"
        what="static busybox"
        # One that is not static needs what the loader lists, and takes longer to start.
        for name in $(ldd "$busybox" 2>/dev/null | grep -o '/[^ ]*' || true); do
            what="dynamic busybox"
            mkdir -p "$layer${name%/*}"
            cp -L "$name" "$layer$name"
        done
        for name in mount sh true umount; do
            ln -s busybox "$layer/bin/$name"
        done
        echo root:x:0:0:root:/root:/bin/sh >"$layer/etc/passwd"
        echo root:x:0: >"$layer/etc/group"
    fi

    mkdir -m 700 "$SUBHOST"/{bench,shell}
    mkdir "$SUBHOST/bench/root" "$SUBHOST"/shell/{root,work,live}
    # shellcheck disable=SC2016 # $SUBHOST is for the tools to read.
    printf '%s\n' 'LOWER="$SUBHOST/layers/base"' 'BRIDGES=br0' 'ADDR0=192.0.2.10/24' >"$SUBHOST/bench/config"
    chmod 600 "$SUBHOST/bench/config"

    ip link set lo up
    # With an address of its own it does not take another one whenever a cable comes or goes.
    ip link add br0 address 02:00:00:00:00:01 type bridge forward_delay 0
    ip link set br0 up
    ip address add 192.0.2.1/24 dev br0
    # iproute2 makes /run/netns a mount of its own once, and leaves it.
    ip netns add once
    ip netns delete once
}

# Until the kernel has taken away what the last command left to it.
settle() {
    local text
    for _ in {1..200}; do
        text=$(</proc/self/net/dev)
        [[ $text == *gone* || $text == *bench* || $text == *shell* ]] || return 0
        sleep 0.01
    done
    die "links of the last round are still there: $text"
}

# --- times --------------------------------------------------------------------------------------------

four_tools() {
    "$tools/subhost-mount" bench
    "$tools/subhost-net" bench
    "$tools/subhost-enter" bench -- /bin/true
    "$tools/subhost-stop" bench
}

start_stop() {
    "$tools/subhost-start" bench
    "$tools/subhost-stop" bench
}

start_stop_sync() {
    "$tools/subhost-start" bench
    "$tools/subhost-stop" --sync bench
}

by_hand() {
    "$BENCH_INSIDE/shell-cycle.sh" "$SUBHOST/shell" "$layer" br0 192.0.2.11/24
}

by_hand_lazy() {
    "$BENCH_INSIDE/shell-cycle.sh" --lazy "$SUBHOST/shell" "$layer" br0 192.0.2.11/24
}

# Runs one command and gives its time, in microseconds, in $took.
timed() {
    local from=$EPOCHREALTIME to
    "$1" </dev/null >&2
    to=$EPOCHREALTIME
    took=$((${to/./} - ${from/./}))
}

times() {
    local commands=(by_hand four_tools by_hand_lazy start_stop start_stop_sync) command round
    declare -A label=(
        [by_hand]="shell-cycle.sh"
        [by_hand_lazy]="shell-cycle.sh --lazy"
        [four_tools]="mount; net; enter -- true; stop"
        [start_stop]="start; stop"
        [start_stop_sync]="start; stop --sync"
    )
    declare -A all=()
    local load
    # With more than a little of it, only the smallest figures mean much.
    read -r load _ </proc/loadavg
    for ((round = -2; round <= rounds; round++)); do
        for command in "${commands[@]}"; do
            timed "$command"
            settle
            ((round < 1)) || all[$command]+="$took "
        done
    done
    printf '%-33s %8s %8s %8s %8s\n' "cold cycle, ms" min median max ratio
    for command in "${commands[@]}"; do
        printf '%s ' "${all[$command]}" | tr -s ' ' '\n' | sort -n |
            awk -v label="${label[$command]}" -v base="${base-}" '
                { t[NR] = $1 / 1000 }
                END {
                    median = (t[int((NR + 1) / 2)] + t[int(NR / 2) + 1]) / 2
                    if (base == "") base = median
                    printf "%-33s %8.1f %8.1f %8.1f %8.2f\n", label, t[1], median, t[NR], median / base
                    print median > "/run/median"
                }'
        # The first is what the others are held against.
        : "${base:=$(</run/median)}"
    done
    echo "Linux $(uname -r), $(nproc) CPUs, $(date -I); $rounds rounds; layer: $what; on $where; load $load"
}

# --- system calls -------------------------------------------------------------------------------------

syscalls() {
    # Once untraced: what is made only the first time does not count.
    four_tools </dev/null
    settle
    traced subhost-mount bench
    traced subhost-net bench
    traced subhost-enter bench -- /bin/true
    traced subhost-stop bench
    settle
    traced_start
    traced subhost-stop bench
    settle
    echo "Linux $(uname -r), $(date -I); with all processes and threads that a tool makes; layer: $what"
}

traced() {
    local tool=$1
    shift
    strace -f -c -S calls -U name,calls,errors -o /run/calls "$tools/$tool" "$@" </dev/null
    table "$tool $*"
}

# strace stays as long as PID 1 does, so that is ended before there is a table: its end counts too.
traced_start() {
    local tracer
    strace -f -c -S calls -U name,calls,errors -o /run/calls "$tools/subhost-start" bench </dev/null &
    tracer=$!
    until "$tools/subhost-info" bench >/dev/null 2>&1; do
        kill -0 "$tracer" || die "subhost-start failed"
        sleep 0.02
    done
    "$tools/subhost-stop" bench
    wait "$tracer" || die "subhost-start failed"
    table "subhost-start bench, to the end of PID 1"
    settle
    "$tools/subhost-start" bench </dev/null
}

# The sum, and the ten most frequent calls, with how many of them failed.
table() {
    awk -v title="$1" '
        $1 == "total" { total = $2; failed = $3 + 0; next }
        NR > 2 && $2 ~ /^[0-9]+$/ && n < 10 {
            most = most sprintf("%s %s %d%s", n++ ? "," : "", $1, $2, $3 ? " (" $3 " failed)" : "")
        }
        END { printf "%s: %d system calls, %d failed:%s\n", title, total, failed, most }' /run/calls
}

if [[ -n ${BENCH_INSIDE-} ]]; then
    inside "$@"
else
    outside "$@"
fi
