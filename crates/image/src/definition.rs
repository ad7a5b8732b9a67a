//! An image as data: what its files, links and settings are. Its ID is the hash of exactly that.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Image, ImageConfig, ImageError};

/// What a program that is a link takes in a layer: a header of tar.
const LINK_SIZE: u64 = 512;

/// One entry of a root file system.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) enum Entry {
    Dir { path: String, mode: u32 },
    File { path: String, mode: u32, text: String },
    Link { path: String, to: String },
}

impl Entry {
    fn path(&self) -> &str {
        match self {
            Self::Dir { path, .. } | Self::File { path, .. } | Self::Link { path, .. } => path,
        }
    }
}

/// A built-in image.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Definition {
    /// Repository and tags; the first names the digest.
    #[serde(skip)]
    pub names: Vec<(&'static str, &'static [&'static str])>,
    /// A tag of the first repository besides.
    #[serde(skip)]
    pub tag: Option<String>,
    pub config: ImageConfig,
    /// Where the knarr binary appears.
    pub program: &'static str,
    /// Programs that are links to it, by directory.
    pub programs: Vec<(&'static str, &'static [&'static str])>,
    pub entries: Vec<Entry>,
}

impl Definition {
    /// Starts an image; every image has the directories and files that programs take for granted.
    pub(crate) fn new(program: &'static str, system: &str) -> Self {
        let mut definition = Self {
            names: Vec::new(),
            tag: None,
            config: ImageConfig::default(),
            program,
            programs: Vec::new(),
            entries: Vec::new(),
        };
        for (path, mode) in [
            ("/bin", 0o755),
            ("/dev", 0o755),
            ("/etc", 0o755),
            ("/home", 0o755),
            ("/proc", 0o555),
            ("/root", 0o700),
            ("/run", 0o755),
            ("/sbin", 0o755),
            ("/sys", 0o555),
            ("/tmp", 0o1777),
            ("/usr/bin", 0o755),
            ("/usr/sbin", 0o755),
            ("/usr/local/bin", 0o755),
            ("/var/log", 0o755),
            ("/var/run", 0o755),
            ("/var/tmp", 0o1777),
        ] {
            definition = definition.dir(path, mode);
        }
        definition
            .file(
                "/etc/passwd",
                0o644,
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            )
            .file("/etc/group", 0o644, "root:x:0:\ntty:x:5:\nnobody:x:65534:\n")
            .file(
                "/etc/os-release",
                0o644,
                &format!(
                    "ID={}\nPRETTY_NAME=\"{system}\"\nNAME=\"{system}\"\n",
                    system_id(system)
                ),
            )
            // The kubelet's own files are bound over these.
            .file("/etc/hosts", 0o644, "127.0.0.1\tlocalhost\n::1\tlocalhost\n")
            .file("/etc/hostname", 0o644, "")
            .file("/etc/resolv.conf", 0o644, "")
            // Name look-ups by the C library, should a program use them, go the same way as everywhere.
            .file(
                "/etc/nsswitch.conf",
                0o644,
                "passwd: files\ngroup: files\nhosts: files dns\n",
            )
    }

    pub(crate) fn name(mut self, repository: &'static str, tags: &'static [&'static str]) -> Self {
        self.names.push((repository, tags));
        self
    }

    /// Names it by a tag that nobody has listed.
    pub(crate) fn tagged(mut self, repository: &'static str, tag: &str) -> Self {
        self.names = vec![(repository, &[])];
        self.tag = Some(tag.to_owned());
        self
    }

    pub(crate) fn dir(mut self, path: &str, mode: u32) -> Self {
        self.entries.push(Entry::Dir {
            path: path.to_owned(),
            mode,
        });
        self
    }

    pub(crate) fn file(mut self, path: &str, mode: u32, text: &str) -> Self {
        self.entries.push(Entry::File {
            path: path.to_owned(),
            mode,
            text: text.to_owned(),
        });
        self
    }

    /// Makes `path` a program of the knarr binary; its file name says which.
    pub(crate) fn program(mut self, path: &str) -> Self {
        self.entries.push(Entry::Link {
            path: path.to_owned(),
            to: self.program.to_owned(),
        });
        self
    }

    pub(crate) fn programs(mut self, dir: &'static str, names: &'static [&'static str]) -> Self {
        self.programs.push((dir, names));
        self
    }

    pub(crate) fn entrypoint(mut self, words: &[&str]) -> Self {
        self.config.entrypoint = words.iter().map(|w| (*w).to_owned()).collect();
        self
    }

    pub(crate) fn cmd(mut self, words: &[&str]) -> Self {
        self.config.cmd = words.iter().map(|w| (*w).to_owned()).collect();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.config.env.retain(|(set, _)| set != name);
        self.config.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn user(mut self, user: &str) -> Self {
        self.config.user = user.to_owned();
        self
    }

    pub(crate) fn port(mut self, port: &str) -> Self {
        self.config.exposed_ports.push(port.to_owned());
        self
    }

    /// Everything but directories, links last.
    fn links(&self) -> impl Iterator<Item = Entry> + '_ {
        self.programs.iter().flat_map(move |(dir, names)| {
            names.iter().map(move |name| Entry::Link {
                path: format!("{dir}/{name}"),
                to: self.program.to_owned(),
            })
        })
    }

    /// The image's identity and settings. Its size is that of its own files: the programs lie in the knarr binary, which no image has alone.
    pub(crate) fn image(&self) -> Image {
        let content = serde_json::to_vec(self).unwrap_or_default();
        let hash = |bytes: &[u8]| -> String {
            let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
            format!("sha256:{hex}")
        };
        let id = hash(&content);
        // A manifest's digest is not its configuration's: registries name images by the former.
        let digest = hash(format!("manifest of {id}").as_bytes());
        let files = self.entries.iter().map(|entry| match entry {
            Entry::File { text, .. } => text.len() as u64,
            Entry::Dir { .. } | Entry::Link { .. } => 0,
        });
        let links = self
            .links()
            .chain(self.entries.iter().cloned())
            .filter(|entry| matches!(entry, Entry::Link { .. }));
        let size = files.sum::<u64>() + links.count() as u64 * LINK_SIZE;
        let first = self
            .names
            .first()
            .map_or("docker.io/library/unnamed", |(repository, _)| repository);
        Image {
            references: self
                .names
                .iter()
                .flat_map(|(r, tags)| tags.iter().map(move |tag| format!("{r}:{tag}")))
                .chain(self.tag.iter().map(|tag| format!("{first}:{tag}")))
                .collect(),
            id,
            repo_digest: format!("{first}@{digest}"),
            size,
            config: self.config.clone(),
        }
    }

    /// Writes the root file system under `root`, which is new.
    pub(crate) fn write(&self, root: &Path) -> Result<(), ImageError> {
        use std::os::unix::fs::PermissionsExt;
        let failed = |path: &Path| {
            let context = format!("cannot write {}", path.display());
            move |source| ImageError::Io { context, source }
        };
        let mut modes = Vec::new();
        for entry in self.entries.iter().cloned().chain(self.links()) {
            let path = root.join(entry.path().trim_start_matches('/'));
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(failed(parent))?;
            }
            match entry {
                Entry::Dir { mode, .. } => {
                    std::fs::create_dir_all(&path).map_err(failed(&path))?;
                    modes.push((path, mode));
                }
                Entry::File { mode, text, .. } => {
                    std::fs::write(&path, text).map_err(failed(&path))?;
                    modes.push((path, mode));
                }
                Entry::Link { to, .. } => {
                    // The same program may be listed twice.
                    if let Err(error) = std::os::unix::fs::symlink(&to, &path)
                        && error.kind() != std::io::ErrorKind::AlreadyExists
                    {
                        return Err(failed(&path)(error));
                    }
                }
            }
        }
        // What is bound needs something to be bound onto.
        let program = root.join(self.program.trim_start_matches('/'));
        if let Some(parent) = program.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        std::fs::write(&program, "").map_err(failed(&program))?;
        modes.push((program, 0o755));
        // Modes last and inner ones first: a directory without write permission could not be filled.
        for (path, mode) in modes.into_iter().rev() {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(failed(&path))?;
        }
        Ok(())
    }
}

fn system_id(system: &str) -> String {
    system.split_whitespace().next().unwrap_or("linux").to_ascii_lowercase()
}
