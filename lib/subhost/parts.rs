//! One part of a subhost, root or network, up and down: check everything, freeze the plan, act; or
//! undo what the frozen plan says.

use super::{OnStep, StopHow, Subhost, Up, assigned, lingering};
use crate::base::error::{Error, Exit, Result};
use crate::base::message;
use crate::config::{Config, Net, Userns, check_unreachable};
use crate::kernel::holders::{self, Holder};
use crate::kernel::mountinfo::{Mounts, Table};
use crate::net::{Network, named};
use crate::plan::{Part, Plan, Planned, Presence, Recorded, UndoOptions, apply, undo_all};
use crate::root;
use crate::state::ids::Reserve;
use crate::state::{Running, booter};
use crate::subhost::hooks;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// How a command undoes what it has made itself.
const ROLLBACK: UndoOptions = UndoOptions {
    detach: false,
    wait: true,
};

/// A part that is to be made.
struct Wanted<'a> {
    part: Part,
    config: &'a Config,
    on_step: OnStep<'a>,
}

impl Subhost {
    /// Mounts the root.
    ///
    /// # Errors
    /// Why not. What this call did is undone.
    pub fn mount(&self) -> Result<()> {
        self.locked(|held| held.up(Part::Root, None, &|_| ()).map(drop))
    }

    /// Makes the network.
    ///
    /// # Errors
    /// Why not. What this call did is undone.
    pub fn net(&self) -> Result<()> {
        self.locked(|held| held.up(Part::Net, None, &|_| ()).map(drop))
    }

    /// Takes one part down. Refuses while the subhost runs: the kernel would only detach what is in use.
    ///
    /// # Errors
    /// `Busy` if it runs; what is left.
    pub fn take_down(&self, part: Part) -> Result<()> {
        self.must_exist()?;
        self.locked(|held| {
            held.is_of_this_tree()?;
            if let Some(running) = held.running()? {
                return Err(Error::new(
                    Exit::Busy,
                    format!("it is running ({})", booter(&running)),
                )
                .hint("subhost-stop ends it first"));
            }
            held.down(part, StopHow::default())
        })
    }

    /// Brings up one part, or completes one that is up. `config` saves reading it; `on_step` is called for each step that is
    /// made.
    pub(super) fn up(&self, part: Part, config: Option<&Config>, on_step: OnStep) -> Result<Up> {
        self.is_of_this_tree()?;
        // With a PID 1 that is up, the part is whole, even if its plan has no marks.
        let pid_1_is_up = || Ok(self.running()?.is_some_and(|running| running.init.up));
        match self.frozen(part)? {
            Some(plan) if plan.made.is_some() || pid_1_is_up()? => {
                return self.complete(Arc::unwrap_or_clone(plan), on_step);
            }
            // A command was killed while it made the part: whether what is there is whole is not known.
            Some(_) => {
                self.down(
                    part,
                    StopHow {
                        sync: true,
                        ..StopHow::default()
                    },
                )?;
                return self.up(part, config, on_step);
            }
            None => {}
        }
        let read;
        let config = match config {
            Some(config) => config,
            None => {
                read = self.config()?;
                &read
            }
        };
        self.check_trees(config, part)?;
        let ids = self.ids(config, part, Reserve::Yes)?;
        let wanted = Wanted {
            part,
            config,
            on_step,
        };
        match self.make(&wanted, ids) {
            Err(why)
                if ids.is_some() && config.userns == Userns::Auto && root::is_unmapped(&why) =>
            {
                // Whether the file system in an image can map ids shows when it is mounted.
                self.goes_without(&why);
                self.make(&wanted, None)
            }
            other => other,
        }
    }

    /// Makes what is missing of a part that is up, also while the subhost runs.
    fn complete(&self, mut plan: Plan, on_step: OnStep) -> Result<Up> {
        let (mounts, mut network) = (Mounts::later(), Network::new());
        let running = self.running()?;
        self.ask_about(&mut network, running.as_ref());
        if running.is_some() {
            network.compare_bridges();
        }
        let (mut made, mut again, mut errors) = (0, Vec::new(), Vec::new());
        loop {
            let steps = self.presences(&plan, Recorded::Yes, &mounts, &mut network)?;
            refuse_foreign(&steps)?;
            let is_lost = |(planned, presence): &(Planned, Presence)| {
                *presence == Presence::Absent && planned.step.lasts()
            };
            if let (Part::Root, Some(_), Some((lost, _))) =
                (plan.part, &running, steps.iter().find(|step| is_lost(step)))
            {
                // PID 1 has the root in its own mount namespace. A second mount of it would write to the same layer.
                let what = format!("it runs, and {} is gone from the host", lost.step.title());
                return Err(Error::new(Exit::Failed, what)
                    .hint("it runs on inside; subhost-stop and subhost-start make it anew"));
            }
            let lost_name = steps.iter().position(|step| {
                running.is_some() && step.0.step.namespace().is_some() && is_lost(step)
            });
            // Without its name, nothing of the network can be looked for.
            let some = match lost_name {
                Some(at) => &steps[at..=at],
                None => &steps[..],
            };
            if running.is_none() {
                made += self.act_all(some, &mut network, on_step)?;
                break;
            }
            // Each by itself: a failure undoes none of what the subhost uses.
            for step in some {
                match self.act_all(std::slice::from_ref(step), &mut network, on_step) {
                    Ok(count) => {
                        made += count;
                        again.extend(is_lost(step).then(|| step.0.step.title()));
                    }
                    Err(error) => errors.push(error),
                }
            }
            if lost_name.is_none() || !errors.is_empty() {
                break;
            }
        }
        if !again.is_empty() {
            message::notice(&self.name, &format!("made again: {}", again.join(", ")));
        }
        if made > 0 {
            errors.extend(self.finish(&mut plan, &mut network).err());
        }
        Error::collect(errors)?;
        Ok(Up {
            plan,
            brought: false,
        })
    }

    /// Has `network` judge by the network namespace of PID 1, if the subhost runs in one of its own.
    pub(super) fn ask_about(&self, network: &mut Network, running: Option<&Running>) {
        let is_own =
            || matches!(self.frozen(Part::Net), Ok(Some(plan)) if plan.namespace().is_some());
        let pid_1 = running.filter(|running| running.init.up && is_own());
        network.set_pid_1(pid_1.map(|running| running.init.identity.pid));
    }

    /// Makes a part of which nothing is recorded.
    fn make(&self, wanted: &Wanted, ids: Option<u32>) -> Result<Up> {
        let Wanted { part, config, .. } = *wanted;
        let (mounts, mut network) = (Mounts::later(), Network::new());
        let mut plan = self.planned(config, part, ids)?;
        let steps = self.presences(&plan, Recorded::No, &mounts, &mut network)?;
        refuse_foreign(&steps)?;
        let mut executor = self.executor(&mounts, &mut network);
        for (planned, presence) in &steps {
            if *presence == Presence::Absent {
                executor.check(planned.step, &plan.steps)?;
            }
        }
        if let (Part::Net, Net::Named(name)) = (part, &config.net) {
            named::open(name)?;
        }
        if plan.steps.is_empty() {
            // The network of the host or of another subhost: there is nothing to make, and later nothing to remove.
            return Ok(Up {
                plan,
                brought: false,
            });
        }
        // What a script of `-n` has made was not brought up by this call.
        let is_object = |planned: &Planned| {
            let step = planned.step;
            step.mount_point().is_some() || step.namespace().is_some() || step.link().is_some()
        };
        let brought = steps
            .iter()
            .any(|(planned, presence)| *presence == Presence::Absent && is_object(planned));
        assigned::keep(config, part, ids)?;
        self.state.freeze(&plan)?;
        let (before, after) = hooks::around(part);
        let made = hooks::run(&plan, before)
            .and_then(|()| self.act_all(&steps, &mut network, wanted.on_step))
            .and_then(|_| {
                let finished =
                    hooks::run(&plan, after).and_then(|()| self.finish(&mut plan, &mut network));
                finished.map_err(|first| {
                    let all: Vec<Planned> = plan.planned().collect();
                    let network = RefCell::new(&mut network);
                    first.also(undo_all(&all, self.undoing(&network, ROLLBACK)).err())
                })
            });
        match made {
            Ok(()) => Ok(Up { plan, brought }),
            // What could not be undone is recorded by the frozen plan.
            Err(error) if !error.also.is_empty() => Err(error),
            Err(error) => {
                let left = self.state.thaw(part).err();
                Err(error.also(left))
            }
        }
    }

    /// Records that a part is made, and the marks of what the kernel made.
    fn finish(&self, plan: &mut Plan, network: &mut Network) -> Result<()> {
        let mounts = Mounts::later();
        let mut executor = self.executor(&mounts, network);
        plan.made = Some(plan.steps.iter().map(|step| executor.mark(step)).collect());
        self.state.freeze(plan)
    }

    /// Makes the steps that are absent. Returns their number.
    fn act_all(
        &self,
        steps: &[(Planned, Presence)],
        network: &mut Network,
        on_step: OnStep,
    ) -> Result<usize> {
        let (mounts, network) = (Mounts::later(), RefCell::new(network));
        let act = |planned: &Planned| {
            let step = planned.step;
            message::tell(Some(&self.name), || format!("making {}", step.title()));
            let mut network = network.borrow_mut();
            let made = self.executor(&mounts, &mut network).act(step);
            made.inspect(|()| on_step(step))
        };
        apply(steps, act, self.undoing(&network, ROLLBACK))
    }

    /// Returns the function that undoes one step after the other, backwards. If the root cannot be unmounted, what lies under
    /// it stays too: the image, which is still in use, and its claim.
    fn undoing<'a>(
        &'a self,
        network: &'a RefCell<&'a mut Network>,
        how: UndoOptions,
    ) -> impl FnMut(&Planned) -> Result<()> + 'a {
        let mounts = Mounts::later();
        let mut stays = false;
        move |planned| {
            if stays {
                return Ok(());
            }
            let step = planned.step;
            message::tell(Some(&self.name), || format!("removing {}", step.title()));
            let mut network = network.borrow_mut();
            let undone = self.executor(&mounts, &mut network).undo(*planned, how);
            stays = step.is_root() && undone.is_err();
            undone
        }
    }

    /// Refuses a tree that a user of the host could reach: a setuid file in it must not serve him.
    fn check_trees(&self, config: &Config, part: Part) -> Result<()> {
        if part == Part::Net {
            return Ok(());
        }
        let root = &config.root;
        check_unreachable(&config.dir, Some(&config.dir))?;
        let mut paths = vec![root.upper.as_path(), root.live.as_path()];
        paths.extend(root.image.iter().map(|image| image.file.as_path()));
        for path in paths {
            // It is enough that the directory of the layer is closed: what it lies in is not ours.
            let guard = (path == root.upper && path.is_dir()).then_some(path);
            check_unreachable(path, guard)?;
        }
        Ok(())
    }

    /// Refuses if something of another $SUBHOST is up under this name.
    fn is_of_this_tree(&self) -> Result<()> {
        self.running()?;
        Part::ALL
            .into_iter()
            .try_for_each(|part| self.frozen(part).map(drop))
    }

    pub(super) fn down(&self, part: Part, how: StopHow) -> Result<()> {
        let mut network = Network::new();
        let frozen = self.frozen(part)?;
        let is_frozen = frozen.is_some();
        let plan = match frozen {
            Some(plan) => plan,
            None => match self.config() {
                Ok(config) => {
                    let found = self.found(&config, part, &Mounts::later(), &mut network);
                    found?.into()
                }
                Err(_) => return Ok(()),
            },
        };
        let mut steps: Vec<Planned> = plan.planned().collect();
        if !is_frozen {
            // A script of `-n` may have made it: what is just as the plan wants it is ours.
            let there = self.presences(&plan, Recorded::No, &Mounts::later(), &mut network)?;
            let ours = there.into_iter().filter(|(_, is)| *is == Presence::Ours);
            steps = ours.map(|(planned, _)| planned).collect();
        }
        // After the undo, `watch` tells whether a process still holds the namespace. A kernel that cannot tell is asked for the
        // processes in it beforehand.
        let (watch, mut holders) = match plan.namespace() {
            Some(name) => match named::watch(name)? {
                Some(watch) => (Some(watch), Vec::new()),
                None => (None, self.net_holders(&plan)?),
            },
            None => (None, Vec::new()),
        };
        // A namespace that a process holds outlives its name, and so does one that is not ours: its cables are then deleted one
        // by one.
        let removes_namespace = steps
            .iter()
            .any(|planned| planned.step.namespace().is_some());
        let wait = how.sync || !holders.is_empty() || !removes_namespace;
        let thorough = part == Part::Root && (how.sync || how.kill_holders);
        let lingering = match thorough {
            true => {
                let mounts = Mounts::later();
                let mut executor = self.executor(&mounts, &mut network);
                lingering::find(steps.iter().copied(), &mut executor, &Table::read()?)
            }
            false => lingering::LingeringMounts::default(),
        };
        let undone = {
            let network = RefCell::new(&mut network);
            undo_all(
                &steps,
                self.undoing(
                    &network,
                    UndoOptions {
                        detach: how.detach,
                        wait,
                    },
                ),
            )
        };
        let undone = undone
            .and_then(|()| self.state.thaw(part))
            .and_then(|()| lingering.wait(how));
        let mut cables = Ok(());
        if let Some(watch) = watch.filter(|watch| removes_namespace && watch.is_alive()) {
            holders = holders_of(watch.inode);
            if !holders.is_empty() {
                cables = network.delete_discarded();
            }
        }
        let held = match (part, holders.is_empty()) {
            (Part::Net, false) => Err(Error::new(
                Exit::Failed,
                "its network namespace has no name and no cables any more, and processes are still in it",
            )
            .hint(holders::describe(&holders))),
            _ => Ok(()),
        };
        let errors = [undone.err(), cables.err(), held.err()];
        Error::collect(errors.into_iter().flatten().collect())
    }

    /// Takes parts down, the root first: unmounting waits for RCU grace periods, and those take longer while the kernel
    /// removes a veth.
    pub(super) fn down_parts(&self, parts: &[Part], how: StopHow) -> Result<()> {
        let first_to_last = parts.iter().map(|part| self.down(*part, how));
        Error::collect(first_to_last.filter_map(Result::err).collect())
    }

    pub(super) fn net_holders(&self, plan: &Plan) -> Result<Vec<Holder>> {
        let Some(name) = plan.namespace() else {
            return Ok(Vec::new());
        };
        Ok(match named::find(name)? {
            named::Found::Namespace(namespace) => holders_of(named::inode(&namespace)),
            _ => Vec::new(),
        })
    }
}

/// Lists the processes in a network namespace.
fn holders_of(inode: u64) -> Vec<Holder> {
    let mut held = holders::find_in_netns(inode);
    // A tool of ours leaves it by itself.
    for _ in 0..5 {
        if held
            .iter()
            .all(|holder| !holder.command.starts_with("subhost-"))
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        held = holders::find_in_netns(inode);
    }
    held
}

pub(super) fn refuse_foreign(steps: &[(Planned, Presence)]) -> Result<()> {
    for (_, presence) in steps {
        if let Presence::Foreign(what) = presence {
            return Err(Error::new(Exit::Failed, format!("in the way: {what}"))
                .hint("not made by us and not touched: remove it, or use another name"));
        }
    }
    Ok(())
}
