//! The types of values: addresses, MACs, sizes, durations, words. Nothing here knows a key.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// A result whose error is the reason; the caller knows file, line and key.
pub(super) type Checked<T> = Result<T, String>;

/// An address with the prefix length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// The length of the prefix, in bits.
    pub prefix: u8,
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Checked<Self> {
        let wrong = || format!("'{text}' is not ADDRESS/PREFIX, such as 192.0.2.10/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        if prefix > max {
            return Err(format!("'{text}': the prefix has at most {max} bits"));
        }
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;
    fn try_from(text: String) -> Checked<Self> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Cidr {
    /// Tells whether no bit beyond the prefix is set.
    pub fn is_network(&self) -> bool {
        let bits = match self.address {
            IpAddr::V4(a) => u128::from(a.to_bits()) << 96,
            IpAddr::V6(a) => a.to_bits(),
        };
        bits.checked_shl(self.prefix.into()).unwrap_or(0) == 0
    }

    /// Tells whether `address` is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |a: &[u8], b: &[u8]| {
            a.iter().zip(b).enumerate().all(|(i, (x, y))| {
                let bits = usize::from(self.prefix).saturating_sub(i * 8).min(8);
                let mask = !(0xffu16 >> bits) as u8;
                x & mask == y & mask
            })
        };
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(&a.octets(), &b.octets()),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(&a.octets(), &b.octets()),
            _ => false,
        }
    }
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;
    fn from_str(text: &str) -> Checked<Self> {
        let wrong = || format!("'{text}' is not a MAC, such as 02:00:5e:00:53:01");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            if !part.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        if bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(format!(
                "'{text}' is a group address, no interface can have it"
            ));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = String;
    fn try_from(text: String) -> Checked<Self> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Parses `yes` or `no`; an empty text is `no`.
pub(super) fn yes_no(text: &str) -> Checked<bool> {
    match text {
        "yes" => Ok(true),
        "no" | "" => Ok(false),
        _ => Err(format!("'{text}' is neither yes nor no")),
    }
}

/// Parses a size in bytes: a number with an optional suffix K, M, G or T (powers of 1024).
pub(super) fn size(text: &str) -> Checked<u64> {
    let wrong = || format!("'{text}' is not a size, such as 64M");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Parses a duration: a number with the suffix ms, s, m or h, or in seconds.
pub(super) fn duration(text: &str) -> Checked<Duration> {
    let wrong = || format!("'{text}' is not a duration, such as 10s");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match &text[digits.len()..] {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

/// Splits a text into words as sh does, with blanks, quotes and backslashes.
pub(super) fn words(text: &str) -> Checked<Vec<String>> {
    shell_words::split(text).map_err(|_| format!("'{text}' has a quote that is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let net: Cidr = "192.0.2.10/25".parse().unwrap();
        assert!(net.contains("192.0.2.127".parse().unwrap()));
        assert!(!net.contains("192.0.2.128".parse().unwrap()));
        assert!(!net.contains("2001:db8::1".parse().unwrap()));
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("198.51.100.1".parse().unwrap()));
        assert!(all.is_network() && !net.is_network());
        assert!("2001:db8::/32".parse::<Cidr>().unwrap().is_network());
        assert!("::1/128".parse::<Cidr>().unwrap().is_network());
        for bad in ["192.0.2.10", "192.0.2.10/33", "x/8", "1.2.3/8", "::1/129"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn macs_are_parsed() {
        let mac: Mac = "02:00:5E:00:53:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:00:53:01");
        for bad in [
            "01:00:5e:00:53:01",
            "02:00:5e:00:53",
            "02:00:5e:00:53:01:02",
            "+2:00:5e:00:53:01",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_durations_are_parsed() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("0"), Ok(0));
        assert!(size("64MB").is_err() && size("M").is_err() && size("99999999T").is_err());
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("s").is_err() && duration("1d").is_err());
    }
}
