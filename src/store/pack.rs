//! Objects at rest. The pods of one workload differ in a few bytes, so each is kept as what it adds to a *base*: the JSON of
//! the first object of its kin (same namespace, same name but for hashes and numbers).
//!
//! A pod packs to a third alone, to less than a twentieth against its base (`cargo bench --bench store`). A base lives while anything
//! is packed against it, and is itself packed; a few that were used lately are kept unpacked.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use lz4_flex::block;

use super::delta;

/// Objects below this many bytes are not worth packing.
const SMALL: usize = 512;
/// A base that leaves more than this share of an object is not its like.
const SHARE: usize = 7;
/// Bases per kin: objects of one name may come from several templates.
const MOST_BASES: usize = 4;
/// Unpacked bases kept per thread.
const WARM: usize = 16;
/// The largest base, and the largest object that is compared with one.
const LARGEST_BASE: usize = 64 << 10;

/// JSON as it is kept.
#[derive(Debug)]
pub(super) enum Packed {
    Plain(Box<str>),
    Lz4 {
        bytes: Box<[u8]>,
        /// Of the JSON.
        length: u32,
    },
    Delta {
        bytes: Box<[u8]>,
        /// Of the JSON.
        length: u32,
        /// What it adds to.
        base: Arc<Base>,
    },
}

/// The JSON of one object, packed by itself.
#[derive(Debug)]
pub(super) struct Base {
    bytes: Box<[u8]>,
    length: u32,
}

/// Bases with their JSON, the one used last at the end.
type Warm = Vec<(Weak<Base>, Arc<[u8]>)>;

thread_local! {
    static WARM_BASES: RefCell<Warm> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Base {
    fn new(json: &str) -> Arc<Self> {
        let base = Arc::new(Self {
            bytes: squeeze(json.as_bytes()),
            length: length(json),
        });
        warm(&base, json.as_bytes().into());
        base
    }

    fn unpacked(self: &Arc<Self>) -> Arc<[u8]> {
        let known = WARM_BASES.with_borrow_mut(|known| {
            let at = known
                .iter()
                .position(|(base, _)| std::ptr::eq(base.as_ptr(), Arc::as_ptr(self)))?;
            // The last one used is the last to go.
            known[at..].rotate_left(1);
            known.last().map(|(_, bytes)| bytes.clone())
        });
        known.unwrap_or_else(|| {
            let bytes = block::decompress(&self.bytes, self.length as usize);
            let bytes: Arc<[u8]> = bytes.expect("what this program has packed unpacks").into();
            warm(self, bytes.clone());
            bytes
        })
    }
}

fn warm(base: &Arc<Base>, bytes: Arc<[u8]>) {
    WARM_BASES.with_borrow_mut(|known| {
        known.retain(|(base, _)| base.strong_count() > 0);
        if known.len() >= WARM {
            known.remove(0);
        }
        known.push((Arc::downgrade(base), bytes));
    });
}

/// Packs into an allocation of just the size: the library's own would leave a hole of several kilobytes in the heap.
fn squeeze(bytes: &[u8]) -> Box<[u8]> {
    SCRATCH.with_borrow_mut(|scratch| {
        let most = block::get_maximum_output_size(bytes.len());
        if scratch.len() < most {
            scratch.resize(most, 0);
        }
        let written = block::compress_into(bytes, scratch).expect("there is room for the worst case");
        let packed = scratch[..written].into();
        // One huge object does not hold its memory for good.
        if scratch.len() > 16 * LARGEST_BASE {
            *scratch = Vec::new();
        }
        packed
    })
}

/// What an object adds to a base, when that is little.
fn added(base: &Arc<Base>, json: &str) -> Option<Packed> {
    SCRATCH.with_borrow_mut(|scratch| {
        delta::diff(&base.unpacked(), json.as_bytes(), scratch);
        (scratch.len() * SHARE <= json.len()).then(|| Packed::Delta {
            bytes: scratch.as_slice().into(),
            length: length(json),
            base: base.clone(),
        })
    })
}

fn length(json: &str) -> u32 {
    u32::try_from(json.len()).expect("objects are bounded far below 4 GiB where they are read")
}

impl Packed {
    /// Packs by itself.
    pub(super) fn alone(json: &str) -> Self {
        if json.len() < SMALL {
            return Packed::Plain(json.into());
        }
        Packed::Lz4 {
            bytes: squeeze(json.as_bytes()),
            length: length(json),
        }
    }

    pub(super) fn json(&self) -> Cow<'_, str> {
        match self {
            Packed::Plain(json) => Cow::Borrowed(json),
            Packed::Lz4 { bytes, length } => text(block::decompress(bytes, *length as usize).ok()),
            Packed::Delta { bytes, length, base } => text(delta::patch(&base.unpacked(), bytes, *length as usize)),
        }
    }

    /// Whether both are the same JSON.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Packed::Lz4 { bytes: a, .. }, Packed::Lz4 { bytes: b, .. }) => a == b,
            (
                Packed::Delta { length: a, .. } | Packed::Lz4 { length: a, .. },
                Packed::Delta { length: b, .. } | Packed::Lz4 { length: b, .. },
            ) if a != b => false,
            (Packed::Delta { bytes: a, base: x, .. }, Packed::Delta { bytes: b, base: y, .. }) if Arc::ptr_eq(x, y) => {
                a == b
            }
            _ => self.json() == other.json(),
        }
    }
}

/// What was packed, which was text.
fn text(unpacked: Option<Vec<u8>>) -> Cow<'static, str> {
    let text = unpacked.and_then(|bytes| String::from_utf8(bytes).ok());
    Cow::Owned(text.expect("what this program has packed unpacks"))
}

/// Packs the objects of one feed.
#[derive(Debug, Default)]
pub(super) struct Packer {
    kin: HashMap<Box<str>, Vec<Weak<Base>>>,
    /// Kin that nobody is left of is forgotten when there are this many.
    prune_at: usize,
}

impl Packer {
    /// Packs against the base of the object's kin, or makes it one.
    pub(super) fn pack(&mut self, namespace: &str, name: &str, json: &str) -> Packed {
        if json.len() < SMALL || json.len() > LARGEST_BASE {
            return Packed::alone(json);
        }
        let key = format!("{namespace}/{}", stem(name));
        let bases = self.kin.entry(key.into()).or_default();
        bases.retain(|base| base.strong_count() > 0);
        // The newest base is that of the newest template.
        let known = bases.iter().rev().filter_map(Weak::upgrade);
        if let Some(packed) = { known }.find_map(|base| added(&base, json)) {
            return packed;
        }
        if bases.len() >= MOST_BASES {
            return Packed::alone(json);
        }
        let base = Base::new(json);
        bases.push(Arc::downgrade(&base));
        self.prune();
        added(&base, json).unwrap_or_else(|| Packed::alone(json))
    }

    fn prune(&mut self) {
        if self.kin.len() > self.prune_at.max(1024) {
            self.kin
                .retain(|_, bases| bases.iter().any(|base| base.strong_count() > 0));
            self.prune_at = self.kin.len() * 2;
        }
    }
}

/// What names of one workload have in common: the name without the segments that a controller has generated.
fn stem(name: &str) -> &str {
    let generated = |part: &str| {
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // The alphabet of generated suffixes has no vowels, and no 0, 1 and 3.
        let suffix =
            matches!(part.len(), 5 | 8..=10) && part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
        number || suffix
    };
    let mut stem = name;
    while let Some((rest, last)) = stem.rsplit_once(['-', '.'])
        && generated(last)
    {
        stem = rest;
    }
    stem
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(name: &str, number: usize) -> String {
        let env: Vec<String> = (0..20)
            .map(|at| format!(r#"{{"name":"VAR_{at}","value":"setting {at} of {name}"}}"#))
            .collect();
        format!(
            r#"{{"metadata":{{"name":"{name}-{number}","uid":"{number:032x}"}},"spec":{{"env":[{}]}}}}"#,
            env.join(",")
        )
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same_and_siblings_cost_little() {
        let mut packer = Packer::default();
        let mut total = (0, 0);
        let mut kept = Vec::new();
        for number in 0..100 {
            let json = pod("web", number);
            let packed = packer.pack("default", &format!("web-{number}"), &json);
            assert_eq!(packed.json(), json);
            assert!(
                packed.is_same(&Packed::alone(&json)) && !packed.is_same(&Packed::alone(&pod("web", 1000 + number)))
            );
            if let Packed::Delta { bytes, .. } = &packed {
                total = (total.0 + bytes.len(), total.1 + json.len());
            }
            kept.push(packed);
        }
        assert!(total.0 * 20 < total.1, "{total:?}");
        assert_eq!(packer.kin.len(), 1);
        // From a thread that has no base at hand.
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(kept[7].json(), pod("web", 7)));
        });
    }

    #[test]
    fn a_base_ends_with_the_last_that_needs_it() {
        let mut packer = Packer::default();
        let first = packer.pack("a", "web-1", &pod("web", 1));
        let second = packer.pack("a", "web-2", &pod("web", 2));
        let base = packer
            .kin
            .values()
            .next()
            .and_then(|bases| bases[0].upgrade())
            .map(|base| Arc::downgrade(&base));
        let base = base.expect("there is one");
        drop(first);
        assert!(base.upgrade().is_some());
        assert_eq!(second.json(), pod("web", 2));
        drop(second);
        assert!(base.upgrade().is_none());
    }

    #[test]
    fn names_of_one_workload_have_one_stem() {
        let cases = [
            ("web-6d4c7b9f5-2xkqz", "web"),
            ("web-0", "web"),
            ("report-29381760-x7s2k", "report"),
            ("coredns-knarr", "coredns-knarr"),
            ("kuard", "kuard"),
            ("a.18ea11ccc295a8af", "a.18ea11ccc295a8af"),
            ("", ""),
        ];
        for (name, expected) in cases {
            assert_eq!(stem(name), expected, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_texts_come_back(texts in prop::collection::vec("[a-c한]{0,40}", 1..12), size in 1..80_usize) {
            let mut packer = Packer::default();
            let texts: Vec<String> = texts.iter().map(|text| text.repeat(size)).collect();
            let packed: Vec<Packed> = texts.iter().map(|text| packer.pack("n", "x", text)).collect();
            for (packed, text) in packed.iter().zip(&texts) {
                prop_assert_eq!(packed.json(), text.as_str());
            }
        }
    }
}
