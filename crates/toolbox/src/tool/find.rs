//! `find`.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::say::{fail, out, reason};
use crate::sh::pattern;

enum Expr {
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    True,
    Name(String, bool),
    Path(String, bool),
    Type(String),
    Empty,
    /// Sign and bound: `+1` more, `-1` less, `1` exactly.
    Size(i8, u64, u64),
    Age(char, i8, u64, u64),
    Newer(SystemTime),
    Perm(u32, char),
    User(u32),
    Links(i8, u64),
    Access(u32),
    Prune,
    Quit,
    Print(char),
    Delete,
    Exec {
        words: Vec<String>,
        ok_only: bool,
    },
    ExecAll(usize),
}

/// Deepest directory entered: more is a loop of mounts.
const MAX_DEPTH: usize = 200;

struct Find {
    least: usize,
    most: usize,
    depth_first: bool,
    follow: bool,
    batches: Vec<(Vec<String>, Vec<String>)>,
    failed: bool,
    quit: bool,
}

struct Entry<'a> {
    path: &'a Path,
    shown: String,
    meta: std::fs::Metadata,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let mut rest = &args[1..];
    let mut find = Find {
        least: 0,
        most: MAX_DEPTH,
        depth_first: false,
        follow: false,
        batches: Vec::new(),
        failed: false,
        quit: false,
    };
    while let Some(flag) = rest.first().filter(|a| matches!(a.as_str(), "-H" | "-L" | "-P")) {
        find.follow = flag == "-L";
        rest = &rest[1..];
    }
    let paths = rest
        .iter()
        .take_while(|a| !a.starts_with('-') && !matches!(a.as_str(), "!" | "(" | ")"))
        .count();
    let (paths, words) = rest.split_at(paths);
    let mut parser = Parser {
        words,
        pos: 0,
        find: &mut find,
        acts: false,
        depth: 0,
    };
    let expr = match parser.or() {
        Ok(_) if parser.pos < words.len() => Err(format!("unexpected argument '{}'", words[parser.pos])),
        other => other,
    };
    let acts = parser.acts;
    let expr = match expr {
        Ok(expr) if acts => expr,
        Ok(expr) => Expr::And(Box::new(expr), Box::new(Expr::Print('\n'))),
        Err(message) => return fail("find", message),
    };
    let here = [".".to_owned()];
    for path in if paths.is_empty() { &here[..] } else { paths } {
        find.walk(Path::new(path), &expr, 0);
    }
    for (words, files) in std::mem::take(&mut find.batches) {
        for chunk in files.chunks(1000) {
            let all: Vec<String> = words.iter().cloned().chain(chunk.iter().cloned()).collect();
            find.failed |= !run(&all);
        }
    }
    i32::from(find.failed)
}

fn run(words: &[String]) -> bool {
    let Some((name, args)) = words.split_first() else {
        return false;
    };
    match std::process::Command::new(name).args(args).status() {
        Ok(status) => status.success(),
        Err(error) => {
            fail("find", format!("{name}: {}", reason(&error)));
            false
        }
    }
}

struct Parser<'a> {
    words: &'a [String],
    pos: usize,
    find: &'a mut Find,
    acts: bool,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.pos).map(String::as_str)
    }

    fn value(&mut self, option: &str) -> Result<String, String> {
        let value = self
            .words
            .get(self.pos)
            .cloned()
            .ok_or_else(|| format!("missing argument to '{option}'"))?;
        self.pos += 1;
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("expression nested too deeply".to_owned());
        }
        let mut left = self.and()?;
        while matches!(self.peek(), Some("-o" | "-or")) {
            self.pos += 1;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, String> {
        let mut left: Option<Expr> = None;
        loop {
            match self.peek() {
                None | Some("-o" | "-or" | ")") => return Ok(left.unwrap_or(Expr::True)),
                Some("-a" | "-and") => self.pos += 1,
                Some(_) => {
                    let next = self.one()?;
                    left = Some(match left {
                        Some(left) => Expr::And(Box::new(left), Box::new(next)),
                        None => next,
                    });
                }
            }
        }
    }

    fn one(&mut self) -> Result<Expr, String> {
        let word = self.value("find")?;
        let signed = |text: &str| -> (i8, String) {
            match text.as_bytes().first() {
                Some(b'+') => (1, text[1..].to_owned()),
                Some(b'-') => (-1, text[1..].to_owned()),
                _ => (0, text.to_owned()),
            }
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("invalid number '{text}'"));
        Ok(match word.as_str() {
            "!" | "-not" => {
                self.depth += 1;
                if self.depth > 100 {
                    return Err("expression nested too deeply".to_owned());
                }
                let inner = self.one()?;
                self.depth -= 1;
                Expr::Not(Box::new(inner))
            }
            "(" => {
                let inner = self.or()?;
                if self.peek() != Some(")") {
                    return Err("missing ')'".to_owned());
                }
                self.pos += 1;
                inner
            }
            "-true" => Expr::True,
            "-false" => Expr::Not(Box::new(Expr::True)),
            "-name" => Expr::Name(self.value(&word)?, false),
            "-iname" => Expr::Name(self.value(&word)?.to_lowercase(), true),
            "-path" | "-wholename" => Expr::Path(self.value(&word)?, false),
            "-ipath" => Expr::Path(self.value(&word)?.to_lowercase(), true),
            "-type" => Expr::Type(self.value(&word)?),
            "-empty" => Expr::Empty,
            "-size" => {
                let (sign, text) = signed(&self.value(&word)?);
                let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                let unit = match &text[digits.len()..] {
                    "c" => 1,
                    "w" => 2,
                    "k" => 1 << 10,
                    "M" => 1 << 20,
                    "G" => 1 << 30,
                    "" | "b" => 512,
                    other => return Err(format!("invalid size unit '{other}'")),
                };
                Expr::Size(sign, number(digits)?, unit)
            }
            "-mtime" | "-atime" | "-ctime" | "-mmin" | "-amin" | "-cmin" => {
                let (sign, text) = signed(&self.value(&word)?);
                let unit = if word.ends_with("min") { 60 } else { 86_400 };
                Expr::Age(word.chars().nth(1).unwrap_or('m'), sign, number(&text)?, unit)
            }
            "-newer" => {
                let path = self.value(&word)?;
                let time = std::fs::metadata(&path)
                    .and_then(|m| m.modified())
                    .map_err(|e| format!("{path}: {}", reason(&e)))?;
                Expr::Newer(time)
            }
            "-perm" => {
                let text = self.value(&word)?;
                let kind = text.chars().next().filter(|c| "-/".contains(*c)).unwrap_or('=');
                let mode = u32::from_str_radix(text.trim_start_matches(['-', '/']), 8)
                    .map_err(|_| format!("invalid mode '{text}'"))?;
                Expr::Perm(mode, kind)
            }
            "-user" | "-uid" => {
                let text = self.value(&word)?;
                let uid = crate::account::by_name(&text)
                    .map(|a| a.uid)
                    .or_else(|| text.parse().ok());
                Expr::User(uid.ok_or_else(|| format!("unknown user {text}"))?)
            }
            "-links" => {
                let (sign, text) = signed(&self.value(&word)?);
                Expr::Links(sign, number(&text)?)
            }
            "-executable" => Expr::Access(0o111),
            "-readable" => Expr::Access(0o444),
            "-writable" => Expr::Access(0o222),
            "-prune" => Expr::Prune,
            "-maxdepth" => {
                self.find.most = usize::try_from(number(&self.value(&word)?)?)
                    .unwrap_or(MAX_DEPTH)
                    .min(MAX_DEPTH);
                Expr::True
            }
            "-mindepth" => {
                self.find.least = usize::try_from(number(&self.value(&word)?)?).unwrap_or(0);
                Expr::True
            }
            "-depth" => {
                self.find.depth_first = true;
                Expr::True
            }
            "-xdev" | "-mount" | "-noleaf" => Expr::True,
            "-follow" => {
                self.find.follow = true;
                Expr::True
            }
            "-print" | "-print0" | "-quit" | "-delete" | "-ls" | "-exec" | "-execdir" | "-ok" => {
                self.acts = true;
                match word.as_str() {
                    "-print0" => Expr::Print('\0'),
                    "-quit" => Expr::Quit,
                    "-delete" => {
                        self.find.depth_first = true;
                        Expr::Delete
                    }
                    "-exec" | "-execdir" | "-ok" => self.exec(&word)?,
                    _ => Expr::Print('\n'),
                }
            }
            other => return Err(format!("unrecognized: {other}")),
        })
    }

    fn exec(&mut self, option: &str) -> Result<Expr, String> {
        let mut words = Vec::new();
        loop {
            let word = self.value(option)?;
            if word == ";" {
                return Ok(Expr::Exec {
                    words,
                    ok_only: option == "-ok",
                });
            }
            if word == "+" && words.last().is_some_and(|w| w == "{}") {
                words.pop();
                self.find.batches.push((words, Vec::new()));
                return Ok(Expr::ExecAll(self.find.batches.len() - 1));
            }
            words.push(word);
        }
    }
}

impl Find {
    fn walk(&mut self, path: &Path, expr: &Expr, depth: usize) {
        if self.quit {
            return;
        }
        let meta = if self.follow {
            std::fs::metadata(path).or_else(|_| std::fs::symlink_metadata(path))
        } else {
            std::fs::symlink_metadata(path)
        };
        let meta = match meta {
            Ok(meta) => meta,
            Err(error) => {
                fail("find", format!("{}: {}", path.display(), reason(&error)));
                self.failed = true;
                return;
            }
        };
        let is_dir = meta.is_dir();
        let entry = Entry {
            path,
            shown: path.to_string_lossy().into_owned(),
            meta,
        };
        let mut prune = false;
        if !self.depth_first && depth >= self.least {
            self.test(expr, &entry, &mut prune);
        }
        if is_dir && depth < self.most && !prune && !self.quit {
            match std::fs::read_dir(path) {
                Ok(entries) => {
                    let mut inner: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
                    inner.sort();
                    for path in inner {
                        self.walk(&path, expr, depth + 1);
                    }
                }
                Err(error) => {
                    fail("find", format!("{}: {}", path.display(), reason(&error)));
                    self.failed = true;
                }
            }
        }
        if self.depth_first && depth >= self.least {
            self.test(expr, &entry, &mut prune);
        }
    }

    fn test(&mut self, expr: &Expr, entry: &Entry<'_>, prune: &mut bool) -> bool {
        let compare = |sign: i8, value: u64, bound: u64| match sign {
            1 => value > bound,
            -1 => value < bound,
            _ => value == bound,
        };
        match expr {
            Expr::And(a, b) => self.test(a, entry, prune) && self.test(b, entry, prune),
            Expr::Or(a, b) => self.test(a, entry, prune) || self.test(b, entry, prune),
            Expr::Not(inner) => !self.test(inner, entry, prune),
            Expr::True => true,
            Expr::Name(p, fold) => {
                let name = entry
                    .path
                    .file_name()
                    .map_or_else(|| entry.shown.clone(), |n| n.to_string_lossy().into_owned());
                pattern::matches(p, &if *fold { name.to_lowercase() } else { name })
            }
            Expr::Path(p, fold) => pattern::matches(
                p,
                &if *fold {
                    entry.shown.to_lowercase()
                } else {
                    entry.shown.clone()
                },
            ),
            Expr::Type(kinds) => {
                let kind = entry.meta.file_type();
                kinds.split(',').any(|k| match k {
                    "f" => kind.is_file(),
                    "d" => kind.is_dir(),
                    "l" => kind.is_symlink(),
                    "p" => kind.is_fifo(),
                    "s" => kind.is_socket(),
                    "b" => kind.is_block_device(),
                    "c" => kind.is_char_device(),
                    _ => false,
                })
            }
            Expr::Empty => {
                if entry.meta.is_dir() {
                    std::fs::read_dir(entry.path).is_ok_and(|mut d| d.next().is_none())
                } else {
                    entry.meta.is_file() && entry.meta.len() == 0
                }
            }
            Expr::Size(sign, bound, unit) => compare(*sign, entry.meta.len().div_ceil(*unit), *bound),
            Expr::Age(which, sign, bound, unit) => {
                let seconds = match which {
                    'a' => entry.meta.atime(),
                    'c' => entry.meta.ctime(),
                    _ => entry.meta.mtime(),
                };
                let age = jiff::Timestamp::now()
                    .as_second()
                    .saturating_sub(seconds)
                    .max(0)
                    .unsigned_abs();
                compare(*sign, age / unit, *bound)
            }
            Expr::Newer(than) => entry.meta.modified().is_ok_and(|t| t > *than),
            Expr::Perm(mode, kind) => {
                let own = entry.meta.permissions().mode() & 0o7777;
                match kind {
                    '-' => own & mode == *mode,
                    '/' => *mode == 0 || own & mode != 0,
                    _ => own == *mode,
                }
            }
            Expr::User(uid) => entry.meta.uid() == *uid,
            Expr::Links(sign, bound) => compare(*sign, entry.meta.nlink(), *bound),
            Expr::Access(bits) => {
                use nix::unistd::AccessFlags;
                let flag = match bits {
                    0o111 => AccessFlags::X_OK,
                    0o444 => AccessFlags::R_OK,
                    _ => AccessFlags::W_OK,
                };
                nix::unistd::access(entry.path, flag).is_ok()
            }
            Expr::Prune => {
                *prune = true;
                true
            }
            Expr::Quit => {
                self.quit = true;
                true
            }
            Expr::Print(end) => {
                out(format!("{}{end}", entry.shown));
                true
            }
            Expr::Delete => {
                let result = if entry.meta.is_dir() {
                    std::fs::remove_dir(entry.path)
                } else {
                    std::fs::remove_file(entry.path)
                };
                if let Err(error) = result {
                    if entry.shown != "." {
                        fail("find", format!("{}: {}", entry.shown, reason(&error)));
                        self.failed = true;
                    }
                    return false;
                }
                true
            }
            Expr::Exec { words, ok_only } => {
                if *ok_only {
                    let mut answer = String::new();
                    let _ = crate::sys::write_all(
                        2,
                        format!("< {} ... {} > ? ", words.first().map_or("", |w| w), entry.shown).as_bytes(),
                    );
                    let _ = std::io::stdin().read_line(&mut answer);
                    if !answer.trim().starts_with(['y', 'Y']) {
                        return false;
                    }
                }
                let words: Vec<String> = words.iter().map(|w| w.replace("{}", &entry.shown)).collect();
                run(&words)
            }
            Expr::ExecAll(index) => {
                if let Some((_, files)) = self.batches.get_mut(*index) {
                    files.push(entry.shown.clone());
                }
                true
            }
        }
    }
}
