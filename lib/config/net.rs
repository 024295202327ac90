//! The keys of the network: namespace, cables, addresses, routes.

use super::checker::{Checker, is_usable_file_name};
use super::keys::Raw;
use super::values::words;
use super::{Cidr, Mac, invalid, keys, mac};
use crate::base::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The kind of network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Net {
    /// The network of the host.
    Host,
    /// A named namespace that somebody else made.
    Named(String),
    /// A named namespace of the subhost.
    Private(Private),
}

/// The network namespace of a subhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    /// The cables, by index.
    pub cables: Vec<Cable>,
    /// The default gateways, at most one for each address family.
    pub gateways: Vec<IpAddr>,
    /// Further routes: destination and gateway.
    pub routes: Vec<(Cidr, IpAddr)>,
    /// Whether a helper of an ordinary user connects it (NET=user).
    pub helper: bool,
}

/// A cable: a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    /// The index, from 0.
    pub index: usize,
    /// The name of the host end.
    pub host: String,
    /// The name of the inner end.
    pub inner: String,
    /// The bridge of the host end.
    pub bridge: Option<String>,
    /// The MAC of the inner end.
    pub mac: Mac,
    /// The MTU of both ends, in bytes.
    pub mtu: Option<u32>,
    /// The addresses of the inner end.
    pub addresses: Vec<Cidr>,
}

/// The most bytes of an interface name, without the final NUL (IFNAMSIZ, `netdevice(7)`).
const IFNAME_MAX: usize = 15;

impl Checker<'_> {
    /// Checks the keys of the network.
    pub(super) fn net(&self, raw: &Raw) -> Result<Net> {
        let bridges = self.value("BRIDGES", words(&raw.bridges))?;
        let shared = match raw.net.as_str() {
            "private" | "" => None,
            "host" => Some(Net::Host),
            "user" => Some(Net::Private(Private {
                cables: Vec::new(),
                gateways: Vec::new(),
                routes: Vec::new(),
                helper: true,
            })),
            other => match other.strip_prefix("netns:") {
                Some(name) if is_usable_file_name(name) => Some(Net::Named(name.to_owned())),
                _ => {
                    return Err(self.bad(
                        "NET",
                        format!("'{other}' is none of private, host, user, netns:NAME"),
                    ));
                }
            },
        };
        if let Some(net) = shared {
            for (key, text) in [
                ("BRIDGES", &raw.bridges),
                ("GATEWAY", &raw.gateway),
                ("ROUTES", &raw.routes),
            ] {
                if !text.is_empty() {
                    return Err(self.bad(key, format!("with NET={} there are no cables", raw.net)));
                }
            }
            return self.refuse_beyond(0).map(|()| net);
        }
        self.refuse_beyond(bridges.len())?;
        let assigned = self.assigned_macs()?;
        let mut cables = Vec::new();
        for (index, word) in bridges.iter().enumerate() {
            cables.push(self.cable(index, word, &raw.link, &assigned)?);
        }
        let addresses: Vec<Cidr> = cables.iter().flat_map(|c| c.addresses.clone()).collect();
        Ok(Net::Private(Private {
            gateways: self.gateways(&raw.gateway, &addresses)?,
            routes: self.routes(&raw.routes)?,
            cables,
            helper: false,
        }))
    }

    /// Refuses numbered keys beyond the last cable: ADDR3 of a subhost with two cables is a typing error.
    fn refuse_beyond(&self, count: usize) -> Result<()> {
        for key in self.settings.keys() {
            if let Ok(keys::Kind::Numbered(index)) = keys::kind(key)
                && index >= count
            {
                return Err(self.bad(
                    key,
                    format!("there is no cable {index}: BRIDGES has {count} words"),
                ));
            }
        }
        Ok(())
    }

    fn assigned_macs(&self) -> Result<BTreeMap<String, Mac>> {
        let mut macs = BTreeMap::new();
        for (key, (value, origin)) in self.assigned()? {
            if key.starts_with("MAC") {
                let mac = value.parse();
                let mac = mac.map_err(|why: String| invalid(origin, key, why))?;
                macs.insert(key.clone(), mac);
            }
        }
        Ok(macs)
    }

    fn cable(
        &self,
        index: usize,
        word: &str,
        link: &str,
        assigned: &BTreeMap<String, Mac>,
    ) -> Result<Cable> {
        let (bridge, mac) = word.split_once('=').unwrap_or((word, ""));
        let bridge = match bridge {
            "" => None,
            name if is_usable_file_name(name) && name.len() <= IFNAME_MAX => Some(name.to_owned()),
            name => {
                return Err(self.bad(
                    "BRIDGES",
                    format!("'{name}' cannot be the name of a bridge"),
                ));
            }
        };
        let mac = if mac.is_empty() {
            match assigned.get(&format!("MAC{index}")) {
                Some(mac) => *mac,
                None => mac::derive(self.name.as_str(), index),
            }
        } else {
            self.value("BRIDGES", mac.parse())?
        };
        let host = self.host_end(index, link)?;
        let mtu = self.mtu(index)?;
        let addresses = self.addresses(index)?;
        Ok(Cable {
            index,
            host,
            inner: format!("eth{index}"),
            bridge,
            mac,
            mtu,
            addresses,
        })
    }

    /// Returns the name of the host end of a cable.
    fn host_end(&self, index: usize, link: &str) -> Result<String> {
        let host = format!("{link}{index}");
        if !is_usable_file_name(link) || link.contains(':') || link.contains(char::is_whitespace) {
            return Err(self.bad(
                "LINK",
                format!("'{link}' cannot begin the name of an interface"),
            ));
        }
        if host.len() > IFNAME_MAX {
            let room = IFNAME_MAX - index.to_string().len();
            return Err(self
                .bad(
                    "LINK",
                    format!(
                        "the host end of cable {index} would be {host}: {} bytes, and the name of an interface holds {IFNAME_MAX}",
                        host.len()
                    ),
                )
                .hint(format!("set LINK to a name of at most {room} bytes")));
        }
        Ok(host)
    }

    fn mtu(&self, index: usize) -> Result<Option<u32>> {
        let mtu_key = format!("MTU{index}");
        let Some(setting) = self.settings.get(&mtu_key) else {
            return Ok(None);
        };
        match setting.value.parse::<u32>() {
            Ok(mtu @ 68..=65535) => Ok(Some(mtu)),
            _ => {
                let why = format!("'{}' is not a number from 68 to 65535", setting.value);
                Err(self.bad(&mtu_key, why))
            }
        }
    }

    fn addresses(&self, index: usize) -> Result<Vec<Cidr>> {
        let address_key = format!("ADDR{index}");
        let addresses = match self.settings.get(&address_key) {
            None => Vec::new(),
            Some(setting) => self.list(&address_key, &setting.value)?,
        };
        for Cidr { address, .. } in &addresses {
            if address.is_multicast() || address.is_unspecified() {
                return Err(self.bad(&address_key, format!("{address} is not a host address")));
            }
        }
        Ok(addresses)
    }

    fn list<T: std::str::FromStr<Err = String>>(&self, key: &str, text: &str) -> Result<Vec<T>> {
        self.value(key, words(text))?
            .iter()
            .map(|word| self.value(key, word.parse()))
            .collect()
    }

    /// Parses an IP address.
    pub(super) fn ip(&self, key: &str, word: &str) -> Result<IpAddr> {
        word.parse()
            .map_err(|_| self.bad(key, format!("'{word}' is not an IP address")))
    }

    fn gateways(&self, text: &str, addresses: &[Cidr]) -> Result<Vec<IpAddr>> {
        let mut gateways: Vec<IpAddr> = Vec::new();
        for word in self.value("GATEWAY", words(text))? {
            let gateway = self.ip("GATEWAY", &word)?;
            if gateways.iter().any(|g| g.is_ipv4() == gateway.is_ipv4()) {
                return Err(self.bad("GATEWAY", "names two gateways of one family"));
            }
            if !addresses.iter().any(|a| a.contains(gateway)) {
                return Err(self.bad(
                    "GATEWAY",
                    format!("{gateway} is in the network of no address (ADDR0, ...): it could not be reached"),
                ));
            }
            gateways.push(gateway);
        }
        Ok(gateways)
    }

    fn routes(&self, text: &str) -> Result<Vec<(Cidr, IpAddr)>> {
        let mut routes = Vec::new();
        for word in self.value("ROUTES", words(text))? {
            let (net, gateway) = word
                .split_once('=')
                .ok_or_else(|| self.bad("ROUTES", format!("'{word}' is not NET=GATEWAY")))?;
            let net: Cidr = self.value("ROUTES", net.parse())?;
            let gateway = self.ip("ROUTES", gateway)?;
            if !net.is_network() {
                return Err(self.bad("ROUTES", format!("{net} has bits beyond its prefix")));
            }
            if net.address.is_ipv4() != gateway.is_ipv4() {
                return Err(self.bad("ROUTES", format!("'{word}' mixes the families")));
            }
            routes.push((net, gateway));
        }
        Ok(routes)
    }
}
