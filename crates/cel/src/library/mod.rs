//! What functions do. Each takes its arguments, the receiver first; types have been checked, but where an expression is
//! dynamic anything may come: what fits no overload is `no such overload`.

pub(crate) mod authz;
mod core;
mod format;
mod list;
mod named;
mod net;
pub(crate) mod number;
pub(crate) mod opaque;
pub(crate) mod pattern;
mod semver;
mod text;
pub(crate) mod time;
mod url;

use regex::Regex;

use crate::eval::{Cx, Fault, Outcome};
use crate::value::Val;

pub(crate) use named::NamedFormat;
pub(crate) use net::Cidr;
pub(crate) use semver::Semver;
pub(crate) use url::Url;

/// A function: the evaluation, the arguments, and the pattern that was compiled beforehand.
pub(crate) type Run = for<'p, 'a> fn(&mut Cx<'p, 'a>, &mut [Val<'a>], Option<&Regex>) -> Outcome<Val<'a>>;

/// What no overload fits.
fn unfit<'a>() -> Outcome<Val<'a>> {
    Err(Fault::Error("no such overload".into()))
}

fn error(message: impl Into<String>) -> Fault {
    Fault::Error(message.into().into())
}

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<Run> {
    core::find(name)
        .or_else(|| number::find(name))
        .or_else(|| time::find(name))
        .or_else(|| text::find(name))
        .or_else(|| list::find(name))
        .or_else(|| net::find(name))
        .or_else(|| url::find(name))
        .or_else(|| opaque::find(name))
        .or_else(|| named::find(name))
        .or_else(|| authz::find(name))
}
