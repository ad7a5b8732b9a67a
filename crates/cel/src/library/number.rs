//! Arithmetic and conversions.

use super::time;
use super::{Run, error, unfit};
use crate::eval::{Cx, Fault, Outcome, fail};
use crate::library::opaque::Opaque;
use crate::value::{List, Val};

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "_+_" => |cx, args, _| add(cx, args),
        "_-_" => |_, args, _| subtract(args),
        "_*_" => |_, args, _| match args {
            [Val::Int(a), Val::Int(b)] => int(a.checked_mul(*b)),
            [Val::Uint(a), Val::Uint(b)] => uint(a.checked_mul(*b)),
            [Val::Double(a), Val::Double(b)] => Ok(Val::Double(*a * *b)),
            _ => unfit(),
        },
        "_/_" => |_, args, _| match args {
            [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => fail("division by zero"),
            [Val::Int(a), Val::Int(b)] => int(a.checked_div(*b)),
            [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(*a / *b)),
            [Val::Double(a), Val::Double(b)] => Ok(Val::Double(*a / *b)),
            _ => unfit(),
        },
        "_%_" => |_, args, _| match args {
            [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => fail("modulus by zero"),
            [Val::Int(a), Val::Int(b)] => int(a.checked_rem(*b)),
            [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(*a % *b)),
            _ => unfit(),
        },
        "-_" => |_, args, _| match args {
            [Val::Int(a)] => int(a.checked_neg()),
            [Val::Double(a)] => Ok(Val::Double(-*a)),
            _ => unfit(),
        },
        "int" => |_, args, _| match args {
            [value] => to_int(value),
            _ => unfit(),
        },
        "uint" => |_, args, _| match args {
            [value] => to_uint(value),
            _ => unfit(),
        },
        "double" => |_, args, _| match args {
            [Val::Double(value)] => Ok(Val::Double(*value)),
            [Val::Int(value)] => Ok(Val::Double(*value as f64)),
            [Val::Uint(value)] => Ok(Val::Double(*value as f64)),
            [Val::String(text)] => match parse_double(text) {
                Some(value) => Ok(Val::Double(value)),
                None => conversion("string", "double"),
            },
            _ => unfit(),
        },
        "bool" => |_, args, _| match args {
            [Val::Bool(value)] => Ok(Val::Bool(*value)),
            [Val::String(text)] => match &**text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
                _ => conversion("string", "bool"),
            },
            _ => unfit(),
        },
        "bytes" => |_, args, _| match args {
            [Val::Bytes(bytes)] => Ok(Val::Bytes(bytes.clone())),
            [Val::String(text)] => Ok(Val::Bytes(text.as_bytes().into())),
            _ => unfit(),
        },
        "string" => |_, args, _| match args {
            [value] => to_string(value),
            _ => unfit(),
        },
        _ => return None,
    })
}

fn conversion<'a>(from: &str, to: &str) -> Outcome<Val<'a>> {
    fail(format!("type conversion error from '{from}' to '{to}'"))
}

fn int<'a>(number: Option<i64>) -> Outcome<Val<'a>> {
    number.map(Val::Int).ok_or_else(|| error("integer overflow"))
}

fn uint<'a>(number: Option<u64>) -> Outcome<Val<'a>> {
    number.map(Val::Uint).ok_or_else(|| error("unsigned integer overflow"))
}

fn duration<'a>(nanos: Option<i64>) -> Outcome<Val<'a>> {
    nanos.map(Val::Duration).ok_or_else(|| error("duration overflow"))
}

pub(super) fn add<'a>(cx: &mut Cx<'_, 'a>, args: &mut [Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_add(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_add(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(*a + *b)),
        [Val::String(a), Val::String(b)] => {
            cx.may_hold(a.len() + b.len())?;
            Ok(Val::string(format!("{}{}", &**a, &**b)))
        }
        [Val::Bytes(a), Val::Bytes(b)] => {
            cx.may_hold(a.len() + b.len())?;
            Ok(Val::Bytes([&**a, &**b].concat().into()))
        }
        [Val::Duration(a), Val::Duration(b)] => duration(a.checked_add(*b)),
        [Val::Timestamp(at), Val::Duration(by)] | [Val::Duration(by), Val::Timestamp(at)] => at
            .plus(i128::from(*by))
            .map(Val::Timestamp)
            .ok_or_else(|| error("timestamp overflow")),
        [Val::List(a), Val::List(b)] => {
            let first = std::mem::replace(a, List::Items(Default::default()));
            Ok(Val::List(first.plus(b.clone(), cx)?))
        }
        _ => unfit(),
    }
}

fn subtract<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_sub(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_sub(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(*a - *b)),
        [Val::Duration(a), Val::Duration(b)] => duration(a.checked_sub(*b)),
        [Val::Timestamp(at), Val::Duration(by)] => at
            .plus(-i128::from(*by))
            .map(Val::Timestamp)
            .ok_or_else(|| error("timestamp overflow")),
        [Val::Timestamp(a), Val::Timestamp(b)] => duration(i64::try_from(a.nanos() - b.nanos()).ok()),
        _ => unfit(),
    }
}

fn to_int<'a>(value: &Val<'a>) -> Outcome<Val<'a>> {
    match value {
        Val::Int(number) => Ok(Val::Int(*number)),
        Val::Uint(number) => int(i64::try_from(*number).ok()),
        // The bounds themselves are no exact doubles: they are out.
        Val::Double(number) => {
            let fits = *number > i64::MIN as f64 && *number < i64::MAX as f64;
            int(fits.then_some(*number as i64))
        }
        Val::String(text) => match text.parse() {
            Ok(number) => Ok(Val::Int(number)),
            Err(_) => conversion("string", "int"),
        },
        Val::Timestamp(at) => Ok(Val::Int(at.seconds())),
        Val::Duration(nanos) => Ok(Val::Int(*nanos)),
        _ => unfit(),
    }
}

fn to_uint<'a>(value: &Val<'a>) -> Outcome<Val<'a>> {
    match value {
        Val::Uint(number) => Ok(Val::Uint(*number)),
        Val::Int(number) => uint(u64::try_from(*number).ok()),
        Val::Double(number) => {
            let fits = *number >= 0.0 && *number < u64::MAX as f64;
            uint(fits.then_some(*number as u64))
        }
        Val::String(text) if !text.starts_with('+') => match text.parse() {
            Ok(number) => Ok(Val::Uint(number)),
            Err(_) => conversion("string", "uint"),
        },
        Val::String(_) => conversion("string", "uint"),
        _ => unfit(),
    }
}

fn parse_double(text: &str) -> Option<f64> {
    let plain = text.trim_start_matches(['+', '-']);
    match plain.to_ascii_lowercase().as_str() {
        "inf" | "infinity" | "nan" => text.parse().ok(),
        // Go reads no more than Rust does otherwise, but knows overflow as an error.
        _ => text.parse::<f64>().ok().filter(|number| number.is_finite()),
    }
}

/// The value as text; the basis of `%s`, too.
pub(crate) fn to_string<'a>(value: &Val<'a>) -> Outcome<Val<'a>> {
    Ok(match value {
        Val::String(text) => Val::String(text.clone()),
        Val::Bool(value) => Val::string(value.to_string()),
        Val::Int(number) => Val::string(number.to_string()),
        Val::Uint(number) => Val::string(number.to_string()),
        Val::Double(number) => Val::string(double_text(*number)),
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Val::string(text),
            Err(_) => return fail("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Val::Timestamp(at) => Val::string(at.to_string()),
        Val::Duration(nanos) => Val::string(time::duration_text(*nanos)),
        Val::Opaque(Opaque::Ip(address)) => Val::string(address.to_string()),
        Val::Opaque(Opaque::Cidr(cidr)) => Val::string(cidr.to_string()),
        Val::Type(ty) => Val::string(ty.name()),
        _ => return Err(Fault::Error("no such overload".into())),
    })
}

/// As few digits as tell it from any other; exponents below -4 and from 21 on as `e+21`.
pub(crate) fn double_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..21).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
