//! Functions on lists: version 3 of the lists library, the sets library, and Kubernetes' own.

use std::cmp::Ordering;

use super::{Run, error, number, text, unfit};
use crate::eval::{Cx, Fault, Outcome, fail};
use crate::value::{List, Val, compare, equal};

/// Items that `lists.range` makes at most.
const MAX_RANGE: i64 = 10_000_000;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "slice" => |_, args, _| slice(args),
        "flatten" => |cx, args, _| match args {
            [Val::List(list)] => flattened(cx, list, 1),
            [Val::List(list), Val::Int(depth)] if *depth >= 0 => flattened(cx, list, *depth),
            [Val::List(_), Val::Int(_)] => fail("level must be non-negative"),
            _ => unfit(),
        },
        "lists.range" => |_, args, _| match args {
            [Val::Int(size)] if *size < 0 => fail(format!("lists.range: size must be non-negative, got {size}")),
            [Val::Int(size)] if *size > MAX_RANGE => fail(format!(
                "lists.range: size {size} exceeds maximum allowed ({MAX_RANGE})"
            )),
            [Val::Int(size)] => Ok(Val::list((0..*size).map(Val::Int).collect())),
            _ => unfit(),
        },
        "reverse" => |_, args, _| match args {
            [Val::List(list)] => {
                let mut items = list.to_vec()?;
                items.reverse();
                Ok(Val::list(items))
            }
            _ => unfit(),
        },
        "distinct" => |cx, args, _| match args {
            [Val::List(list)] => {
                let mut kept: Vec<Val<'_>> = Vec::new();
                for item in list.to_vec()? {
                    if !contains(cx, &kept, &item)? {
                        kept.push(item);
                    }
                }
                Ok(Val::list(kept))
            }
            _ => unfit(),
        },
        "sort" => |_, args, _| match args {
            [Val::List(list)] => sorted(list, list),
            _ => unfit(),
        },
        "@sortByAssociatedKeys" => |_, args, _| match args {
            [Val::List(list), Val::List(keys)] => sorted(list, keys),
            _ => unfit(),
        },
        "first" => |_, args, _| match args {
            [Val::List(list)] => Ok(list.get(0)?.map_or(Val::Optional(None), Val::some)),
            _ => unfit(),
        },
        "last" => |_, args, _| match args {
            [Val::List(list)] => {
                let last = list.get(list.len().wrapping_sub(1))?;
                Ok(last.map_or(Val::Optional(None), Val::some))
            }
            _ => unfit(),
        },
        "sets.contains" => |cx, args, _| match args {
            [Val::List(list), Val::List(other)] => Ok(Val::Bool(contains_all(cx, &list.to_vec()?, &other.to_vec()?)?)),
            _ => unfit(),
        },
        "sets.equivalent" => |cx, args, _| match args {
            [Val::List(list), Val::List(other)] => {
                let (a, b) = (list.to_vec()?, other.to_vec()?);
                Ok(Val::Bool(contains_all(cx, &a, &b)? && contains_all(cx, &b, &a)?))
            }
            _ => unfit(),
        },
        "sets.intersects" => |cx, args, _| match args {
            [Val::List(list), Val::List(other)] => {
                let items = list.to_vec()?;
                for item in other.to_vec()? {
                    if contains(cx, &items, &item)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            _ => unfit(),
        },
        "indexOf" => |cx, args, _| match args {
            [Val::List(list), item] => position(cx, list, item, false),
            _ => text::index_of(args),
        },
        "lastIndexOf" => |cx, args, _| match args {
            [Val::List(list), item] => position(cx, list, item, true),
            _ => text::last_index_of(args),
        },
        "isSorted" => |_, args, _| match args {
            [Val::List(list)] => {
                let items = list.to_vec()?;
                for pair in items.windows(2) {
                    if compare(&pair[0], &pair[1])? == Ordering::Greater {
                        return Ok(Val::Bool(false));
                    }
                }
                Ok(Val::Bool(true))
            }
            _ => unfit(),
        },
        "min" => |_, args, _| extreme(args, "min", Ordering::Less),
        "max" => |_, args, _| extreme(args, "max", Ordering::Greater),
        "sum" => |cx, args, _| match args {
            [Val::List(list)] => {
                let mut total = Val::Int(0);
                for (at, item) in list.to_vec()?.into_iter().enumerate() {
                    total = if at == 0 {
                        item
                    } else {
                        number::add(cx, &mut [total, item])?
                    };
                }
                Ok(total)
            }
            _ => unfit(),
        },
        _ => return None,
    })
}

fn slice<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let [Val::List(list), Val::Int(start), Val::Int(end)] = args else {
        return unfit();
    };
    let length = list.len();
    if *start < 0 || *end < 0 {
        return fail(format!("cannot slice({start}, {end}), negative indexes not supported"));
    }
    if start > end {
        return fail(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        ));
    }
    if *end > length as i64 {
        return fail(format!("cannot slice({start}, {end}), list is length {length}"));
    }
    let mut items = Vec::new();
    for at in *start as usize..*end as usize {
        items.extend(list.get(at)?);
    }
    Ok(Val::list(items))
}

fn flattened<'a>(cx: &mut Cx<'_, 'a>, list: &List<'a>, depth: i64) -> Outcome<Val<'a>> {
    fn into<'a>(cx: &mut Cx<'_, 'a>, list: &List<'a>, depth: i64, made: &mut Vec<Val<'a>>) -> Outcome<()> {
        for item in list.to_vec()? {
            cx.work(1)?;
            match item {
                Val::List(inner) if depth > 0 => into(cx, &inner, depth - 1, made)?,
                other => made.push(other),
            }
        }
        Ok(())
    }
    let mut made = Vec::new();
    into(cx, list, depth, &mut made)?;
    Ok(Val::list(made))
}

fn sorted<'a>(list: &List<'a>, keys: &List<'a>) -> Outcome<Val<'a>> {
    let (items, keys) = (list.to_vec()?, keys.to_vec()?);
    if items.len() != keys.len() {
        return fail(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        ));
    }
    if let Some(first) = keys.first() {
        let ty = first.type_of();
        if keys.iter().any(|key| key.type_of() != ty) {
            return fail("list elements must have the same type");
        }
        if compare(first, first).is_err() {
            return fail("list elements must be comparable");
        }
    }
    let mut both: Vec<(Val<'a>, Val<'a>)> = keys.into_iter().zip(items).collect();
    both.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(Val::list(both.into_iter().map(|(_, item)| item).collect()))
}

fn contains<'a>(cx: &mut Cx<'_, 'a>, items: &[Val<'a>], wanted: &Val<'a>) -> Outcome<bool> {
    for item in items {
        if equal(item, wanted, cx)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains_all<'a>(cx: &mut Cx<'_, 'a>, items: &[Val<'a>], wanted: &[Val<'a>]) -> Outcome<bool> {
    for item in wanted {
        if !contains(cx, items, item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn position<'a>(cx: &mut Cx<'_, 'a>, list: &List<'a>, wanted: &Val<'a>, last: bool) -> Outcome<Val<'a>> {
    let mut found = -1;
    for at in 0..list.len() {
        let at = if last { list.len() - 1 - at } else { at };
        let Some(item) = list.get(at)? else { break };
        if equal(&item, wanted, cx)? {
            found = at as i64;
            break;
        }
    }
    Ok(Val::Int(found))
}

fn extreme<'a>(args: &[Val<'a>], name: &str, wanted: Ordering) -> Outcome<Val<'a>> {
    let [Val::List(list)] = args else { return unfit() };
    let mut best: Option<Val<'a>> = None;
    for item in list.to_vec()? {
        best = Some(match best {
            Some(best) if compare(&item, &best)? != wanted => best,
            _ => item,
        });
    }
    best.ok_or_else(|| -> Fault { error(format!("{name} called on empty list")) })
}
