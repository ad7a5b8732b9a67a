//! The commands of the simulated shell.

use std::future::pending;
use std::time::Duration;

use super::shell::{Run, Shell};
use super::terminal;

impl Shell {
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
            return terminal::interact(self).await;
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
