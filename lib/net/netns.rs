//! The named network namespace of a subhost.

use super::Network;
use super::named::{self, Found};
use crate::base::error::{Doing, Error, Exit, Result, shown};
use crate::kernel::mountinfo::{self, Mark};
use crate::kernel::processor::on_another_cpu;
use crate::plan::steps::netns::Netns;
use crate::plan::{Act, Asked, Presence, Step, Thoroughly};
use std::os::fd::OwnedFd;

impl Act<&mut Network> for Netns {
    fn present(&self, network: &mut Network, asked: Asked<'_>) -> Result<Presence> {
        network.netns_present(&self.name, asked)
    }

    fn act(&self, network: &mut Network) -> Result<()> {
        let name = &self.name;
        let namespace = named::make(name, self.ids)?;
        let up = network.inside(name, &namespace).and_then(|inside| {
            let up = inside.up("lo");
            up.doing(|| format!("bring up lo in {name}"))
        });
        if up.is_err() {
            network.let_go(name);
            let _ = named::remove(name);
        }
        up
    }

    fn undo(&self, network: &mut Network, mark: Option<&Mark>, _: Thoroughly) -> Result<()> {
        let name = &self.name;
        let found = named::find(name)?;
        // Its cables are gone by now, so only its mark can tell that it is not ours.
        if let (Some(mark), Found::Namespace(namespace)) = (mark, &found)
            && !network.is_marked(name, namespace, mark)?
        {
            let what = format!("{} is another one by now", named::path(name).display());
            let deleted = network.delete_discarded();
            return Err(left_alone(&what).also(deleted.err()));
        }
        network.let_go(name);
        on_another_cpu(|| {
            let removed = named::remove(name);
            if let Found::Namespace(namespace) = &found {
                network.silence_discarded(namespace);
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
        let cookie = network.inside(name, &namespace).ok()?.cookie();
        let mark = mountinfo::read_mark(&named::path(name))?;
        Some(Mark {
            netns: Some((named::inode(&namespace), cookie)),
            ..mark
        })
    }
}

/// Something is in the place of what is to be taken away.
pub(super) fn left_alone(what: &str) -> Error {
    Error::new(Exit::Failed, format!("left alone what is not ours: {what}"))
}

impl Network {
    fn netns_present(
        &mut self,
        name: &str,
        Asked { mark, all, frozen }: Asked<'_>,
    ) -> Result<Presence> {
        if mark.is_some_and(|mark| mountinfo::is_marked(&named::path(name), mark)) {
            return Ok(Presence::Ours);
        }
        let namespace = match named::find(name)? {
            Found::Nothing => return Ok(Presence::Absent),
            // A kill between making the file and mounting the namespace on it.
            Found::Other if named::is_leftover(name) => return Ok(Presence::Absent),
            Found::Other => return Ok(Presence::Foreign(named::describe(name))),
            // Without a mark it was being made: before, nothing else had the name.
            Found::Namespace(_) if frozen && mark.is_none() => return Ok(Presence::Ours),
            Found::Namespace(namespace) => namespace,
        };
        if let Some(mark) = mark
            && self.is_marked(name, &namespace, mark)?
        {
            return Ok(Presence::Ours);
        }
        self.netns_as_planned(name, &namespace, all)
    }

    /// Is it the namespace of the mark? The mount on its name tells it, and where that is another, as
    /// after `ip netns add` has bound the whole directory onto itself or in another mount namespace,
    /// the cookie.
    fn is_marked(&mut self, name: &str, namespace: &OwnedFd, mark: &Mark) -> Result<bool> {
        if mountinfo::is_marked(&named::path(name), mark) {
            return Ok(true);
        }
        let Some((inode, cookie)) = mark.netns else {
            return Ok(false);
        };
        Ok(named::inode(namespace) == inode && self.inside(name, namespace)?.cookie() == cookie)
    }

    /// Is a namespace of which we know nothing but its name what a script of `-n` makes, or one that
    /// failed half-way? Nothing but our cables is in it then, and without cables `lo` is up, which
    /// `ip netns add` leaves down.
    fn netns_as_planned(
        &mut self,
        name: &str,
        namespace: &OwnedFd,
        all: &[Step],
    ) -> Result<Presence> {
        let socket = self.netlink.inner(name, namespace)?;
        let links = self.netlink.links(&socket, false).doing(|| "list links")?;
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
        let there: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        Ok(Presence::Foreign(format!(
            "a network namespace {} exists already, with {}",
            named::path(name).display(),
            shown(there.join(" "))
        )))
    }
}
