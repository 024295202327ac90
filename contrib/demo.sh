#!/bin/sh
# The main job, shown on this host: a bridge, a subhost whose lower layer is the host's own tree,
# started, looked at, entered, stopped; and nothing left. $1: the directory of the built tools.
set -eu
[ "$(id -u)" = 0 ] || { echo "demo: must be run as root" >&2; exit 1; }
PATH=$1:$PATH
export PATH
here=$(cd "$(dirname "$0")/.." && pwd)
SUBHOST=$(mktemp -d /var/tmp/subhost-demo.XXXXXX)
export SUBHOST
bridge=brdemo0

run() { printf '\n# %s\n' "$*"; "$@"; }
quiet() { "$@" >/dev/null 2>&1 || :; }
clean() {
    quiet subhost-stop -k --sync future
    quiet ip link delete "$bridge"
    rm -rf --one-file-system "$SUBHOST"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cp -R "$here/subhosts.example/future" "$SUBHOST/"
mkdir -p "$SUBHOST/future/root"
chmod 755 "$SUBHOST/future/root"
chmod 700 "$SUBHOST" "$SUBHOST/future"
# The example needs no bridge; here it gets a cable to one, to show that too.
printf '%s\n' "BRIDGES=$bridge" 'ADDR0=192.0.2.10/24' >>"$SUBHOST/future/config"
mounts=$(wc -l </proc/self/mountinfo)

run ip link add "$bridge" address 02:00:00:00:de:00 type bridge
run ip link set "$bridge" up
run subhost-start future
run subhost-list
run subhost-enter future -- sh -c 'echo "inside: $(hostname), $(ls /proc | grep -c "^[0-9]") processes, pid 1 is $(cat /proc/1/comm)"; ip -br address 2>/dev/null || :'
run subhost-info future || :
run ip netns list
run subhost-stop --sync future
run ip link delete "$bridge"

printf '\n# nothing is left:\n'
left=
[ "$(wc -l </proc/self/mountinfo)" = "$mounts" ] || left="$left mounts"
[ ! -e /run/netns/future ] || left="$left namespace"
! ip link show future0 >/dev/null 2>&1 || left="$left cable"
[ ! -e /run/subhost/future ] || left="$left state"
if [ -n "$left" ]; then
    echo "left behind:$left" >&2
    exit 1
fi
echo "mounts, namespace, cable, state: all gone. What the inside wrote is kept in its root."
