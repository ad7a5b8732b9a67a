//! Where the cursor can go.

use super::buffer::Buffer;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Word,
    Other,
}

fn class(c: Option<&char>, big: bool) -> Class {
    match c {
        None => Class::Space,
        Some(c) if c.is_whitespace() => Class::Space,
        Some(_) if big => Class::Word,
        Some(c) if c.is_alphanumeric() || *c == '_' => Class::Word,
        Some(_) => Class::Other,
    }
}

/// The start of the next word.
pub(super) fn next_word(buffer: &Buffer, (mut row, mut column): (usize, usize), big: bool) -> (usize, usize) {
    let mut chars = buffer.chars(row);
    let start = class(chars.get(column), big);
    while column < chars.len() && start != Class::Space && class(chars.get(column), big) == start {
        column += 1;
    }
    loop {
        while column < chars.len() && class(chars.get(column), big) == Class::Space {
            column += 1;
        }
        if column < chars.len() || row + 1 >= buffer.len() {
            return (row, column);
        }
        row += 1;
        column = 0;
        chars = buffer.chars(row);
        if chars.is_empty() {
            return (row, 0);
        }
    }
}

/// The start of this or the previous word.
pub(super) fn previous_word(buffer: &Buffer, (mut row, mut column): (usize, usize), big: bool) -> (usize, usize) {
    let mut chars = buffer.chars(row);
    loop {
        while column > 0 && class(chars.get(column - 1), big) == Class::Space {
            column -= 1;
        }
        if column > 0 || row == 0 {
            break;
        }
        row -= 1;
        chars = buffer.chars(row);
        column = chars.len();
        if chars.is_empty() {
            return (row, 0);
        }
    }
    if column == 0 {
        return (row, 0);
    }
    let kind = class(chars.get(column - 1), big);
    while column > 0 && class(chars.get(column - 1), big) == kind {
        column -= 1;
    }
    (row, column)
}

/// The end of this or the next word.
pub(super) fn word_end(buffer: &Buffer, (mut row, mut column): (usize, usize), big: bool) -> (usize, usize) {
    let mut chars = buffer.chars(row);
    column += 1;
    loop {
        while column < chars.len() && class(chars.get(column), big) == Class::Space {
            column += 1;
        }
        if column < chars.len() {
            break;
        }
        if row + 1 >= buffer.len() {
            return (row, chars.len().saturating_sub(1));
        }
        row += 1;
        column = 0;
        chars = buffer.chars(row);
    }
    let kind = class(chars.get(column), big);
    while class(chars.get(column + 1), big) == kind {
        column += 1;
    }
    (row, column)
}

/// The columns of the word, or of the blanks, that a place on a line is in.
pub(super) fn word_around(buffer: &Buffer, (row, column): (usize, usize), big: bool) -> Option<(usize, usize)> {
    let chars = buffer.chars(row);
    let kind = class(Some(chars.get(column)?), big);
    let same = |i: &usize| class(chars.get(*i), big) == kind;
    let from = (0..column).rev().take_while(same).last().unwrap_or(column);
    let to = (column..chars.len()).take_while(same).last().unwrap_or(column);
    Some((from, to + 1))
}

/// The first character that is no blank.
pub(super) fn indent(buffer: &Buffer, row: usize) -> usize {
    buffer.line(row).chars().take_while(|c| c.is_whitespace()).count()
}

/// The bracket that belongs to the one at or after the cursor.
pub(super) fn matching(buffer: &Buffer, (row, column): (usize, usize)) -> Option<(usize, usize)> {
    const PAIRS: [(char, char); 3] = [('(', ')'), ('[', ']'), ('{', '}')];
    let chars = buffer.chars(row);
    let at = (column..chars.len()).find(|&i| PAIRS.iter().any(|(a, b)| chars[i] == *a || chars[i] == *b))?;
    let (open, close) = *PAIRS.iter().find(|(a, b)| chars[at] == *a || chars[at] == *b)?;
    let forward = chars[at] == open;
    let (mut row, mut column, mut depth) = (row, at, 0i64);
    let mut chars = chars;
    loop {
        match chars.get(column) {
            Some(c) if *c == open => depth += if forward { 1 } else { -1 },
            Some(c) if *c == close => depth += if forward { -1 } else { 1 },
            _ => {}
        }
        if depth == 0 {
            return Some((row, column));
        }
        if forward {
            column += 1;
            while column >= chars.len() {
                row += 1;
                if row >= buffer.len() {
                    return None;
                }
                chars = buffer.chars(row);
                column = 0;
                if !chars.is_empty() {
                    break;
                }
            }
        } else {
            while column == 0 {
                if row == 0 {
                    return None;
                }
                row -= 1;
                chars = buffer.chars(row);
                column = chars.len();
            }
            column -= 1;
        }
    }
}

/// The next match of a pattern after (or before) a place, around the end of the text.
pub(super) fn search(
    buffer: &Buffer,
    regex: &regex::Regex,
    (row, column): (usize, usize),
    forward: bool,
) -> Option<(usize, usize)> {
    let hits = |row: usize| -> Vec<usize> {
        let line = buffer.line(row);
        regex
            .find_iter(line)
            .map(|m| line[..m.start()].chars().count())
            .collect()
    };
    let count = buffer.len();
    for step in 0..=count {
        let at = if forward {
            (row + step) % count
        } else {
            (row + count - step % count) % count
        };
        let mut columns = hits(at);
        if !forward {
            columns.reverse();
        }
        let found = columns.into_iter().find(|&c| match (step, forward) {
            (0, true) => c > column,
            (0, false) => c < column,
            _ => true,
        });
        if let Some(column) = found {
            return Some((at, column));
        }
    }
    None
}

/// The columns between (or with `around`, from and to) the quotes or brackets that enclose a place on its line.
pub(super) fn enclosed(
    buffer: &Buffer,
    (row, column): (usize, usize),
    mark: char,
    around: bool,
) -> Option<(usize, usize)> {
    let chars = buffer.chars(row);
    let (open, close) = match mark {
        '(' | ')' | 'b' => ('(', ')'),
        '[' | ']' => ('[', ']'),
        '{' | '}' | 'B' => ('{', '}'),
        '<' | '>' => ('<', '>'),
        '"' | '\'' | '`' => (mark, mark),
        _ => return None,
    };
    let (from, to) = if open == close {
        let quotes: Vec<usize> = (0..chars.len()).filter(|i| chars[*i] == open).collect();
        let pair = quotes.chunks_exact(2).find(|pair| pair[1] >= column)?;
        (pair[0], pair[1])
    } else {
        let mut depth = 0usize;
        let from = (0..=column.min(chars.len().checked_sub(1)?)).rev().find(|&i| {
            if chars[i] == close && i != column {
                depth += 1;
            } else if chars[i] == open {
                if depth == 0 {
                    return true;
                }
                depth -= 1;
            }
            false
        })?;
        let mut depth = 0usize;
        let to = (from + 1..chars.len()).find(|&i| {
            if chars[i] == open {
                depth += 1;
            } else if chars[i] == close {
                if depth == 0 {
                    return true;
                }
                depth -= 1;
            }
            false
        })?;
        (from, to)
    };
    Some(if around { (from, to + 1) } else { (from + 1, to) })
}
