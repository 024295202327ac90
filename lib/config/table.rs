//! The table of keys: for each its name, its default and what subhost.config(5) says of it. What a value
//! means is given in the file of its group.
//!
//! A row is `KEY field = "default", "what it takes": "text";`. The field is that of
//! `Raw`, the key in small letters. A default of "" is an unset key; where the default depends on other
//! keys or on the name, `what it takes` says so behind a semicolon, else the page adds the default by
//! itself. A row without a text shares that of the next. `KEY[i]` carries the number of a
//! cable behind its name, `KEY_{VAR}` a name of the user's.
//!
//! Texts: `` `literal` ``, `{placeholder}` or file; an empty line begins a paragraph, four more blanks are
//! an example as it is, `= ` is a term whose meaning follows on the next lines. Anything else is roff.
//! The page is made of them: `BLESS=1 cargo test --test pages`.

super::keys::keys! {
"ROOT", "
    A change of a key of this section takes hold when the root is next mounted.
" {
    LOWER lower = "", "words": r#"
        The layers of an overlay, topmost first: directories, or files with a file system in them
        (squashfs, erofs, ext4), which are mounted read-only. Paths may contain blanks, commas and
        colons. Where it is unset, {root} is the whole tree and is mounted as it is, with everything
        mounted below it. With `/` as a layer, the inside can read every file of the host's root file
        system, but not {$SUBHOST}, which is covered; file systems mounted below {/} do not show.

        What was written in {root} belongs to the layers below it: change them while it is stopped, and
        not so that what was written no longer fits.

            LOWER="$SUBHOST/layers/web $SUBHOST/layers/bookworm"
    "#;
    UPPER upper = "", "path; root": "
        The whole tree, or with LOWER the overlay's writable layer. It must exist; its own mode is that
        of {/} inside.

            UPPER=/srv/trees/web
    ";
    WORK work = "", "path; work": "
        The overlay's work directory, on the same file system as UPPER. A VOLATILE root does without:
        its tmpfs is mounted on {work} in the subhost's directory.
    ";
    LIVE live = "live", "path": "
        Where the root is mounted.
    ";
    IMAGE image = "", "path; NAME.img if it exists": "
        A file with a file system in it. It is mounted on {mnt}, and UPPER and WORK are then {mnt/root}
        and {mnt/work}, which must exist in it.

            IMAGE=/srv/images/web.img
    ";
    IMAGE_PARTITION image_partition = "", "number": "
        Which partition of the image, from 1. Unset: the image has no partitions.
    ";
    IMAGE_FSTYPE image_fstype = "", "type; recognised": "
        The image's file system, such as `ext4` or `xfs`.
    ";
    IMAGE_OPTIONS image_options = "", "mount options": "
        Options for it, separated by commas.

            IMAGE_OPTIONS=noatime,discard
    ";
    READ_ONLY read_only = "no", "yes/no": "
        The root cannot be written, nor can what is mounted below it. What the host mounts below UPPER
        later, while the subhost is up, appears inside as the host mounted it.
    ";
    VOLATILE volatile = "no", "yes/no": "
        Writes go to a tmpfs and are gone at stop. It excludes READ_ONLY.
    ";
}

"FILES INSIDE", "
    These are read and made at each boot and belong to PID 1: they end with it, and do not show in
    {live}. Beside them there are always a {/proc}, a {/sys} and a {/dev} of the subhost's own; with
    NET=private an {/etc/hosts}, with HOSTNAME, the addresses, and then the lines of the tree's own
    file; an {/etc/hostname} where the tree has one; and what DNS and SEARCH make. These files can only
    be read inside.
" {
    BIND bind = "", "words": r#"
        Files and directories of the host that appear inside, each {SRC}[`:`{DST}][`:ro`]. {DST} is the
        path inside, from {/} on, and the same as {SRC} if not given. What is missing of it is made in
        the tree, an empty directory or file to mount on, and stays there; a READ_ONLY root must have
        it. `:ro` lets it only be read. With a directory, what is mounted below it comes along.

            BIND="/srv/www:ro /srv/data/web:/var/lib/web"
    "#;
    TMPFS tmpfs = "", "words": r#"
        Temporary file systems that everybody inside may write to, each {DST}[`:`{SIZE}]. A missing
        {DST} is made, as with BIND.

            TMPFS="/tmp:64M /var/tmp"
    "#;
    RAM_SIZE ram_size = "50M", "size": "
        Of the tmpfs on {/run}. `none` leaves {/run} as it is in the tree.
    ";
}

"NETWORK", "
    A change of a key of this section takes hold when the network is next made, but for DNS and SEARCH,
    which are read at each boot.
" {
    NET net = "private", "": "
        `private` is a network namespace of its own, named NAME; `host` is none, the host's network;
        `user` is one of its own with a helper that carries what goes out, for ordinary users (see
        `subhost`(7), Without root); `netns:`{NAME} joins an existing named one, another subhost's or
        one made with `ip-netns`(8), which a stop leaves alone. The helper is `pasta`(1) if
        {/usr/bin/pasta} is there, else `slirp4netns`(1). The inside reaches what the user reaches, but
        for the host's own loopback; nobody reaches the inside. Where DNS is not set, it asks 10.0.2.3,
        which the helper hands to the host's name server. It needs {/dev/net/tun} and a default route of
        the host's. With all but `private` BRIDGES, GATEWAY and ROUTES must be unset, and there are no
        addresses to set; with `host` and `netns` the inside cannot change interfaces or routes, and
        PRENET and POSTNET are not run.
    ";
    BRIDGES bridges = "", "words": r#"
        One word a cable, each [{bridge}][`=`[{mac}]]. Word {i}, counted from 0, is LINK{i} on the host
        and eth{i} inside; {mac} is the inner end's address. Without one it is derived from the host,
        NAME and {i}, kept in the file {assigned}, and the same from then on. The bridge must exist
        ('`ip link add br0 type bridge`'). A bare `=` is a cable to no bridge: its host end is up, the
        rest is left to the administrator.

            BRIDGES="br0 br1=02:00:00:00:00:01 ="
    "#;
    LINK link = "", "name; NAME": "
        What the names of the host ends begin with. With the number behind it, it must fit the 15 bytes
        of an interface's name.

            LINK=build
    ";
    ADDR[i], "words; unset": r#"
        Addresses of `eth0`, `eth1`, ..., IPv4 and IPv6, with the length of the network's prefix.

            ADDR0="192.0.2.10/24 2001:db8::10/64"
    "#;
    MTU[i], "number; the kernel's": "
        Bytes, from 68 to 65535, for both ends of the cable.

            MTU1=1400
    ";
    GATEWAY gateway = "", "words": r#"
        The default gateway, at most one for IPv4 and one for IPv6, each in the network of one of the
        addresses.

            GATEWAY="192.0.2.1 2001:db8::1"
    "#;
    ROUTES routes = "", "words": r#"
        Further routes, each {NET}`=`{GATEWAY}.

            ROUTES="198.51.100.0/24=192.0.2.7 2001:db8:2::/48=2001:db8::7"
    "#;
    DNS dns = "", "words": r#"
        Addresses of name servers, for a {resolv.conf} that covers the tree's own while the subhost
        runs, and can only be read. Without DNS and SEARCH the tree's own is in use.

            DNS="192.0.2.53 2001:db8::53"
    "#;
    SEARCH search = "", "words": r#"
        Domains to search, for the same file.

            SEARCH="example.org example.net"
    "#;
}

"PROCESSES", "
    These are read at each boot.
" {
    HOSTNAME hostname = "", "name; NAME": r#"
        The host name inside: letters, digits, `.`, `-` and `_`, at most 64.

            HOSTNAME="$NAME.example.org"
    "#;
    RUN run = "", "command line": r#"
        What our PID 1 runs when the subhost is {started}. A name without a `/` is looked for inside, in
        {/usr/local/sbin} to {/bin}. It must stay in the foreground: when it ends, everything else
        inside is killed, and the subhost hibernates. Unset: PID 1 holds the subhost until it is
        stopped. `subhost-enter`(8) never runs it.

            RUN="/usr/sbin/nginx -g 'daemon off;'"
    "#;
    INIT init = "", "command line": "
        What is PID 1 instead of ours: the tree's own init, by its path inside. It excludes RUN, and
        finds `container=subhost` in its environment.

            INIT=/sbin/init
    ";
    STOP stop = "", "signal, or command line; TERM, or what INIT wants": r#"
        How RUN or INIT is asked to end: a signal (`TERM`, `SIGINT`, `RTMIN+3`, `15`), or a command that
        is run inside as root, by its path there. A command must see to it that RUN or INIT ends; where
        its status is not 0, TERM is sent after all. What systemd, sysvinit and busybox want to hear is
        known.

            STOP=QUIT
            STOP="/usr/bin/mysqladmin shutdown"
    "#;
    STOP_TIMEOUT stop_timeout = "", "duration; 30s, with INIT 90s": "
        What is left after this long is killed. When RUN has ended at its request, what else runs inside
        gets TERM, HUP 100 ms later, and is killed after 10 seconds if that is sooner.

            STOP_TIMEOUT=2m
    ";
    RUN_AS run_as = "root", "user": "
        The user inside that RUN is run as: a name or a number, by the tree's own {/etc/passwd}, with
        :{GROUP} behind it or without. Without it the user's groups are all those that {/etc/group}
        gives; with it, that one alone. An INIT is always run as root.

            RUN_AS=www-data
    ";
    APPARMOR apparmor = "", "profile": "";
    SELINUX selinux = "", "label": "
        What runs inside, RUN, INIT and what is entered, is confined by this AppArmor profile, which is
        loaded on the host, or SELinux label, beside what confines every subhost. Our PID 1 is not. A
        host that has no such module, or none of that name, is refused before anything is made. A
        profile wants `flags=(attach_disconnected)`.

            APPARMOR=subhost-web
            SELINUX=system_u:system_r:container_t:s0:c1,c2
    ";
    LOG_MAX log_max = "10M", "size": "
        How large {/var/log/subhost/NAME.log} may become, at least 64K. When it is full, the lines of
        its last half are kept. What RUN writes comes there through a pipe to PID 1: RUN has no
        descriptor of the file.
    ";
    RUN_DIR run_dir = "/", "path inside": "
        The directory that RUN starts in; it must exist.
    ";
    ENV_{VAR}, "text; unset": "
        Gives {VAR} to RUN, to INIT and to what is entered. Beside these RUN finds HOME, USER, LOGNAME,
        SHELL and PATH, which follow from the user it runs as, and nothing of the host's environment.

            ENV_LANG=C.UTF-8
            ENV_TZ=Europe/Stockholm
    ";
    ENV_FILE env_file = "", "words": r#"
        Files of the host with further variables for the same, which are to be seen nowhere else: passwords and
        the like. They are lines of `KEY=`{word} in the grammar of {config}, and as hard to write as that; a
        variable that a shell lives by, such as LANG, cannot stand there and is set by ENV_{VAR}. Of several
        files the later one wins, and ENV_{VAR} over all. A file with a `-` before its path need not be there.

        They are read at each boot, and by no command that does not boot; who comes in later has what was read
        then, which is kept where only root can read it. Hooks, `subhost-config`(8), `subhost-info`(8) and
        messages have the paths alone. There can be no ENV_{VAR} whose {VAR} is FILE.

            ENV_FILE="/etc/secrets/db -local.env"
    "#;
    AUTOSTART autostart = "no", "no, yes, or words": r#"
        Words are the sets it belongs to: `subhost-start --auto=`{SET} starts those that name {SET},
        and `subhost-start --auto` all whose AUTOSTART is not `no`, whatever they name. `yes` is for
        those that belong to no set in particular.

            AUTOSTART="web nightly"
    "#;
}

"CONFINEMENT", "
    What those inside may do. These are read at each boot, and who comes in later has what was booted
    with. What is weaker than the defaults, `subhost-info` {NAME} and `subhost-config --check` {NAME}
    say.
" {
    CAPS caps = "", "words": r#"
        Capabilities (`capabilities`(7)) more or less than the usual ones, in the order of the words:
        `+`{CAP}, `-`{CAP}, `all` and `none`, with or without `CAP_`. Usual are AUDIT_WRITE, CHOWN,
        DAC_OVERRIDE, FOWNER, FSETID, IPC_LOCK, KILL, LEASE, NET_BIND_SERVICE, NET_BROADCAST, SETFCAP,
        SETGID, SETPCAP, SETUID and SYS_CHROOT; with NET=private also NET_ADMIN and NET_RAW, with
        `NET=netns:` NET_RAW, with INIT also SYS_BOOT. The bounding set is the same: nothing that is
        executed inside gives others.

            CAPS="-SYS_CHROOT -NET_RAW"
            CAPS="none +NET_BIND_SERVICE +SETUID +SETGID"
    "#;
    USERNS userns = "no", "": "
        `yes` gives the subhost a user namespace (`user_namespaces`(7)) and 65536 user and group ids of
        the host that no other subhost has. Root inside is then nobody outside: what gets out of its
        namespaces may do nothing there. `auto` does so where the kernel and the file systems can, and
        goes on without where not; `subhost-info` shows which. It takes hold when root and network are
        next made.

        The files on disk keep the ids that they have inside, 0 to 65535: nothing is chowned, and a tree
        can be used with and without. They are mapped where the tree is mounted: in {live} they belong
        to the ids of the range, and the host's root, who has none of these, can make no files there: it
        can in UPPER. A file with an id above 65535 belongs to nobody inside. BIND is mapped in the same
        way, so that what root inside makes there belongs to root of the host; what cannot be mapped is
        said, and belongs to nobody inside. What the host mounts below UPPER while the subhost is up
        belongs to nobody inside either.

        The range is taken from the lines for `subhost` in {/etc/subuid} and {/etc/subgid} if both have
        such, else from the ids from 1879048192 on, and kept in {assigned} (IDS) and
        {/var/lib/subhost/ids}. A subhost that comes from another host with a range that is taken here
        gets another one.

        The file systems of UPPER, LOWER and IMAGE must be able to map ids: ext4, xfs, btrfs, squashfs,
        erofs, and since Linux 6.3 tmpfs can, an overlay and a network file system cannot. With `yes`
        one that cannot is refused by its name. With NET=host or `NET=netns:` the network is not the
        subhost's own, and root inside may change nothing in it.
    ";
    NO_NEW_PRIVS no_new_privs = "no", "yes/no": "
        Nothing that is executed gives more rights than its caller has: setuid programs, sudo among
        them, and file capabilities do not work.
    ";
    SECCOMP seccomp = "default", "": "
        Which system calls are let through.
        = `default`
        What services need. Refused are those that only hosts make: mounts, new namespaces, modules,
        kexec, swap, clocks, quotas, BPF, perf, io_uring, userfaultfd, keyrings, execution domains,
        handles of files, input put into terminals, attributes of files (`chattr`(1); with
        LINUX_IMMUTABLE they are let through). Sockets are of the families UNIX, INET, INET6, NETLINK
        and PACKET. What a capability is for is let through to those who keep it by CAPS, but for kexec,
        io_uring and keyrings. Programs of 32 bits and of x32 cannot be run.
        = `strict`
        The same without ptrace and its like, packet sockets, line disciplines, memory placed by hand
        and other unusual things. Debuggers do not work.
        = `off`
        All.
        = {path}
        What a file says, in the form of the OCI runtime specification ({linux.seccomp}; Docker's and
        Podman's own files will do). The path has a `/` in it; the file must be as hard to write as
        {config}. Names that this architecture has not are skipped; of several rules that hold the
        strictest counts; `SCMP_ACT_NOTIFY`, `SCMP_ACT_TRACE` and flags are not supported. The calls of
        32-bit programs and of x32 stay closed. It must allow what coming in takes: capset, setresuid,
        close_range, execve. Our own PID 1 has the default filter.
    ";
    MASK mask = "", "words": r#"
        Paths inside that are covered by nothing: a file can be read and written, and is empty; a
        directory is empty. They are so beside the usual ones, which are below {/proc} acpi, asound,
        interrupts, kallsyms, kcore, key\-users, keys, kmsg, kpagecgroup, kpagecount, kpageflags,
        latency_stats, pagetypeinfo, sched_debug, scsi, slabinfo, timer_list, timer_stats, vmallocinfo
        and vmcore, below {/sys} firmware and devices/virtual/powercap. `-`{PATH} takes one of these
        away, or one of those below {/proc} that can only be read: bus, driver, fs, irq, sys and
        sysrq\-trigger; `none` all of both. {/proc/sys/net} can be written by those who keep NET_ADMIN.
        No link may be on the way to a path; what is not there needs no cover.

            MASK="/usr/share/secret -/proc/interrupts"
    "#;
    DEVICES devices = "", "words": r#"
        Devices of the host that those inside have, beside the usual ones without hardware, at most
        1000, each {/dev/PATH}[`:`{ACCESS}]. {ACCESS} is made of `r`, `w` and `m` (read, write, make
        nodes of it), and is `rw` if not given. The node inside has the same name and permissions and
        belongs to root.

            DEVICES="/dev/net/tun /dev/fuse"
    "#;
}

"LIMITS", "
    What a subhost may use of the host. Each is kept by a cgroup, made when it is booted: in the v2
    hierarchy wherever that is mounted, and on hybrid hosts in those v1 hierarchies whose controllers
    are needed. A limit whose controller the host does not have is refused. A change in the config takes
    hold at the next boot; `subhost-limit`(8) changes what runs. `max` lifts a bound. Whatever is set,
    the cgroup says which devices can be opened: the usual ones of {/dev} and those of DEVICES.
" {
    CGROUP cgroup = "auto", "": "
        Where the cgroup is made. `auto` is {subhost/NAME} below the root of the hierarchy; but where
        the tools are called in a cgroup that systemd has given to its user (`Delegate=yes`),
        {subhost.NAME} below that one. `inherit` is {subhost.NAME} below the cgroup that the tools are
        called in, in each hierarchy: what a batch scheduler gave to its job holds for the subhost as
        well. A path is {subhost.NAME} below that cgroup, which must exist in each hierarchy that is
        needed. In the v2 hierarchy a cgroup that has processes in it itself cannot share out
        controllers: where others than the tool that boots are in the caller's, limits that are set are
        refused, and PIDS's usual one is left out.

            CGROUP=/batch/nightly
    ";
    CPUS cpus = "", "number": "
        CPU time, as a number of CPUs of which three decimals count.

            CPUS=1.5
    ";
    CPU_WEIGHT cpu_weight = "", "1 to 10000; unset, which is as 100": "
        Share of CPU time where there is not enough for all.
    ";
    CPUSET cpuset = "", "list": "
        The CPUs that it may use.

            CPUSET=0-3,5
    ";
    MEMORY memory = "", "size, from 1M on": "
        Memory of its processes, with what the kernel holds for them: page cache, tmpfs, sockets. When
        it is used up and nothing can be given back, the kernel ends a process inside.
    ";
    MEMORY_SWAP memory_swap = "", "size; 0 where MEMORY is set": "
        Swap that may be used beyond MEMORY. Without it a memory bomb would fill the host's swap, which
        makes everybody slow, before it is ended.
    ";
    PIDS pids = "", "number; 8192 where the host has the controller": "
        Processes and threads. With `PIDS=max` a fork bomb inside is bounded by what the host itself can
        bear.
    ";
    IO_WEIGHT io_weight = "", "1 to 10000; unset, which is as 100": "
        Share of disk time where there is not enough for all; needs an I/O scheduler (BFQ) or a cost
        model (io.cost) that knows weights.
    ";
    IO io = "", "words": r#"
        {DEVICE}: with `rbps=`{N}, `wbps=`{N}, `riops=`{N} and `wiops=`{N} behind it, separated by
        commas: bytes and operations that may be read and written in a second. {DEVICE} is a block
        device, a directory or file on it, or `root` for what the root's writable layer or image lies
        on. In v1 hierarchies only what is read, and what is written past the page cache, is counted.

            IO="root:rbps=50M,wbps=20M /dev/sdb:riops=200"
    "#;
    DISK disk = "", "size, from 1M on; half of the host's memory": "
        What may be written to a root with `VOLATILE=yes`, which is held in memory, and counts for
        MEMORY as well. Without VOLATILE it is refused: an image is bounded by its own size, and a
        directory by what its file system has; give a subhost that must not fill that an IMAGE, or a
        LOWER with one.
    ";
}

"HOOKS", "" {
    PREMOUNT premount = "", "": "";
    POSTMOUNT postmount = "", "command line": "
        Run before the root is mounted, and after it was.
    ";
    PRENET prenet = "", "": "";
    POSTNET postnet = "", "command line": "
        Run before the network is made, and after it was; not where it is not the subhost's own
        (`NET=host`, `NET=netns:`).
    ";
    PRESTOP prestop = "", "": "";
    POSTSTOP poststop = "", "command line": "
        Run by `subhost-stop`(8), before the processes are ended and after everything is down; also for
        a subhost that hibernates, but not with `--keep`, nor when `-u` takes one half down.
        `subhost-enter`(8) runs both, one after the other's work, when it takes down what it brought up;
        the processes have ended by then.
    ";
    HOOK_TIMEOUT hook_timeout = "30s", "duration": "
        A hook that runs longer is killed, with what it started, and has failed.
    ";
    X_{VAR}, "text; unset": "
        Yours: the tools ignore it, and hooks find it in their environment.
    ";
}
}
