//! Makes, recognises and removes the named network namespace of a subhost.

use super::named::{self, Found};
use super::{Network, Statistics};
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::kernel::mountinfo::{self, Mark};
use crate::kernel::proc::Namespace;
use crate::kernel::processor::on_another_cpu;
use crate::plan::steps::netns::Netns;
use crate::plan::{Act, Presence, PresenceQuery, Step, UndoOptions};
use std::os::fd::OwnedFd;

impl Act<&mut Network> for Netns {
    fn present(&self, network: &mut Network, asked: PresenceQuery<'_>) -> Result<Presence> {
        network.netns_present(&self.name, asked)
    }

    fn act(&self, network: &mut Network) -> Result<()> {
        let name = &self.name;
        if let Some(pid) = network.pid_1 {
            // The subhost runs, and its namespace has lost its name.
            return named::give_name(name, pid).map(drop);
        }
        let namespace = named::make(name, self.ids)?;
        let up = network.inet_socket(name, &namespace).and_then(|socket| {
            let up = socket.set_up("lo");
            up.doing(|| format!("bring up lo in {name}"))
        });
        if up.is_err() {
            network.close_sockets(name);
            let _ = named::remove(name);
        }
        up
    }

    fn undo(&self, network: &mut Network, mark: Option<&Mark>, _: UndoOptions) -> Result<()> {
        let name = &self.name;
        let found = named::find(name)?;
        // The cables were undone before, so only the mark can tell a foreign namespace from ours.
        if let (Some(mark), Found::Namespace(namespace)) = (mark, &found)
            && !network.is_marked(name, namespace, mark)?
        {
            let what = format!("{} is another namespace now", named::path(name).display());
            let deleted = network.delete_discarded();
            return Err(foreign_error(&what).also(deleted.err()));
        }
        network.close_sockets(name);
        on_another_cpu(|| {
            let removed = named::remove(name);
            if let Found::Namespace(namespace) = &found {
                network.drop_discarded_addresses(namespace);
            }
            drop(found);
            removed
        })
    }

    fn mark(&self, network: &mut Network) -> Option<Mark> {
        let name = &self.name;
        let Ok(Found::Namespace(namespace)) = named::find(name) else {
            return None;
        };
        let cookie = network.inet_socket(name, &namespace).ok()?.cookie();
        let mark = mountinfo::read_mark(&named::path(name))?;
        Some(Mark {
            netns: Some((named::inode(&namespace), cookie)),
            ..mark
        })
    }
}

/// Makes the error of an undo that finds a foreign object.
pub(super) fn foreign_error(what: &str) -> Error {
    Error::new(Exit::Failed, format!("left alone what is not ours: {what}"))
}

impl Network {
    fn netns_present(
        &mut self,
        name: &str,
        PresenceQuery { mark, all, frozen }: PresenceQuery<'_>,
    ) -> Result<Presence> {
        if mark.is_some_and(|mark| mountinfo::is_marked(&named::path(name), mark)) {
            return Ok(Presence::Ours);
        }
        let found = named::find(name)?;
        if let (Some(pid), Found::Namespace(namespace)) = (self.pid_1, &found) {
            if Namespace::Net.inode_of(pid) == Some(named::inode(namespace)) {
                return Ok(Presence::Ours);
            }
            return Ok(Presence::Foreign(format!(
                "{} is another network namespace than the one that PID 1 (pid {pid}) is in",
                named::path(name).display()
            )));
        }
        let namespace = match found {
            Found::Nothing => return Ok(Presence::Absent),
            // A tool was killed between making the file and mounting the namespace on it.
            Found::Other if named::is_leftover(name) => return Ok(Presence::Absent),
            Found::Other => return Ok(Presence::Foreign(named::describe(name))),
            // A frozen plan without marks was interrupted. The name was free when the plan was frozen, so
            // this namespace is ours.
            Found::Namespace(_) if frozen && mark.is_none() => return Ok(Presence::Ours),
            Found::Namespace(namespace) => namespace,
        };
        if let Some(mark) = mark
            && self.is_marked(name, &namespace, mark)?
        {
            return Ok(Presence::Ours);
        }
        self.unmarked_presence(name, &namespace, all)
    }

    /// Tells whether the namespace has the mark. The mount on its name tells that. The mount can differ, in
    /// another mount namespace or after `ip netns add` has bind-mounted /run/netns onto itself; then inode
    /// and cookie tell.
    fn is_marked(&mut self, name: &str, namespace: &OwnedFd, mark: &Mark) -> Result<bool> {
        if mountinfo::is_marked(&named::path(name), mark) {
            return Ok(true);
        }
        let Some((inode, cookie)) = mark.netns else {
            return Ok(false);
        };
        let socket = self.inet_socket(name, namespace)?;
        Ok(named::inode(namespace) == inode && socket.cookie() == cookie)
    }

    /// Judges a namespace that has the right name and no mark. It is ours if a script of `subhost-net -n`
    /// made it, or began to: then it has no links but `lo` and our cables, and without cables `lo` is up. `ip
    /// netns add` leaves `lo` down.
    fn unmarked_presence(
        &mut self,
        name: &str,
        namespace: &OwnedFd,
        all: &[Step],
    ) -> Result<Presence> {
        let socket = self.netlink.inner(name, namespace)?;
        let links = self.netlink.links(&socket, Statistics::Skipped);
        let links = links.doing(|| "list links")?;
        let (mut planned, mut ours) = (vec!["lo"], false);
        for step in all {
            if let Step::Cable(step) = step {
                planned.push(&step.cable.inner);
                ours |= self.cable_present(step)? == Presence::Ours;
            }
        }
        let bare = planned.len() == 1 && links.iter().all(|link| link.up);
        let only = links
            .iter()
            .all(|link| planned.contains(&link.name.as_str()));
        if only && (ours || bare) {
            return Ok(Presence::Ours);
        }
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        Ok(Presence::Foreign(format!(
            "a network namespace {} exists already, with {}",
            named::path(name).display(),
            shown(names.join(" "))
        )))
    }
}
