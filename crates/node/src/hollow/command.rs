//! Which simulated program a command line means.

use std::future::pending;

use knarr_runtime::RuntimeError;

use super::process::Container;
use super::server::{Server, Site};
use super::shell::Shell;

/// What the small images have in their PATH.
const TOOLS: &[&str] = &[
    "[", "ash", "cat", "clear", "date", "echo", "env", "exit", "false", "hostname", "id", "ls", "mkdir", "nslookup",
    "ps", "printenv", "pwd", "rm", "sh", "sleep", "stty", "tail", "test", "top", "touch", "true", "tty", "uname",
    "wget", "whoami",
];

/// A program and its arguments.
pub(super) enum Program {
    Serve {
        site: Site,
        port: u16,
    },
    /// A command of the shell's.
    Tool(Vec<String>),
    /// Waits to be told to end.
    Pause,
}

/// What a program does about signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heeds {
    /// As the kernel does for a container's first process: nothing.
    Nothing,
    /// It ends as the signal asks.
    Dies,
    /// It comes to a good end.
    Quits,
}

impl Heeds {
    /// The exit code with which a signal ends it.
    pub(super) fn code_after(self, signal: i32) -> Option<i32> {
        match self {
            Self::Nothing => None,
            Self::Dies => Some(128 + signal),
            Self::Quits => Some(0),
        }
    }
}

impl Program {
    /// Finds the program. The container's root names its image.
    pub(super) fn find(container: &Container, argv: &[String]) -> Result<Self, RuntimeError> {
        let path = argv.first().map(String::as_str).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let image = container.spec.root.to_string_lossy();
        let full = ["kubia", "nginx", "fortune", "curl", "dnsutils"]
            .iter()
            .any(|word| image.contains(word));
        match name {
            "kuard" if image.contains("kuard") => Ok(Self::Serve {
                site: Site::Kuard,
                port: 8080,
            }),
            "node" if image.contains("kubia") => {
                let site = if image.contains("unhealthy") {
                    Site::Unhealthy
                } else if image.ends_with(":v1") {
                    Site::Kubia("This is v1 running in pod ")
                } else if image.ends_with(":v2") {
                    Site::Kubia("This is v2 running in pod ")
                } else {
                    Site::Kubia("You've hit ")
                };
                Ok(Self::Serve { site, port: 8080 })
            }
            "nginx" | "docker-entrypoint.sh" if image.contains("nginx") => Ok(Self::Serve {
                site: Site::Nginx,
                port: 80,
            }),
            "pause" => Ok(Self::Pause),
            "bash" if full => Ok(Self::Tool(argv.to_vec())),
            _ if TOOLS.contains(&name) => Ok(Self::Tool(argv.to_vec())),
            _ if path.contains('/') => Err(RuntimeError::NoSuchProgram(format!(
                "exec: {path:?}: stat {path}: no such file or directory"
            ))),
            _ => Err(RuntimeError::NoSuchProgram(format!(
                "exec: {path:?}: executable file not found in $PATH"
            ))),
        }
    }

    pub(super) fn heeds_signals(&self) -> Heeds {
        match self {
            Self::Serve { site: Site::Kuard, .. } => Heeds::Dies,
            Self::Serve { site: Site::Nginx, .. } | Self::Pause => Heeds::Quits,
            Self::Serve { .. } | Self::Tool(_) => Heeds::Nothing,
        }
    }

    /// Runs it to its end; the exit code.
    pub(super) async fn run(self, mut shell: Shell) -> i32 {
        match self {
            Self::Pause => pending().await,
            Self::Tool(argv) => shell.command(&argv).await,
            Self::Serve { site, port } => serve(shell, site, port).await,
        }
    }
}

async fn serve(mut shell: Shell, site: Site, port: u16) -> i32 {
    let (hollow, container) = (shell.hollow.clone(), shell.container.clone());
    let (server, mut lines) = Server::new(site.clone(), container.hostname.clone());
    if !hollow.listen(&container.spec.sandbox, port, server) {
        let message = match site {
            Site::Kuard => format!("listen tcp :{port}: bind: address already in use"),
            Site::Nginx => format!("nginx: [emerg] bind() to 0.0.0.0:{port} failed (98: Address already in use)"),
            _ => format!("Error: listen EADDRINUSE :::{port}"),
        };
        shell.stdio.complain(&format!("{message}\n")).await;
        return 1;
    }
    // However this task ends, the port is free again.
    let _open = Port {
        hollow,
        sandbox: container.spec.sandbox.clone(),
        port,
    };
    let stamp = || container.clock.now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    match site {
        Site::Kuard => {
            let stars = "*".repeat(70);
            let version = container
                .spec
                .root
                .to_string_lossy()
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .to_owned();
            for line in [
                format!("Starting kuard version: v0.10.0-{version}"),
                stars.clone(),
                "* WARNING: This server may expose sensitive".into(),
                "* and secret information. Be careful.".into(),
                stars,
                "Config: \n{\n  \"address\": \":8080\"\n}".into(),
                "Could not find certificates to serve TLS".into(),
                "Serving on HTTP on :8080".into(),
            ] {
                shell.stdio.print(&format!("{} {line}\n", stamp())).await;
            }
        }
        Site::Nginx => {
            shell
                .stdio
                .complain(&format!("{} [notice] 1#1: start worker processes\n", stamp()))
                .await
        }
        Site::Kubia(_) | Site::Unhealthy => shell.stdio.print("Kubia server starting...\n").await,
    }
    while let Some(line) = lines.recv().await {
        let line = if site == Site::Kuard {
            format!("{} {line}\n", stamp())
        } else {
            format!("{line}\n")
        };
        shell.stdio.print(&line).await;
    }
    0
}

/// An open port.
struct Port {
    hollow: super::Hollow,
    sandbox: String,
    port: u16,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.hollow.close(&self.sandbox, self.port);
    }
}
