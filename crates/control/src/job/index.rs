//! Sets of completion indexes, kept and written as ranges: `0,2-4,7`.

use std::fmt;

/// Completion indexes in increasing order, as inclusive ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads a set. Indexes from `completions` on have been cut off by a later change of the Job; what is no index is left
    /// out.
    pub(crate) fn parse(text: &str, completions: i32) -> Self {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse::<i32>().ok()?);
            (first < completions).then_some((first, last.min(completions - 1)))
        };
        Self::of(text.split(',').filter_map(range))
    }

    fn of(ranges: impl IntoIterator<Item = (i32, i32)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// This set and these indexes.
    pub(crate) fn with(&self, indexes: impl IntoIterator<Item = i32>) -> Self {
        let more = indexes.into_iter().map(|index| (index, index));
        Self::of(self.0.iter().copied().chain(more))
    }

    /// This set and another.
    pub(crate) fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    pub(crate) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many indexes there are.
    pub(crate) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many indexes this set and another have in common.
    pub(crate) fn overlap(&self, other: &Self) -> i32 {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut common = 0;
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            common += (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
            if a.1 <= b.1 {
                mine.next()
            } else {
                theirs.next()
            };
        }
        common
    }

    /// The first `count` indexes below `completions` that are not in the set.
    pub(crate) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let ends = self.0.iter().map(|(first, last)| (*first, last.saturating_add(1)));
        let mut next = 0;
        let mut missing = Vec::with_capacity(count);
        for (first, after) in ends.chain([(completions, completions)]) {
            let room = count - missing.len();
            missing.extend((next..first.min(completions)).take(room));
            next = next.max(after);
        }
        missing
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_kubernetes_writes_them() {
        let set = Indexes::parse("0,2-4,7,x,9-20", 12);
        assert_eq!(set.to_string(), "0,2-4,7,9-11");
        assert_eq!(set.total(), 8);
        assert_eq!(set.with([1, 8]).to_string(), "0-4,7-11");
        assert_eq!(Indexes::default().with([3, 4]).to_string(), "3,4");
        assert_eq!(
            [0, 1, 4, 5, 11, 12].map(|index| set.has(index)),
            [true, false, true, false, true, false]
        );
        assert_eq!(set.missing(10, 12), [1, 5, 6, 8]);
        assert_eq!(set.missing(2, 12), [1, 5]);
        assert_eq!(Indexes::default().missing(2, 5), [0, 1]);
        assert_eq!(set.overlap(&Indexes::parse("1-3,10-11", 12)), 4);
    }
}
