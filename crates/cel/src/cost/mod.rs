//! What evaluation costs: here what it did cost, step by step; in [`estimate`] what it may cost, before it runs.
//!
//! Numbers are those of the reference implementation and of Kubernetes' libraries, because limits are set in them.

mod estimate;

pub use estimate::Range;
pub(crate) use estimate::estimate;

use crate::library::opaque::Opaque;
use crate::plan::Call;
use crate::value::Val;

pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const STRUCT: u64 = 40;
/// Of each character of a text that is looked at.
const PER_CHARACTER: f64 = 0.1;
/// Of each character of a pattern, for each character it looks at.
const PER_PATTERN: f64 = 0.25;
/// Of a question to the authorizer: two fit into one expression.
const CHECK: u64 = 350_000;
/// Of one requirement of a selector.
const PER_REQUIREMENT: f64 = (LIST + STRUCT) as f64;

fn size(value: &Val<'_>) -> u64 {
    value.size().unwrap_or(1)
}

fn scaled(amount: u64, factor: f64) -> u64 {
    (amount as f64 * factor).ceil() as u64
}

/// Of the looks into everything that a value holds.
fn traversal(value: &Val<'_>) -> u64 {
    match value {
        Val::String(text) => (text.len() as f64 * PER_CHARACTER) as u64,
        Val::Bytes(bytes) => (bytes.len() as f64 * PER_CHARACTER) as u64,
        Val::List(list) => {
            let mut cost = 0;
            let _ = list.each(&mut |item| {
                cost += traversal(&item);
                Ok(true)
            });
            cost
        }
        Val::Map(map) => {
            let mut cost = 0;
            let _ = map.each(&mut |key, value| {
                cost += traversal(&key) + traversal(&value);
                Ok(true)
            });
            cost
        }
        _ => 1,
    }
}

/// The cost of a call by its arguments, charged before it runs.
pub(crate) fn actual(call: &Call, args: &[Val<'_>]) -> u64 {
    let of = |at: usize| args.get(at).map_or(1, size);
    if let Some(cost) = call.overload.and_then(|overload| actual_of_overload(overload, args)) {
        return cost;
    }
    let regex = || scaled(of(0) + 1, PER_CHARACTER) * scaled(of(1), PER_PATTERN);
    match &*call.function {
        "check" => CHECK,
        "fieldSelector" | "labelSelector" => selector(of(1)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(1, traversal),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => scaled(of(0), PER_CHARACTER),
        "ip" if call.overload != Some("cidr_ip") => scaled(of(0), PER_CHARACTER),
        "replace" | "split" | "ip.isCanonical" => scaled(of(0), 2.0 * PER_CHARACTER),
        // Charged by its result.
        "join" => 0,
        "find" | "findAll" => regex(),
        "containsIP" | "containsCIDR" => {
            let mut cost = scaled(of(0) * 2, PER_CHARACTER);
            if &*call.function == "containsCIDR" {
                cost += scaled(of(0), PER_CHARACTER) + 1;
            }
            if matches!(
                call.overload,
                Some("cidr_contains_ip_string" | "cidr_contains_cidr_string")
            ) {
                cost += scaled(of(1), PER_CHARACTER);
            }
            cost
        }
        "validate" => match args.first() {
            Some(Val::Opaque(Opaque::Format(format))) => {
                scaled(of(1) + 1, PER_CHARACTER) * scaled(format.pattern_size, PER_PATTERN)
            }
            _ => 1,
        },
        "_==_" if matches!(args.first(), Some(Val::Opaque(_))) => 1,
        "_==_" | "_!=_" => compared(args),
        _ => match call.overload {
            Some("starts_with_string" | "ends_with_string") => scaled(of(1), PER_CHARACTER),
            Some("string_to_bytes" | "bytes_to_string" | "strings_quote" | "string_format") => {
                scaled(of(0), PER_CHARACTER)
            }
            Some("in_list") => of(1),
            Some(overload) if is_text_order(overload) => compared(args),
            Some("add_string" | "add_bytes") => scaled(of(0) + of(1), PER_CHARACTER),
            Some("matches" | "matches_string") => regex(),
            Some("contains_string") => scaled(of(0), PER_CHARACTER) * scaled(of(1), PER_CHARACTER),
            _ => 1,
        },
    }
}

/// What is only known by the result.
pub(crate) fn actual_of_result(call: &Call, result: &Val<'_>) -> u64 {
    match &*call.function {
        "join" => scaled(size(result), 2.0 * PER_CHARACTER),
        _ => 0,
    }
}

fn is_text_order(overload: &str) -> bool {
    let order = overload
        .strip_suffix("_string")
        .or_else(|| overload.strip_suffix("_bytes"));
    matches!(order, Some("less" | "less_equals" | "greater" | "greater_equals"))
}

fn compared(args: &[Val<'_>]) -> u64 {
    // An optional is as big as what it holds.
    fn held(value: &Val<'_>) -> u64 {
        match value {
            Val::Optional(Some(inner)) => held(inner),
            other => size(other),
        }
    }
    scaled(args.iter().map(held).min().unwrap_or(1), PER_CHARACTER)
}

fn selector(length: u64) -> u64 {
    LIST + scaled(length, PER_CHARACTER) + scaled(scaled(length, 0.5), PER_REQUIREMENT)
}

fn allocation(items: u64, factor: f64) -> u64 {
    ((items as f64 * factor) as u64).saturating_add(1 + LIST)
}

/// The lists and sets libraries count by overload.
fn actual_of_overload(overload: &str, args: &[Val<'_>]) -> Option<u64> {
    let of = |at: usize| args.get(at).map_or(1, size);
    let whole = |at: usize| match args.get(at) {
        Some(Val::Int(number)) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    let squared = |at: usize| {
        let first = match args.get(at) {
            Some(Val::List(list)) => list.get(0).ok().flatten(),
            _ => None,
        };
        let text = matches!(first, Some(Val::String(_) | Val::Bytes(_)));
        allocation(
            of(at).saturating_mul(of(at)),
            if text { 2.0 + PER_CHARACTER } else { 2.0 },
        )
    };
    Some(match overload {
        "list_slice" => allocation(whole(2).saturating_sub(whole(1)).min(of(0)), 1.0),
        "list_flatten" => allocation(of(0), 1.0),
        "list_flatten_int" => allocation(of(0), whole(1) as f64),
        "lists_range" => allocation(whole(0), 1.0),
        "list_reverse" => allocation(of(0), 1.0),
        "list_distinct" => squared(0),
        "list_sets_contains_list" | "list_sets_intersects_list" => of(0).saturating_mul(of(1)).saturating_add(1),
        "list_sets_equivalent_list" => of(0).saturating_mul(of(1)).saturating_mul(2).saturating_add(1),
        _ if overload.ends_with("_sort") => squared(0),
        _ if overload.ends_with("_sortByAssociatedKeys") => squared(1),
        _ => return None,
    })
}
