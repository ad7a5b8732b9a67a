//! The simulated shell and its commands.

use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

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
    variables: Vec<(String, String)>,
    status: i32,
    /// `exit` was called.
    pub(super) exiting: bool,
    /// Output that is being collected rather than shown.
    captured: Option<String>,
    depth: usize,
}

type Run<'a> = Pin<Box<dyn Future<Output = i32> + Send + 'a>>;

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

    async fn print(&mut self, text: &str) {
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

    fn variable(&self, name: &str) -> String {
        let own = self
            .variables
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone());
        own.unwrap_or_else(|| self.container.env(name).unwrap_or_default().to_owned())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// Runs one command; its status.
    pub(super) fn command<'a>(&'a mut self, argv: &'a [String]) -> Run<'a> {
        Box::pin(async move {
            let name = argv
                .first()
                .map(|path| path.rsplit('/').next().unwrap_or_default())
                .unwrap_or_default();
            let args: Vec<&str> = argv.iter().skip(1).map(String::as_str).collect();
            match name {
                "" | "true" | ":" | "trap" | "set" | "export" | "mkdir" | "clear" => 0,
                "false" => 1,
                "sh" | "ash" | "bash" => self.sub_shell(&args).await,
                "sleep" => match args.first().and_then(|text| seconds(text)) {
                    Some(wait) => {
                        tokio::time::sleep(wait).await;
                        0
                    }
                    None => self.fail("sleep", "invalid number").await,
                },
                "top" => pending().await,
                "tail" if args.contains(&"-f") => pending().await,
                "exit" => {
                    self.exiting = true;
                    args.first().and_then(|code| code.parse().ok()).unwrap_or(self.status)
                }
                "echo" => self.echo(&args).await,
                "hostname" => self.say(&self.container.hostname.clone()).await,
                "pwd" => self.say(&self.dir.display().to_string()).await,
                "whoami" => self.say("root").await,
                "id" => self.say("uid=0(root) gid=0(root)").await,
                "uname" => self.say("Linux").await,
                "tty" => {
                    self.say(if self.size.is_some() { "/dev/pts/0" } else { "not a tty" })
                        .await
                }
                "date" => {
                    self.say(
                        &self
                            .container
                            .clock
                            .now()
                            .strftime("%a %b %e %H:%M:%S UTC %Y")
                            .to_string(),
                    )
                    .await
                }
                "env" | "printenv" => {
                    let lines: Vec<String> = self
                        .container
                        .spec
                        .env
                        .iter()
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    match args.first() {
                        Some(name) => self.say(&self.variable(name)).await,
                        None => self.say(&lines.join("\n")).await,
                    }
                }
                "ps" => self.say("PID   USER     TIME  COMMAND").await,
                "stty" => {
                    let size = self.size.as_ref().map(|size| *size.borrow());
                    match size {
                        Some((columns, rows)) => self.say(&format!("{rows} {columns}")).await,
                        None => {
                            self.fail("stty", "standard input: Inappropriate ioctl for device")
                                .await
                        }
                    }
                }
                "cd" => {
                    self.dir = self.path(args.first().copied().unwrap_or("/"));
                    0
                }
                "cat" | "tail" => self.cat(&args).await,
                "ls" => {
                    let dir = args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or(".");
                    let names = self.container.files.list(&self.path(dir));
                    if names.is_empty() {
                        0
                    } else {
                        self.say(&names.join("\n")).await
                    }
                }
                "touch" => {
                    let refused = args
                        .iter()
                        .any(|path| self.container.files.write(&self.path(path), b"", true).is_err());
                    i32::from(refused)
                }
                "rm" => {
                    let force = args.iter().any(|arg| arg.starts_with('-') && arg.contains('f'));
                    let mut paths = args.iter().filter(|arg| !arg.starts_with('-'));
                    let missing = paths.any(|path| !self.container.files.remove(&self.path(path)));
                    i32::from(missing && !force)
                }
                "test" | "[" => self.test(&args),
                "wget" | "nslookup" => self.fail(name, "the simulated network has no names").await,
                other => {
                    self.complain(&format!("sh: {other}: not found\n")).await;
                    127
                }
            }
        })
    }

    async fn say(&mut self, text: &str) -> i32 {
        self.print(&format!("{text}\n")).await;
        0
    }

    async fn fail(&mut self, name: &str, why: &str) -> i32 {
        self.complain(&format!("{name}: {why}\n")).await;
        1
    }

    async fn echo(&mut self, args: &[&str]) -> i32 {
        let (end, words) = match args {
            ["-n", words @ ..] => ("", words),
            ["-e", words @ ..] => ("\n", words),
            words => ("\n", words),
        };
        self.print(&(words.join(" ") + end)).await;
        0
    }

    async fn cat(&mut self, args: &[&str]) -> i32 {
        let paths: Vec<&str> = args.iter().copied().filter(|arg| !arg.starts_with('-')).collect();
        if paths.is_empty() {
            while let Some(line) = self.stdio.line().await {
                self.print(&format!("{line}\n")).await;
            }
            return 0;
        }
        let mut status = 0;
        for path in paths {
            match self.container.files.read(&self.path(path)) {
                Some(text) => self.print(&String::from_utf8_lossy(&text)).await,
                None => {
                    self.complain(&format!("cat: can't open '{path}': No such file or directory\n"))
                        .await;
                    status = 1;
                }
            }
        }
        status
    }

    fn test(&self, args: &[&str]) -> i32 {
        let args = args.strip_suffix(&["]"]).unwrap_or(args);
        let exists = |path: &str| self.container.files.exists(&self.path(path));
        let holds = match args {
            ["-e" | "-f" | "-d", path] => exists(path),
            ["!", "-e" | "-f" | "-d", path] => !exists(path),
            ["-n", text] => !text.is_empty(),
            ["-z", text] => text.is_empty(),
            [a, "=" | "==", b] => a == b,
            [a, "!=", b] => a != b,
            [text] => !text.is_empty(),
            _ => false,
        };
        i32::from(!holds)
    }

    /// `sh -c SCRIPT`, `sh` on a terminal, or `sh` reading commands.
    async fn sub_shell(&mut self, args: &[&str]) -> i32 {
        if let Some(at) = args.iter().position(|arg| *arg == "-c" || *arg == "-ec") {
            let script = args.get(at + 1).copied().unwrap_or_default();
            // Arguments after the script are its `$0`, `$1` and so on.
            for (number, value) in args.iter().skip(at + 2).enumerate() {
                self.variables.push((number.to_string(), (*value).to_owned()));
            }
            let status = self.script(script).await;
            self.exiting = false;
            return status;
        }
        if self.size.is_some() {
            return super::terminal::interact(self).await;
        }
        let mut status = 0;
        while let Some(line) = self.stdio.line().await {
            status = self.script(&line).await;
            if self.exiting {
                break;
            }
        }
        self.exiting = false;
        status
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

/// `5`, `0.5`, `2m`, `1h`, `infinity`.
fn seconds(text: &str) -> Option<Duration> {
    const FOREVER: Duration = Duration::from_secs(100 * 365 * 86400);
    if matches!(text, "infinity" | "inf") {
        return Some(FOREVER);
    }
    let (number, unit) = match text.chars().last()? {
        's' => (&text[..text.len() - 1], 1.0),
        'm' => (&text[..text.len() - 1], 60.0),
        'h' => (&text[..text.len() - 1], 3600.0),
        'd' => (&text[..text.len() - 1], 86400.0),
        _ => (text, 1.0),
    };
    let wait = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
    Some(wait.min(FOREVER))
}

/// A name without its directories, for prompts.
pub(super) fn short(dir: &Path) -> String {
    dir.display().to_string()
}
