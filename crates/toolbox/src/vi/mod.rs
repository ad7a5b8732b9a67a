//! `vi`: a small modal editor, for quick changes inside a container.
//!
//! [`Editor`] takes keys and changes its state; it does no input or output of its own but for files, so that its behaviour can be tested
//! key by key.

mod buffer;
mod draw;
mod ex;
mod motion;
mod normal;

use crate::say::fail;
use crate::tool::screen::{Key, Screen};
use buffer::Buffer;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Normal,
    Insert,
    /// `R`: typing replaces.
    Replace,
    /// A line at the bottom after `:`, `/` or `?`.
    Line(char, String),
}

/// What was cut or copied.
#[derive(Clone, Debug, Default)]
struct Register {
    lines: Vec<String>,
    /// Whole lines, rather than text within lines.
    whole: bool,
}

struct Editor {
    buffer: Buffer,
    path: Option<String>,
    row: usize,
    column: usize,
    /// The column that up and down try to keep.
    wish: usize,
    top: usize,
    left: usize,
    page: usize,
    mode: Mode,
    /// A normal command as far as it has been typed.
    pending: Vec<Key>,
    register: Register,
    search: Option<(regex::Regex, bool)>,
    find: Option<(char, char)>,
    message: String,
    numbers: bool,
    read_only: bool,
    /// Keys of the change being made and of the last one made, for `.`.
    recording: Vec<Key>,
    last_change: Vec<Key>,
    recorded_version: u64,
    replaying: bool,
    /// `3ihello`: how often, and what was typed so far.
    insert_count: usize,
    inserted: Vec<Key>,
    done: Option<i32>,
}

impl Editor {
    fn new(buffer: Buffer, path: Option<String>) -> Self {
        Self {
            buffer,
            path,
            row: 0,
            column: 0,
            wish: 0,
            top: 0,
            left: 0,
            page: 22,
            mode: Mode::Normal,
            pending: Vec::new(),
            register: Register::default(),
            search: None,
            find: None,
            message: String::new(),
            numbers: false,
            read_only: false,
            recording: Vec::new(),
            last_change: Vec::new(),
            recorded_version: 0,
            replaying: false,
            insert_count: 1,
            inserted: Vec::new(),
            done: None,
        }
    }

    /// Opens a file, or says in the status line why it cannot be.
    fn open(path: &str) -> Self {
        match Buffer::load(path) {
            Ok(Some(text)) => {
                let mut editor = Self::new(Buffer::new(&text), Some(path.to_owned()));
                editor.message = format!("'{path}' {}L, {}C", text.lines().count(), text.len());
                editor
            }
            Ok(None) => {
                let mut editor = Self::new(Buffer::new(""), Some(path.to_owned()));
                editor.message = format!("'{path}' [New file]");
                editor
            }
            Err(message) => {
                let mut editor = Self::new(Buffer::new(""), Some(path.to_owned()));
                editor.message = format!("'{path}': {message}");
                // Writing would destroy what could not be shown.
                editor.read_only = true;
                editor
            }
        }
    }

    /// Takes one key.
    fn key(&mut self, key: Key) {
        if !self.replaying {
            if self.mode == Mode::Normal && self.pending.is_empty() {
                self.recording.clear();
                self.recorded_version = self.buffer.version;
            }
            self.recording.push(key);
        }
        self.message.clear();
        match self.mode.clone() {
            Mode::Normal => {
                self.pending.push(key);
                if self.normal() {
                    self.pending.clear();
                }
            }
            Mode::Insert | Mode::Replace => self.insert_key(key),
            Mode::Line(mark, text) => self.line_key(mark, text, key),
        }
        self.clamp();
        let settled = self.mode == Mode::Normal && self.pending.is_empty();
        if settled && !self.replaying && self.buffer.version != self.recorded_version {
            let repeatable = !matches!(
                self.recording.first(),
                Some(Key::Char('u' | ':' | '.') | Key::Control('r'))
            );
            if repeatable {
                self.last_change = self.recording.clone();
            }
        }
    }

    fn clamp(&mut self) {
        self.row = self.row.min(self.buffer.len() - 1);
        let length = self.buffer.line(self.row).chars().count();
        let most = if matches!(self.mode, Mode::Insert | Mode::Replace) {
            length
        } else {
            length.saturating_sub(1)
        };
        self.column = self.column.min(most);
    }

    fn insert_key(&mut self, key: Key) {
        let mut chars = self.buffer.chars(self.row);
        let at = self.column.min(chars.len());
        if self.insert_count > 1 {
            self.inserted.push(key);
        }
        match key {
            Key::Escape | Key::Control('c') => {
                let mut again = std::mem::take(&mut self.inserted);
                again.pop();
                for _ in 1..std::mem::replace(&mut self.insert_count, 1) {
                    for key in &again {
                        self.insert_key(*key);
                    }
                }
                self.inserted.clear();
                self.mode = Mode::Normal;
                self.column = self.column.saturating_sub(1);
                self.wish = self.column;
            }
            Key::Enter => {
                let tail: String = chars.split_off(at).into_iter().collect();
                self.buffer.set_chars(self.row, &chars);
                self.buffer.insert(self.row + 1, &tail);
                self.row += 1;
                self.column = 0;
            }
            Key::Backspace | Key::Control('h') => {
                if at > 0 {
                    chars.remove(at - 1);
                    self.buffer.set_chars(self.row, &chars);
                    self.column = at - 1;
                } else if self.row > 0 {
                    let above = self.buffer.chars(self.row - 1);
                    self.column = above.len();
                    self.buffer.set_chars(self.row - 1, &[above, chars].concat());
                    self.buffer.remove(self.row, self.row + 1);
                    self.row -= 1;
                }
            }
            Key::Delete if at < chars.len() => {
                chars.remove(at);
                self.buffer.set_chars(self.row, &chars);
            }
            Key::Control('w') => {
                let (_, start) = motion::previous_word(&self.buffer, (self.row, at), false);
                let start = start.min(at);
                chars.drain(start..at);
                self.buffer.set_chars(self.row, &chars);
                self.column = start;
            }
            Key::Control('u') => {
                chars.drain(..at);
                self.buffer.set_chars(self.row, &chars);
                self.column = 0;
            }
            Key::Left => self.column = at.saturating_sub(1),
            Key::Right => self.column = (at + 1).min(chars.len()),
            Key::Up => self.row = self.row.saturating_sub(1),
            Key::Down => self.row = (self.row + 1).min(self.buffer.len() - 1),
            Key::Home => self.column = 0,
            Key::End => self.column = chars.len(),
            Key::Char(_) | Key::Control('i') => {
                let c = if let Key::Char(c) = key { c } else { '\t' };
                if self.mode == Mode::Replace && at < chars.len() {
                    chars[at] = c;
                } else {
                    chars.insert(at, c);
                }
                self.buffer.set_chars(self.row, &chars);
                self.column = at + 1;
            }
            _ => {}
        }
    }

    fn line_key(&mut self, mark: char, mut text: String, key: Key) {
        match key {
            Key::Enter => {
                self.mode = Mode::Normal;
                if mark == ':' {
                    self.ex(&text)
                } else {
                    self.search_for(&text, mark == '/')
                }
                return;
            }
            Key::Escape | Key::Control('c') => {
                self.mode = Mode::Normal;
                return;
            }
            Key::Backspace | Key::Control('h') if text.is_empty() => {
                self.mode = Mode::Normal;
                return;
            }
            Key::Backspace | Key::Control('h') => drop(text.pop()),
            Key::Control('u') => text.clear(),
            Key::Char(c) => text.push(c),
            _ => {}
        }
        self.mode = Mode::Line(mark, text);
    }

    fn search_for(&mut self, text: &str, forward: bool) {
        if !text.is_empty() {
            match regex::Regex::new(&crate::tool::grep::from_basic(text)) {
                Ok(regex) => self.search = Some((regex, forward)),
                Err(_) => {
                    self.message = format!("bad pattern: {text}");
                    return;
                }
            }
        }
        self.search_again(true);
    }

    fn search_again(&mut self, same_way: bool) {
        let Some((regex, forward)) = &self.search else {
            self.message = "No previous search".to_owned();
            return;
        };
        match motion::search(&self.buffer, regex, (self.row, self.column), *forward == same_way) {
            Some((row, column)) => (self.row, self.column, self.wish) = (row, column, column),
            None => self.message = "Pattern not found".to_owned(),
        }
    }

    /// Before a change.
    fn checkpoint(&mut self) {
        self.buffer.checkpoint(self.row, self.column);
    }
}

/// `vi [-R] [+LINE] [FILE]`
pub(crate) fn main(args: &[String]) -> i32 {
    let mut path = None;
    let mut line = None;
    let mut read_only = false;
    for arg in &args[1..] {
        match arg.strip_prefix('+') {
            Some("") => line = Some(usize::MAX),
            Some(number) => line = number.parse().ok(),
            None if arg == "-R" => read_only = true,
            None if arg.starts_with('-') && arg.len() > 1 => return fail("vi", format!("invalid option '{arg}'")),
            None => path = path.or(Some(arg.clone())),
        }
    }
    if !crate::sys::is_tty(0) || !crate::sys::is_tty(1) {
        return fail("vi", "standard input and output must be a terminal");
    }
    let Some(screen) = Screen::enter(0) else {
        return fail("vi", "cannot use this terminal");
    };
    let mut editor = match &path {
        Some(path) => Editor::open(path),
        None => Editor::new(Buffer::new(""), None),
    };
    editor.read_only |= read_only;
    if let Some(line) = line {
        editor.row = line.saturating_sub(1);
        editor.clamp();
    }
    loop {
        if let Some(status) = editor.done {
            return status;
        }
        editor.draw(Screen::size());
        match screen.key(-1) {
            Key::Closed => return 1,
            Key::None | Key::Resized => {}
            key => editor.key(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types keys: `<esc>`, `<cr>`, `<bs>`, `<c-r>` and single characters.
    fn edit(text: &str, keys: &str) -> Editor {
        let mut editor = Editor::new(Buffer::new(text), None);
        let mut rest = keys;
        while let Some(c) = rest.chars().next() {
            let named = [
                ("<esc>", Key::Escape),
                ("<cr>", Key::Enter),
                ("<bs>", Key::Backspace),
                ("<c-r>", Key::Control('r')),
            ];
            match named.iter().find(|(name, _)| rest.starts_with(name)) {
                Some((name, key)) => {
                    editor.key(*key);
                    rest = &rest[name.len()..];
                }
                None => {
                    editor.key(Key::Char(c));
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        editor
    }

    #[test]
    fn keys_change_text_as_in_vi() {
        for (before, keys, after) in [
            ("", "ihello<esc>", "hello\n"),
            ("one two", "xx", "e two\n"),
            ("one two three", "wdw", "one three\n"),
            ("one two three", "d2w", "three\n"),
            ("one two", "wcwnew<esc>", "one new\n"),
            ("one two", "$D", "one tw\n"),
            ("a\nb\nc", "jdd", "a\nc\n"),
            ("a\nb\nc", "2dd", "c\n"),
            ("a\nb", "yyp", "a\na\nb\n"),
            ("a\nb", "ddp", "b\na\n"),
            ("ab", "xp", "ba\n"),
            ("a\nb", "onew<esc>", "a\nnew\nb\n"),
            ("a", "Otop<cr>more<esc>", "top\nmore\na\n"),
            ("a\nb", "J", "a b\n"),
            ("abc", "rX", "Xbc\n"),
            ("abc", "~", "Abc\n"),
            ("abc", "A!<esc>", "abc!\n"),
            ("abc", "sZ<esc>", "Zbc\n"),
            ("a b", "ddu", "a b\n"),
            ("abc", "xxuu<c-r>", "bc\n"),
            ("one one", "xw.", "ne ne\n"),
            ("a\nb\nc\nd", "dG", "\n"),
            ("f(x, y)", "llci(z<esc>", "f(z)\n"),
            ("a \"b c\" d", "f\"da\"", "a  d\n"),
            ("a b c", "wdiw", "a  c\n"),
            ("one two", "wlldiw", "one \n"),
            ("say (hi) now", "f(d%", "say  now\n"),
            ("a,b,c", "dt,", ",b,c\n"),
            ("image: a\nimage: b", ":%s/image/img/<cr>", "img: a\nimg: b\n"),
            ("aaa", ":s/a/b/g<cr>", "bbb\n"),
            ("1\n2\n3\n4", ":2,3d<cr>", "1\n4\n"),
            ("a", ">>", "\ta\n"),
            ("x foo\ny foo", "/foo<cr>D", "x \ny foo\n"),
            ("x foo\ny foo", "/foo<cr>nD", "x foo\ny \n"),
            ("abc", "i<bs>x<esc>", "xabc\n"),
            ("ab", "li<bs><esc>", "b\n"),
            ("ünï", "lx", "üï\n"),
            ("a\nb\nc", "jyyGp", "a\nb\nc\nb\n"),
            ("abc def", "yiwP", "abcabc def\n"),
            ("abc", "3ix<esc>", "xxxabc\n"),
        ] {
            assert_eq!(edit(before, keys).buffer.text(), after, "{before:?} and {keys}");
        }
    }

    #[test]
    fn files_are_written_and_guarded() {
        let dir = std::env::temp_dir().join(format!("vi-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("file.txt");
        let name = path.to_str().expect("text");
        let mut editor = Editor::open(name);
        for key in "ihi".chars().map(Key::Char).chain([Key::Escape]) {
            editor.key(key);
        }
        editor.ex("q");
        assert_eq!(editor.done, None, "unsaved changes keep it open");
        editor.ex("wq");
        assert_eq!(editor.done, Some(0));
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "hi\n");
        std::fs::write(&path, [0xff, 0xfe, 0]).expect("written");
        let mut editor = Editor::open(name);
        editor.ex("w");
        assert_eq!(
            std::fs::read(&path).expect("still there"),
            [0xff, 0xfe, 0],
            "what cannot be shown is not overwritten"
        );
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn any_keys_are_survived() {
        let keys = [
            'd', 'w', 'j', 'k', 'x', 'p', 'P', 'u', 'o', 'i', 'a', 'G', 'g', '$', '0', 'y', 'c', 'J', 'D', '.', 'n',
            '%', 'f', 't', ';', '2', '9', '>', 'r', '~',
        ];
        let mut editor = Editor::new(Buffer::new("one (two)\n\n\tthree\nfour"), None);
        let mut seed = 42u64;
        for _ in 0..20_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let n = (seed >> 33) as usize;
            editor.key(if n.is_multiple_of(7) {
                Key::Escape
            } else {
                Key::Char(keys[n % keys.len()])
            });
            if editor.buffer.len() > 500 {
                editor.key(Key::Escape);
                editor.ex("%d");
            }
            editor.picture((20, 5));
            assert!(editor.row < editor.buffer.len());
        }
    }
}
