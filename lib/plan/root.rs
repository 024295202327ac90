//! From settings to the steps that make a root. Pure: no kernel.

use super::Step;
use super::steps::claim::Claim;
use super::steps::directory::Directory;
use super::steps::image::Image;
use super::steps::overlay::Overlay;
use super::steps::rbind::Rbind;
use super::steps::tmpfs::Tmpfs;
use super::steps::within::Within;
use crate::config::{Config, Layer};
use std::path::Path;

/// The steps that make a subhost's root. Layers that are files are mounted below `state`, the
/// subhost's directory in /run. `ids`: the first id that its files have where it is mounted.
pub fn steps(config: &Config, state: &Path, ids: Option<u32>) -> Vec<Step> {
    let root = &config.root;
    let directory = |path: &Path| {
        Step::from(Directory {
            path: path.to_owned(),
            keep: true,
        })
    };
    let mut steps = vec![directory(&root.live)];
    if let Some(image) = &root.image {
        let read_only = root.read_only || root.volatile;
        if !read_only {
            steps.push(Step::from(Claim {
                path: image.file.clone(),
            }));
        }
        steps.push(directory(&image.at));
        steps.push(Step::from(Image {
            file: image.file.clone(),
            at: image.at.clone(),
            partition: image.partition,
            fstype: image.fstype.clone(),
            options: image.options.clone(),
            read_only,
        }));
        let mut inside = vec![&root.upper];
        if !root.lowers.is_empty() && !read_only {
            inside.push(&root.work);
        }
        for path in inside
            .into_iter()
            .filter(|path| path.starts_with(&image.at))
        {
            steps.push(Step::from(Within {
                file: image.file.clone(),
                at: image.at.clone(),
                path: path.clone(),
            }));
        }
    }
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
    let at = root.live.clone();
    if root.volatile {
        lowers.insert(0, root.upper.clone());
        let (upper, work) = (root.work.join("upper"), root.work.join("work"));
        steps.push(directory(&root.work));
        steps.push(Step::from(Tmpfs {
            at: root.work.clone(),
            size: root.disk,
        }));
        steps.push(directory(&upper));
        steps.push(directory(&work));
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
            steps.push(directory(&root.work));
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
