//! Addresses and networks of addresses.

use std::fmt;
use std::net::IpAddr;

use super::opaque::Opaque;
use super::{Run, error, unfit};
use crate::eval::{Fault, Outcome};
use crate::value::Val;

/// An address with the length of the network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}")
        };
        let (address, prefix) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
        let parsed: IpAddr = address.parse().map_err(|_| wrong(&go_error(address)))?;
        let plain = prefix == "0" || (!prefix.starts_with('0') && prefix.bytes().all(|b| b.is_ascii_digit()));
        let length: u8 = prefix
            .parse()
            .ok()
            .filter(|_| plain)
            .ok_or_else(|| wrong(&format!("bad bits after slash: {prefix:?}")))?;
        if u32::from(length) > bits(parsed) {
            return Err(wrong("prefix length out of range"));
        }
        if is_mapped(parsed) {
            return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
        }
        Ok(Self {
            address: parsed,
            prefix: length,
        })
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == masked(self.address, self.prefix)
    }

    /// Octets of the prefix.
    pub(crate) fn size(self) -> u64 {
        u64::from(self.prefix).div_ceil(8)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn go_error(text: &str) -> String {
    format!("ParseAddr({text:?}): unable to parse IP")
}

fn address(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let parsed: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: {}",
            go_error(text)
        )
    })?;
    if is_mapped(parsed) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(parsed)
}

fn conversion(why: String) -> Fault {
    error(format!(
        "network address parse error during conversion from string: {why}"
    ))
}

fn ip(address: IpAddr) -> Val<'static> {
    Val::Opaque(Opaque::Ip(address))
}

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "ip" => |_, args, _| match args {
            [Val::String(text)] => address(text).map(ip).map_err(error),
            [Val::Opaque(Opaque::Cidr(cidr))] => Ok(ip(cidr.address)),
            _ => unfit(),
        },
        "isIP" => |_, args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(address(text).is_ok())),
            _ => unfit(),
        },
        "ip.isCanonical" => |_, args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(address(text).map_err(error)?.to_string() == **text)),
            _ => unfit(),
        },
        "family" => |_, args, _| match args {
            [Val::Opaque(Opaque::Ip(ip))] => Ok(Val::Int(if ip.is_ipv4() { 4 } else { 6 })),
            _ => unfit(),
        },
        "isUnspecified" => |_, args, _| kind(args, |ip| ip.is_unspecified()),
        "isLoopback" => |_, args, _| kind(args, |ip| ip.is_loopback()),
        "isLinkLocalMulticast" => |_, args, _| {
            kind(args, |ip| match ip {
                IpAddr::V4(v4) => matches!(v4.octets(), [224, 0, 0, _]),
                IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
            })
        },
        "isLinkLocalUnicast" => |_, args, _| kind(args, is_link_local),
        "isGlobalUnicast" => |_, args, _| {
            kind(args, |ip| {
                let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
                !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip))
            })
        },
        "cidr" => |_, args, _| match args {
            [Val::String(text)] => Ok(Val::Opaque(Opaque::Cidr(Cidr::parse(text).map_err(conversion)?))),
            _ => unfit(),
        },
        "isCIDR" => |_, args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(Cidr::parse(text).is_ok())),
            _ => unfit(),
        },
        "containsIP" => |_, args, _| match args {
            [Val::Opaque(Opaque::Cidr(cidr)), Val::String(text)] => {
                Ok(Val::Bool(cidr.contains(address(text).map_err(error)?)))
            }
            [Val::Opaque(Opaque::Cidr(cidr)), Val::Opaque(Opaque::Ip(ip))] => Ok(Val::Bool(cidr.contains(*ip))),
            _ => unfit(),
        },
        "containsCIDR" => |_, args, _| match args {
            [Val::Opaque(Opaque::Cidr(cidr)), Val::String(text)] => {
                contains_cidr(*cidr, Cidr::parse(text).map_err(conversion)?)
            }
            [Val::Opaque(Opaque::Cidr(cidr)), Val::Opaque(Opaque::Cidr(other))] => contains_cidr(*cidr, *other),
            _ => unfit(),
        },
        "prefixLength" => |_, args, _| match args {
            [Val::Opaque(Opaque::Cidr(cidr))] => Ok(Val::Int(cidr.prefix.into())),
            _ => unfit(),
        },
        "masked" => |_, args, _| match args {
            [Val::Opaque(Opaque::Cidr(cidr))] => {
                let address = masked(cidr.address, cidr.prefix);
                Ok(Val::Opaque(Opaque::Cidr(Cidr { address, ..*cidr })))
            }
            _ => unfit(),
        },
        _ => return None,
    })
}

fn contains_cidr<'a>(cidr: Cidr, other: Cidr) -> Outcome<Val<'a>> {
    Ok(Val::Bool(cidr.prefix <= other.prefix && cidr.contains(other.address)))
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn kind<'a>(args: &[Val<'a>], holds: fn(IpAddr) -> bool) -> Outcome<Val<'a>> {
    match args {
        [Val::Opaque(Opaque::Ip(ip))] => Ok(Val::Bool(holds(*ip))),
        _ => unfit(),
    }
}
