//! Finding a container's program and becoming it.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::linux::wire::{Context, Failure};
use crate::{ContainerSpec, program};

/// Most of `/etc/passwd` read.
const PASSWD: u64 = 1 << 20;

/// Whom a container's processes run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    home: String,
}

impl Identity {
    /// The numbers asked for, completed from the container's `/etc/passwd`. Runs inside the container's root.
    pub(super) fn of(spec: &ContainerSpec) -> Self {
        let mut passwd = String::new();
        if let Ok(file) = fs::File::open("/etc/passwd") {
            // A file that is not text has no entry we could use.
            drop(file.take(PASSWD).read_to_string(&mut passwd));
        }
        Self::look_up(spec.uid.unwrap_or(0), spec.gid, &passwd)
    }

    fn look_up(uid: u32, gid: Option<u32>, passwd: &str) -> Self {
        let entry = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, number, group, _, home, ..] = fields[..] else {
                return None;
            };
            (number.parse() == Ok(uid)).then(|| (group.parse().unwrap_or(0), home.to_owned()))
        });
        let (group, home) = entry.unwrap_or_else(|| (0, if uid == 0 { "/root" } else { "/" }.to_owned()));
        Self {
            uid,
            gid: gid.unwrap_or(group),
            home,
        }
    }
}

/// A program found and ready to be executed.
pub(super) struct Prepared {
    path: PathBuf,
    file: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Prepared {
    /// Looks `argv[0]` up inside the container this process is in.
    pub(super) fn find(argv: &[String], spec: &ContainerSpec, identity: &Identity, tty: bool) -> Result<Self, Failure> {
        let environment = environment(spec, identity, tty);
        let path = program::find(argv, program::search_path(&environment), Path::new(""), |path| {
            let found = fs::metadata(path)?;
            Ok((found.is_dir(), found.permissions().mode() & 0o111 != 0))
        })
        .map_err(Failure::NoSuchProgram)?;
        Ok(Self {
            file: c_string(path.as_os_str())?,
            arguments: argv.iter().map(|a| c_string(OsStr::new(a))).collect::<Result<_, _>>()?,
            environment: environment
                .iter()
                .map(|(name, value)| c_string(OsStr::new(&format!("{name}={value}"))))
                .collect::<Result<_, _>>()?,
            path,
        })
    }

    /// Replaces this process. The program exists, so a failure from here on (a missing interpreter, a foreign format) is
    /// the container's own: it goes to its standard error, as container runtimes have it.
    pub(super) fn execute(self) -> ! {
        let Err(error) = nix::unistd::execve(&self.file, &self.arguments, &self.environment);
        let reason = program::reason(&error.into());
        drop(writeln!(std::io::stderr(), "exec {}: {reason}", self.path.display()));
        std::process::exit(255)
    }
}

fn c_string(text: &OsStr) -> Result<CString, Failure> {
    CString::new(text.as_bytes())
        .map_err(std::io::Error::from)
        .context("pass an argument")
}

/// The container's environment with what every program may expect filled in.
fn environment(spec: &ContainerSpec, identity: &Identity, tty: bool) -> Vec<(String, String)> {
    let hostname = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    program::environment(&spec.env, &[("HOSTNAME", &hostname), ("HOME", &identity.home)], tty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_home_come_from_passwd_unless_asked_otherwise() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:1000:1001:Web:/srv/web:/bin/sh\n";
        let web = Identity::look_up(1000, None, passwd);
        assert_eq!((web.gid, web.home.as_str()), (1001, "/srv/web"));
        assert_eq!(Identity::look_up(1000, Some(7), passwd).gid, 7);
        let nobody = Identity::look_up(65534, None, passwd);
        assert_eq!((nobody.gid, nobody.home.as_str()), (0, "/"));
        assert_eq!(Identity::look_up(0, None, "").home, "/root");
    }
}
