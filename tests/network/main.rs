//! The network: namespaces, cables, addresses, routes, names.

mod address;
mod cable;
#[path = "../common/mod.rs"]
mod common;
mod held_namespace;
mod host_name;
mod namespace;

use crate::common::*;
use serde_json::Value;

/// Returns one interface of the namespace `netns`; empty is the host's.
fn link(s: &Sandbox, netns: &str, name: &str) -> Value {
    let within = match netns {
        "" => String::new(),
        name => format!("-n {name}"),
    };
    s.json(&format!("ip -j -d {within} link show dev {name}"))[0].clone()
}

fn is_up(link: &Value) -> bool {
    link["flags"]
        .as_array()
        .unwrap()
        .iter()
        .any(|flag| flag == "UP")
}

/// Returns the global addresses of an interface in a namespace, with prefix length, sorted.
fn addresses(s: &Sandbox, netns: &str, name: &str) -> Vec<String> {
    let all = s.json(&format!("ip -j -n {netns} addr show dev {name}"));
    let mut found: Vec<String> = all[0]["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["scope"] == "global")
        .map(|a| format!("{}/{}", a["local"].as_str().unwrap(), a["prefixlen"]))
        .collect();
    found.sort();
    found
}

fn netns_names(s: &Sandbox) -> Vec<String> {
    let mut names: Vec<String> = s
        .host("ip netns list")
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}
