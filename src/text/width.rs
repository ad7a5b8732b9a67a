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
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
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
    let columns = columns.max(1);
    let hang = hang.min(columns / 2);
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut room = columns;
    while width(rest) > room {
        let piece = head(rest, room);
        let piece = if piece.is_empty() {
            rest.graphemes(true).next().unwrap_or(rest)
        } else {
            piece
        };
        let end = match piece.rfind(' ') {
            Some(at) if at > piece.len() / 2 => at + 1,
            _ => piece.len(),
        };
        pieces.push(rest[..end].trim_end_matches(' '));
        rest = &rest[end..];
        room = columns - hang;
    }
    pieces.push(rest);
    pieces
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
    }
}
