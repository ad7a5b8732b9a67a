//! Pieces for the partial structs that rows are parsed into: they borrow from the object's JSON and forgive what a row can do without.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use jiff::Timestamp;
use serde::de::value::MapDeserializer;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::store::Cell;

/// A string that borrows where it has no escapes. Anything that is no string is empty.
#[derive(Default, Debug)]
pub(super) struct Str<'a>(Cow<'a, str>);

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forgiving;

        impl<'de> Visitor<'de> for Forgiving {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Str<'de>, E> {
                Ok(Str::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Str<'de>, E> {
                Ok(Str::default())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(number.to_string())))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(number.to_string())))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(number.to_string())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Str<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Str::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Str<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Str::default())
            }
        }
        deserializer.deserialize_any(Forgiving)
    }
}

/// A moment; `null` and nonsense are none.
#[derive(Default, Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Stamp(pub(super) Option<Timestamp>);

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Str::deserialize(deserializer)?;
        Ok(Self(if text.is_empty() { None } else { text.parse().ok() }))
    }
}

impl Stamp {
    /// The age cell of this moment.
    pub(super) fn cell(self) -> Cell {
        self.0.map_or(Cell::Empty, Cell::Age)
    }
}

/// Go writes a slice that was never made as `null`.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The metadata that rows need.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Meta {
    #[serde(rename = "creationTimestamp")]
    pub(super) created: Stamp,
    #[serde(rename = "deletionTimestamp")]
    pub(super) deleted: Stamp,
    pub(super) generation: i64,
}

/// How many entries a map or a list has, without keeping them.
#[derive(Default, Clone, Copy)]
pub(super) struct Count(pub(super) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;

        impl<'de> Visitor<'de> for Counting {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map or a list")
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_any(Counting)
    }
}

/// Parses the parts of an object's JSON that `T` names. Where a part is not what it should be (`status: "ok"`), the others stand.
pub(super) fn parse<'a, T: Deserialize<'a> + Default>(json: &'a str) -> T {
    serde_json::from_str(json).unwrap_or_else(|_| {
        let parts: BTreeMap<String, &'a RawValue> = serde_json::from_str(json).unwrap_or_default();
        let is_whole = |part: &(&String, &&'a RawValue)| gathered::<T>(std::iter::once(*part)).is_ok();
        gathered(parts.iter().filter(is_whole)).unwrap_or_default()
    })
}

fn gathered<'a, 'p, T: Deserialize<'a>>(
    parts: impl Iterator<Item = (&'p String, &'p &'a RawValue)>,
) -> serde_json::Result<T>
where
    'a: 'p,
{
    T::deserialize(MapDeserializer::new(parts.map(|(name, part)| (name.as_str(), *part))))
}

/// A condition of a status.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Str<'a>,
    #[serde(borrow)]
    pub(super) status: Str<'a>,
    #[serde(borrow)]
    pub(super) reason: Str<'a>,
    #[serde(rename = "lastTransitionTime")]
    pub(super) since: Stamp,
}

/// The condition of this type.
pub(super) fn condition<'c, 'a>(conditions: &'c [Condition<'a>], kind: &str) -> Option<&'c Condition<'a>> {
    conditions.iter().find(|condition| &*condition.kind == kind)
}

/// Whether the condition of this type is `True`.
pub(super) fn holds(conditions: &[Condition<'_>], kind: &str) -> bool {
    condition(conditions, kind).is_some_and(|condition| &*condition.status == "True")
}
