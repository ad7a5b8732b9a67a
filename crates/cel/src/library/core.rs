//! The functions of the language itself that are no arithmetic: equality, order, membership, sizes, optionals.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Run, error, unfit};
use crate::eval::{Outcome, fail};
use crate::types::Type;
use crate::value::{List, Val, compare, equal};

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "_==_" => |cx, args, _| match args {
            [a, b] => Ok(Val::Bool(equal(a, b, cx)?)),
            _ => unfit(),
        },
        "_!=_" => |cx, args, _| match args {
            [a, b] => Ok(Val::Bool(!equal(a, b, cx)?)),
            _ => unfit(),
        },
        "_<_" => |_, args, _| ordered(args, Ordering::is_lt),
        "_<=_" => |_, args, _| ordered(args, Ordering::is_le),
        "_>_" => |_, args, _| ordered(args, Ordering::is_gt),
        "_>=_" => |_, args, _| ordered(args, Ordering::is_ge),
        "!_" => |_, args, _| match args {
            [Val::Bool(value)] => Ok(Val::Bool(!*value)),
            _ => unfit(),
        },
        "@not_strictly_false" => |_, args, _| Ok(Val::Bool(!matches!(args, [Val::Bool(false)]))),
        "@in" => |cx, args, _| match args {
            [value, Val::List(list)] => {
                let mut found = false;
                list.each(&mut |item| {
                    found = equal(&item, value, cx)?;
                    Ok(!found)
                })?;
                Ok(Val::Bool(found))
            }
            [key, Val::Map(map)] => Ok(Val::Bool(map.get(key)?.is_some())),
            _ => unfit(),
        },
        "size" => |_, args, _| match args {
            [value @ (Val::String(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_))] => {
                Ok(Val::Int(value.size().unwrap_or_default() as i64))
            }
            _ => unfit(),
        },
        "type" => |_, args, _| match args {
            [value] => Ok(Val::Type(match value {
                Val::Type(_) => Type::Type(None),
                other => other.type_of(),
            })),
            _ => unfit(),
        },
        "dyn" => |_, args, _| args.first().cloned().ok_or_else(|| error("no such overload")),
        "optional.of" => |_, args, _| match args {
            [value] => Ok(Val::some(value.clone())),
            _ => unfit(),
        },
        "optional.ofNonZeroValue" => |_, args, _| match args {
            [value] if value.is_zero() => Ok(Val::Optional(None)),
            [value] => Ok(Val::some(value.clone())),
            _ => unfit(),
        },
        "optional.none" => |_, _, _| Ok(Val::Optional(None)),
        "optional.unwrap" | "unwrapOpt" => |_, args, _| match args {
            [Val::List(list)] => unwrapped(list),
            _ => unfit(),
        },
        "value" => |_, args, _| match args {
            [Val::Optional(Some(value))] => Ok((**value).clone()),
            [Val::Optional(None)] => fail("optional.none() dereference"),
            _ => unfit(),
        },
        "hasValue" => |_, args, _| match args {
            [Val::Optional(value)] => Ok(Val::Bool(value.is_some())),
            _ => unfit(),
        },
        "cel.@mapInsert" => |_, args, _| match args {
            [Val::Map(map), key, value] => {
                let mut map = std::mem::replace(map, crate::value::Map::new(Default::default()));
                if !map.insert(key.clone(), value.clone())? {
                    return fail(format!("insert failed: key {key} already exists"));
                }
                Ok(Val::Map(map))
            }
            [Val::Map(map), Val::Map(more)] => {
                let mut map = std::mem::replace(map, crate::value::Map::new(Default::default()));
                more.each(&mut |key, value| {
                    if !map.insert(key.clone(), value)? {
                        return fail(format!("insert failed: key {key} already exists"));
                    }
                    Ok(true)
                })?;
                Ok(Val::Map(map))
            }
            _ => unfit(),
        },
        _ => return None,
    })
}

fn ordered<'a>(args: &[Val<'a>], wanted: fn(Ordering) -> bool) -> Outcome<Val<'a>> {
    match args {
        [a, b] => Ok(Val::Bool(wanted(compare(a, b)?))),
        _ => unfit(),
    }
}

fn unwrapped<'a>(list: &List<'a>) -> Outcome<Val<'a>> {
    let mut items = Vec::new();
    list.each(&mut |item| {
        match item {
            Val::Optional(Some(value)) => items.push(Arc::unwrap_or_clone(value)),
            Val::Optional(None) => {}
            other => return fail(format!("value {other} is not optional")),
        }
        Ok(true)
    })?;
    Ok(Val::list(items))
}
