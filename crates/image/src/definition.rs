//! A built-in image as data: what its files, links and settings are; and the image that is made of that, the same wherever it is made.
//!
//! It has two layers: the programs of its kind of system, which many share, and what is its own.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::digest::Digest;
use crate::oci::{self, Configuration, Descriptor, ImageConfig, Manifest, Platform, RootFsIds};

/// The label that says where in an image the running program appears: as a file bound over the image's.
pub(crate) const PROGRAM: &str = "dev.knarr.program";
/// When the files of built-in images are from: 1 January 2025, so that all are made the same.
const MADE: u64 = 1_735_689_600;

/// One entry of a root file system.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Dir { path: String, mode: u32 },
    File { path: String, mode: u32, text: String },
    Link { path: String, to: String },
}

impl Entry {
    fn path(&self) -> &str {
        let (Self::Dir { path, .. } | Self::File { path, .. } | Self::Link { path, .. }) = self;
        path.trim_start_matches('/')
    }
}

/// A built-in image.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// Repository and tags; the first names the digest.
    pub names: Vec<(&'static str, &'static [&'static str])>,
    /// A tag of the first repository besides.
    pub tag: Option<String>,
    pub config: ImageConfig,
    /// Where the knarr binary appears.
    pub program: &'static str,
    /// Programs that are links to it, by directory.
    pub programs: Vec<(&'static str, &'static [&'static str])>,
    pub entries: Vec<Entry>,
    /// How many of the entries its kind of system has.
    shared: usize,
}

/// An image ready for the store.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Its names, in full.
    pub(crate) names: Vec<String>,
    pub(crate) manifest: Descriptor,
    /// Everything it is made of, manifest included.
    pub(crate) blobs: Vec<(Digest, Arc<[u8]>)>,
}

/// Layers that have been made for other images already, by what is in them.
#[derive(Debug, Default)]
pub(crate) struct Shared(HashMap<System, (Digest, Arc<[u8]>)>);

/// Where the running program appears, and which directories have programs of it.
type System = (&'static str, Vec<(&'static str, usize)>);

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
            shared: 0,
        };
        definition.config.labels.insert(PROGRAM.to_owned(), program.to_owned());
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
        definition = definition
            .file(
                "/etc/passwd",
                0o644,
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            )
            .file("/etc/group", 0o644, "root:x:0:\ntty:x:5:\nnobody:x:65534:\n")
            // The kubelet's own files are bound over these.
            .file("/etc/hosts", 0o644, "127.0.0.1\tlocalhost\n::1\tlocalhost\n")
            .file("/etc/hostname", 0o644, "")
            .file("/etc/resolv.conf", 0o644, "")
            // Name look-ups by the C library, should a program use them, go the same way as everywhere.
            .file(
                "/etc/nsswitch.conf",
                0o644,
                "passwd: files\ngroup: files\nhosts: files dns\n",
            );
        definition.shared = definition.entries.len();
        definition.file(
            "/etc/os-release",
            0o644,
            &format!(
                "ID={}\nPRETTY_NAME=\"{system}\"\nNAME=\"{system}\"\n",
                system_id(system)
            ),
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

    /// Its names, in full.
    pub(crate) fn references(&self) -> Vec<String> {
        let listed = self
            .names
            .iter()
            .flat_map(|(repository, tags)| tags.iter().map(move |tag| format!("{repository}:{tag}")));
        let own = self.tag.iter().zip(&self.names);
        listed
            .chain(own.map(|(tag, (repository, _))| format!("{repository}:{tag}")))
            .collect()
    }

    /// The layer of its kind of system: directories, accounts, programs as links to where the running program appears.
    fn system(&self) -> Vec<u8> {
        let links = self.programs.iter().flat_map(|(directory, names)| {
            names.iter().map(move |name| Entry::Link {
                path: format!("{directory}/{name}"),
                to: self.program.to_owned(),
            })
        });
        let program = Entry::File {
            path: self.program.to_owned(),
            mode: 0o755,
            text: String::new(),
        };
        archive(
            self.entries[..self.shared]
                .iter()
                .cloned()
                .chain([program])
                .chain(links),
        )
    }

    /// Makes the image.
    pub(crate) fn pack(&self, shared: &mut Shared) -> Packed {
        let named = |bytes: Vec<u8>| (Digest::of(&bytes), Arc::from(bytes));
        let programs = self.programs.iter().map(|(directory, names)| (*directory, names.len()));
        let system = shared.0.entry((self.program, programs.collect()));
        let system = system.or_insert_with(|| named(self.system()));
        let layers = [
            system.clone(),
            named(archive(self.entries[self.shared..].iter().cloned())),
        ];
        let describe =
            |(digest, bytes): &(Digest, Arc<[u8]>)| Descriptor::new(oci::LAYER, digest.clone(), bytes.len() as u64);
        let descriptors: Vec<Descriptor> = layers.iter().map(describe).collect();
        let platform = Platform::own();
        let configuration = Configuration {
            created: Some("2025-01-01T00:00:00Z".to_owned()),
            architecture: platform.architecture,
            os: platform.os,
            config: self.config.clone(),
            rootfs: RootFsIds {
                kind: "layers".to_owned(),
                // They are not compressed.
                diff_ids: descriptors.iter().map(|layer| layer.digest.clone()).collect(),
            },
            history: Vec::new(),
        };
        let configuration = named(serde_json::to_vec(&configuration).unwrap_or_default());
        let manifest = Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.to_owned(),
            config: Some(Descriptor::new(
                oci::CONFIG,
                configuration.0.clone(),
                configuration.1.len() as u64,
            )),
            layers: descriptors,
            manifests: Vec::new(),
        };
        let manifest = named(serde_json::to_vec(&manifest).unwrap_or_default());
        Packed {
            names: self.references(),
            manifest: Descriptor::new(oci::MANIFEST, manifest.0.clone(), manifest.1.len() as u64),
            blobs: layers.into_iter().chain([configuration, manifest]).collect(),
        }
    }
}

/// A layer's archive. Of a path that is listed twice the first counts.
fn archive(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut seen = HashSet::new();
    for entry in entries {
        if !seen.insert(entry.path().to_owned()) {
            continue;
        }
        let mut header = tar::Header::new_gnu();
        header.set_mtime(MADE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        // Writing to memory fails only for names that no definition has.
        let _ = match &entry {
            Entry::Dir { mode, .. } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                builder.append_data(&mut header, format!("{}/", entry.path()), io::empty())
            }
            Entry::File { mode, text, .. } => {
                header.set_mode(*mode);
                header.set_size(text.len() as u64);
                builder.append_data(&mut header, entry.path(), text.as_bytes())
            }
            Entry::Link { to, .. } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, entry.path(), to)
            }
        };
    }
    builder.into_inner().unwrap_or_default()
}

fn system_id(system: &str) -> String {
    system.split_whitespace().next().unwrap_or("linux").to_ascii_lowercase()
}
