//! The steps that make a network, from its settings. Calls no kernel.

use super::Step;
use super::steps::cable::Cable;
use super::steps::helper::Helper;
use super::steps::netns::Netns;
use super::steps::routes::Routes;
use crate::config::{Config, Net};

/// Returns the steps that make the network of a subhost. `ids` is the first id that its user namespace has on
/// the host.
pub fn steps(config: &Config, ids: Option<u32>) -> Vec<Step> {
    let Net::Private(private) = &config.net else {
        return Vec::new();
    };
    let netns = config.name.as_str().to_owned();
    let mut steps = vec![Step::from(Netns {
        name: netns.clone(),
        ids,
    })];
    steps.extend(private.cables.iter().map(|cable| {
        Step::from(Cable {
            netns: netns.clone(),
            alias: format!("subhost:{netns}:{}", cable.index),
            cable: cable.clone(),
        })
    }));
    if private.helper {
        steps.push(Step::from(Helper {
            netns: netns.clone(),
        }));
    }
    if !private.gateways.is_empty() || !private.routes.is_empty() {
        steps.push(Step::from(Routes {
            netns,
            gateways: private.gateways.clone(),
            routes: private.routes.clone(),
        }));
    }
    steps
}
