//! Normal mode: counts, operators, motions.

use super::{Editor, Mode, Register, motion};
use crate::tool::screen::Key;

/// Counts above this are typing accidents.
const MAX_COUNT: usize = 10_000;

/// A place to go to, and what an operator on the way there takes.
struct Motion {
    to: (usize, usize),
    whole_lines: bool,
    /// The character at the end belongs to it.
    inclusive: bool,
}

enum Read {
    Done(Motion),
    More,
    Bad,
}

impl Editor {
    /// Tries to run the pending keys. `false`: more keys are needed.
    pub(super) fn normal(&mut self) -> bool {
        let keys = self.pending.clone();
        if matches!(keys.last(), Some(Key::Escape | Key::Control('c'))) {
            return true;
        }
        let (count, rest) = count_of(&keys);
        let Some(first) = rest.first() else { return false };
        if let Key::Char(op @ ('d' | 'c' | 'y' | '>' | '<')) = *first {
            return self.operator(op, count, &rest[1..]);
        }
        if self.simple(*first, count, &rest[1..]) {
            return true;
        }
        // Two-key commands that wait for their second key.
        if let Key::Char('r' | 'Z') = *first
            && rest.len() == 1
        {
            return false;
        }
        match self.motion(rest, count) {
            Read::More => false,
            Read::Bad => true,
            Read::Done(motion) => {
                let vertical = matches!(
                    first,
                    Key::Char('j' | 'k') | Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Control(_)
                );
                (self.row, self.column) = motion.to;
                if vertical {
                    self.column = self.wish;
                } else {
                    self.wish = if matches!(first, Key::Char('$') | Key::End) {
                        usize::MAX
                    } else {
                        self.column
                    };
                }
                true
            }
        }
    }

    fn operator(&mut self, op: char, outer: Option<usize>, rest: &[Key]) -> bool {
        let (inner, rest) = count_of(rest);
        let Some(first) = rest.first() else { return false };
        let count = match (outer, inner) {
            (None, None) => None,
            (a, b) => Some((a.unwrap_or(1) * b.unwrap_or(1)).min(MAX_COUNT)),
        };
        if *first == Key::Char(op) {
            let last = (self.row + count.unwrap_or(1)).min(self.buffer.len());
            self.apply(op, (self.row, 0), (last.saturating_sub(1), 0), true);
            return true;
        }
        if matches!(first, Key::Char('i' | 'a')) {
            let Some(object) = rest.get(1) else { return false };
            let around = *first == Key::Char('a');
            let found = match object {
                Key::Char(c @ ('w' | 'W')) => motion::word_around(&self.buffer, (self.row, self.column), *c == 'W'),
                Key::Char(c) => motion::enclosed(&self.buffer, (self.row, self.column), *c, around),
                _ => None,
            };
            if let Some((from, to)) = found {
                self.apply(op, (self.row, from), (self.row, to), false);
            }
            return true;
        }
        // `cw` on a word changes to its end, not to the next word: as vi always did.
        let keys: Vec<Key> = match (op, first) {
            ('c', Key::Char('w')) if self.on_text() => vec![Key::Char('e')],
            ('c', Key::Char('W')) if self.on_text() => vec![Key::Char('E')],
            _ => rest.to_vec(),
        };
        match self.motion(&keys, count) {
            Read::More => false,
            Read::Bad => true,
            Read::Done(motion) => {
                let here = (self.row, self.column);
                let (from, mut to) = if motion.to < here {
                    (motion.to, here)
                } else {
                    (here, motion.to)
                };
                if motion.inclusive {
                    to.1 += 1;
                } else if !motion.whole_lines && to.0 > from.0 && matches!(first, Key::Char('w' | 'W')) {
                    // `dw` on the last word of a line stays in the line.
                    to = (from.0, self.buffer.line(from.0).chars().count());
                }
                self.apply(op, from, to, motion.whole_lines);
                true
            }
        }
    }

    fn on_text(&self) -> bool {
        self.buffer
            .chars(self.row)
            .get(self.column)
            .is_some_and(|c| !c.is_whitespace())
    }

    fn apply(&mut self, op: char, from: (usize, usize), to: (usize, usize), whole: bool) {
        if op == 'y' {
            let lines = if whole {
                (from.0..=to.0).map(|r| self.buffer.line(r).to_owned()).collect()
            } else {
                self.buffer.copy(from, to)
            };
            if lines.len() > 2 {
                self.message = format!("Yanked {} lines", lines.len());
            }
            self.register = Register { lines, whole };
            if !whole {
                (self.row, self.column) = from;
            }
            return;
        }
        self.checkpoint();
        if op == '>' || op == '<' {
            for row in from.0..=to.0 {
                let line = self.buffer.line(row).to_owned();
                let new = match op {
                    '>' if line.is_empty() => line,
                    '>' => format!("\t{line}"),
                    _ => line
                        .strip_prefix('\t')
                        .map_or_else(|| line.trim_start_matches(' ').to_owned(), str::to_owned),
                };
                self.buffer.set(row, &new);
            }
            self.row = from.0;
            self.column = motion::indent(&self.buffer, self.row);
            return;
        }
        if whole {
            let lines = self.buffer.remove(from.0, to.0 + 1);
            if lines.len() > 2 {
                self.message = format!("{} fewer lines", lines.len());
            }
            self.register = Register { lines, whole };
            self.row = from.0;
            if op == 'c' {
                // Taking all lines leaves one empty line already.
                let emptied = self.buffer.len() == 1 && self.buffer.line(0).is_empty() && from.0 == 0;
                if !emptied {
                    self.buffer.insert(from.0, "");
                }
                self.column = 0;
                self.mode = Mode::Insert;
            } else {
                self.row = self.row.min(self.buffer.len() - 1);
                self.column = motion::indent(&self.buffer, self.row);
            }
            return;
        }
        self.register = Register {
            lines: self.buffer.cut(from, to),
            whole,
        };
        (self.row, self.column) = from;
        if op == 'c' {
            self.mode = Mode::Insert;
        }
    }

    fn motion(&mut self, keys: &[Key], count: Option<usize>) -> Read {
        let n = count.unwrap_or(1);
        let here = (self.row, self.column);
        let last = self.buffer.len() - 1;
        let length = self.buffer.line(self.row).chars().count();
        let Some(first) = keys.first() else { return Read::More };
        let exclusive = |to| {
            Read::Done(Motion {
                to,
                whole_lines: false,
                inclusive: false,
            })
        };
        let inclusive = |to| {
            Read::Done(Motion {
                to,
                whole_lines: false,
                inclusive: true,
            })
        };
        let lines = |row: usize, column: usize| {
            Read::Done(Motion {
                to: (row, column),
                whole_lines: true,
                inclusive: false,
            })
        };
        let repeat = |step: &dyn Fn((usize, usize)) -> (usize, usize)| (0..n).fold(here, |at, _| step(at));
        match *first {
            Key::Char('h') | Key::Left | Key::Backspace => exclusive((self.row, self.column.saturating_sub(n))),
            Key::Char('l' | ' ') | Key::Right => exclusive((self.row, (self.column + n).min(length))),
            Key::Char('j') | Key::Down | Key::Control('n') => lines((self.row + n).min(last), self.column),
            Key::Char('k') | Key::Up | Key::Control('p') => lines(self.row.saturating_sub(n), self.column),
            Key::Char('+') | Key::Enter => {
                let row = (self.row + n).min(last);
                lines(row, motion::indent(&self.buffer, row))
            }
            Key::Char('-') => {
                let row = self.row.saturating_sub(n);
                lines(row, motion::indent(&self.buffer, row))
            }
            Key::Char('0') | Key::Home => exclusive((self.row, 0)),
            Key::Char('^') => exclusive((self.row, motion::indent(&self.buffer, self.row))),
            Key::Char('$') | Key::End => {
                let row = (self.row + n - 1).min(last);
                let end = self.buffer.line(row).chars().count();
                if end == 0 {
                    exclusive((row, 0))
                } else {
                    inclusive((row, end - 1))
                }
            }
            Key::Char('w') => exclusive(repeat(&|at| motion::next_word(&self.buffer, at, false))),
            Key::Char('W') => exclusive(repeat(&|at| motion::next_word(&self.buffer, at, true))),
            Key::Char('b') => exclusive(repeat(&|at| motion::previous_word(&self.buffer, at, false))),
            Key::Char('B') => exclusive(repeat(&|at| motion::previous_word(&self.buffer, at, true))),
            Key::Char('e') => inclusive(repeat(&|at| motion::word_end(&self.buffer, at, false))),
            Key::Char('E') => inclusive(repeat(&|at| motion::word_end(&self.buffer, at, true))),
            Key::Char('G') => {
                let row = count.map_or(last, |n| n.saturating_sub(1).min(last));
                lines(row, motion::indent(&self.buffer, row))
            }
            Key::Char('g') => match keys.get(1) {
                None => Read::More,
                Some(Key::Char('g')) => lines(count.map_or(0, |n| n.saturating_sub(1).min(last)), 0),
                Some(_) => Read::Bad,
            },
            Key::Char('H') => lines(self.top.min(last), 0),
            Key::Char('M') => lines((self.top + self.page / 2).min(last), 0),
            Key::Char('L') => lines((self.top + self.page - 1).min(last), 0),
            Key::Control('f') | Key::PageDown => lines((self.row + self.page * n).min(last), self.column),
            Key::Control('b') | Key::PageUp => lines(self.row.saturating_sub(self.page * n), self.column),
            Key::Control('d') => lines((self.row + self.page / 2).min(last), self.column),
            Key::Control('u') => lines(self.row.saturating_sub(self.page / 2), self.column),
            Key::Char('%') => motion::matching(&self.buffer, here).map_or(Read::Bad, inclusive),
            Key::Char(kind @ ('f' | 'F' | 't' | 'T')) => match keys.get(1) {
                None => Read::More,
                Some(Key::Char(c)) => {
                    self.find = Some((kind, *c));
                    self.find_char(kind, *c, n)
                        .map_or(Read::Bad, if kind.is_lowercase() { inclusive } else { exclusive })
                }
                Some(_) => Read::Bad,
            },
            Key::Char(repeat @ (';' | ',')) => {
                let Some((kind, c)) = self.find else { return Read::Bad };
                let kind = match (repeat, kind.is_lowercase()) {
                    (',', true) => kind.to_ascii_uppercase(),
                    (',', false) => kind.to_ascii_lowercase(),
                    _ => kind,
                };
                self.find_char(kind, c, n)
                    .map_or(Read::Bad, if kind.is_lowercase() { inclusive } else { exclusive })
            }
            Key::Char('n' | 'N') => {
                self.search_again(*first == Key::Char('n'));
                let to = (self.row, self.column);
                (self.row, self.column) = here;
                exclusive(to)
            }
            Key::Char('{') => exclusive((
                (0..self.row)
                    .rev()
                    .find(|r| self.buffer.line(*r).is_empty())
                    .unwrap_or(0),
                0,
            )),
            Key::Char('}') => exclusive((
                (self.row + 1..=last)
                    .find(|r| self.buffer.line(*r).is_empty())
                    .unwrap_or(last),
                0,
            )),
            _ => Read::Bad,
        }
    }

    fn find_char(&self, kind: char, c: char, n: usize) -> Option<(usize, usize)> {
        let chars = self.buffer.chars(self.row);
        let hits: Vec<usize> = if kind.is_lowercase() {
            (self.column + 1..chars.len()).filter(|i| chars[*i] == c).collect()
        } else {
            (0..self.column.min(chars.len()))
                .rev()
                .filter(|i| chars[*i] == c)
                .collect()
        };
        let at = *hits.get(n - 1)?;
        Some((
            self.row,
            match kind {
                't' => at - 1,
                'T' => at + 1,
                _ => at,
            },
        ))
    }

    /// Commands that are no motions. `false`: it is none of them, or not complete.
    fn simple(&mut self, key: Key, count: Option<usize>, rest: &[Key]) -> bool {
        let n = count.unwrap_or(1);
        match key {
            Key::Char('i' | 'a' | 'I' | 'A' | 'o' | 'O' | 'R') => {
                self.checkpoint();
                self.start_insert(key, n);
            }
            Key::Char('x') | Key::Delete => {
                let end = (self.column + n).min(self.buffer.line(self.row).chars().count());
                if end > self.column {
                    self.apply('d', (self.row, self.column), (self.row, end), false);
                }
            }
            Key::Char('X') => {
                let start = self.column.saturating_sub(n);
                if start < self.column {
                    self.apply('d', (self.row, start), (self.row, self.column), false);
                }
            }
            Key::Char(c @ ('D' | 'C')) => {
                let end = self.buffer.line(self.row).chars().count();
                self.apply(c.to_ascii_lowercase(), (self.row, self.column), (self.row, end), false);
            }
            Key::Char('s') => {
                let end = (self.column + n).min(self.buffer.line(self.row).chars().count());
                self.apply('c', (self.row, self.column), (self.row, end), false);
            }
            Key::Char(c @ ('S' | 'Y')) => {
                let end = (self.row + n - 1).min(self.buffer.len() - 1);
                self.apply(if c == 'S' { 'c' } else { 'y' }, (self.row, 0), (end, 0), true);
            }
            Key::Char('r') => {
                let Some(Key::Char(c)) = rest.first() else {
                    return !rest.is_empty();
                };
                let mut chars = self.buffer.chars(self.row);
                if self.column + n <= chars.len() {
                    self.checkpoint();
                    chars[self.column..self.column + n].fill(*c);
                    self.buffer.set_chars(self.row, &chars);
                    self.column += n - 1;
                }
            }
            Key::Char('~') => {
                self.checkpoint();
                let mut chars = self.buffer.chars(self.row);
                for c in chars.iter_mut().skip(self.column).take(n) {
                    let flipped = if c.is_uppercase() {
                        c.to_lowercase().next()
                    } else {
                        c.to_uppercase().next()
                    };
                    *c = flipped.unwrap_or(*c);
                }
                self.buffer.set_chars(self.row, &chars);
                self.column += n;
            }
            Key::Char('J') => self.join(n.max(2) - 1),
            Key::Char(c @ ('p' | 'P')) => self.put(c == 'p', n),
            Key::Char('u') => self.travel(false, "Already at oldest change"),
            Key::Control('r') => self.travel(true, "Already at newest change"),
            Key::Char('.') => self.repeat(),
            Key::Char(c @ (':' | '/' | '?')) => self.mode = Mode::Line(c, String::new()),
            Key::Char('Z') => match rest.first() {
                None => return false,
                Some(Key::Char('Z')) => self.ex("x"),
                Some(Key::Char('Q')) => self.ex("q!"),
                Some(_) => {}
            },
            Key::Control('g') => self.message = self.position(),
            Key::Control('l') | Key::None | Key::Resized => {}
            Key::Control('e') => self.top = (self.top + n).min(self.buffer.len() - 1),
            Key::Control('y') => self.top = self.top.saturating_sub(n),
            _ => return false,
        }
        true
    }

    fn start_insert(&mut self, key: Key, count: usize) {
        let length = self.buffer.line(self.row).chars().count();
        match key {
            Key::Char('a') => self.column = (self.column + 1).min(length),
            Key::Char('A') => self.column = length,
            Key::Char('I') => self.column = motion::indent(&self.buffer, self.row),
            Key::Char('o') => {
                self.buffer.insert(self.row + 1, "");
                self.row += 1;
                self.column = 0;
            }
            Key::Char('O') => {
                self.buffer.insert(self.row, "");
                self.column = 0;
            }
            _ => {}
        }
        self.mode = if key == Key::Char('R') {
            Mode::Replace
        } else {
            Mode::Insert
        };
        self.insert_count = count;
        self.inserted.clear();
    }

    fn join(&mut self, times: usize) {
        self.checkpoint();
        for _ in 0..times.min(self.buffer.len() - 1 - self.row) {
            let below = self.buffer.line(self.row + 1).trim_start().to_owned();
            let line = self.buffer.line(self.row).to_owned();
            let space = if line.is_empty() || line.ends_with(' ') || below.is_empty() || below.starts_with(')') {
                ""
            } else {
                " "
            };
            self.column = line.chars().count();
            self.buffer.set(self.row, &format!("{line}{space}{below}"));
            self.buffer.remove(self.row + 1, self.row + 2);
        }
    }

    fn put(&mut self, after: bool, times: usize) {
        let Register { lines, whole } = self.register.clone();
        if lines.is_empty() {
            self.message = "Nothing in register".to_owned();
            return;
        }
        self.checkpoint();
        if whole {
            let at = if after { self.row + 1 } else { self.row };
            for _ in 0..times {
                for line in lines.iter().rev() {
                    self.buffer.insert(at, line);
                }
            }
            self.row = at;
            self.column = motion::indent(&self.buffer, at);
            return;
        }
        let chars = self.buffer.chars(self.row);
        let at = if after && !chars.is_empty() {
            self.column + 1
        } else {
            self.column
        };
        let (head, tail) = chars.split_at(at.min(chars.len()));
        let (head, tail): (String, String) = (head.iter().collect(), tail.iter().collect());
        let text = lines.join("\n").repeat(times);
        let whole = format!("{head}{text}{tail}");
        let parts: Vec<&str> = whole.split('\n').collect();
        for (i, part) in parts.iter().enumerate() {
            if i == 0 {
                self.buffer.set(self.row, part)
            } else {
                self.buffer.insert(self.row + i, part)
            }
        }
        self.column = if parts.len() == 1 {
            at + text.chars().count() - usize::from(!text.is_empty())
        } else {
            at
        };
    }

    fn travel(&mut self, forward: bool, nothing: &str) {
        match self.buffer.travel(forward, self.row, self.column) {
            Some((row, column)) => (self.row, self.column) = (row, column),
            None => self.message = nothing.to_owned(),
        }
    }

    fn repeat(&mut self) {
        if self.replaying || self.last_change.is_empty() {
            return;
        }
        self.replaying = true;
        self.pending.clear();
        for key in self.last_change.clone() {
            self.key(key);
        }
        self.replaying = false;
    }
}

/// A count before a command; a leading 0 is a motion.
fn count_of(keys: &[Key]) -> (Option<usize>, &[Key]) {
    let mut count = None;
    let mut rest = keys;
    while let Some((Key::Char(c), after)) = rest.split_first()
        && let Some(digit) = c.to_digit(10)
        && !(digit == 0 && count.is_none())
    {
        count = Some((count.unwrap_or(0) * 10 + digit as usize).min(MAX_COUNT));
        rest = after;
    }
    (count, rest)
}
