#!/usr/bin/env python3
"""Measures the tools beside their peers and beside bare system calls, in one run.

    bench.py TOOLS RAW [PART...]

TOOLS: the directory with the built tools. RAW: the program made of raw-cycle.c. PART: cycle, enter,
part, flat, memory, size, data; all of them if none is named. Prints Markdown; with --out DIR it also writes
DIR/bench.md and DIR/bench.svg.

In each round every command has its turn, in an order of that round, so that what the machine does meanwhile and
what another has left meets all of them; what a command leaves to the kernel is waited for before the next one,
outside the measured time. The figures depend on the machine and its mood; the ratios, taken in the same run, do much
less.

BENCH_TREE names the system tree that serves as layer, for example one that debootstrap made; if unset, a
small one is made of busybox-static. ROUNDS (default 30) and OTHERS (default 1000) say how much.

It wants TOOLS and RAW installed, not where a linker left them: that leaves a file in the page cache a page at a
time, and whatever is mapped of it takes longer by a twentieth.

Needs root. It works in mount and network namespaces of its own, in a directory of mkdtemp's, and must touch
nothing of the host.
"""
import contextlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROUNDS = int(os.environ.get("ROUNDS", "30"))
OTHERS = int(os.environ.get("OTHERS", "1000"))
PARTS = ["cycle", "part", "enter", "flat", "memory", "size", "data"]
QUIET = subprocess.DEVNULL
report, chart = [], []


def say(text=""):
    report.append(text)
    print(text, flush=True)


def table(head, rows):
    say("| " + " | ".join(head) + " |")
    say("|" + "---|" * len(head))
    for row in rows:
        say("| " + " | ".join(str(cell) for cell in row) + " |")
    say()


# --- running -------------------------------------------------------------------------------------------

def spawn(argv):
    """Starts a command without a shell and without a copy of ours; gives its pid."""
    null = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    if argv[0].startswith("lxc"):
        # It complains of its own defaults.
        null.append((os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0))
    return os.posix_spawnp(argv[0], argv, os.environ, file_actions=null)


def run(argv):
    _, status = os.waitpid(spawn(argv), 0)
    if status:
        sys.exit(f"bench.py: {' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}")


def sh(script):
    subprocess.run(["sh", "-euc", script], check=True, stdin=QUIET)


def text_of(argv):
    return subprocess.run(argv, check=True, stdin=QUIET, capture_output=True, text=True).stdout


def settle():
    """Until the kernel has taken away what the last command left to it."""
    for _ in range(1000):
        with open("/proc/self/net/dev") as links:
            if not re.search(r"gone|bench|raw|shell|vb-|veth", links.read()):
                return
        time.sleep(0.005)
    sys.exit("bench.py: links of the last round are still there")


def spin():
    """As long as the kernel takes among a thousand links to take one away, busily: to look for it there would cool the
    caches, and to sleep the processors."""
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end:
        pass


def in_turns(cases, turn):
    """In an order for each turn, the same in every run: what one leaves in the caches and on the disk meets all."""
    return random.Random(turn).sample(cases, len(cases))


def measure(cases, rounds=None, between=settle):
    """Milliseconds of each case, a list of commands: {name: [total...]}; the first rounds do not count."""
    took = {name: [] for name in cases}
    for turn in range(-3, rounds or ROUNDS):
        for name, commands in in_turns(list(cases.items()), turn):
            begin = time.perf_counter()
            for command in commands:
                run(command)
            if turn >= 0:
                took[name].append((time.perf_counter() - begin) * 1e3)
            between()
    return took


def compare(took, base, what):
    """A table of minima, medians and ratios to the case `base`."""
    of = statistics.median(took[base])
    rows = []
    for name, all_ in took.items():
        median = statistics.median(all_)
        rows.append([name, f"{min(all_):.2f}", f"{median:.2f}", f"{median / of:.2f}"])
        chart.append((what, name, median))
    table([what + ", ms", "minimum", "median", f"ratio to {base}"], rows)


@contextlib.contextmanager
def version_2():
    """crun, and podman with it, knows no host with both versions of cgroups: here they see version 2."""
    sh("mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    try:
        yield
    finally:
        sh("umount /sys/fs/cgroup")


# --- the place -----------------------------------------------------------------------------------------

def set_up(top):
    subhosts = os.environ["SUBHOST"] = f"{top}/opt"
    sh(f"""
        mkdir -m 700 {subhosts}
        mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
        mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /var/log
        # Links as this network namespace has them.
        mkdir /run/cgroup; mount --rbind /sys/fs/cgroup /run/cgroup
        mount -t sysfs sysfs /sys; mount --rbind /run/cgroup /sys/fs/cgroup
        umount -l /run/cgroup; rmdir /run/cgroup
        mkdir -p {subhosts}/layers/base
    """)
    layer = f"{subhosts}/layers/base"
    tree = os.environ.get("BENCH_TREE")
    if tree:
        # What a subhost's first boot would make, so that all find the same.
        sh(f"cp -a {tree}/. {layer}/; cd {layer}/etc; for file in hosts hostname; do [ -e $file ] || echo base >$file; done")
    else:
        sh(f"""cd {layer}; mkdir -p bin dev etc mnt proc root run sys tmp usr
            cp "$(command -v busybox)" bin/busybox
            for name in cat dd mount rm sh sleep true umount; do ln -s busybox bin/$name; done
            echo root:x:0:0:root:/root:/bin/sh >etc/passwd; echo root:x:0: >etc/group
            echo 127.0.0.1 localhost >etc/hosts; echo base >etc/hostname""")
    for name in ("raw", "shell", "peer"):
        sh(f"mkdir -m 700 {subhosts}/{name}; cd {subhosts}/{name}; mkdir root work live")
    subhost("bench", "BRIDGES=br0\nADDR0=192.0.2.10/24\nRUN=/bin/true\n")
    sh("""ip link set lo up
        ip link add br0 address 02:00:00:00:00:01 type bridge forward_delay 0
        ip link set br0 up; ip address add 192.0.2.1/16 dev br0
        # iproute2 makes /run/netns a mount of its own once, and leaves it.
        ip netns add once; ip netns delete once""")
    return subhosts, layer, "a minbase tree" if tree else "static busybox"


def subhost(name, config):
    directory = f"{os.environ['SUBHOST']}/{name}"
    os.makedirs(f"{directory}/root", mode=0o700)
    with open(f"{directory}/config", "w") as file:
        file.write('LOWER="$SUBHOST/layers/base"\n' + config)
    os.chmod(directory, 0o700)
    os.chmod(f"{directory}/config", 0o600)


class Bench:
    def __init__(self, tools, raw, top):
        self.tools, self.top = tools, top
        self.subhosts, self.layer, self.what = set_up(top)
        self.raw = [[raw, f"{self.subhosts}/raw", self.layer, "br0", "192.0.2.11/24"]]
        self.start_stop = [[self.tool("start"), "bench"], [self.tool("stop"), "bench"]]
        self.four = [[self.tool("mount"), "bench"], [self.tool("net"), "bench"],
                     [self.tool("enter"), "bench", "--", "/bin/true"], [self.tool("stop"), "bench"]]

    def tool(self, name):
        return f"{self.tools}/subhost-{name}"

    # --- parts -----------------------------------------------------------------------------------------

    def peers(self):
        """Others that do the whole cycle, as far as they are there."""
        peer, layer, top = f"{self.subhosts}/peer", self.layer, self.top
        found = {}
        if shutil.which("lxc-execute"):
            with open(f"{top}/lxc.conf", "w") as file:
                file.write(f"lxc.uts.name = peer\nlxc.rootfs.path = overlay:{layer}:{peer}/root\n"
                           "lxc.net.0.type = veth\nlxc.net.0.link = br0\nlxc.net.0.flags = up\n"
                           "lxc.net.0.ipv4.address = 192.0.2.30/24\n")
            os.makedirs(f"{top}/lxc")
            found["lxc-execute"] = [["lxc-execute", "-n", "peer", "-P", f"{top}/lxc", "-f", f"{top}/lxc.conf", "--", "/bin/true"]]
        if shutil.which("systemd-nspawn"):
            found["mount; systemd-nspawn; umount"] = [
                ["mount", "-t", "overlay", "-o", f"lowerdir={layer},upperdir={peer}/root,workdir={peer}/work", "peer", f"{peer}/live"],
                ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", f"{peer}/live", "--network-bridge=br0", "/bin/true"],
                ["umount", f"{peer}/live"]]
        return found

    def podman(self):
        return [["podman", "--root", f"{self.top}/podman", "--runroot", "/run/podman-bench", "--cgroup-manager=cgroupfs", "run",
                 "--rm", "--network", "none", "--cgroups=disabled", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
                 "--rootfs", f"{self.layer}:O", "/bin/true"]]

    def works(self, commands):
        for command in commands:
            if subprocess.run(command, stdin=QUIET, stdout=QUIET, stderr=QUIET).returncode:
                return False
        return True

    def cycle(self):
        say("## Cold cycle\n")
        say("Overlay root, one cable to a bridge with an address, boot, `/bin/true`, all torn down.\n")
        shell = [f"{HERE}/shell-cycle.sh", f"{self.subhosts}/shell", self.layer, "br0", "192.0.2.12/24"]
        lazy = [shell[0], "--lazy", *shell[1:]]
        cases = {"raw system calls": self.raw, "start; stop": self.start_stop, "mount; net; enter -- true; stop": self.four,
                 "start; stop --sync": [self.start_stop[0], [self.tool("stop"), "--sync", "bench"]],
                 "shell script, leaving the veth to the kernel": [lazy], "shell script": [shell]}
        for name, commands in self.peers().items():
            if self.works(commands):
                cases[name] = commands
            else:
                say(f"{name}: does not work here\n")
            settle()
        took = measure(cases)
        if shutil.which("podman"):
            with version_2():
                if self.works(self.podman()):
                    took.update(measure({"podman, without network and cgroups": self.podman()}))
                else:
                    say("podman: does not work here\n")
        compare(took, "raw system calls", "cold cycle")
        if shutil.which("strace"):
            rows = []
            for name, command in [("raw", self.raw[0])] + [(c[0].rsplit("/", 1)[1], c) for c in self.four]:
                out = f"{self.top}/calls"
                subprocess.run(["strace", "-f", "-c", "-o", out, *command], check=True, stdin=QUIET, stdout=QUIET)
                with open(out) as file:
                    total = [line.split() for line in file if line.endswith("total\n")][0]
                rows.append([name, total[3]])
            settle()
            table(["system calls, with all processes", "count"], rows)

    def part(self):
        say("## The part that bubblewrap and crun do\n")
        say("Namespaces and the usual mounts around a root that is there, `/bin/true`, and out again.\n")
        subhost("part", "NET=host\nRUN=/bin/true\n")
        run([self.tool("mount"), "part"])
        live = f"{self.subhosts}/part/live"
        cases = {"subhost-start -f": [[self.tool("start"), "-f", "part"]],
                 "subhost-enter": [[self.tool("enter"), "part", "--", "/bin/true"]]}
        if shutil.which("bwrap"):
            cases["bwrap"] = [["bwrap", "--unshare-all", "--bind", live, "/", "--proc", "/proc", "--dev", "/dev",
                               "--tmpfs", "/run", "/bin/true"]]
        took = measure(cases, between=lambda: None)
        if shutil.which("crun"):
            bundle = f"{self.top}/bundle"
            os.makedirs(bundle)
            subprocess.run(["crun", "spec"], cwd=bundle, check=True)
            with open(f"{bundle}/config.json") as file:
                spec = json.load(file)
            spec["root"] = {"path": live, "readonly": False}
            spec["process"].update({"terminal": False, "args": ["/bin/true"]})
            spec["process"].pop("rlimits", None)
            with open(f"{bundle}/config.json", "w") as file:
                json.dump(spec, file)
            crun = ["crun", "--root", "/run/crun-bench", "--cgroup-manager=disabled", "run", "-b", bundle, "bench"]
            with version_2():
                if self.works([crun]):
                    took.update(measure({"crun, without cgroups and filter": [crun]}, between=lambda: None))
                else:
                    say("crun: does not work here\n")
        compare(took, "subhost-start -f", "boot and command, the root mounted before")
        run([self.tool("stop"), "-q", "part"])

    def enter(self):
        say("## Into a running subhost\n")
        subhost("held", "BRIDGES=br0\nADDR0=192.0.2.13/24\n")
        run([self.tool("start"), "held"])
        pid = text_of([self.tool("list"), "-o", "pid", "held"]).strip()
        cases = {"nsenter -a": [["nsenter", "-t", pid, "-a", "/bin/true"]],
                 "subhost-enter": [[self.tool("enter"), "held", "--", "/bin/true"]]}
        attached = None
        if shutil.which("lxc-execute") and os.path.exists(f"{self.top}/lxc.conf"):
            lxc = ["-n", "peer", "-P", f"{self.top}/lxc"]
            attached = spawn(["lxc-execute", *lxc, "-f", f"{self.top}/lxc.conf", "--", "/bin/sleep", "600"])
            time.sleep(1)
            attach = ["lxc-attach", *lxc, "--", "/bin/true"]
            if self.works([attach]):
                cases["lxc-attach"] = [attach]
        took = measure(cases, rounds=ROUNDS * 4, between=lambda: None)
        compare(took, "nsenter -a", "a command in a running subhost")
        if attached:
            subprocess.run(["lxc-stop", *lxc, "-k"], stdin=QUIET, stderr=QUIET)
            os.waitpid(attached, 0)
        run([self.tool("stop"), "-q", "held"])
        settle()

    def flat(self):
        say(f"## The same with {OTHERS} others\n")
        cases = {"raw system calls": self.raw, "start; stop": self.start_stop}

        def apart():
            # One after the other: neither runs into what the other leaves to the kernel, which is not the same.
            return {name: measure({name: commands}, between=spin)[name] for name, commands in cases.items()}

        alone = apart()
        names = [f"o{i}" for i in range(1, OTHERS + 1)]
        for i, name in enumerate(names):
            subhost(name, f"BRIDGES=br0\nADDR0=10.9.{i // 250}.{i % 250 + 1}/16\n")
        some = max(1, OTHERS // 10)
        run([self.tool("start"), *names[:some]])
        run([self.tool("mount"), *names[some:]])
        run([self.tool("net"), *names[some:]])
        # New links look for neighbours and routers for a while, and the bridge sends that to all.
        time.sleep(60 if OTHERS > 100 else 2)
        among = apart()
        listed = measure({"subhost-list": [[self.tool("list")]]}, rounds=10, between=lambda: None)["subhost-list"]
        run([self.tool("stop"), "-q", "--all"])
        # A machine that is shared is not the same a minute later: alone is before and after.
        time.sleep(10)
        alone = {name: alone[name] + more for name, more in apart().items()}
        rows = []
        for name in cases:
            one, many = statistics.median(alone[name]), statistics.median(among[name])
            rows.append([name, f"{one:.2f}", f"{many:.2f}", f"{many / one:.2f}"])
            chart.append((f"cold cycle with {OTHERS} others", name, many))
        table(["cold cycle, ms", "alone, before and after", f"with {OTHERS} others, {some} of them running", "ratio"], rows)
        say(f"`subhost-list` of {OTHERS + 1}: {min(listed):.1f} ms at best, median {statistics.median(listed):.1f} ms.\n")
        ways, rounds = {"one after the other": names, "--all": ["--all"]}, 3
        took = {(way, verb): [] for way in ways for verb in ("start", "stop")}
        for turn in range(rounds):
            for way, words in in_turns(list(ways.items()), turn):
                for verb in ("start", "stop"):
                    time.sleep(5)
                    begin = time.perf_counter()
                    run([self.tool(verb), "-q", *words])
                    took[way, verb].append(time.perf_counter() - begin)
        table([f"{OTHERS} subhosts, s, median of {rounds}", "start", "stop"],
              [[way, *(f"{statistics.median(took[way, verb]):.2f}" for verb in ("start", "stop"))] for way in ways])
        for name in names:
            shutil.rmtree(f"{self.subhosts}/{name}")

    def memory(self):
        say("## Memory\n")
        subhost("idle", "BRIDGES=br0\nRUN=\n")
        run([self.tool("start"), "idle"])
        pid = text_of([self.tool("list"), "-o", "pid", "idle"]).strip()
        with open(f"/proc/{pid}/smaps_rollup") as file:
            pss = dict(re.findall(r"(Pss_Anon): +(\d+) kB", file.read()))
        processes = text_of([self.tool("list"), "-o", "processes", "idle"]).strip()
        say(f"A running subhost that runs nothing: {processes} process, Pss_Anon {pss['Pss_Anon']} kB. "
            "A hibernating one has no process.\n")
        run([self.tool("stop"), "-q", "idle"])

    def size(self):
        say("## Size\n")
        files = {}
        for name in sorted(os.listdir(self.tools)):
            path = f"{self.tools}/{name}"
            if re.fullmatch(r"subhost[a-z-]*", name) and os.access(path, os.X_OK):
                files[os.stat(path).st_ino] = (name if name == "subhost-init" else "subhost, with a name for each tool", os.stat(path).st_size)
        rows = [[name, f"{size / 1e6:.2f}"] for name, size in files.values()]
        rows.append(["together", f"{sum(size for _, size in files.values()) / 1e6:.2f}"])
        table(["program", "MB"], rows)

    def data(self):
        say("## Data path\n")
        if shutil.which("iperf3"):
            self.iperf()
        self.writes()

    def iperf(self):
        """Two ends on the bridge, made by us and by hand."""
        seconds, rounds, rates = 1, 12, {"subhosts": [], "by hand": []}
        for name, last in (("left", 21), ("right", 22)):
            subhost(name, f"BRIDGES=br0\nADDR0=192.0.2.{last}/24\n")
            run([self.tool("net"), name])
            sh(f"""ip netns add hand{last}; ip link add hand{last} master br0 up type veth peer name eth0 netns hand{last}
                ip -n hand{last} link set lo up; ip -n hand{last} link set eth0 up
                ip -n hand{last} address add 192.0.2.1{last}/24 dev eth0""")
        ends = [("subhosts", "left", "right", "192.0.2.21"), ("by hand", "hand21", "hand22", "192.0.2.121")]
        for turn in range(rounds):
            for what, server, client, address in in_turns(ends, turn):
                listening = subprocess.Popen(["ip", "netns", "exec", server, "iperf3", "-s", "-1"], stdin=QUIET, stdout=QUIET)
                time.sleep(0.3)
                told = json.loads(text_of(["ip", "netns", "exec", client, "iperf3", "-J", "-t", str(seconds), "-c", address]))
                listening.wait()
                rates[what].append(told["end"]["sum_received"]["bits_per_second"] / 1e9)
        hand = statistics.median(rates["by hand"])
        table(["TCP between two on the bridge", f"Gbit/s, median of {rounds}", "ratio"],
              [[what, f"{statistics.median(all_):.1f}", f"{statistics.median(all_) / hand:.2f}"] for what, all_ in rates.items()])
        run([self.tool("stop"), "-q", "left", "right"])
        sh("for n in 21 22; do ip link del hand$n; ip netns del hand$n; done")

    def writes(self):
        """Files of 256 MiB in roots of the three kinds, and in the same mounts made by hand."""
        size, rounds, rows = 256, 12, []
        image = f"{self.subhosts}/image/image.img"
        for kind in ("overlay", "rbind", "image"):
            os.makedirs(f"{self.subhosts}/{kind}", mode=0o700)
        sh(f"""cd {self.subhosts}
            mkdir overlay/root; cp -a layers/base rbind/root
            truncate -s 1500M {image}; mkfs.ext4 -q {image}; mkdir m; mount -o loop {image} m
            cp -a layers/base m/root; mkdir m/work; umount m; rmdir m
            echo 'LOWER="$SUBHOST/layers/base"' >overlay/config; : >rbind/config; : >image/config
            chmod 600 */config; mkdir -p hand/up hand/work hand/live""")
        hand = {"overlay": f"mount -t overlay -o lowerdir={self.layer},upperdir=hand/up,workdir=hand/work o hand/live",
                "rbind": "mount --rbind rbind/root hand/live", "image": f"mount -o loop {image} hand/live"}
        for kind in ("overlay", "rbind", "image"):
            rates = {"subhost": [], "by hand": []}
            for turn in range(rounds):
                for what in in_turns(list(rates), turn):
                    if what == "subhost":
                        run([self.tool("start"), kind])
                        inside = [self.tool("enter"), kind, "--", "dd"]
                        end = [self.tool("stop"), "-q", "--sync", kind]
                    else:
                        root = f"{self.subhosts}/hand/live" + ("/root" if kind == "image" else "")
                        sh(f"cd {self.subhosts}; {hand[kind]}; mount --bind /dev {root}/dev")
                        inside, end = ["chroot", root, "dd"], ["umount", "-R", f"{self.subhosts}/hand/live"]
                    write = [*inside, "if=/dev/zero", "of=/written", "bs=64k", "conv=fsync"]
                    # An ext4 writes its first transaction after a mount at less cost than the next; a start's is its first.
                    run([*write, "count=1"])
                    os.sync()
                    # The same dd, and by its own clock if it has one: to get there is measured above.
                    start = time.perf_counter()
                    told = subprocess.run([*write, f"count={size * 16}"],
                                          check=True, stdin=QUIET, capture_output=True, text=True).stderr
                    took = time.perf_counter() - start
                    own = re.search(r"([0-9.e-]+) s(econds)?,", told)
                    rates[what].append(size / (float(own[1]) if own else took))
                    run([*inside[:-1], "rm", "/written"])
                    run(end)
            of = statistics.median(rates["by hand"])
            rows.append([kind, f"{statistics.median(rates['subhost']):.0f}", f"{of:.0f}", f"{statistics.median(rates['subhost']) / of:.2f}"])
        table([f"writing 256 MiB and fsync, median of {rounds}", "subhost, MiB/s", "by hand, MiB/s", "ratio"], rows)


# --- the picture ---------------------------------------------------------------------------------------

def svg():
    """Bars, one block for each table of times."""
    blocks = {}
    for what, name, value in chart:
        blocks.setdefault(what, []).append((name, value))
    lines, y = [], 20
    for what, bars in blocks.items():
        lines.append(f'<text x="10" y="{y}" font-weight="bold">{what}, ms (median)</text>')
        y += 10
        longest = max(value for _, value in bars)
        for name, value in bars:
            ours = "start" in name and "shell" not in name or "subhost" in name or "enter --" in name
            width, colour = max(1, value / longest * 420), "#2a7f62" if ours else "#9aa5b1"
            lines.append(f'<text x="300" y="{y + 13}" text-anchor="end">{name}</text>'
                         f'<rect x="308" y="{y + 2}" width="{width:.0f}" height="14" fill="{colour}"/>'
                         f'<text x="{312 + width:.0f}" y="{y + 13}">{value:.1f}</text>')
            y += 20
        y += 24
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{y}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>' + "\n".join(lines) + "</svg>\n")


def versions():
    found = [text_of([f"{sys.argv[1]}/subhost-start", "--version"]).strip()]
    for command in (["lxc-execute", "--version"], ["systemd-nspawn", "--version"], ["podman", "--version"], ["crun", "--version"],
                    ["bwrap", "--version"], ["nsenter", "--version"], ["iperf3", "--version"]):
        if shutil.which(command[0]):
            line = text_of(command).splitlines()[0]
            found.append(line if not line[0].isdigit() else f"{command[0]} {line}")
    return ", ".join(found)


def inside(tools, raw, top, out, parts):
    bench = Bench(tools, raw, top)
    say("# Speed, side by side\n")
    say(f"`make bench` writes this page: {time.strftime('%Y-%m-%d')}, Linux {os.uname().release}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds; layer: {bench.what}.\n")
    say(f"{versions()}.\n")
    say("Ratios are of medians within this run; times by themselves say little, as the machine is shared. The raw program\n"
        "([raw-cycle.c](../benches/raw-cycle.c)) does in one process all that the defaults do, and nothing else: no check, no\n"
        "lock, no state. ![times](bench.svg)\n")
    try:
        for part in parts:
            getattr(bench, part)()
    finally:
        subprocess.run([bench.tool("stop"), "-q", "-k", "--all"], stderr=QUIET)
    if out:
        os.makedirs(out, exist_ok=True)
        with open(f"{out}/bench.md", "w") as file:
            file.write("\n".join(report).rstrip() + "\n")
        with open(f"{out}/bench.svg", "w") as file:
            file.write(svg())


def main():
    args, out = sys.argv[1:], None
    if "--out" in args:
        at = args.index("--out")
        out = os.path.realpath(args[at + 1])
        del args[at:at + 2]
    if len(args) < 2 or not set(args[2:]) <= set(PARTS):
        sys.exit(__doc__)
    if os.geteuid() != 0:
        sys.exit("bench.py: must be root")
    tools, raw, parts = os.path.realpath(args[0]), os.path.realpath(args[1]), args[2:] or PARTS
    sys.argv[1] = tools
    if "BENCH_INSIDE" in os.environ:
        inside(tools, raw, os.environ["BENCH_INSIDE"], out, parts)
        return
    top = tempfile.mkdtemp(prefix="subhost-bench.")
    kept = ("BENCH_TREE", "ROUNDS", "OTHERS")
    env = {key: os.environ[key] for key in kept if key in os.environ}
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    env.update(PATH=path, LC_ALL="C", BENCH_INSIDE=top)
    again = [sys.executable, os.path.realpath(__file__), tools, raw, *(["--out", out] if out else []), *parts]
    try:
        status = subprocess.run(["unshare", "-m", "-n", "--propagation", "private", *again], env=env).returncode
    finally:
        # From out here, where nothing that was mounted in there can be seen or reached.
        subprocess.run(["rm", "-rf", "--one-file-system", "--", top])
    sys.exit(status)


main()
