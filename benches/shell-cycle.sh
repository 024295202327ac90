#!/bin/sh
# The cold cycle by hand: what an administrator would type, or have in a script, to get an overlay as
# root and a cable to a bridge, run one command as PID 1 in there, and take all of it away again. It is
# what cold-cycle.sh measures the tools against, so it takes no detour that would make it slow.
#
#     shell-cycle.sh [--lazy] DIR LAYER BRIDGE ADDRESS [COMMAND...]
#
# DIR: a directory with root, work and live in it; its last part names the namespace and the link.
# COMMAND: what runs inside, by default /bin/true. --lazy: the link gets a throw-away name and the kernel
# deletes it later, as subhost-stop does; without, `ip link delete` waits for the kernel, as --sync does.
#
# It must not check, lock, remember or repair anything: that is what tools are for.
set -eu

if [ "$1" = --inside ]; then
    live=$2 name=$3
    shift 3
    mount -t proc -o nosuid,nodev,noexec proc "$live/proc"
    mount -t sysfs -o ro,nosuid,nodev,noexec sys "$live/sys"
    mount -t tmpfs -o nosuid,noexec,mode=755,size=1m dev "$live/dev"
    mkdir "$live/dev/pts" "$live/dev/shm"
    # One process makes all nodes: six times mknod would cost as many milliseconds.
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$live/dev"
    ln -s pts/ptmx "$live/dev/ptmx"
    ln -s /proc/self/fd "$live/dev/fd"
    mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=666,mode=620,gid=5 pts "$live/dev/pts"
    mount -t tmpfs -o nosuid,nodev shm "$live/dev/shm"
    mount -t tmpfs -o nosuid,nodev,mode=755,size=50m run "$live/run"
    hostname "$name"
    cd "$live"
    pivot_root . mnt
    umount -l /mnt
    exec "$@"
fi

lazy=no
if [ "$1" = --lazy ]; then
    lazy=yes
    shift
fi
dir=$1 layer=$2 bridge=$3 address=$4
shift 4
[ $# -gt 0 ] || set -- /bin/true
name=${dir##*/}
link=${name}0

mount -t overlay -o "lowerdir=$layer,upperdir=$dir/root,workdir=$dir/work" "$name" "$dir/live"
ip netns add "$name"
ip -n "$name" link set lo up
ip link add "$link" address fe:00:00:00:00:0b master "$bridge" up type veth \
    peer name eth0 address 02:00:00:00:00:0b netns "$name"
ip -n "$name" link set eth0 up
ip -n "$name" address add "$address" dev eth0

# Not `ip netns exec`, which makes a mount namespace and a sysfs that nobody here needs.
status=0
nsenter --net="/run/netns/$name" unshare -m -u -i -p -f "$0" --inside "$dir/live" "$name" "$@" || status=$?

if [ "$lazy" = yes ]; then
    ip link set "$link" down nomaster name "gone$$"
else
    ip link delete "$link"
fi
ip netns delete "$name"
umount "$dir/live"
exit "$status"
