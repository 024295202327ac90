//! From settings to the steps that make a network. Pure: no kernel.

use super::Step;
use crate::config::{Config, Net};

/// The steps that make a subhost's network. `ids`: the first id of its user namespace.
pub fn steps(config: &Config, ids: Option<u32>) -> Vec<Step> {
    let Net::Private(private) = &config.net else {
        return Vec::new();
    };
    let netns = config.name.as_str().to_owned();
    let mut steps = vec![Step::Netns {
        name: netns.clone(),
        ids,
    }];
    steps.extend(private.cables.iter().map(|cable| Step::Cable {
        netns: netns.clone(),
        alias: format!("subhost:{netns}:{}", cable.index),
        cable: cable.clone(),
    }));
    if private.helper {
        steps.push(Step::Helper {
            netns: netns.clone(),
        });
    }
    if !private.gateways.is_empty() || !private.routes.is_empty() {
        steps.push(Step::Routes {
            netns,
            gateways: private.gateways.clone(),
            routes: private.routes.clone(),
        });
    }
    steps
}
