//! The simulated shell and its commands.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use super::Hollow;
use super::io::Stdio;
use super::process::Container;
use super::script::{self, After, DEPTH, Into, List, Statement};

/// A shell, or one command run as if by one.
pub(super) struct Shell {
    pub(super) container: Arc<Container>,
    pub(super) hollow: Hollow,
    pub(super) stdio: Stdio,
    /// Columns and rows, on a terminal.
    pub(super) size: Option<watch::Receiver<(u16, u16)>>,
    pub(super) dir: PathBuf,
    pub(super) variables: Vec<(String, String)>,
    pub(super) status: i32,
    /// `exit` was called.
    pub(super) exiting: bool,
    /// Output that is being collected rather than shown.
    captured: Option<String>,
    depth: usize,
}

pub(super) type Run<'a> = Pin<Box<dyn Future<Output = i32> + Send + 'a>>;

impl Shell {
    pub(super) fn new(
        container: Arc<Container>,
        hollow: Hollow,
        stdio: Stdio,
        size: Option<watch::Receiver<(u16, u16)>>,
    ) -> Self {
        Self {
            dir: container.spec.working_dir.clone(),
            container,
            hollow,
            stdio,
            size,
            variables: Vec::new(),
            status: 0,
            exiting: false,
            captured: None,
            depth: 0,
        }
    }

    pub(super) async fn print(&mut self, text: &str) {
        match &mut self.captured {
            Some(captured) => captured.push_str(text),
            // A terminal starts a line where it is told to.
            None if self.size.is_some() => self.stdio.print(&text.replace('\n', "\r\n")).await,
            None => self.stdio.print(text).await,
        }
    }

    pub(super) async fn complain(&mut self, text: &str) {
        let text = if self.size.is_some() {
            text.replace('\n', "\r\n")
        } else {
            text.to_owned()
        };
        self.stdio.complain(&text).await;
    }

    /// Runs a script; the status of its last command.
    pub(super) async fn script(&mut self, text: &str) -> i32 {
        match script::parse(text) {
            Ok(list) => self.list(&list).await,
            Err(why) => {
                self.complain(&format!("sh: {why}\n")).await;
                2
            }
        }
    }

    fn list<'a>(&'a mut self, list: &'a List) -> Run<'a> {
        Box::pin(async move {
            for (after, statement) in list {
                let due = match after {
                    After::Anything => true,
                    After::Success => self.status == 0,
                    After::Failure => self.status != 0,
                };
                if !due {
                    continue;
                }
                self.status = match statement {
                    Statement::Simple { words, into } => self.simple(words, into.as_ref()).await,
                    Statement::Loop { until, test, body } => {
                        while !self.exiting && (self.list(test).await == 0) != *until {
                            self.list(body).await;
                            // A loop that never waits must not keep everybody else from running.
                            tokio::task::yield_now().await;
                        }
                        0
                    }
                };
                if self.exiting {
                    break;
                }
            }
            self.status
        })
    }

    async fn simple(&mut self, words: &[String], into: Option<&Into>) -> i32 {
        let mut argv = Vec::new();
        for word in words {
            argv.push(self.expand(word).await);
        }
        if let [word] = argv.as_slice()
            && let Some((name, value)) = word.split_once('=')
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            self.variables.push((name.to_owned(), value.to_owned()));
            return 0;
        }
        let Some(into) = into else {
            return self.command(&argv).await;
        };
        let path = self.expand(&into.path).await;
        let outer = self.captured.replace(String::new());
        let status = self.command(&argv).await;
        let text = std::mem::replace(&mut self.captured, outer).unwrap_or_default();
        if path == "/dev/null" {
            return status;
        }
        let path = self.path(&path);
        match self.container.files.write(&path, text.as_bytes(), into.append) {
            Ok(()) => status,
            Err(why) => {
                self.complain(&format!("sh: can't create {}: {why}\n", path.display()))
                    .await;
                1
            }
        }
    }

    /// Takes quotes away and puts in what `$` stands for.
    fn expand<'a>(&'a mut self, word: &'a str) -> Pin<Box<dyn Future<Output = String> + Send + 'a>> {
        Box::pin(async move {
            let mut text = String::new();
            let mut quote = None;
            let mut rest = word;
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                match c {
                    '\'' | '"' if quote == Some(c) => quote = None,
                    '\'' | '"' if quote.is_none() => quote = Some(c),
                    '\\' if quote != Some('\'') => {
                        let next = rest.chars().next();
                        text.extend(next);
                        rest = &rest[next.map_or(0, char::len_utf8)..];
                    }
                    '$' if quote != Some('\'') => {
                        if let Some(inner) = rest.strip_prefix('(').and_then(closed) {
                            rest = &rest[inner.len() + 2..];
                            text.push_str(&self.substitute(inner).await);
                        } else {
                            let (name, used) = name(rest);
                            rest = &rest[used..];
                            match name {
                                "" => text.push('$'),
                                "?" => text.push_str(&self.status.to_string()),
                                name => text.push_str(&self.variable(name)),
                            }
                        }
                    }
                    _ => text.push(c),
                }
            }
            text
        })
    }

    async fn substitute(&mut self, script: &str) -> String {
        if self.depth >= DEPTH {
            return String::new();
        }
        self.depth += 1;
        let outer = self.captured.replace(String::new());
        self.script(script).await;
        self.depth -= 1;
        let text = std::mem::replace(&mut self.captured, outer).unwrap_or_default();
        text.trim_end_matches('\n').to_owned()
    }

    pub(super) fn variable(&self, name: &str) -> String {
        let own = self
            .variables
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone());
        own.unwrap_or_else(|| self.container.env(name).unwrap_or_default().to_owned())
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }
}

/// `inner` of `inner)...`, with parentheses in it balanced.
fn closed(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(&text[..at]),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The variable's name at the beginning of `text`, and how much of it that uses.
fn name(text: &str) -> (&str, usize) {
    if let Some((name, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return (name, name.len() + 2);
    }
    if text.starts_with('?') {
        return ("?", 1);
    }
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    (&text[..end], end)
}
