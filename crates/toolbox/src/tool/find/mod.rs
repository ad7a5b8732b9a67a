//! `find`.

mod parse;

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
    let mut parser = parse::Parser {
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
