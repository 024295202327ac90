//! The text of files that cover those of a tree: /etc/hosts, /etc/resolv.conf.

use crate::config::{Config, Net};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Returns the /etc/resolv.conf that DNS and SEARCH make.
pub(super) fn resolv_conf(config: &Config) -> String {
    let mut text = String::new();
    if !config.run.search.is_empty() {
        text += &format!("search {}\n", config.run.search.join(" "));
    }
    for server in &config.run.dns {
        text += &format!("nameserver {server}\n");
    }
    if config.run.dns.is_empty() && config.has_helper() {
        text += &format!("nameserver {}\n", crate::plan::steps::helper::DNS);
    }
    text
}

/// Returns the /etc/hosts with the subhost's names and addresses, followed by the lines of the tree's own.
pub(super) fn hosts(config: &Config) -> String {
    let name = &config.run.hostname;
    let mut text =
        String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let Net::Private(private) = &config.net else {
        return text;
    };
    let addresses: Vec<IpAddr> = private
        .cables
        .iter()
        .flat_map(|cable| cable.addresses.iter().map(|cidr| cidr.address))
        .collect();
    if addresses.is_empty() {
        text += &format!("127.0.1.1\t{name}\n");
    }
    for address in addresses {
        text += &format!("{address}\t{name}\n");
    }
    text + &own_hosts(&config.root.live).unwrap_or_default()
}

/// Reads the tree's /etc/hosts. No symbolic link can lead out of the tree.
fn own_hosts(live: &Path) -> Option<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(live, flags, Mode::empty()).ok()?;
    let found = openat2(
        &root,
        "etc/hosts",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    );
    let found = File::from(found.ok()?);
    // fstat(2) comes before open(2): to open a device acts on it, as on a watchdog or a tape.
    let meta = found.metadata().ok()?;
    if !meta.is_file() {
        return None;
    }
    let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()?;
    let mut bytes = Vec::new();
    file.take(meta.len().min(1 << 20))
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
