//! An object as what it adds to one that is like it: its base.
//!
//! Both texts are walked side by side. Where they differ they mostly differ in one token (an id, an address, a time), so the walk goes on
//! behind that token; where the structure differs, the next place that the base knows is looked up. What the base does not have is a
//! literal: digits are kept as half bytes, and a literal that was there before (a UID stands in many places) is one reference.
//!
//! ```text
//! delta  = op*              n = varint; its low two bits are the kind of the op
//! copy   = n [shift]        bytes of the base: from where the last op left it, or moved by the shift
//! literal, hex = n bytes    what follows; digits two in a byte, the dashes of a UUID left out
//! again  = n                the literal of this number
//! ```

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

const COPY: usize = 0;
const LITERAL: usize = 1;
const HEX: usize = 2;
const AGAIN: usize = 3;

/// Shortest copy.
const LEAST: usize = 4;
/// Shortest agreement that shows that the walk goes on at the right place, and that a place found by chance is meant.
const SURE: usize = 6;
const MEANT: usize = 10;
/// Shortest literal that is worth remembering, and shortest run of digits that is worth halving.
const REMEMBERED: usize = 3;
const DIGITS: usize = 8;
/// Places of a base that are looked up: a power of two.
const SLOTS: usize = 4096;
/// Where a UUID has its dashes, and after how many digits they come.
const DASHES: [usize; 4] = [8, 13, 18, 23];
const GROUPS: [usize; 4] = [8, 12, 16, 20];
const UUID: usize = 36;

/// Where a base has what.
struct Places {
    /// Place and one, by the hash of the eight bytes there.
    slots: Vec<u16>,
    of: Option<Arc<[u8]>>,
}

thread_local! {
    static PLACES: RefCell<Places> = const { RefCell::new(Places { slots: Vec::new(), of: None }) };
}

impl Places {
    fn learn(&mut self, base: &Arc<[u8]>) {
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, base)) {
            return;
        }
        self.of = Some(base.clone());
        self.slots.clear();
        self.slots.resize(SLOTS, 0);
        for (at, eight) in base.windows(8).enumerate().take(usize::from(u16::MAX)).step_by(2) {
            self.slots[slot(eight)] = at as u16 + 1;
        }
    }

    /// Where the base may have what begins with these eight bytes.
    fn find(&self, eight: &[u8]) -> Option<usize> {
        usize::from(self.slots[slot(eight)]).checked_sub(1)
    }
}

fn slot(eight: &[u8]) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(eight);
    (u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b1_85eb_ca87) >> 52) as usize
}

/// Writes what `text` adds to `base`, in place of what `out` holds.
pub(super) fn diff(base: &Arc<[u8]>, text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut differ = Differ {
        base,
        text,
        out,
        literals: Vec::new(),
        expected: 0,
    };
    differ.walk();
}

struct Differ<'a> {
    base: &'a Arc<[u8]>,
    text: &'a [u8],
    out: &'a mut Vec<u8>,
    /// Literals of the text, by their numbers.
    literals: Vec<Range<usize>>,
    /// Where the last op leaves the base.
    expected: usize,
}

impl Differ<'_> {
    fn walk(&mut self) {
        let (mut at, mut from, mut literal) = (0, 0, 0);
        while at < self.text.len() {
            let mut same = common(&self.text[at..], rest(self.base, from));
            let is_end = at + same == self.text.len();
            if !is_end {
                // A number that begins alike by accident stays in one piece.
                let begun = &self.text[at..at + same];
                let digits = begun.iter().rev().take_while(|byte| is_digit(**byte)).count();
                same -= if same - digits >= LEAST { digits } else { 0 };
            }
            if same >= LEAST || (is_end && same > 0) {
                self.literal(literal..at);
                self.copy(from, same);
                (at, from) = (at + same, from + same);
                literal = at;
            }
            if at < self.text.len() {
                (at, from) = self.behind(at, from);
            }
        }
        self.literal(literal..self.text.len());
    }

    /// Where the walk goes on behind a difference.
    fn behind(&self, at: usize, from: usize) -> (usize, usize) {
        let (mut end, mut base_end) = (token_end(self.text, at), token_end(self.base, from));
        let same = common(&self.text[end..], rest(self.base, base_end));
        if base_end < self.base.len() && (same >= SURE || end + same == self.text.len()) {
            let (token, other) = (&self.text[at..end], &self.base[from..base_end]);
            let tail = token
                .iter()
                .rev()
                .zip(other.iter().rev())
                .take_while(|(a, b)| a == b)
                .count();
            if tail >= LEAST {
                (end, base_end) = (end - tail, base_end - tail);
            }
            return (end, base_end);
        }
        PLACES.with_borrow_mut(|places| {
            places.learn(self.base);
            let mut eights = self.text[at..].windows(8).enumerate();
            let found = eights.find_map(|(skipped, eight)| {
                let (there, here) = (places.find(eight)?, at + skipped);
                (common(&self.text[here..], rest(self.base, there)) >= MEANT).then_some((here, there))
            });
            found.unwrap_or((self.text.len(), from))
        })
    }

    fn copy(&mut self, from: usize, count: usize) {
        let shift = from as isize - self.expected as isize;
        self.op(COPY, count << 1 | usize::from(shift != 0));
        if shift != 0 {
            put(self.out, ((shift << 1) ^ (shift >> (isize::BITS - 1))) as usize);
        }
        self.expected = from + count;
    }

    fn literal(&mut self, range: Range<usize>) {
        let literal = &self.text[range.clone()];
        if literal.is_empty() {
            return;
        }
        self.expected += literal.len();
        let known = self
            .literals
            .iter()
            .position(|known| self.text[known.clone()] == *literal);
        if let Some(number) = known {
            return self.op(AGAIN, number);
        }
        if literal.len() >= REMEMBERED {
            self.literals.push(range);
        }
        let uuid = is_uuid(literal);
        if uuid || literal.len() >= DIGITS && literal.iter().all(|byte| is_digit(*byte)) {
            self.op(HEX, literal.len() << 1 | usize::from(uuid));
            let mut digits = literal.iter().filter(|byte| **byte != b'-').map(|byte| value(*byte));
            while let Some(high) = digits.next() {
                self.out.push(high << 4 | digits.next().unwrap_or(0));
            }
        } else {
            self.op(LITERAL, literal.len());
            self.out.extend_from_slice(literal);
        }
    }

    fn op(&mut self, kind: usize, number: usize) {
        put(self.out, number << 2 | kind);
    }
}

/// The text of `length` bytes that has added this to `base`; `None` when it is no delta of it.
pub(super) fn patch(base: &[u8], delta: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    let mut literals: Vec<Range<usize>> = Vec::new();
    let (mut rest, mut from) = (delta, 0_usize);
    while !rest.is_empty() {
        let op = take_number(&mut rest)?;
        let (kind, number) = (op & 3, op >> 2);
        let begin = out.len();
        match kind {
            COPY => {
                if number & 1 == 1 {
                    let shift = take_number(&mut rest)?;
                    from = from.checked_add_signed((shift >> 1) as isize ^ -((shift & 1) as isize))?;
                }
                out.extend_from_slice(base.get(from..)?.get(..number >> 1)?);
            }
            LITERAL => out.extend_from_slice(take(&mut rest, number)?),
            HEX => {
                let uuid = number & 1 == 1;
                let digits = (number >> 1).checked_sub(if uuid { DASHES.len() } else { 0 })?;
                let halves = take(&mut rest, digits.div_ceil(2))?;
                for at in 0..digits {
                    if uuid && GROUPS.contains(&at) {
                        out.push(b'-');
                    }
                    let both = halves[at / 2];
                    let half = if at % 2 == 0 { both >> 4 } else { both & 15 };
                    out.push(b"0123456789abcdef"[usize::from(half)]);
                }
            }
            _ => out.extend_from_within(literals.get(number)?.clone()),
        }
        if out.len() > length {
            return None;
        }
        let count = out.len() - begin;
        if matches!(kind, LITERAL | HEX) && count >= REMEMBERED {
            literals.push(begin..out.len());
        }
        from += count;
    }
    (out.len() == length).then_some(out)
}

fn rest(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

/// How many bytes are the same at the beginning.
fn common(a: &[u8], b: &[u8]) -> usize {
    let mut same = 0;
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            return same + differs.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

fn token_end(text: &[u8], from: usize) -> usize {
    let ends = |byte: &u8| matches!(byte, b'"' | b',' | b'}' | b']');
    let left = rest(text, from);
    from.min(text.len()) + left.iter().position(ends).unwrap_or(left.len())
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_uuid(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| {
        if DASHES.contains(&at) {
            *byte == b'-'
        } else {
            is_digit(*byte)
        }
    };
    text.len() == UUID && text.iter().enumerate().all(fits)
}

/// What a hexadecimal digit stands for.
fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}

fn put(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(from: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take(from, 1)?[0];
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delta(base: &str, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        diff(&base.as_bytes().into(), text.as_bytes(), &mut out);
        out
    }

    fn pod(name: &str, uid: &str, ip: &str, more: &str) -> String {
        let env: String = (0..30)
            .map(|at| format!(r#"{{"name":"VAR_{at}","value":"setting {at}"}},"#))
            .collect();
        format!(
            r#"{{"metadata":{{"name":"{name}","uid":"{uid}"{more}}},"spec":{{"env":[{env}{{}}]}},"status":{{"ip":"{ip}","ids":["{uid}"]}}}}"#
        )
    }

    #[test]
    fn a_sibling_costs_its_ids_and_no_more() {
        let base = pod("web-2xkqz", "0b5a7c1e-1111-4222-8333-123456789abc", "10.0.0.1", "");
        let uid = "ffffaaaa-0000-4999-8000-0123456789ab";
        let text = pod("web-zzzzz", uid, "10.0.3.77", "");
        let small = delta(&base, &text);
        assert_eq!(
            patch(base.as_bytes(), &small, text.len()).as_deref(),
            Some(text.as_bytes())
        );
        // Sixteen bytes of the UID once, five and four of name and address, and a few ops.
        assert!(small.len() < 48, "{} {small:?}", small.len());
        assert!(delta(&base, &base).len() <= 3);
        // What one has and the other has not moves the rest, which is found again.
        let text = pod(
            "web-zzzzz",
            uid,
            "10.0.3.77",
            r#","labels":{"app":"web","tier":"front"}"#,
        );
        let moved = delta(&base, &text).len();
        assert!(moved < 128, "{moved}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_comes_back_and_damage_is_refused_or_bounded(
            base in prop::collection::vec(
                r#"[a-f0-9]{0,12}|[",}\]]|name|"uid":"|0b5a7c1e-1111-4222-8333-123456789abc|한"#,
                0..60,
            ),
            other in prop::collection::vec(
                r#"[a-f0-9]{0,12}|[",}\]]|0b5a7c1e-1111-4222-8333-[0-9a-f]{12}|x{1,30}"#,
                0..12,
            ),
            places in prop::collection::vec(any::<prop::sample::Index>(), 12),
            damage: (prop::sample::Index, u8),
        ) {
            let mut parts = base.clone();
            for (part, place) in other.into_iter().zip(places) {
                parts.insert(place.index(parts.len() + 1), part);
            }
            let (base, text) = (base.concat(), parts.concat());
            let mut packed = delta(&base, &text);
            prop_assert_eq!(patch(base.as_bytes(), &packed, text.len()), Some(text.clone().into_bytes()));
            if !packed.is_empty() {
                let at = damage.0.index(packed.len());
                packed[at] ^= damage.1;
                if let Some(other) = patch(base.as_bytes(), &packed, text.len()) {
                    prop_assert_eq!(other.len(), text.len());
                }
            }
        }
    }
}
