//! The table of keys: for each its name, its default and its text in subhost.config(5). The file of its
//! group checks the value.
//!
//! A row is `KEY field = "default", "what it takes; default in words", Effect: "text";`.
//!
//! - The field is that of `Raw`, the key in small letters. `KEY[i]` carries the number of a cable behind its
//!   name, `KEY_{VAR}` a name of the user's; these have no field.
//! - An empty default is an unset key. `; default in words` stands where the default depends on other keys,
//!   on the name or on the host.
//! - The [`Effect`](super::keys::Effect) says when a change applies. A row without one has that of its group.
//!
//! A text begins with a verb ("Names the ...") and ends with examples, lines with four more spaces, which
//! `tests/pages.rs` gives to the parser. In it `` `literal` `` is bold and `{placeholder}` italic; an empty
//! line begins a paragraph; `= ` is a term whose meaning follows on the next lines. Anything else is roff.
//! The page is made of the table: `BLESS=1 cargo test --test pages`.

super::keys::keys! {
"ROOT", Mount, "" {
    LOWER lower = "", "words": r#"
        Names the layers of an overlay, topmost first. A layer is a directory, or a file with a file
        system in it (squashfs, erofs, ext4 or another that IMAGE_FSTYPE lists), which is mounted
        read-only. Paths may contain spaces, commas and colons. Without LOWER, UPPER is the whole tree
        and is mounted as it is, with everything mounted below it.

        With `/` as a layer, processes inside can read every file of the host's root file system except
        {$SUBHOST}, which is covered. File systems mounted below {/} do not appear.

        Change a layer only while no root that uses it is mounted. The files in UPPER must still fit it.

            LOWER="$SUBHOST/layers/web $SUBHOST/layers/base"
    "#;
    UPPER upper = "", "path; root, with IMAGE mnt/root": "
        Names the whole tree, or with LOWER the writable layer of the overlay. The directory must exist.
        Its mode is the mode of {/} inside.

            UPPER=/srv/trees/web
    ";
    WORK work = "", "path; work, with IMAGE mnt/work": "
        Names the work directory of the overlay, on the file system of UPPER. Only a root with LOWER
        needs it. It is made if it is missing, except with IMAGE. With `VOLATILE=yes` WORK is ignored: a
        tmpfs is mounted on {work} in the subhost's directory.

            WORK=/srv/trees/web.work
    ";
    LIVE live = "live", "path": "
        Names the directory that the root is mounted on. It is made if it is missing. LIVE must not
        contain UPPER or WORK, or lie in one of them.

            LIVE=/srv/live/web
    ";
    IMAGE image = "", "path; NAME.img if it exists, else unset": "
        Names a file with a file system in it, which is mounted on {mnt} in the subhost's directory. By
        default UPPER is then {mnt/root} and WORK is {mnt/work}. UPPER must exist in the image. WORK must
        exist where LOWER is set and the root is neither READ_ONLY nor VOLATILE.

            IMAGE=/srv/images/web.img
    ";
    IMAGE_PARTITION image_partition = "", "number": "
        Selects a partition of the image, from 1 to 128. Without it, the file system begins at the start
        of the file.

            IMAGE_PARTITION=1
    ";
    IMAGE_FSTYPE image_fstype = "", "type; recognised by its superblock": "
        Sets the type of the image's file system. Recognised are btrfs, erofs, ext4, f2fs, iso9660,
        squashfs and xfs.

            IMAGE_FSTYPE=ext4
    ";
    IMAGE_OPTIONS image_options = "", "mount options": "
        Sets the mount options of the image's file system, separated by commas.

            IMAGE_OPTIONS=noatime,discard
    ";
    READ_ONLY read_only = "no", "yes/no": "
        Makes the root read-only, and everything that is mounted below it when it is made. BIND, TMPFS and
        {/run} stay writable. Without LOWER, a file system that the host mounts below UPPER later appears
        inside too, and is writable there if the host mounted it writable.

            READ_ONLY=yes
    ";
    VOLATILE volatile = "no", "yes/no": "
        Discards all changes when the root is unmounted. Until then a tmpfs holds them, whose size DISK limits.
        File systems mounted below UPPER do not appear inside. It excludes READ_ONLY.

            VOLATILE=yes
    ";
}

"FILES INSIDE", Start, "
    Each boot makes these mounts anew in the mount namespace of the subhost. They end with its PID 1, and
    do not appear in {live}.

    Every subhost also has a {/proc}, a {/sys} and a {/dev} of its own, and these read-only files, which cover
    those of the tree:
    = {/etc/hosts}
    With NET=private and NET=user. It lists HOSTNAME and the addresses before the lines of the tree's own file.
    = {/etc/hostname}
    Where the tree has this file. It has the HOSTNAME.
    = {/etc/resolv.conf}
    Where DNS or SEARCH is set, and with NET=user.

    A read-only tree that lacks one of these files goes without it.
" {
    BIND bind = "", "words": r#"
        Mounts files and directories of the host inside, each {SRC}[`:`{DST}][`:ro`]. {DST} is an absolute
        path inside, by default {SRC}. If {DST} is missing, an empty directory or file is made in the
        tree and stays there; in a READ_ONLY root it must exist. With `:ro` it is read-only. What is
        mounted below a directory appears too. Device nodes in it cannot be opened. A {SRC} that contains
        the subhost's directory needs `:ro`.

            BIND="/srv/www:ro /srv/data/web:/var/lib/web"
    "#;
    TMPFS tmpfs = "", "words": r#"
        Mounts a tmpfs with mode 1777 for each word, {DST}[`:`{SIZE}]. Without {SIZE} it holds at most half
        of the host's memory. A missing {DST} is made, as with BIND.

            TMPFS="/tmp:64M /var/tmp"
    "#;
    RAM_SIZE ram_size = "50M", "size": "
        Limits the size of the tmpfs on {/run}. `none` leaves {/run} as it is in the tree.

            RAM_SIZE=200M
    ";
}

"NETWORK", Net, "" {
    NET net = "private", "private, host, user or netns:NAME": "
        Selects the network.
        = `private`
        A network namespace of its own, which `ip-netns`(8) knows as NAME.
        = `host`
        The network of the host.
        = `user`
        A network namespace of its own, whose traffic a helper carries. It is for ordinary users (see
        `subhost-cookbook`(7), WORK WITHOUT ROOT); root cannot use it. The helper is `pasta`(1) if {/usr/bin/pasta}
        exists, else `slirp4netns`(1) in {/usr/bin}. Processes inside reach what the user reaches, except
        the loopback addresses of the host. Nothing outside reaches them. Without DNS, the name server is
        10.0.2.3: the helper forwards queries to the host's name server. The host needs {/dev/net/tun}
        and a default route.
        = `netns:`{NAME}
        An existing named network namespace, of another subhost or made by `ip-netns`(8). A stop leaves
        it as it is.

        Only `private` allows BRIDGES, ADDR{i}, MTU{i}, GATEWAY and ROUTES. With `host` and `netns:`,
        processes inside cannot change interfaces and routes unless CAPS adds NET_ADMIN, and PRENET and
        POSTNET do not run.

            NET=host
            NET=netns:vpn
    ";
    BRIDGES bridges = "", "words": r#"
        Makes one cable, a veth pair, for each word: [{bridge}][`=`[{mac}]]. Words are counted from 0. The
        host end of word {i} is LINK{i}, and belongs to the bridge. The inner end is eth{i}, and has the
        address {mac}. The bridge must exist ('`ip link add br0 type bridge`'). Without a bridge, as with
        a bare `=`, the host end is up and belongs to no bridge. Without {mac}, the tools derive an
        address from the host, NAME and {i}, and keep it in the file {assigned}.

            BRIDGES="br0 br1=02:00:00:00:00:01 ="
    "#;
    LINK link = "", "name; NAME": "
        Sets what the names of the host ends begin with. A name has at most 15 bytes, with the number of
        the cable behind it.

            LINK=build
    ";
    ADDR[i], "words": r#"
        Sets the addresses of eth{i}, IPv4 and IPv6, each with the length of the prefix. BRIDGES must have
        a word {i}.

            ADDR0="192.0.2.10/24 2001:db8::10/64"
    "#;
    MTU[i], "number; the kernel's": "
        Sets the MTU of both ends of cable {i} in bytes, from 68 to 65535. BRIDGES must have a word {i}.

            MTU1=1400
    ";
    GATEWAY gateway = "", "words": r#"
        Sets the default gateways, at most one for IPv4 and one for IPv6. Each must be in the network of
        one of the ADDR{i}.

            GATEWAY="192.0.2.1 2001:db8::1"
    "#;
    ROUTES routes = "", "words": r#"
        Adds routes, each {NETWORK}`/`{PREFIX}`=`{GATEWAY}.

            ROUTES="198.51.100.0/24=192.0.2.7 10.0.0.0/8=192.0.2.8"
    "#;
    DNS dns = "", "words", Start: r#"
        Lists the addresses of the name servers in a read-only {/etc/resolv.conf}, which covers the tree's
        own while the subhost runs. Without DNS and SEARCH, the tree's own is used, except with NET=user.

            DNS="192.0.2.53 2001:db8::53"
    "#;
    SEARCH search = "", "words", Start: r#"
        Lists the search domains in the same file.

            SEARCH="example.org example.net"
    "#;
}

"PROCESSES", Start, "" {
    HOSTNAME hostname = "", "name; NAME": r#"
        Sets the host name inside. It begins with a letter or digit, consists of letters, digits, `.`, `-`
        and `_`, and has at most 64 bytes.

            HOSTNAME="$NAME.example.org"
    "#;
    RUN run = "", "command line": r#"
        Names the command that PID 1 runs when `subhost-start`(8) starts the subhost. A name without a
        `/` is looked for inside in ENV_PATH, by default {/usr/local/sbin}, {/usr/local/bin}, {/usr/sbin},
        {/usr/bin}, {/sbin} and {/bin}. The command must stay in the foreground: when it ends, PID 1 ends, all
        other processes inside are killed, and the subhost hibernates. Without RUN and INIT, PID 1 waits until the subhost
        is stopped. `subhost-enter`(8) runs neither.

            RUN="/usr/sbin/nginx -g 'daemon off;'"
    "#;
    INIT init = "", "command line": "
        Names the tree's own init, by an absolute path inside. It is PID 1 in the place of
        `subhost-init`(8), and runs as root. Its environment has `container=subhost`, PATH, `TERM=linux`,
        and what ENV_{VAR} and ENV_FILE set. It excludes RUN.

            INIT=/sbin/init
    ";
    STOP stop = "", "signal or command line; TERM for RUN, see above for INIT": r#"
        Sets how `subhost-stop`(8) asks RUN or INIT to end. A signal is a name or number: `TERM`,
        `SIGINT`, `RTMIN+3`, `15`. A command is named by an absolute path, runs inside as root, and must
        make RUN or INIT end. If it fails, RUN or INIT gets TERM.

        The default for RUN is TERM. The default for INIT is what the init in the tree knows: RTMIN+3 for
        systemd, USR2 for busybox, the command '`/sbin/telinit 0`' for sysvinit, '`/sbin/init 0`' for runit,
        and TERM for any other, such as openrc-init and s6-svscan.

            STOP=QUIT
            STOP="/usr/bin/mysqladmin shutdown"
    "#;
    STOP_TIMEOUT stop_timeout = "", "duration; 30s, with INIT 90s": "
        Limits the time that processes have to end during a stop. When RUN has ended, PID 1 sends TERM to all
        other processes inside, and 100 ms later HUP. When the time is over, `subhost-stop`(8) kills what is
        left, and names it in a warning. '`subhost-stop --set STOP_TIMEOUT=`{TIME}' sets the time of one stop.

            STOP_TIMEOUT=2m
    ";
    RUN_AS run_as = "root", "user": "
        Sets the user that RUN runs as, {USER}[`:`{GROUP}], by the tree's {/etc/passwd} and {/etc/group}. Both
        are names or numbers. With {GROUP} that is the only group; without it, the user has all groups
        of both files. INIT always runs as root.

            RUN_AS=www-data
    ";
    APPARMOR apparmor = "", "profile": "
        Confines RUN, INIT and entered commands by an AppArmor profile (`apparmor`(7)), in addition to what
        confines every subhost. It does not confine `subhost-init`(8). The host must have loaded the
        profile, or the boot fails. The profile needs `flags=(attach_disconnected)`.

            APPARMOR=subhost-web
    ";
    SELINUX selinux = "", "label": "
        Confines the same processes by an SELinux label (`selinux`(8)). The host's policy must know the
        label, or the boot fails.

            SELINUX=system_u:system_r:container_t:s0:c1,c2
    ";
    LOG_MAX log_max = "10M", "size": "
        Limits the size of the log {/var/log/subhost/NAME.log}; at least 64K. The log has the output of RUN or
        the console of INIT. When it would grow beyond LOG_MAX, its older half is dropped. RUN writes to a
        pipe, and has no descriptor of the file.

            LOG_MAX=50M
    ";
    RUN_DIR run_dir = "/", "path inside": "
        Sets the working directory of RUN. It must exist.

            RUN_DIR=/srv/www
    ";
    ENV_{VAR}, "text": "
        Sets {VAR} in the environment of RUN, INIT and entered commands. RUN and entered commands also have
        HOME, USER, LOGNAME and SHELL of their user, and a PATH, unless ENV_{VAR} sets them. Nothing of
        the host's environment is passed on, except TERM to a command that is entered from a terminal.

            ENV_LANG=C.UTF-8
            ENV_TZ=Europe/Stockholm
    ";
    ENV_FILE env_file = "", "words": r#"
        Names files of the host with further variables, such as passwords, for the same processes. A file
        has lines {KEY}`=`{value} in the syntax of {config}. It must belong to root and be writable by nobody
        else; make it mode 600. A key that a shell depends on, such as LANG, cannot be set there; ENV_{VAR} can
        set it. Of several files the later wins, and ENV_{VAR} wins over all. A file with a `-` before its
        path may be missing. {VAR} in ENV_{VAR} cannot be FILE.

        Only a boot reads the files. Entered commands get what the last boot read, which is kept where only
        root can read it. Hooks, `subhost-config`(8), `subhost-info`(8) and messages show the paths alone.

            ENV_FILE="/etc/secrets/db -local.env"
    "#;
    AUTOSTART autostart = "no", "no, yes or words", Auto: r#"
        Makes '`subhost-start --auto`' start the subhost. Words are names of sets: with `--auto=`{SET} it
        starts the subhosts that name {SET}, and without {SET} all whose AUTOSTART is not `no`. `yes` is
        for a subhost that belongs to no set.

            AUTOSTART="web nightly"
    "#;
}

"CONFINEMENT", Start, "
    These keys set what processes inside may do. An entered command has the rights of the last boot.
    `subhost-info` {NAME} and `subhost-config --check` {NAME} list what is weaker than the defaults.
" {
    CAPS caps = "", "words": r#"
        Adds capabilities (`capabilities`(7)) to the usual ones, or removes them, word by word: `+`{CAP},
        `-`{CAP}, `all` and `none`. {CAP} is a name with or without `CAP_`. The bounding set is the same, so
        that no program can gain others.

        The usual ones are AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, IPC_LOCK, KILL, LEASE,
        NET_BIND_SERVICE, NET_BROADCAST, SETFCAP, SETGID, SETPCAP, SETUID and SYS_CHROOT; with NET=private
        and NET=user also NET_ADMIN and NET_RAW; with `NET=netns:` also NET_RAW; with INIT also SYS_BOOT.

            CAPS="-SYS_CHROOT -NET_RAW"
            CAPS="none +NET_BIND_SERVICE +SETUID +SETGID"
    "#;
    USERNS userns = "no", "yes, no or auto", Both: "
        Gives the subhost a user namespace (`user_namespaces`(7)) and 65536 user and group ids of the host
        that no other subhost has. Root inside then has no rights outside. `auto` does so where the kernel
        and the file systems can; `subhost-info`(8) shows whether they could.

        Files keep their ids on disk, 0 to 65535. They are mapped where the tree is mounted: in {live} they
        belong to ids of the range. The host's root cannot make files there, but can in UPPER. A file with
        an id above 65535 belongs to nobody inside. BIND is mapped in the same way: what root inside makes
        there belongs to root of the host. A BIND that cannot be mapped belongs to nobody inside, and the
        boot warns. What the host mounts below UPPER while the subhost is up belongs to nobody inside too,
        without a warning.

        The range is from the lines for `subhost` in {/etc/subuid} and {/etc/subgid} if both files have them,
        else from 1879048192 on. It is kept in {assigned} (IDS) and {/var/lib/subhost/ids}. If another
        subhost of this host has the range already, the subhost gets a new one.

        The file systems of UPPER, LOWER and IMAGE must support mapped ids: ext4, xfs, btrfs, squashfs,
        erofs, and since Linux 6.3 tmpfs do; overlay and network file systems do not. With `yes`, the
        error names the one that does not. With NET=host and `NET=netns:`, root inside cannot change the
        network.

            USERNS=yes
    ";
    NO_NEW_PRIVS no_new_privs = "no", "yes/no": "
        Keeps programs from gaining privileges when they are executed: setuid programs such as sudo, and
        file capabilities, have no effect.

            NO_NEW_PRIVS=yes
    ";
    SECCOMP seccomp = "default", "default, strict, off or path": "
        Selects the filter of system calls (`seccomp`(2)).
        = `default`
        Allows what services need. It refuses mounts, new namespaces, modules, kexec, swap, clocks,
        quotas, BPF, perf, io_uring, userfaultfd, keyrings, execution domains, `open_by_handle_at`(2),
        input put into terminals, and attributes of files (`chattr`(1)) without LINUX_IMMUTABLE. Sockets
        are of the families UNIX, INET, INET6, NETLINK and PACKET. The calls of a capability that CAPS
        adds are allowed, except kexec, io_uring and keyrings. Programs of 32 bits and of x32 cannot run.
        = `strict`
        Refuses also ptrace and similar calls, packet sockets, line disciplines, memory policies and other
        rare calls. Debuggers do not work.
        = `off`
        Allows all.
        = {path}
        Reads the filter from a file in the form of the OCI runtime specification ({linux.seccomp}), such
        as Docker's and Podman's own. The path has a `/` in it. The file needs the permissions of
        {config}. Names that this architecture lacks are skipped. Of several rules that match, the
        strictest counts. `SCMP_ACT_NOTIFY`, `SCMP_ACT_TRACE` and flags are not supported. Calls of 32-bit
        programs and of x32 are refused. The file must allow capset, setresuid, close_range and execve.
        `subhost-init`(8) has the default filter.

            SECCOMP=strict
    ";
    MASK mask = "", "words": r#"
        Covers paths inside. A covered directory is empty. A covered file is {/dev/null}. `-`{PATH} uncovers
        one of the default paths, and `none` all of them. No symbolic link may be on the way to a path. A path that
        does not exist is ignored.

        Covered by default are below {/proc} acpi, asound, interrupts, kallsyms, kcore, key\-users, keys, kmsg,
        kpagecgroup, kpagecount, kpageflags, latency_stats, pagetypeinfo, sched_debug, scsi, slabinfo,
        timer_list, timer_stats, vmallocinfo and vmcore, and below {/sys} firmware and
        devices/virtual/powercap. Read-only are below {/proc} bus, driver, fs, irq, sys and
        sysrq\-trigger; `-`{PATH} and `none` make these writable. {/proc/sys/net} is writable with the
        capability NET_ADMIN.

            MASK="/usr/share/secret -/proc/interrupts"
    "#;
    DEVICES devices = "", "words": r#"
        Gives the subhost devices of the host beside the usual ones, at most 1000, each
        {/dev/PATH}[`:`{ACCESS}]. {ACCESS} is made of `r` (read), `w` (write) and `m` (make nodes); the default
        is `rw`. The node inside has the same name, belongs to root, and has the permissions of the host's
        node as far as {ACCESS} allows.

            DEVICES="/dev/net/tun /dev/fuse"
    "#;
}

"LIMITS", Limit, "
    A boot makes a cgroup (`cgroups`(7)), which keeps the limits: in the v2 hierarchy where the host has the
    controller there, else in the v1 hierarchy of the controller. A limit whose controller the host lacks
    is refused. CPUS, MEMORY, MEMORY_SWAP, PIDS and the rates of IO can be `max`, which is no limit. What
    `subhost-limit`(8) changes lasts until the next boot. The cgroup also refuses to open devices other
    than the usual ones of {/dev} and those of DEVICES.
" {
    CGROUP cgroup = "auto", "auto, inherit or path", Start: "
        Selects where the cgroup is made.
        = `auto`
        Makes {subhost/NAME} below the root of the hierarchy; or {subhost.NAME} below the nearest cgroup that
        systemd has delegated (`Delegate=yes`), where the tools run in one.
        = `inherit`
        Makes {subhost.NAME} below the cgroup that the tools run in, in each hierarchy. The limits of a
        batch scheduler's job then apply to the subhost too.
        = {path}
        Makes {subhost.NAME} below this cgroup, which must exist in each hierarchy that is needed.

        In the v2 hierarchy, a cgroup with processes in it cannot have child cgroups with limits. If the
        cgroup that the tool runs in has other processes, and the subhost's would be its child, limits are
        refused and PIDS has no default. Run the tool in a cgroup of its own then, or name another by {path}.

            CGROUP=/batch/nightly
    ";
    CPUS cpus = "", "number": "
        Limits the CPU time, as a number of CPUs from 0.01 on, with up to three decimals.

            CPUS=1.5
    ";
    CPU_WEIGHT cpu_weight = "", "1 to 10000; unset, as 100": "
        Sets the share of CPU time where there is not enough for all.

            CPU_WEIGHT=50
    ";
    CPUSET cpuset = "", "list; all": "
        Lists the CPUs that processes inside may use.

            CPUSET=0-3,5
    ";
    MEMORY memory = "", "size": "
        Limits the memory of the processes inside and of the kernel for them (page cache, tmpfs, sockets),
        at least 1M. When it is used up and the kernel can reclaim none, it kills a process inside.

            MEMORY=512M
    ";
    MEMORY_SWAP memory_swap = "", "size; 0 where MEMORY is set": "
        Limits the swap beyond MEMORY, which must be set. The default keeps a process that fills its memory
        from filling the host's swap as well. With `MEMORY=max` the default is `max`.

            MEMORY_SWAP=256M
    ";
    PIDS pids = "", "number; 8192 where the host has the controller": "
        Limits the number of processes and threads, up to 4194304. With `PIDS=max` only the limits of the
        host stop a fork bomb inside.

            PIDS=500
    ";
    IO_WEIGHT io_weight = "", "1 to 10000; unset, as 100": "
        Sets the share of disk time where there is not enough for all. It needs an I/O scheduler (BFQ) or a
        cost model (io.cost) that has weights.

            IO_WEIGHT=50
    ";
    IO io = "", "words": r#"
        Limits what is read and written in a second. Each word is {DEVICE}`:` and, separated by commas,
        `rbps=`{N} and `wbps=`{N} (bytes), `riops=`{N} and `wiops=`{N} (operations). {DEVICE} is a block device,
        or a directory or file on it, by an absolute path; or `root`, for the device of IMAGE or UPPER. A
        v1 hierarchy counts reads, and only those writes that bypass the page cache.

            IO="root:rbps=50M,wbps=20M /dev/sdb:riops=200"
    "#;
    DISK disk = "", "size; half of the host's memory", Mount: "
        Limits what can be written to a root with `VOLATILE=yes`, at least 1M. It is in memory, and counts
        for MEMORY too. Without VOLATILE it is refused: an IMAGE has a size of its own, and a directory
        has no limit.

            DISK=2G
    ";
}

"HOOKS", Mount, "" {
    PREMOUNT premount = "", "command line": r#"
        Runs before the root is mounted.

            PREMOUNT="/usr/local/sbin/snapshot --keep 7"
    "#;
    POSTMOUNT postmount = "", "command line": "
        Runs after the root was mounted.

            POSTMOUNT=hooks/fill
    ";
    PRENET prenet = "", "command line", Net: "
        Runs before the network is made; not with NET=host and `NET=netns:`.

            PRENET=hooks/bridge
    ";
    POSTNET postnet = "", "command line", Net: "
        Runs after the network was made; not with NET=host and `NET=netns:`.

            POSTNET=hooks/forward
    ";
    PRESTOP prestop = "", "command line": "
        Runs on the host when `subhost-stop`(8) begins, before it ends the processes; also when the subhost
        hibernates. '`subhost-stop --keep`', '`subhost-mount -u`' and '`subhost-net -u`' do not run it.
        `subhost-enter`(8) runs it after the processes have ended, before it removes the root or the network
        that it made.

        The stop runs the PRESTOP and POSTSTOP that were set when the root was mounted or, if no root is up,
        when the network was made. If one of them fails, the stop reports it and continues; the exit status
        is then 1, or 6 if it was killed after HOOK_TIMEOUT.

            PRESTOP=hooks/drain
    ";
    POSTSTOP poststop = "", "command line": "
        Runs in the same cases as PRESTOP, after root and network are removed.

            POSTSTOP=hooks/report
    ";
    HOOK_TIMEOUT hook_timeout = "30s", "duration", Either: "
        Limits the time of a hook. When it is over, the hook and its process group are killed, and the hook
        has failed.

            HOOK_TIMEOUT=5m
    ";
    X_{VAR}, "text", Either: "
        Passes a setting of your own to the hooks. The tools ignore it.

            X_OWNER=web-team
    ";
}
}
