#!/bin/sh
# Installs what building ("build"), testing ("check"), testing on another kernel ("vm"), the attacks side by
# side ("attacks"), Debian's services ("services") or the benchmark ("bench") need on Debian and its kin; on others it says what is
# missing. "env" prints assignments for eval, with which cargo is found under sudo.
set -eu

# sudo and cron hand on a PATH without the home of the user whose cargo it is.
path=$PATH
for dir in "${HOME:-/root}/.cargo/bin" "/root/.cargo/bin" /usr/local/cargo/bin; do
    if [ -x "$dir/cargo" ]; then path=$path:$dir; fi
done
if [ -n "${SUDO_USER:-}" ]; then
    home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    if [ -x "$home/.cargo/bin/cargo" ]; then
        path=$path:$home/.cargo/bin
        # rustup finds its toolchains by the home of its user.
        export RUSTUP_HOME="$home/.rustup"
    fi
fi

case ${1:-} in
env)
    printf "export PATH='%s'\n" "$path:/usr/local/sbin:/usr/sbin:/sbin"
    if [ -n "${RUSTUP_HOME:-}" ]; then printf "export RUSTUP_HOME='%s'\n" "$RUSTUP_HOME"; fi
    exit ;;
# gcc links; libclang reads <linux/loop.h> for the loop device crate (bindgen).
build) packages='gcc libc6-dev libclang-dev iproute2' ;;
check) packages='gcc libc6-dev libclang-dev iproute2 busybox-static dash bash strace jq util-linux
        mount fdisk e2fsprogs xfsprogs btrfs-progs squashfs-tools erofs-utils procps man-db
        sudo opendoas uidmap passt slirp4netns' ;;
vm) packages='qemu-system-x86 python3-venv kmod jq bsdutils apparmor checkpolicy' ;;
attacks) packages='gcc libc6-dev busybox-static e2fsprogs systemd-container crun bubblewrap' ;;
services) packages='debootstrap openssh-client curl python3' ;;
bench) packages='debootstrap python3 lxc systemd-container podman crun bubblewrap iperf3' ;;
*) echo "usage: setup.sh build|check|vm|attacks|services|bench|env" >&2; exit 2 ;;
esac

missing=
if command -v dpkg-query >/dev/null 2>&1; then
    for package in $packages; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :)
        [ "$state" = installed ] || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        echo "installing$missing" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q >&2
        # shellcheck disable=SC2086 # words
        apt-get install -y -q --no-install-recommends $missing >&2
    fi
else
    for program in cc ip mount busybox; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    [ -z "$missing" ] || { echo "missing:$missing (Debian calls the packages: $packages)" >&2; exit 1; }
fi
if ! PATH=$path command -v cargo >/dev/null 2>&1; then
    echo "cargo is not there: install Rust 1.89 or later from https://rustup.rs" >&2
    exit 1
fi
