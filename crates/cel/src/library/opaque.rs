//! Values whose inside only functions see, and the functions of quantities and versions.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use knarr_apimachinery::Quantity;

use super::authz::{Access, Check, Decision};
use super::{Cidr, NamedFormat, Run, Semver, Url, error, unfit};
use crate::eval::{Outcome, fail};
use crate::types::Type;
use crate::value::Val;

/// A value of one of Kubernetes' libraries.
#[derive(Clone, Debug)]
pub enum Opaque {
    /// An amount.
    Quantity(Quantity),
    /// An address.
    Ip(IpAddr),
    /// A network.
    Cidr(Cidr),
    /// A resource locator.
    Url(Arc<Url>),
    /// A rule for text.
    Format(&'static NamedFormat),
    /// A version.
    Semver(Arc<Semver>),
    /// Who may do what.
    Authorizer(Access),
    /// A question to the authorizer.
    Check(Arc<Check>),
    /// Its answer.
    Decision(Arc<Decision>),
}

impl Opaque {
    /// The type that expressions see.
    pub fn type_of(&self) -> Type {
        match self {
            Opaque::Quantity(_) => Type::object("kubernetes.Quantity"),
            Opaque::Ip(_) => Type::Opaque("net.IP".into(), [].into()),
            Opaque::Cidr(_) => Type::Opaque("net.CIDR".into(), [].into()),
            Opaque::Url(_) => Type::object("kubernetes.URL"),
            Opaque::Format(_) => Type::object("kubernetes.NamedFormat"),
            Opaque::Semver(_) => Type::object("kubernetes.Semver"),
            Opaque::Authorizer(_) => Type::object("kubernetes.authorization.Authorizer"),
            Opaque::Check(check) => Type::object(check.type_name()),
            Opaque::Decision(_) => Type::object("kubernetes.authorization.Decision"),
        }
    }

    /// Octets of addresses; nothing else has a size.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Opaque::Ip(IpAddr::V4(_)) => Some(4),
            Opaque::Ip(IpAddr::V6(_)) => Some(16),
            Opaque::Cidr(cidr) => Some(cidr.size()),
            _ => None,
        }
    }
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
            (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
            (Opaque::Cidr(a), Opaque::Cidr(b)) => a == b,
            (Opaque::Url(a), Opaque::Url(b)) => a == b,
            (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
            (Opaque::Semver(a), Opaque::Semver(b)) => a == b,
            (Opaque::Check(a), Opaque::Check(b)) => Arc::ptr_eq(a, b),
            (Opaque::Decision(a), Opaque::Decision(b)) => a == b,
            _ => false,
        }
    }
}

fn quantity<'a>(amount: Quantity) -> Outcome<Val<'a>> {
    Ok(Val::Opaque(Opaque::Quantity(amount)))
}

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "quantity" => |_, args, _| match args {
            [Val::String(text)] => quantity(Quantity::parse(text).map_err(|why| error(why.to_string()))?),
            _ => unfit(),
        },
        "isQuantity" => |_, args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(Quantity::parse(text).is_ok())),
            _ => unfit(),
        },
        "sign" => |_, args, _| match args {
            [Val::Opaque(Opaque::Quantity(amount))] => Ok(Val::Int(amount.sign())),
            _ => unfit(),
        },
        "asApproximateFloat" => |_, args, _| match args {
            [Val::Opaque(Opaque::Quantity(amount))] => Ok(Val::Double(amount.as_f64())),
            _ => unfit(),
        },
        "asInteger" => |_, args, _| match args {
            [Val::Opaque(Opaque::Quantity(amount))] => match amount.as_i64() {
                Some(number) => Ok(Val::Int(number)),
                None => fail("cannot convert value to integer"),
            },
            _ => unfit(),
        },
        "isInteger" => |_, args, _| match args {
            [Val::Opaque(Opaque::Quantity(amount))] => Ok(Val::Bool(amount.as_i64().is_some())),
            _ => unfit(),
        },
        "add" => |_, args, _| match args {
            [Val::Opaque(Opaque::Quantity(a)), Val::Opaque(Opaque::Quantity(b))] => quantity(a.plus(*b)),
            [Val::Opaque(Opaque::Quantity(a)), Val::Int(b)] => quantity(a.plus(Quantity::new(*b))),
            _ => unfit(),
        },
        "sub" => |_, args, _| match args {
            [Val::Opaque(Opaque::Quantity(a)), Val::Opaque(Opaque::Quantity(b))] => quantity(a.minus(*b)),
            [Val::Opaque(Opaque::Quantity(a)), Val::Int(b)] => quantity(a.minus(Quantity::new(*b))),
            _ => unfit(),
        },
        "isGreaterThan" => |_, args, _| Ok(Val::Bool(order(args)? == Ordering::Greater)),
        "isLessThan" => |_, args, _| Ok(Val::Bool(order(args)? == Ordering::Less)),
        "compareTo" => |_, args, _| Ok(Val::Int(order(args)? as i64)),
        "semver" => |_, args, _| Ok(Val::Opaque(Opaque::Semver(Arc::new(version(args)?.map_err(error)?)))),
        "isSemver" => |_, args, _| Ok(Val::Bool(version(args)?.is_ok())),
        "major" => |_, args, _| part(args, |version| version.major),
        "minor" => |_, args, _| part(args, |version| version.minor),
        "patch" => |_, args, _| part(args, |version| version.patch),
        _ => return None,
    })
}

fn order(args: &[Val<'_>]) -> Outcome<Ordering> {
    match args {
        [Val::Opaque(Opaque::Quantity(a)), Val::Opaque(Opaque::Quantity(b))] => Ok(a.cmp(b)),
        [Val::Opaque(Opaque::Semver(a)), Val::Opaque(Opaque::Semver(b))] => Ok(a.cmp(b)),
        _ => fail("no such overload"),
    }
}

fn version(args: &[Val<'_>]) -> Outcome<Result<Semver, String>> {
    match args {
        [Val::String(text)] | [Val::String(text), Val::Bool(false)] => Ok(Semver::parse(text)),
        [Val::String(text), Val::Bool(true)] => Ok(Semver::parse_tolerant(text)),
        _ => fail("no such overload"),
    }
}

fn part<'a>(args: &[Val<'a>], of: fn(&Semver) -> u64) -> Outcome<Val<'a>> {
    match args {
        [Val::Opaque(Opaque::Semver(version))] => Ok(Val::Int(of(version) as i64)),
        _ => unfit(),
    }
}
