//! Display widths: everything is measured in terminal columns, by grapheme, never in bytes or chars.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns the text takes on a terminal (wide characters take two).
pub fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// Makes untrusted text harmless and one line: control characters (escape sequences, newlines, tabs, C1 controls,
/// bidirectional overrides) become visible or blank. Borrows when there is nothing to change, which is nearly always.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '\t' => out.push_str("    "),
            '\n' => out.push('⏎'),
            '\r' => {}
            '\u{0}'..='\u{1f}' => out.push(char::from_u32(0x2400 + ch as u32).unwrap_or('\u{fffd}')),
            '\u{7f}' => out.push('\u{2421}'),
            _ if is_hostile(ch) => out.push('\u{fffd}'),
            _ => out.push(ch),
        }
    }
    Cow::Owned(out)
}

fn is_hostile(ch: char) -> bool {
    matches!(ch,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
        // Half a flag: terminals do not agree on its width, and leave cells of it behind.
        | '\u{1f1e6}'..='\u{1f1ff}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// At most `columns` wide; what is cut at the end is replaced by `…`.
pub fn cut_end(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    match columns {
        0 => Cow::Borrowed(""),
        _ => Cow::Owned(format!("{}…", head(text, columns - 1))),
    }
}

/// At most `columns` wide; what is cut is the middle, so that the unique tail of generated names survives.
pub fn cut_middle(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns < 5 {
        return cut_end(text, columns);
    }
    let tail = (columns - 1) / 2;
    let head = head(text, columns - 1 - tail);
    Cow::Owned(format!("{head}…{}", tail_of(text, tail)))
}

fn head(text: &str, columns: usize) -> &str {
    // What is plain needs no looking at.
    let bytes = text.as_bytes();
    if bytes.len() <= columns && text.is_ascii() {
        return text;
    }
    if let Some(start) = bytes.get(..=columns)
        && start.is_ascii()
    {
        return &text[..columns];
    }
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        used += width(grapheme);
        if used > columns {
            return &text[..at];
        }
    }
    text
}

fn tail_of(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true).rev() {
        used += width(grapheme);
        if used > columns {
            return &text[at + grapheme.len()..];
        }
    }
    text
}

/// Padded on the right to `columns`, cut at the end when longer.
pub fn pad_right(text: &str, columns: usize) -> String {
    let cut = cut_end(text, columns);
    let fill = columns.saturating_sub(width(&cut));
    format!("{cut}{:fill$}", "")
}

/// Padded on the left to `columns`, cut at the end when longer.
pub fn pad_left(text: &str, columns: usize) -> String {
    let cut = cut_end(text, columns);
    let fill = columns.saturating_sub(width(&cut));
    format!("{:fill$}{cut}", "")
}

/// Breaks one line into pieces of at most `columns`, at blanks where possible; later pieces are to be drawn `hang`
/// columns in, and are that much shorter. Never empty; each piece is a slice of `text`.
pub fn wrap(text: &str, columns: usize, hang: usize) -> Vec<&str> {
    wraps(text, columns, hang)
        .map(|(start, end)| &text[start..end])
        .collect()
}

/// Where the pieces of a wrapped line begin and end, in bytes. Each is found when it is asked for, so that the first rows of a very long
/// line cost no more than those of a short one.
pub fn wraps(text: &str, columns: usize, hang: usize) -> impl Iterator<Item = (usize, usize)> {
    let columns = columns.max(1);
    let hang = hang.min(columns / 2);
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let rest = &text[start..];
        let room = if start == 0 { columns } else { columns - hang };
        let piece = head(rest, room);
        if piece.len() == rest.len() {
            next = None;
            return Some((start, text.len()));
        }
        let piece = if piece.is_empty() {
            rest.graphemes(true).next().unwrap_or(rest)
        } else {
            piece
        };
        // Else after a sign inside a long word: the parts of images, paths and generated names stay whole.
        let after = |signs: &[char]| piece.rfind(signs).filter(|at| *at > piece.len() / 2);
        let end = after(&[' '])
            .or_else(|| after(&['/', '-', ':', '.', ',', '=']))
            .map_or(piece.len(), |at| at + 1);
        next = Some(start + end);
        Some((start, start + piece[..end].trim_end_matches(' ').len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_never_survive() {
        let evil = "\u{1b}[2Jname\u{9b}31m\u{202e}txt\nnext\ttab";
        let cleaned = clean(evil);
        assert!(!cleaned.chars().any(|ch| ch.is_control()), "{cleaned:?}");
        assert!(!cleaned.contains('\u{202e}'));
        assert!(matches!(clean("plain 한국어"), Cow::Borrowed(_)));
    }

    #[test]
    fn generated_names_keep_their_tail() {
        assert_eq!(cut_middle("web-6d4c7b9f5-2xkqz", 12), "web-6d…2xkqz");
        assert_eq!(cut_middle("short", 12), "short");
    }

    #[test]
    fn wide_characters_count_two_columns() {
        assert_eq!(width("한국어"), 6);
        assert_eq!(cut_end("한국어", 4), "한…");
        assert_eq!(width(&pad_right("한국어", 8)), 8);
        assert!(width(&cut_middle("가나다라마바사아자차", 9)) <= 9);
    }

    #[test]
    fn long_lines_wrap_at_blanks_with_a_hanging_indent() {
        assert_eq!(wrap("one two three four", 9, 2), ["one two", "three", "four"]);
        assert_eq!(wrap("", 9, 2), [""]);
        assert_eq!(wrap("abcdefghij", 4, 0), ["abcd", "efgh", "ij"]);
        assert_eq!(
            wrap("gcr.io/kuar-demo/kuard:blue", 20, 0),
            ["gcr.io/kuar-demo/", "kuard:blue"]
        );
    }

    #[test]
    fn a_piece_of_a_very_long_line_costs_no_more_than_the_piece() {
        let long = "가".repeat(1_000_000);
        // Were each piece measured with all that follows it, this would take minutes.
        assert_eq!(wraps(&long, 100, 0).count(), 20_000);
        assert_eq!(wraps(&long, 100, 2).nth(1), Some((150, 297)));
    }
}
