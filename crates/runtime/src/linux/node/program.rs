//! Finding a container's program and becoming it.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::root;
use crate::linux::wire::{Context, Failure};
use crate::{ContainerSpec, program};

/// Most of `/etc/passwd` and `/etc/group` read.
const ACCOUNTS: u64 = 1 << 20;

/// Whom a container's processes run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// All groups, the primary one first.
    pub(super) groups: Vec<u32>,
    home: String,
}

impl Identity {
    /// The numbers asked for, completed from the container's `/etc/passwd` and `/etc/group`. Runs inside the container's root.
    pub(super) fn of(spec: &ContainerSpec) -> Self {
        let text = |path: &str| {
            let mut text = String::new();
            if let Ok(file) = root::read(path) {
                // A file that is not text has no entry we could use.
                drop(file.take(ACCOUNTS).read_to_string(&mut text));
            }
            text
        };
        let groups = if spec.security.groups_of_image {
            text("/etc/group")
        } else {
            String::new()
        };
        Self::look_up(spec, &text("/etc/passwd"), &groups)
    }

    fn look_up(spec: &ContainerSpec, passwd: &str, group: &str) -> Self {
        let uid = spec.uid.unwrap_or(0);
        let entry = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, number, group, _, home, ..] = fields[..] else {
                return None;
            };
            (number.parse() == Ok(uid)).then(|| (name, group.parse().unwrap_or(0), home.to_owned()))
        });
        let gid = spec.gid.unwrap_or(entry.as_ref().map_or(0, |(_, group, _)| *group));
        let of_image = group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (number, members) = (fields.nth(2)?.parse().ok()?, fields.next()?);
            let (name, ..) = entry.as_ref()?;
            members.split(',').any(|member| member == *name).then_some(number)
        });
        let mut groups = Vec::new();
        for group in std::iter::once(gid)
            .chain(of_image)
            .chain(spec.security.groups.iter().copied())
        {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let home = entry.map(|(_, _, home)| home).filter(|home| !home.is_empty());
        Self {
            uid,
            gid,
            groups,
            home: home.unwrap_or_else(|| if uid == 0 { "/root" } else { "/" }.to_owned()),
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
        crate::close_inherited_on_exec();
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
    fn groups_and_home_come_from_the_image_s_accounts_unless_asked_otherwise() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:1000:1001:Web:/srv/web:/bin/sh\n";
        let group = "root:x:0:\nbroken\nlogs:x:50:adm,web\nmail:x:51:webmaster\n";
        let look_up = |uid, gid, asked: &[u32]| {
            let security = crate::Security {
                groups: asked.to_vec(),
                ..crate::Security::default()
            };
            let spec = ContainerSpec {
                uid,
                gid,
                security,
                ..ContainerSpec::default()
            };
            Identity::look_up(&spec, passwd, group)
        };
        let web = look_up(Some(1000), None, &[2000, 1001]);
        assert_eq!((web.gid, web.home.as_str()), (1001, "/srv/web"));
        assert_eq!(web.groups, [1001, 50, 2000]);
        assert_eq!(look_up(Some(1000), Some(7), &[]).groups, [7, 50]);
        let nobody = look_up(Some(65534), None, &[]);
        assert_eq!((nobody.gid, nobody.home.as_str(), nobody.groups), (0, "/", vec![0]));
        assert_eq!(look_up(None, None, &[]).home, "/root");
    }
}
