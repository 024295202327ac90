#!/bin/sh
# The attacks of the tests, side by side: in subhosts and in what else makes containers, as a table in
# Markdown. $1: the directory of the built tools.
#
# Needs root, cc, busybox, mkfs.ext4 and, of the others, what is installed: systemd-nspawn (Debian's
# systemd-container), crun, bwrap (bubblewrap). All runs in namespaces of its own; the attacks stop where
# they get through.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
scratch=$here/target/attacks

if [ "${ATTACKS_SIDE:-}" = "" ]; then
    [ "$(id -u)" = 0 ] || { echo "attacks: must be run as root" >&2; exit 1; }
    PATH=$(cd "$1" && pwd):$PATH
    export PATH
    # In each hierarchy of cgroups a part of our own.
    tops=$(findmnt -rnt cgroup,cgroup2 -o TARGET)
    ours=subhost-attacks.$$
    clean() {
        for top in $tops; do find "$top/$ours" -depth -type d -exec rmdir {} \; 2>/dev/null || :; done
    }
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    for top in $tops; do mkdir "$top/$ours"; done
    status=0
    ATTACKS_SIDE=$ours TOPS=$tops sh -ec '
        for top in $TOPS; do
            # A cpuset takes nobody in before it has CPUs.
            for file in cpuset.cpus cpuset.mems; do
                [ ! -e "$top/$ATTACKS_SIDE/$file" ] || cat "$top/$file" >"$top/$ATTACKS_SIDE/$file"
            done
            echo 0 >"$top/$ATTACKS_SIDE/cgroup.procs"
        done
        exec unshare -mnuiC --propagation private sh "$0"' "$0" || status=$?
    exit $status
fi

# A user who is nobody else.
user=65533
disks=
clean() {
    subhost-stop -k --sync plain >/dev/null 2>&1 || :
    subhost-stop -k --sync mapped >/dev/null 2>&1 || :
    for disk in $disks; do losetup -d "$disk"; done
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p "$scratch"
mount -t tmpfs -o mode=755 scratch "$scratch"
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 log /var/log
# Where ids are given out for good; an empty directory is all that the host gets of it.
mkdir -p /var/lib/subhost
mount -t tmpfs -o mode=755 ids /var/lib/subhost
for top in $TOPS; do mount --bind "$top/$ATTACKS_SIDE" "$top"; done
cd "$scratch"
cc -static -O1 -std=gnu17 -o attacks "$here"/tests/attacks/*.c

mkdir -p tree/bin tree/dev tree/etc tree/home tree/lib tree/mnt tree/planted tree/proc tree/root tree/run tree/sbin tree/sys tree/usr tree/var outside
mkdir -m 1777 tree/tmp
cp attacks tree/
cp "$(command -v busybox)" tree/bin/
ln -s busybox tree/bin/sh
echo root:x:0:0::/root:/bin/sh >tree/etc/passwd
for file in group hosts resolv.conf; do cp tree/etc/passwd tree/etc/$file; done
echo ID=tree >tree/etc/os-release
echo canary >outside/canary
yes canary | head -c 1M >disk
truncate -s 4M ext4
mkfs.ext4 -q ext4
disk=$(losetup -f --show disk)
disks=$disk
ext4=$(losetup -f --show ext4)
disks="$disk $ext4"
node() { mknod "tree/planted/$1" b "$(stat -c 0x%t "$2")" "$(stat -c 0x%T "$2")"; }
node disk "$disk"
node ext4 "$ext4"
mknod tree/planted/kmsg c 1 11
ip link set lo up
ip link add attackhost type bridge
settings="canary=$scratch/outside/canary link=attackhost disk=$(($(stat -c 0x%t "$disk"))):$(($(stat -c 0x%T "$disk")))"

# run COLUMN SCRIPT: what comes of it, in a copy of the tree.
columns=
run() {
    name=$1
    rm -rf --one-file-system copy
    cp -a tree copy
    # shellcheck disable=SC2086 # words
    if (cd outside && { "$scratch/attacks" host $settings -- sh -ec "$2" </dev/null 2>&3 | cat >"$scratch/$name.out"; } 3>&1 | cat >"$scratch/error") &&
        grep -q '^tioclinux	' "$name.out"; then
        columns="$columns $name"
    else
        echo "attacks: $name cannot run here: $(cat error)" >&2
    fi
}
version() { "$@" 2>/dev/null | head -n 1 | sed 's/ (.*//'; }

export SUBHOST="$scratch/opt" COPY="$scratch/copy"
mkdir -m 700 opt
for one in plain mapped; do
    mkdir -m 700 opt/$one
    mkdir opt/$one/root
    echo "LOWER=$scratch/tree" >opt/$one/config
    chmod 600 opt/$one/config
done
echo USERNS=yes >>opt/mapped/config
run subhost "subhost-start plain; subhost-enter -T plain -- /attacks all \$ATTACKS"
run subhost-userns "subhost-start mapped; subhost-enter -T mapped -- /attacks all \$ATTACKS"
if command -v systemd-nspawn >/dev/null; then
    nspawn='systemd-nspawn -q --register=no --keep-unit -D $COPY --private-network'
    run nspawn "$nspawn /attacks all \$ATTACKS"
    run nspawn-U "$nspawn -U /attacks all \$ATTACKS"
fi
if command -v crun >/dev/null; then
    # It knows no host with both versions of cgroups: here it sees version 2.
    run crun 'mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || :
        mkdir -p ../bundle; cd ../bundle; rm -f config.json; crun spec
        words=$(printf ", \"%s\"" all $ATTACKS)
        sed -i -e "s/\"terminal\": true/\"terminal\": false/" -e "s/\"readonly\": true/\"readonly\": false/" \
            -e "s#\"rootfs\"#\"$COPY\"#" -e "s#^\([[:space:]]*\)\"sh\"#\1\"/attacks\"$words#" config.json
        crun --cgroup-manager=disabled run attacks'
fi
if command -v bwrap >/dev/null; then
    # As it is used, by a user who is not root.
    run bwrap "setpriv --reuid $user --regid $user --clear-groups bwrap --unshare-all --uid 0 --gid 0 --bind \$COPY / \
        --proc /proc --dev /dev --tmpfs /tmp /attacks all \$ATTACKS"
fi

title() {
    case $1 in
    subhost) echo "subhost" ;;
    subhost-userns) echo "subhost, USERNS=yes" ;;
    nspawn) echo "nspawn" ;;
    nspawn-U) echo "nspawn -U" ;;
    *) echo "$1" ;;
    esac
}
cat <<END
# Attacks, side by side

Each attack is a small program in [tests/attacks](../tests/attacks), run by root inside: it tries one escape or one
harm, and stops where it gets through. \`make check\` runs all of them in subhosts of the defaults and with
USERNS=yes, as what a subhost was started for, as what was entered, on a terminal and below an init of the tree's
own, and sees each of them succeed where nothing confines it, as far as the machine can show that. \`make attacks\`
writes this page.

Made on $(date -u +%Y-%m-%d) with Linux $(uname -r), $(version subhost-start --version), $(version systemd-nspawn --version), $(version crun --version), $(version bwrap --version).

The others as they come: \`systemd-nspawn --private-network\`, and with \`-U\`; \`crun\` with the config that
\`crun spec\` writes; \`bwrap --unshare-all\` by an ordinary user. What to know before comparing:

- The attacks were written against what subhost promises. What the others guard and nobody thought of here is not
  in the list. \`-\` is what could not be tried there.
- nspawn leaves SYS_ADMIN to root inside, since it is made to boot systemd: what is mounted there is mounted in a
  namespace of its own, which is no escape by itself. Its authors call it no security boundary without \`-U\`. Its
  device policy is set by systemd as PID 1, and was not in force.
- crun is what podman runs, and podman's config has a filter of system calls that \`crun spec\`'s has not. It ran
  without its cgroup manager, and so without its device rules.
- bwrap is a tool to make sandboxes with, which hands on descriptors, environment and system calls unless it is
  told not to. An ordinary user's sandbox is held back by his being one.
- On this machine some attacks find nothing to attack (no modules, no kexec, no /proc/kcore): held everywhere.

END
printf '| attack | what it tries |'
for name in $columns; do printf ' %s |' "$(title "$name")"; done
printf '\n|---|---|'
for name in $columns; do printf '%s' '---|'; done
echo
./attacks list | while IFS='	' read -r attack _ what _; do
    printf '| %s | %s |' "$attack" "$what"
    for name in $columns; do
        outcome=$(awk -F '\t' -v attack="$attack" '$1 == attack { print $2 }' "$name.out")
        case $outcome in
        through) printf ' **through** |' ;;
        held) printf ' held |' ;;
        *) printf ' - |' ;;
        esac
    done
    echo
done
printf '| **through** | of %s |' "$(./attacks list | wc -l)"
for name in $columns; do printf ' %s |' "$(awk -F '\t' '$2 == "through"' "$name.out" | wc -l)"; done
echo
# What each said.
mkdir -p "$here/target/attacks.out"
cp ./*.out "$here/target/attacks.out/"
