//! One key with its modifiers, and its notation: `j`, `G`, `<C-d>`, `<ret>`, `<A-x>`, `<S-tab>`, `<F1>`.

use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::error::{Error, Result};

/// One key press. Shift is part of the character for characters, and a modifier for named keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub struct Chord {
    /// The key.
    pub code: KeyCode,
    /// Control, alt, and shift on named keys.
    pub modifiers: KeyModifiers,
}

const NAMED: &[(&str, KeyCode)] = &[
    ("ret", KeyCode::Enter),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("space", KeyCode::Char(' ')),
    ("bs", KeyCode::Backspace),
    ("backspace", KeyCode::Backspace),
    ("del", KeyCode::Delete),
    ("ins", KeyCode::Insert),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
    ("lt", KeyCode::Char('<')),
    ("gt", KeyCode::Char('>')),
    ("minus", KeyCode::Char('-')),
];

impl Chord {
    /// An unmodified character.
    pub const fn char(ch: char) -> Self {
        Self {
            code: KeyCode::Char(ch),
            modifiers: KeyModifiers::NONE,
        }
    }

    /// Parses one chord.
    pub fn parse(text: &str) -> Result<Self> {
        match parse_chords(text)?.as_slice() {
            [chord] => Ok(*chord),
            _ => Err(Error::usage(format!("{text:?} is not one key")).hint("write j, G, <C-d>, <ret>, <F1> ...")),
        }
    }

    fn parse_named(text: &str) -> Option<Self> {
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = text;
        while let Some((prefix, tail)) = rest.split_once('-').filter(|(_, tail)| !tail.is_empty()) {
            modifiers |= match prefix {
                "C" | "c" => KeyModifiers::CONTROL,
                "A" | "a" | "M" => KeyModifiers::ALT,
                "S" | "s" => KeyModifiers::SHIFT,
                _ => return None,
            };
            rest = tail;
        }
        let mut chars = rest.chars();
        let code = match (chars.next(), chars.next()) {
            (Some(ch), None) => KeyCode::Char(ch),
            (Some('F' | 'f'), Some(digit)) if digit.is_ascii_digit() => {
                KeyCode::F(rest[1..].parse().ok().filter(|number| (1..=24).contains(number))?)
            }
            _ => NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(rest))?.1,
        };
        Some(Self { code, modifiers }.normal())
    }

    /// One form for keys that terminals report in several ways.
    fn normal(mut self) -> Self {
        self.modifiers &= KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT;
        if let KeyCode::Char(ch) = self.code {
            if self.modifiers.contains(KeyModifiers::SHIFT) {
                self.code = KeyCode::Char(ch.to_uppercase().next().unwrap_or(ch));
            }
            self.modifiers.remove(KeyModifiers::SHIFT);
            if self.modifiers.contains(KeyModifiers::CONTROL) {
                // A terminal sends the same byte for both of each pair, and is understood to mean the digit.
                self.code = KeyCode::Char(match ch {
                    '4' => '\\',
                    '5' => ']',
                    '6' => '^',
                    '7' => '_',
                    ch => ch.to_ascii_lowercase(),
                });
            }
        }
        if self.code == KeyCode::BackTab {
            self.code = KeyCode::Tab;
            self.modifiers |= KeyModifiers::SHIFT;
        }
        self
    }

    /// The character it types into a text field, if it types one.
    pub fn typed(self) -> Option<char> {
        match self.code {
            KeyCode::Char(ch) if !self.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => Some(ch),
            _ => None,
        }
    }

    /// Whether it is `ch` with control held.
    pub fn is_control(self, ch: char) -> bool {
        self.code == KeyCode::Char(ch) && self.modifiers == KeyModifiers::CONTROL
    }

    /// How the key is shown to the user: `d`, `C-d`, `Enter`, `Space`, `S-Tab`.
    pub fn label(self) -> String {
        let mut out = String::new();
        for (modifier, name) in [
            (KeyModifiers::CONTROL, "C-"),
            (KeyModifiers::ALT, "A-"),
            (KeyModifiers::SHIFT, "S-"),
        ] {
            if self.modifiers.contains(modifier) {
                out.push_str(name);
            }
        }
        match self.code {
            KeyCode::Char(' ') => out.push_str("Space"),
            KeyCode::Char(ch) => out.push(ch),
            KeyCode::Enter => out.push_str("Enter"),
            KeyCode::Esc => out.push_str("Esc"),
            KeyCode::Up => out.push('↑'),
            KeyCode::Down => out.push('↓'),
            KeyCode::Left => out.push('←'),
            KeyCode::Right => out.push('→'),
            KeyCode::Backspace => out.push_str("Bksp"),
            KeyCode::PageUp => out.push_str("PgUp"),
            KeyCode::PageDown => out.push_str("PgDn"),
            KeyCode::F(number) => out.push_str(&format!("F{number}")),
            other => out.push_str(&format!("{other:?}")),
        }
        out
    }
}

impl From<KeyEvent> for Chord {
    fn from(event: KeyEvent) -> Self {
        Self {
            code: event.code,
            modifiers: event.modifiers,
        }
        .normal()
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self {
            code: KeyCode::Char(ch),
            modifiers: KeyModifiers::NONE,
        } = self
            && !matches!(ch, ' ' | '<' | '>')
        {
            return write!(f, "{ch}");
        }
        f.write_str("<")?;
        for (modifier, name) in [
            (KeyModifiers::CONTROL, "C-"),
            (KeyModifiers::ALT, "A-"),
            (KeyModifiers::SHIFT, "S-"),
        ] {
            if self.modifiers.contains(modifier) {
                f.write_str(name)?;
            }
        }
        match (self.code, NAMED.iter().find(|(_, code)| *code == self.code)) {
            (_, Some((name, _))) => f.write_str(name)?,
            (KeyCode::Char(ch), None) => write!(f, "{ch}")?,
            (KeyCode::F(number), None) => write!(f, "F{number}")?,
            (other, None) => write!(f, "{other:?}")?,
        }
        f.write_str(">")
    }
}

/// Parses a sequence of chords: `:pods<ret>j<C-d>`. A `<` that starts no known key is refused.
pub fn parse_chords(text: &str) -> Result<Vec<Chord>> {
    let mut chords = Vec::new();
    let mut rest = text;
    while let Some(ch) = rest.chars().next() {
        if ch == '<' {
            let end = rest.find('>').filter(|end| *end > 1);
            let named = end.and_then(|end| Chord::parse_named(&rest[1..end]));
            let (Some(end), Some(chord)) = (end, named) else {
                return Err(Error::usage(format!("{rest:?} does not start with a known key"))
                    .hint("named keys are <ret>, <esc>, <tab>, <space>, <C-x>, <A-x>, <F1>, <lt> ..."));
            };
            chords.push(chord);
            rest = &rest[end + 1..];
        } else {
            chords.push(Chord::char(ch));
            rest = &rest[ch.len_utf8()..];
        }
    }
    Ok(chords)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_keys_that_terminals_report_as_digits_are_the_keys_people_press() {
        for (digit, key) in [('4', "<C-\\>"), ('5', "<C-]>"), ('6', "<C-^>"), ('7', "<C-_>")] {
            let reported = KeyEvent::new(KeyCode::Char(digit), KeyModifiers::CONTROL);
            assert_eq!(
                Chord::from(reported),
                Chord::parse(key).unwrap_or_else(|error| panic!("{error}"))
            );
        }
    }

    #[test]
    fn notation_round_trips() {
        for text in [
            "j", "G", "<C-d>", "<A-x>", "<ret>", "<esc>", "<S-tab>", "<F12>", "<space>", "<lt>", "?", "한",
        ] {
            let chord = Chord::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(chord.to_string(), text);
        }
        assert_eq!(parse_chords(":po<ret>j<C-d>").expect("parses").len(), 6);
        for wrong in ["<", "<nope>", "<X-d>", "<F99>", "<>"] {
            assert!(parse_chords(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn terminals_that_report_shift_agree_with_those_that_do_not() {
        let plain = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::NONE);
        let shifted = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(Chord::from(plain), Chord::from(shifted));
        let back = KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT);
        assert_eq!(Chord::from(back), Chord::parse("<S-tab>").expect("parses"));
    }
}
