#!/bin/sh
# Runs the tests on another kernel, by default Debian 12's 6.1: pure cgroup v2, VLAN, no calls newer
# than our baseline. A virtual machine boots the host's own tree read-only; with KVM in minutes,
# without it in an hour or so.
#
#   sh contrib/check-vm.sh [TEST...]      tests by file name, default all
#
# KERNEL=FILE.deb takes another linux-image package; VM_CPUS, VM_MEMORY, VM_HOURS (default 2, 4G, 3).
set -eu
cd "$(dirname "$0")/.."
eval "$(sh contrib/setup.sh env)"
vm=$PWD/target/vm
mkdir -p "$vm"

sh contrib/setup.sh vm
if [ ! -x "$vm/venv/bin/vng" ]; then
    python3 -m venv "$vm/venv"
    "$vm/venv/bin/pip" -q install virtme-ng
fi
# vng runs its other half by name.
PATH=$vm/venv/bin:$PATH
kernel=${KERNEL:-}
if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-6\.1\..*-amd64\)$/\1/p')
    if [ -z "$package" ]; then
        echo "check-vm: apt knows no kernel 6.1 here: KERNEL=linux-image-6.1...deb names one" >&2
        exit 1
    fi
    kernel=$(find "$vm" -name "${package}_*.deb" | head -n 1)
    if [ -z "$kernel" ]; then
        (cd "$vm" && apt-get -q download "$package")
        kernel=$(find "$vm" -name "${package}_*.deb" | head -n 1)
    fi
fi
if [ "$(cat "$vm/kernel/of" 2>/dev/null)" != "$kernel" ]; then
    rm -rf "$vm/kernel"
    dpkg -x "$kernel" "$vm/kernel"
    release=$(basename "$(echo "$vm"/kernel/boot/vmlinuz-*)" | sed 's/vmlinuz-//')
    depmod -b "$vm/kernel" "$release"
    echo "$kernel" >"$vm/kernel/of"
fi

# The test programs by name: they find the tools where cargo built them.
cargo test --locked --no-run --message-format=json |
    jq -r 'select(.profile.test == true and .executable != null) | "\(.target.name) \(.executable)"' >"$vm/tests"

cat >"$vm/inside" <<EOF
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SUBHOST_MUST_RUN=1 RUST_BACKTRACE=0
for module in overlay veth bridge loop ext4 xfs btrfs squashfs erofs 8021q; do
    modprobe -d $vm/kernel \$module
done
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777,size=75% tmp /tmp
mount -t tmpfs log /var/log
ip link set lo up
if [ -e /sys/fs/selinux ]; then
    mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux
    dd if=$vm/selinux.policy of=/sys/fs/selinux/load bs=1M status=none
    echo 1 >/sys/fs/selinux/enforce
    export SUBHOST_SELINUX=1
fi
echo "kernel \$(uname -r), \$(stat -f -c %T /sys/fs/cgroup)"
cd $PWD
failed=
while read -r name program; do
    case " \$* " in
    "  " | *" \$name "*) ;;
    *) continue ;;
    esac
    echo "== \$name"
    "\$program" --test-threads=${VM_CPUS:-2} >/tmp/out 2>&1 || failed="\$failed \$name"
    grep -E '^test result|^SKIP|FAILED' /tmp/out
    sed -n '/^failures:\$/,\$p' /tmp/out
done <$vm/tests
echo "failed:\${failed:- none}"
EOF

image=$(echo "$vm"/kernel/boot/vmlinuz-*)
accel=--disable-kvm
# A KVM that is there may still not run a guest, as in some nested machines.
if [ -w /dev/kvm ] && timeout 60 script -q -e -c "$vm/venv/bin/vng -r $image --cpus 1 -m 1G --user root --exec true" /dev/null </dev/null >/dev/null 2>&1; then
    accel=
fi
# boot LOG TESTS [OPTION...]: it wants a terminal on its output; the kernel's own messages go to the log.
boot() {
    log=$1 tests=$2
    shift 2
    timeout "$((${VM_HOURS:-3} * 3600))" script -q -f -e -c "$vm/venv/bin/vng -v -r $image $accel --cpus ${VM_CPUS:-2} -m ${VM_MEMORY:-4G} --user root $* --exec 'sh $vm/inside $tests'" "$log" </dev/null |
        tr -d "\r" | grep --line-buffered -E '^(kernel |== |test result|SKIP|test .* FAILED|failed:|failures:|---- |thread |cd )' || :
    if ! grep -q '^failed: none' "$log"; then
        echo "check-vm: see $log" >&2
        exit 1
    fi
}
boot "$vm/log" "$*"
# Debian's kernel takes AppArmor unless it is told otherwise.
case " $* " in
"  " | *" lsm "*)
    checkpolicy -U allow -o "$vm/selinux.policy" tests/selinux/policy.conf >/dev/null
    echo "with SELinux:"
    boot "$vm/log.selinux" lsm -a security=selinux -a selinux=1
    ;;
esac
