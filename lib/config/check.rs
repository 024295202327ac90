//! From settings as text to settings with meaning. What needs the kernel (does the bridge exist,
//! is the image in use) is not asked here; only whether a LOWER or the image is a file, since
//! that decides what the words mean.

use super::values::{Checked, duration, size, words, yes_no};
use super::{
    Bind, Cable, Cidr, Config, Image, Layer, Mac, Name, Net, Origin, Phase, Private, Root, Run,
    Settings, Stop, invalid, keys, read_trusted, signal_number,
};
use crate::error::{Error, Result};
use crate::net::mac;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Bytes of an interface's name without the final NUL (IFNAMSIZ, `netdevice(7)`).
const IFNAME_MAX: usize = 15;

struct Checker<'a> {
    tree: &'a Path,
    name: &'a Name,
    dir: PathBuf,
    settings: Settings,
}

pub(super) fn config(tree: &Path, name: &Name, settings: Settings) -> Result<Config> {
    let checker = Checker {
        tree,
        name,
        dir: tree.join(name.as_str()),
        settings,
    };
    checker.config()
}

impl Checker<'_> {
    fn config(mut self) -> Result<Config> {
        let texts = |settings: &Settings| -> BTreeMap<String, String> {
            settings
                .iter()
                .map(|(key, setting)| (key.clone(), setting.value.clone()))
                .collect()
        };
        let raw = keys::raw(&texts(&self.settings))?;
        let image = self.image(&raw)?;
        let (upper, work) = match &image {
            Some(_) => ("mnt/root", "mnt/work"),
            None => ("root", "work"),
        };
        self.default_to("UPPER", upper);
        self.default_to("WORK", work);
        self.default_to("HOSTNAME", self.name.as_str());
        self.default_to("LINK", self.name.as_str());
        let timeout = if raw.init.is_empty() { "30s" } else { "90s" };
        self.default_to("STOP_TIMEOUT", timeout);
        if let Some(image) = &image {
            self.default_to("IMAGE", &image.file.to_string_lossy());
        }
        let raw = keys::raw(&texts(&self.settings))?;
        Ok(Config {
            root: self.root(&raw, image)?,
            net: self.net(&raw)?,
            run: self.run(&raw)?,
            hooks: self.hooks(&raw)?,
            hook_timeout: self.value("HOOK_TIMEOUT", duration(&raw.hook_timeout))?,
            autostart: self.autostart(&raw)?,
            settings: texts(&self.settings),
            tree: self.tree.to_owned(),
            name: self.name.clone(),
            dir: self.dir,
        })
    }

    fn default_to(&mut self, key: &str, value: &str) {
        if let Some(setting) = self.settings.get_mut(key)
            && setting.value.is_empty()
        {
            value.clone_into(&mut setting.value);
        }
    }

    fn bad(&self, key: &str, why: impl std::fmt::Display) -> Error {
        let origin = self
            .settings
            .get(key)
            .map_or(&Origin::Default, |setting| &setting.origin);
        invalid(origin, key, why)
    }

    fn value<T>(&self, key: &str, checked: Checked<T>) -> Result<T> {
        checked.map_err(|why| self.bad(key, why))
    }

    /// A path on the host, relative ones from the subhost's directory; `.` and `..` are taken
    /// out by text, since mountinfo never shows them.
    fn path(&self, key: &str, text: &str) -> Result<PathBuf> {
        if text.is_empty() {
            return Err(self.bad(key, "is empty"));
        }
        let mut path = PathBuf::new();
        for part in self.dir.join(text).components() {
            match part {
                Component::ParentDir => {
                    path.pop();
                }
                Component::CurDir => {}
                other => path.push(other),
            }
        }
        Ok(path)
    }

    fn image(&self, raw: &keys::Raw) -> Result<Option<Image>> {
        let file = if raw.image.is_empty() {
            let file = self.dir.join(format!("{}.img", self.name));
            if !file.exists() {
                for key in ["IMAGE_PARTITION", "IMAGE_FSTYPE", "IMAGE_OPTIONS"] {
                    if self.settings.get(key).is_some_and(|s| !s.value.is_empty()) {
                        return Err(self.bad(
                            key,
                            format!("there is no image: neither IMAGE nor {}.img", self.name),
                        ));
                    }
                }
                return Ok(None);
            }
            file
        } else {
            self.path("IMAGE", &raw.image)?
        };
        let partition = match raw.image_partition.as_str() {
            "" => None,
            text => match text.parse() {
                Ok(number @ 1..=128) => Some(number),
                _ => {
                    return Err(self.bad(
                        "IMAGE_PARTITION",
                        format!("'{text}' is no number from 1 to 128"),
                    ));
                }
            },
        };
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Some(Image {
            file,
            at: self.dir.join("mnt"),
            partition,
            fstype: optional(&raw.image_fstype),
            options: optional(&raw.image_options),
        }))
    }

    fn root(&self, raw: &keys::Raw, image: Option<Image>) -> Result<Root> {
        let read_only = self.value("READ_ONLY", yes_no(&raw.read_only))?;
        let volatile = self.value("VOLATILE", yes_no(&raw.volatile))?;
        if read_only && volatile {
            return Err(self.bad(
                "VOLATILE",
                "READ_ONLY=yes leaves nothing to be written and forgotten: choose one",
            ));
        }
        let mut lowers = Vec::new();
        for word in self.value("LOWER", words(&raw.lower))? {
            let path = self.path("LOWER", &word)?;
            lowers.push(if path.is_file() {
                Layer::Image(path)
            } else {
                Layer::Directory(path)
            });
        }
        let live = self.path("LIVE", &raw.live)?;
        let upper = self.path("UPPER", &raw.upper)?;
        // The volatile tmpfs is mounted outside the image, which is then mounted read-only.
        let work = if volatile {
            self.dir.join("work")
        } else {
            self.path("WORK", &raw.work)?
        };
        for (key, path) in [("UPPER", &upper), ("WORK", &work)] {
            if path.starts_with(&live) || live.starts_with(path) {
                return Err(self.bad(
                    key,
                    format!("{} and LIVE lie in each other", path.display()),
                ));
            }
        }
        if !lowers.is_empty() && (work.starts_with(&upper) || upper.starts_with(&work)) {
            return Err(self.bad("WORK", "WORK and UPPER lie in each other; give each a directory of its own on one file system"));
        }
        Ok(Root {
            live,
            upper,
            work,
            lowers,
            image,
            read_only,
            volatile,
        })
    }

    fn net(&self, raw: &keys::Raw) -> Result<Net> {
        let bridges = self.value("BRIDGES", words(&raw.bridges))?;
        let shared = match raw.net.as_str() {
            "private" | "" => None,
            "host" => Some(Net::Host),
            other => match other.strip_prefix("netns:") {
                Some(name) if usable_file_name(name) => Some(Net::Named(name.to_owned())),
                _ => {
                    return Err(self.bad(
                        "NET",
                        format!("'{other}' is none of private, host, netns:NAME"),
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
                    return Err(self.bad(
                        key,
                        format!("with NET={} there are no cables of its own", raw.net),
                    ));
                }
            }
            return self.no_cable_beyond(0).map(|()| net);
        }
        self.no_cable_beyond(bridges.len())?;
        let assigned = self.assigned()?;
        let mut cables = Vec::new();
        for (index, word) in bridges.iter().enumerate() {
            cables.push(self.cable(index, word, &raw.link, &assigned)?);
        }
        let addresses: Vec<Cidr> = cables.iter().flat_map(|c| c.addresses.clone()).collect();
        Ok(Net::Private(Private {
            gateways: self.gateways(&raw.gateway, &addresses)?,
            routes: self.routes(&raw.routes)?,
            cables,
        }))
    }

    /// ADDR3 of a subhost with two cables is a typo, not a wish.
    fn no_cable_beyond(&self, count: usize) -> Result<()> {
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

    fn assigned(&self) -> Result<BTreeMap<String, Mac>> {
        let file = Config::assigned_file(&self.dir);
        let mut macs = BTreeMap::new();
        if file.exists() {
            for pair in read_trusted(&file, self.tree, self.name)? {
                let origin = Origin::File(file.clone(), pair.line);
                let mac: Mac = pair
                    .value
                    .parse()
                    .map_err(|why: String| invalid(&origin, &pair.key, why))?;
                macs.insert(pair.key, mac);
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
            name if usable_file_name(name) && name.len() <= IFNAME_MAX => Some(name.to_owned()),
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
                None => mac::derived(self.name.as_str(), index),
            }
        } else {
            self.value("BRIDGES", mac.parse())?
        };
        let host = format!("{link}{index}");
        if !usable_file_name(link) || link.contains(':') || link.contains(char::is_whitespace) {
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
        let mtu_key = format!("MTU{index}");
        let mtu = match self.settings.get(&mtu_key) {
            None => None,
            Some(setting) => match setting.value.parse::<u32>() {
                Ok(mtu @ 68..=65535) => Some(mtu),
                _ => {
                    return Err(self.bad(
                        &mtu_key,
                        format!("'{}' is no number from 68 to 65535", setting.value),
                    ));
                }
            },
        };
        let address_key = format!("ADDR{index}");
        let addresses = match self.settings.get(&address_key) {
            None => Vec::new(),
            Some(setting) => self.list(&address_key, &setting.value)?,
        };
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

    fn list<T: std::str::FromStr<Err = String>>(&self, key: &str, text: &str) -> Result<Vec<T>> {
        self.value(key, words(text))?
            .iter()
            .map(|word| self.value(key, word.parse()))
            .collect()
    }

    fn ip(&self, key: &str, word: &str) -> Result<IpAddr> {
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
            if net.address.is_ipv4() != gateway.is_ipv4() {
                return Err(self.bad("ROUTES", format!("'{word}' mixes the families")));
            }
            routes.push((net, gateway));
        }
        Ok(routes)
    }

    fn run(&self, raw: &keys::Raw) -> Result<Run> {
        let command = self.value("RUN", words(&raw.run))?;
        let init = self.value("INIT", words(&raw.init))?;
        if !command.is_empty() && !init.is_empty() {
            return Err(self.bad(
                "RUN",
                "RUN and INIT exclude each other: an INIT starts its own services",
            ));
        }
        if !init.is_empty() && !init[0].starts_with('/') {
            return Err(self.bad("INIT", format!("'{}' is no path from / on", init[0])));
        }
        let hostname = raw.hostname.clone();
        // HOST_NAME_MAX of Linux, and what a name in DNS may hold.
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if hostname.len() > 64 || !hostname.chars().all(fits) {
            return Err(self.bad("HOSTNAME", format!("'{hostname}' cannot be a host name")));
        }
        let env = self
            .settings
            .iter()
            .filter_map(|(key, setting)| {
                let name = key.strip_prefix("ENV_")?;
                Some((name.to_owned(), setting.value.clone()))
            })
            .collect();
        let search = self.value("SEARCH", words(&raw.search))?;
        if let Some(bad) = search.iter().find(|word| !word.chars().all(fits)) {
            return Err(self.bad("SEARCH", format!("'{bad}' is not a domain")));
        }
        let mut dns = Vec::new();
        for word in self.value("DNS", words(&raw.dns))? {
            dns.push(self.ip("DNS", &word)?);
        }
        if !raw.run_dir.starts_with('/') {
            return Err(self.bad("RUN_DIR", "is no path from / on"));
        }
        let ram_size = match raw.ram_size.as_str() {
            "none" => 0,
            text => self.value("RAM_SIZE", size(text))?,
        };
        Ok(Run {
            hostname,
            command,
            init,
            user: raw.run_as.clone(),
            dir: raw.run_dir.clone(),
            env,
            stop: self.stop(&raw.stop)?,
            stop_timeout: self.timeout("STOP_TIMEOUT", &raw.stop_timeout)?,
            binds: self.binds(&raw.bind)?,
            tmpfs: self.tmpfs(&raw.tmpfs)?,
            ram_size,
            dns,
            search,
        })
    }

    fn timeout(&self, key: &str, text: &str) -> Result<Duration> {
        self.value(key, duration(text))
    }

    fn stop(&self, text: &str) -> Result<Stop> {
        let words = self.value("STOP", words(text))?;
        Ok(match words.as_slice() {
            [] => Stop::Usual,
            [word] if signal_number(word).is_some() => {
                Stop::Signal(signal_number(word).unwrap_or_default())
            }
            [word, ..] if !word.starts_with('/') => {
                return Err(self.bad(
                    "STOP",
                    format!("'{word}' is neither a signal nor a path from / on"),
                ));
            }
            _ => Stop::Command(words),
        })
    }

    fn inside(&self, key: &str, path: &str) -> Result<String> {
        let lexical = Path::new(path);
        if !path.starts_with('/') || lexical.components().any(|c| c == Component::ParentDir) {
            return Err(self.bad(key, format!("'{path}' is no plain path from / on")));
        }
        if lexical.parent().is_none() {
            return Err(self.bad(key, "the root itself cannot be covered"));
        }
        Ok(path.to_owned())
    }

    fn binds(&self, text: &str) -> Result<Vec<Bind>> {
        let mut binds = Vec::new();
        for word in self.value("BIND", words(text))? {
            let (rest, read_only) = match word.strip_suffix(":ro") {
                Some(rest) => (rest, true),
                None => (word.as_str(), false),
            };
            let (source, target) = rest.split_once(':').unwrap_or((rest, rest));
            if target.contains(':') {
                return Err(self.bad("BIND", format!("'{word}' is not SRC[:DST][:ro]")));
            }
            binds.push(Bind {
                source: self.path("BIND", source)?,
                target: self.inside("BIND", target)?,
                read_only,
            });
        }
        Ok(binds)
    }

    fn tmpfs(&self, text: &str) -> Result<Vec<(String, Option<u64>)>> {
        let mut all = Vec::new();
        for word in self.value("TMPFS", words(text))? {
            let (target, bytes) = match word.split_once(':') {
                Some((target, text)) => (target, Some(self.value("TMPFS", size(text))?)),
                None => (word.as_str(), None),
            };
            all.push((self.inside("TMPFS", target)?, bytes));
        }
        Ok(all)
    }

    fn hooks(&self, raw: &keys::Raw) -> Result<BTreeMap<Phase, Vec<String>>> {
        let mut hooks = BTreeMap::new();
        for (key, phase, text) in [
            ("PREMOUNT", Phase::Premount, &raw.premount),
            ("POSTMOUNT", Phase::Postmount, &raw.postmount),
            ("PRENET", Phase::Prenet, &raw.prenet),
            ("POSTNET", Phase::Postnet, &raw.postnet),
            ("PRESTOP", Phase::Prestop, &raw.prestop),
            ("POSTSTOP", Phase::Poststop, &raw.poststop),
        ] {
            let mut words = self.value(key, words(text))?;
            if let Some(program) = words.first_mut() {
                // Nothing is looked for in a PATH that cron or init happened to have.
                *program = self.path(key, program)?.to_string_lossy().into_owned();
                hooks.insert(phase, words);
            }
        }
        Ok(hooks)
    }

    fn autostart(&self, raw: &keys::Raw) -> Result<Vec<String>> {
        let sets = self.value("AUTOSTART", words(&raw.autostart))?;
        match sets.as_slice() {
            [word] if word == "no" => Ok(Vec::new()),
            _ if sets.iter().any(|word| word == "no") => {
                Err(self.bad("AUTOSTART", "'no' cannot stand among sets"))
            }
            _ => Ok(sets),
        }
    }
}

fn usable_file_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !"/\"'\\".contains(c))
}
