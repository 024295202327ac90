//! One part of a subhost, root or network, up and down: check everything, freeze the plan, act; or
//! undo what the frozen plan says.

use super::OnStep;
use super::{StopHow, Subhost, Up, assigned, lingering};
use crate::base::error::{Error, Exit, Result};
use crate::base::message;
use crate::config::{Config, Net, Userns, unreachable_by_others};
use crate::kernel::holders::{self, Holder};
use crate::kernel::mountinfo::{Mounts, Table};
use crate::net::{Network, named};
use crate::plan::{Part, Plan, Planned, Presence, Thoroughly, apply, undo_all};
use crate::root;
use crate::state::booter;
use crate::subhost::hooks;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

impl Subhost {
    /// Mounts the root.
    ///
    /// # Errors
    /// Why not; the world is as before.
    pub fn mount(&self) -> Result<()> {
        self.locked(|| self.up(Part::Root, None, &|_| ()).map(drop))
    }

    /// Makes the network.
    ///
    /// # Errors
    /// Why not; the world is as before.
    pub fn net(&self) -> Result<()> {
        self.locked(|| self.up(Part::Net, None, &|_| ()).map(drop))
    }

    /// Takes one part down; refused while it runs, as nothing in the kernel would stop it.
    ///
    /// # Errors
    /// `Busy` if it runs; what is left.
    pub fn take_down(&self, part: Part) -> Result<()> {
        self.must_exist()?;
        self.locked(|| {
            self.is_of_this_tree()?;
            if let Some(running) = self.running()? {
                return Err(Error::new(
                    Exit::Busy,
                    format!("it is running ({})", booter(&running)),
                )
                .hint("subhost-stop ends it first"));
            }
            self.down(part, StopHow::default())
        })
    }

    /// `config` saves reading it again; `told` hears of each step that is made.
    pub(super) fn up(&self, part: Part, config: Option<&Config>, on_step: OnStep) -> Result<Up> {
        self.is_of_this_tree()?;
        let mounts = Mounts::later();
        let mut network = Network::new();
        let is_up = || Ok(self.running()?.is_some_and(|running| running.init.up));
        match self.frozen(part)? {
            Some(plan) if plan.made.is_some() || is_up()? => {
                let mut plan = Arc::unwrap_or_clone(plan);
                let steps = self.presences(&plan, true, &mounts, &mut network)?;
                refuse_foreign(&steps)?;
                if self.act_all(&steps, &mut network, on_step)? > 0 {
                    self.finish(&mut plan, &mut network)?;
                }
                return Ok(Up {
                    plan,
                    brought: false,
                });
            }
            // A run was killed in the middle of it: of what is there nobody knows whether it is whole.
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
        let ids = self.ids(config, part, true)?;
        match self.make(part, config, ids, &mounts, network, on_step) {
            Err(why)
                if ids.is_some() && config.userns == Userns::Auto && root::is_unmapped(&why) =>
            {
                // Of what is in an image only the mounted image tells.
                self.goes_without(&why);
                self.make(part, config, None, &mounts, Network::new(), on_step)
            }
            other => other,
        }
    }

    /// Makes a part of which nothing is recorded.
    fn make(
        &self,
        part: Part,
        config: &Config,
        ids: Option<u32>,
        mounts: &Mounts,
        mut network: Network,
        on_step: OnStep,
    ) -> Result<Up> {
        let mut plan = self.planned(config, part, ids)?;
        let steps = self.presences(&plan, false, mounts, &mut network)?;
        refuse_foreign(&steps)?;
        let mut executor = self.executor(mounts, &mut network);
        for (planned, presence) in &steps {
            if *presence == Presence::Absent {
                executor.check(planned.step, &plan.steps)?;
            }
        }
        if let (Part::Net, Net::Named(name)) = (part, &config.net) {
            named::open(name)?;
        }
        if plan.steps.is_empty() {
            // The host's network or somebody else's: nothing of it is ours to keep or to remove.
            return Ok(Up {
                plan,
                brought: false,
            });
        }
        assigned::keep(config, part, ids)?;
        self.state.freeze(&plan)?;
        let (before, after) = hooks::around(part);
        let made = hooks::run(&plan, before)
            .and_then(|()| self.act_all(&steps, &mut network, on_step))
            .and_then(|_| {
                let finished =
                    hooks::run(&plan, after).and_then(|()| self.finish(&mut plan, &mut network));
                finished.map_err(|first| {
                    let all: Vec<Planned> = plan.planned().collect();
                    let network = RefCell::new(&mut network);
                    first.also(
                        undo_all(
                            &all,
                            self.undoing(
                                &network,
                                Thoroughly {
                                    detach: false,
                                    wait: true,
                                },
                            ),
                        )
                        .err(),
                    )
                })
            });
        match made {
            Ok(()) => Ok(Up {
                plan,
                brought: true,
            }),
            Err(error) => {
                // What could not be undone is still what the frozen plan says.
                if error.also.is_empty() {
                    let left = self.state.thaw(part).err();
                    return Err(error.also(left));
                }
                Err(error)
            }
        }
    }

    /// All is made: notes that, with what the kernel calls it.
    fn finish(&self, plan: &mut Plan, network: &mut Network) -> Result<()> {
        let mounts = Mounts::later();
        let mut executor = self.executor(&mounts, network);
        plan.made = Some(plan.steps.iter().map(|step| executor.mark(step)).collect());
        self.state.freeze(plan)
    }

    /// Gives the number of steps done.
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
        apply(
            steps,
            act,
            self.undoing(
                &network,
                Thoroughly {
                    detach: false,
                    wait: true,
                },
            ),
        )
    }

    /// Undoes one step after the other, backwards. Where the root itself stays, so does what is under
    /// it: an image that is still in use, its claim.
    fn undoing<'a>(
        &'a self,
        network: &'a RefCell<&'a mut Network>,
        how: Thoroughly,
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

    /// A setuid file inside must serve no user of the host.
    fn check_trees(&self, config: &Config, part: Part) -> Result<()> {
        if part == Part::Net {
            return Ok(());
        }
        let root = &config.root;
        unreachable_by_others(&config.dir, Some(&config.dir))?;
        let mut paths = vec![root.upper.as_path(), root.live.as_path()];
        paths.extend(root.image.iter().map(|image| image.file.as_path()));
        for path in paths {
            // The directory of a layer may be closed; what else lies where it lies is not ours.
            let guard = (path == root.upper && path.is_dir()).then_some(path);
            unreachable_by_others(path, guard)?;
        }
        Ok(())
    }

    /// Both parts of a name are of one $SUBHOST.
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
            // Perhaps `-n | sh` made it. What is exactly what we would make is ours.
            let there = self.presences(&plan, false, &Mounts::later(), &mut network)?;
            let ours = there.into_iter().filter(|(_, is)| *is == Presence::Ours);
            steps = ours.map(|(planned, _)| planned).collect();
        }
        // Whether somebody holds the namespace is asked when it has lost its name and we have let go of
        // it; of a kernel that does not tell, the processes are before.
        let (watch, mut holders) = match plan.namespace() {
            Some(name) => match named::watch(name)? {
                Some(watch) => (Some(watch), Vec::new()),
                None => (None, self.net_holders(&plan)?),
            },
            None => (None, Vec::new()),
        };
        // A namespace that somebody holds outlives its name: its cables must go explicitly.
        // So does one that is not ours to remove.
        let removed = steps
            .iter()
            .any(|planned| planned.step.namespace().is_some());
        let wait = how.sync || !holders.is_empty() || !removed;
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
                    Thoroughly {
                        detach: how.detach,
                        wait,
                    },
                ),
            )
        };
        let undone = undone
            .and_then(|()| self.state.thaw(part))
            .and_then(|()| lingering.wait(how.kill_holders));
        let mut cables = Ok(());
        if let Some(watch) = watch.filter(|watch| removed && watch.is_alive()) {
            holders = holders_of(watch.inode);
            if !holders.is_empty() {
                cables = network.delete_discarded();
            }
        }
        let held = match (part, holders.is_empty()) {
            (Part::Net, false) => Err(Error::new(
                Exit::Failed,
                "its network namespace has lost its name and cables but lives on",
            )
            .hint(holders::describe(&holders))),
            _ => Ok(()),
        };
        let errors = [undone.err(), cables.err(), held.err()];
        Error::collect(errors.into_iter().flatten().collect())
    }

    /// The root first: to unmount waits for grace periods of the kernel's, and those for what it has to do when a
    /// cable is cut.
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

/// Who is in a network namespace.
fn holders_of(inode: u64) -> Vec<Holder> {
    let mut held = holders::of_netns(inode);
    // A tool of ours that has just come out again, or is on its way to.
    for _ in 0..5 {
        if held
            .iter()
            .all(|holder| !holder.command.starts_with("subhost-"))
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        held = holders::of_netns(inode);
    }
    held
}

pub(super) fn refuse_foreign(steps: &[(Planned, Presence)]) -> Result<()> {
    for (_, presence) in steps {
        if let Presence::Foreign(what) = presence {
            return Err(Error::new(Exit::Failed, format!("in the way: {what}"))
                .hint("not made by us, so never touched: remove it, or use another name"));
        }
    }
    Ok(())
}
