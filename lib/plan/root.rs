//! The steps that make a root, from its settings. Calls no kernel.

use super::Step;
use super::steps::claim::Claim;
use super::steps::directory::Directory;
use super::steps::image::Image;
use super::steps::overlay::Overlay;
use super::steps::rbind::Rbind;
use super::steps::tmpfs::Tmpfs;
use super::steps::within::Within;
use crate::config::{Config, Layer, Root};
use std::path::{Path, PathBuf};

/// Returns the steps that make the root of a subhost. Image files among its layers are mounted below `state`,
/// the subhost's directory in /run/subhost. `ids` is the first id of the host that the files of the root are
/// mapped to.
pub fn steps(config: &Config, state: &Path, ids: Option<u32>) -> Vec<Step> {
    let root = &config.root;
    let mut steps = vec![kept_directory(&root.live)];
    steps.extend(image_steps(root));
    let lowers = layer_steps(root, state, &mut steps);
    steps.extend(live_steps(root, lowers, ids));
    steps
}

/// Returns the step that makes a directory which stays when the root goes down.
fn kept_directory(path: &Path) -> Step {
    Step::from(Directory {
        path: path.to_owned(),
        keep: true,
    })
}

/// Returns the steps that mount IMAGE and check what it holds.
fn image_steps(root: &Root) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(image) = &root.image else {
        return steps;
    };
    let read_only = root.read_only || root.volatile;
    if !read_only {
        steps.push(Step::from(Claim {
            path: image.file.clone(),
        }));
    }
    steps.push(kept_directory(&image.at));
    steps.push(Step::from(Image {
        file: image.file.clone(),
        at: image.at.clone(),
        partition: image.partition,
        fstype: image.fstype.clone(),
        options: image.options.clone(),
        read_only,
    }));
    let mut directories = vec![&root.upper];
    if !root.lowers.is_empty() && !read_only {
        directories.push(&root.work);
    }
    for path in directories
        .into_iter()
        .filter(|path| path.starts_with(&image.at))
    {
        steps.push(Step::from(Within {
            file: image.file.clone(),
            at: image.at.clone(),
            path: path.clone(),
        }));
    }
    steps
}

/// Adds the steps that mount the image files of LOWER; returns the directories of all layers, topmost first.
fn layer_steps(root: &Root, state: &Path, steps: &mut Vec<Step>) -> Vec<PathBuf> {
    let mut lowers = Vec::new();
    for (index, layer) in root.lowers.iter().enumerate() {
        match layer {
            Layer::Directory(path) => lowers.push(path.clone()),
            Layer::Image(file) => {
                let at = state.join(format!("lower{index}"));
                steps.push(Step::from(Directory {
                    path: at.clone(),
                    keep: false,
                }));
                steps.push(Step::from(Image {
                    file: file.clone(),
                    at: at.clone(),
                    partition: None,
                    fstype: None,
                    options: None,
                    read_only: true,
                }));
                lowers.push(at);
            }
        }
    }
    lowers
}

/// Returns the steps that mount the root on `live`.
fn live_steps(root: &Root, mut lowers: Vec<PathBuf>, ids: Option<u32>) -> Vec<Step> {
    let mut steps = Vec::new();
    let at = root.live.clone();
    if root.volatile {
        lowers.insert(0, root.upper.clone());
        let (upper, work) = (root.work.join("upper"), root.work.join("work"));
        steps.push(kept_directory(&root.work));
        steps.push(Step::from(Tmpfs {
            at: root.work.clone(),
            size: root.disk,
        }));
        steps.push(kept_directory(&upper));
        steps.push(kept_directory(&work));
        steps.push(Step::from(Overlay {
            lowers,
            upper: Some((upper, work)),
            at,
            ids,
        }));
    } else if lowers.is_empty() {
        steps.push(Step::from(Rbind {
            source: root.upper.clone(),
            at,
            read_only: root.read_only,
            ids,
        }));
    } else if root.read_only {
        lowers.insert(0, root.upper.clone());
        steps.push(Step::from(Overlay {
            lowers,
            upper: None,
            at,
            ids,
        }));
    } else {
        if root.image.is_none() {
            steps.push(kept_directory(&root.work));
            steps.push(Step::from(Claim {
                path: root.upper.clone(),
            }));
        }
        steps.push(Step::from(Overlay {
            lowers,
            upper: Some((root.upper.clone(), root.work.clone())),
            at,
            ids,
        }));
    }
    steps
}
