#!/bin/sh
# Debian's own services, unchanged, in subhosts of the defaults: apt, sshd, nginx, PostgreSQL and cron, on a
# bridge, as seen from outside. $1: the directory of the built tools; further words are lines of config to
# try beside none, default USERNS=yes.
#
# Needs root, debootstrap, ssh, curl, python3 and a mirror: MIRROR, default http://deb.debian.org/debian.
# The tree is kept in target/services. Everything else is in namespaces of its own and goes with them.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
mirror=${MIRROR:-http://deb.debian.org/debian}
packages=openssh-server,nginx-light,postgresql,cron,ca-certificates,iproute2,procps
tree=$here/target/services/bookworm
scratch=$here/target/services/scratch

if [ "${SERVICES:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || { echo "services: must be run as root" >&2; exit 1; }
    for program in debootstrap ssh curl python3; do
        command -v $program >/dev/null || { echo "services: $program is not installed" >&2; exit 1; }
    done
    tools=$(cd "$1" && pwd)
    shift
    [ $# -gt 0 ] || set -- "" USERNS=yes
    if [ ! -e "$tree/complete" ]; then
        rm -rf --one-file-system "$tree"
        mkdir -p "$tree"
        debootstrap --variant=minbase --include=$packages bookworm "$tree" "$mirror" >"$tree.log" 2>&1 ||
            { tail "$tree.log" >&2; exit 1; }
        touch "$tree/complete"
    fi
    # Outbound connections are the host's, so the proxy keeps a way back to its network.
    exec 3</proc/self/ns/net
    export PATH="$tools:$PATH" SERVICES=inside
    exec unshare -mnui --propagation private sh "$0" "$@"
fi

proxy=
failed=
ok() { echo "ok   ${1:+$1: }$2"; }
bad() { echo "FAIL ${1:+$1: }$2"; failed=1; }
# check CONFIG TEXT COMMAND...: its output is shown if it fails.
check() {
    config=$1 text=$2
    shift 2
    if "$@" >"$scratch/out" 2>&1; then ok "$config" "$text"; else
        bad "$config" "$text"
        tail -n 12 "$scratch/out" | sed 's/^/     /'
    fi
}
inside() { subhost-enter -T services -- /bin/sh -c "$1" </dev/null; }
within() { # SECONDS COMMAND...
    seconds=$1
    shift
    while ! "$@"; do
        seconds=$((seconds - 1))
        [ $seconds -gt 0 ] || return 1
        sleep 1
    done
}
clean() {
    subhost-stop -k --sync services >/dev/null 2>&1 || :
    if [ -n "$proxy" ]; then kill "$proxy" 2>/dev/null || :; fi
    rm -rf --one-file-system "$scratch"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

rm -rf --one-file-system "$scratch"
mkdir -m 700 -p "$scratch/opt"
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 log /var/log
# Where ids are given out for good; an empty directory is all that the host gets of it.
mkdir -p /var/lib/subhost
mount -t tmpfs -o mode=755 ids /var/lib/subhost
ip link set lo up
ip link add br0 type bridge
ip address add 192.0.2.1/24 dev br0
ip link set br0 up
# Listens on the bridge, fetches from the host's network.
cat >"$scratch/proxy.py" <<'END'
import ctypes, http.server, os, sys, urllib.request
class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with urllib.request.urlopen(self.path, timeout=60) as answer:
                body = answer.read()
            self.send_response(200)
        except urllib.error.HTTPError as error:
            body = b""
            self.send_response(error.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("192.0.2.1", 3128), Proxy)
if ctypes.CDLL(None, use_errno=True).setns(3, 0x40000000):
    sys.exit(os.strerror(ctypes.get_errno()))
server.serve_forever()
END
python3 "$scratch/proxy.py" &
proxy=$!
exec 3<&-
ssh-keygen -q -t ed25519 -N '' -f "$scratch/key"

SUBHOST=$scratch/opt
export SUBHOST
for config; do
    rm -rf --one-file-system "$SUBHOST/services"
    mkdir -m 700 "$SUBHOST/services"
    mkdir -p "$SUBHOST/services/root/root/.ssh" "$SUBHOST/services/root/etc/apt/apt.conf.d" "$SUBHOST/services/root/etc/cron.d"
    root=$SUBHOST/services/root
    chmod 700 "$root/root" "$root/root/.ssh"
    cp "$scratch/key.pub" "$root/root/.ssh/authorized_keys"
    echo 'Acquire::http::Proxy "http://192.0.2.1:3128";' >"$root/etc/apt/apt.conf.d/proxy"
    echo '* * * * * root date >/var/tmp/cron.ran' >"$root/etc/cron.d/services"
    printf '%s\n' "LOWER=$tree" BRIDGES=br0 ADDR0=192.0.2.10/24 "$config" >"$SUBHOST/services/config"
    chmod 600 "$SUBHOST/services/config"

    check "$config" "subhost-start" subhost-start services
    check "$config" "cron starts" inside "service cron start"
    check "$config" "apt-get update" inside "apt-get -q update"
    check "$config" "apt-get upgrade" inside "DEBIAN_FRONTEND=noninteractive apt-get -q -y upgrade"
    check "$config" "apt-get install" inside "DEBIAN_FRONTEND=noninteractive apt-get -q -y --reinstall install hostname sudo && sudo -u nobody id"
    check "$config" "sshd starts" inside "service ssh start"
    check "$config" "sshd lets a key in, with a terminal" within 5 ssh -tt -q -i "$scratch/key" -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o BatchMode=yes root@192.0.2.10 'test -t 0 && test "$(hostname)" = services'
    check "$config" "nginx starts" inside "nginx -t && service nginx start"
    check "$config" "nginx serves" within 5 curl -fsS -o "$scratch/page" http://192.0.2.10/
    check "$config" "PostgreSQL: initdb" inside "pg_dropcluster 15 main; pg_createcluster 15 main"
    check "$config" "PostgreSQL starts" inside "service postgresql start && pg_lsclusters | grep online"
    check "$config" "PostgreSQL answers" inside "su postgres -c 'psql -c \"create table t (n int)\" -c \"insert into t select generate_series(1, 1000)\" -Atc \"select sum(n) from t\"' | grep 500500"
    check "$config" "cron runs a job" within 70 test -s "$root/var/tmp/cron.ran"
    check "$config" "all stop" subhost-stop --sync services
done
[ -z "$failed" ] || exit 1
