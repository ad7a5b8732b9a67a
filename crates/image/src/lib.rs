//! The image store and the built-in images.
//!
//! An image here is what the OCI image specification calls one: a configuration (entrypoint, command, environment, user) and a root
//! file system. The built-in images carry no distribution: their programs are applets of the knarr binary itself, bound
//! into the container together with the shared libraries it needs.

mod builtin;
mod definition;
mod elf;
mod reference;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

/// The part of an OCI image configuration that running a container needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageConfig {
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `ENV`, in order, as `NAME=value`.
    pub env: Vec<(String, String)>,
    /// `WORKDIR`; empty means `/`.
    pub working_dir: String,
    /// `USER` as written; empty means root.
    pub user: String,
    /// `EXPOSE`, as `8080/tcp`.
    pub exposed_ports: Vec<String>,
    /// `STOPSIGNAL`; empty means SIGTERM.
    pub stop_signal: String,
}

/// One image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Every reference that names it, normalised (`docker.io/library/busybox:1.28`).
    pub references: Vec<String>,
    /// Image ID: `sha256:` and 64 hex digits.
    pub id: String,
    /// Digest reference for `status.containerStatuses[].imageID` (`docker.io/luksa/kubia@sha256:...`).
    pub repo_digest: String,
    /// Size in bytes, as `kubectl describe node` and the "Successfully pulled" event show it.
    pub size: u64,
    /// How to run it.
    pub config: ImageConfig,
}

/// One file or directory of the host made visible inside a container, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside the container.
    pub target: PathBuf,
}

/// A root file system ready to be the lower layer of a container.
#[derive(Clone, Debug)]
pub struct RootFs {
    /// Directory with the image's files; shared by all its containers, never written.
    pub lower: PathBuf,
    /// What is bound over it: the knarr binary at its applet path, its dynamic loader and shared libraries.
    pub binds: Vec<Bind>,
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference cannot be parsed (Kubernetes: `InvalidImageName`).
    #[error("couldn't parse image reference {0:?}: invalid reference format")]
    InvalidName(String),
    /// Not in the store, and no registry is reachable (Kubernetes: `ErrImagePull`).
    #[error("{0}")]
    NotFound(String),
    /// The file system failed.
    #[error("{context}")]
    Io {
        /// What was being done.
        context: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// The images a node can run.
#[derive(Debug)]
pub struct ImageStore {
    dir: PathBuf,
    program: PathBuf,
    images: RwLock<Vec<Stored>>,
    binds: OnceLock<Vec<Bind>>,
    /// Two containers of one image may start at once; one of them writes its files.
    unpacking: Mutex<()>,
}

/// An image and where its files come from. Other origins than built-in ones (OCI layouts, `docker save` archives) become other variants.
#[derive(Debug)]
struct Stored {
    image: Arc<Image>,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    BuiltIn(Box<definition::Definition>),
}

impl Stored {
    fn built_in(definition: definition::Definition) -> Self {
        Self {
            image: Arc::new(definition.image()),
            origin: Origin::BuiltIn(Box::new(definition)),
        }
    }
}

impl ImageStore {
    /// Opens the store at `dir` (created if missing) with the built-in images in it, whose programs are this process' executable.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let program = std::env::current_exe().map_err(|source| ImageError::Io {
            context: "cannot find the running executable".to_owned(),
            source,
        })?;
        Self::with_program(dir, &program)
    }

    /// As [`Self::open`], with another executable that holds the programs: for tests, whose own executable has none.
    pub fn with_program(dir: &Path, program: &Path) -> Result<Self, ImageError> {
        let io = |context: String| move |source| ImageError::Io { context, source };
        std::fs::create_dir_all(dir).map_err(io(format!("cannot create {}", dir.display())))?;
        let images = builtin::all().into_iter().map(Stored::built_in).collect();
        Ok(Self {
            dir: dir.to_owned(),
            program: program.to_owned(),
            images: RwLock::new(images),
            binds: OnceLock::new(),
            unpacking: Mutex::new(()),
        })
    }

    /// Every image, built-ins first.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.read().iter().map(|stored| Arc::clone(&stored.image)).collect()
    }

    /// Normalises `reference` as containerd does (`busybox` -> `docker.io/library/busybox:latest`) and looks it up. An image ID
    /// (`sha256:...`) finds its image too.
    pub fn find(&self, reference: &str) -> Result<Option<Arc<Image>>, ImageError> {
        if let Some(stored) = self.read().iter().find(|stored| stored.image.id == reference) {
            return Ok(Some(Arc::clone(&stored.image)));
        }
        let wanted = reference::Reference::parse(reference)?;
        if let Some(image) = self.known(&wanted) {
            return Ok(Some(image));
        }
        let release = wanted
            .tag
            .as_deref()
            .filter(|_| wanted.digest.is_none())
            .and_then(|tag| builtin::release(&wanted.repository, tag));
        let Some(definition) = release else {
            return Ok(None);
        };
        let stored = Stored::built_in(definition);
        let image = Arc::clone(&stored.image);
        let mut images = self.images.write().unwrap_or_else(PoisonError::into_inner);
        if !images
            .iter()
            .any(|known| known.image.id == image.id && known.image.references == image.references)
        {
            images.push(stored);
        }
        Ok(Some(image))
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Stored>> {
        self.images.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, wanted: &reference::Reference) -> Option<Arc<Image>> {
        let images = self.read();
        let found = images.iter().find(|stored| match (&wanted.digest, &wanted.tag) {
            // With a digest the tag is only decoration.
            (Some(digest), _) => {
                let (repository, own) = stored.image.repo_digest.split_once('@').unwrap_or_default();
                own == digest && repository == wanted.repository
            }
            (None, Some(tag)) => {
                let full = format!("{}:{tag}", wanted.repository);
                stored.image.references.contains(&full)
            }
            (None, None) => false,
        });
        found.map(|stored| Arc::clone(&stored.image))
    }

    /// Completes a reference as containerd does, without looking anything up.
    pub fn normalize(reference: &str) -> Result<String, ImageError> {
        Ok(reference::Reference::parse(reference)?.to_string())
    }

    /// Prepares the image's root file system, once; later calls are cheap.
    pub fn unpack(&self, image: &Image) -> Result<RootFs, ImageError> {
        let images = self.read();
        let stored = images
            .iter()
            .find(|stored| stored.image.id == image.id)
            .ok_or_else(|| ImageError::NotFound(format!("image {} is not in the store", image.id)))?;
        let Origin::BuiltIn(definition) = &stored.origin;
        let lower = self.dir.join("rootfs").join(image.id.trim_start_matches("sha256:"));
        let _one = self.unpacking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !lower.is_dir() {
            self.write(definition, &lower)?;
        }
        let mut binds = vec![Bind {
            source: self.program.clone(),
            target: PathBuf::from(definition.program),
        }];
        binds.extend(
            self.binds
                .get_or_init(|| elf::dependencies(&self.program))
                .iter()
                .cloned(),
        );
        Ok(RootFs { lower, binds })
    }

    /// Writes beside the final place and renames, so that a root file system is there whole or not at all, also after a power cut and when
    /// another process does the same.
    fn write(&self, definition: &definition::Definition, lower: &Path) -> Result<(), ImageError> {
        let io = |path: &Path| {
            let context = format!("cannot prepare {}", path.display());
            move |source| ImageError::Io { context, source }
        };
        let fresh = lower.with_extension(format!("new-{}", std::process::id()));
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).map_err(io(&fresh))?;
        }
        std::fs::create_dir_all(&fresh).map_err(io(&fresh))?;
        definition.write(&fresh)?;
        match std::fs::rename(&fresh, lower) {
            Ok(()) => Ok(()),
            Err(_) if lower.is_dir() => std::fs::remove_dir_all(&fresh).map_err(io(&fresh)),
            Err(source) => Err(io(lower)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ImageStore) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = ImageStore::open(dir.path()).expect("a store");
        (dir, store)
    }

    #[test]
    fn every_name_that_exercises_use_is_found() {
        let (_dir, store) = store();
        for name in [
            "gcr.io/kuar-demo/kuard-amd64:blue",
            "gcr.io/kuar-demo/kuard-amd64:1",
            "luksa/kubia",
            "docker.io/luksa/kubia:v2",
            "nginx",
            "nginx:1.14.2",
            "nginx:1.15.4",
            "nginx:1.16.0",
            "nginx:1.25.3-alpine",
            "busybox:1.36.0-musl",
            "alpine:3.18.4",
            "busybox",
            "busybox:1.28",
            "luksa/kubia-pet",
            "luksa/kubia-pet-peers",
            "luksa/fortune",
            "luksa/batch-job",
            "tutum/dnsutils",
            "alpine:3.20",
            "curlimages/curl",
            "registry.k8s.io/pause:3.9",
        ] {
            assert!(store.find(name).expect("a valid name").is_some(), "{name}");
        }
        for name in [
            "nginx:1.161",
            "nginx:2.0",
            "nginx:1.x",
            "nginx:1.2.3.4",
            "busybox:9.1",
            "alpine:4",
        ] {
            assert!(store.find(name).expect("a valid name").is_none(), "{name}");
        }
        let release = store.find("nginx:1.16.0").expect("a valid name").expect("found");
        assert!(release.config.env.contains(&("NGINX_VERSION".into(), "1.16.0".into())));
        assert_eq!(release.references, ["docker.io/library/nginx:1.16.0"]);
        assert!(store.find("NGINX").is_err());
    }

    #[test]
    fn names_and_identities_are_unique() {
        let (_dir, store) = store();
        let mut names = std::collections::HashSet::new();
        let mut ids = std::collections::HashSet::new();
        for image in store.list() {
            assert!(ids.insert(image.id.clone()), "{image:?}");
            assert!(!image.references.is_empty());
            for reference in &image.references {
                assert_eq!(ImageStore::normalize(reference).expect("valid"), *reference);
                assert!(names.insert(reference.clone()), "{reference} names two images");
            }
            let by_digest = store.find(&image.repo_digest).expect("valid").expect("found by digest");
            assert_eq!(by_digest.id, image.id);
            assert_eq!(store.find(&image.id).expect("valid").expect("found by ID").id, image.id);
        }
    }

    #[test]
    fn a_root_file_system_is_written_once_and_whole() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, store) = store();
        for image in store.list() {
            let root = store.unpack(&image).expect("unpacked");
            let again = store.unpack(&image).expect("unpacked again");
            assert_eq!(root.lower, again.lower);
            assert!(root.lower.join("etc/passwd").is_file());
            let tmp = std::fs::metadata(root.lower.join("tmp")).expect("/tmp");
            assert_eq!(tmp.permissions().mode() & 0o7777, 0o1777);
            let program = &root.binds[0];
            assert!(
                root.lower
                    .join(program.target.strip_prefix("/").expect("absolute"))
                    .is_file()
            );
            // The first word of what runs exists in the image.
            let argv: Vec<&String> = image.config.entrypoint.iter().chain(&image.config.cmd).collect();
            let name = argv.first().expect("a command");
            let path = image
                .config
                .env
                .iter()
                .find(|(n, _)| n == "PATH")
                .expect("PATH")
                .1
                .clone();
            let found = if name.starts_with('/') {
                root.lower.join(name.trim_start_matches('/')).symlink_metadata().is_ok()
            } else {
                path.split(':')
                    .any(|dir| root.lower.join(&dir[1..]).join(name).symlink_metadata().is_ok())
            };
            assert!(found, "{name} in {:?}", image.references);
        }
    }

    #[test]
    fn settings_name_things_once_and_users_that_exist() {
        let (_dir, store) = store();
        for image in store.list() {
            let mut names: Vec<&String> = image.config.env.iter().map(|(name, _)| name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{:?}", image.config.env);
            let root = store.unpack(&image).expect("unpacked");
            for (user, file) in image
                .config
                .user
                .split(':')
                .zip(["etc/passwd", "etc/group"])
                .filter(|(user, _)| !user.is_empty())
            {
                let text = std::fs::read_to_string(root.lower.join(file)).expect("readable");
                assert!(
                    text.lines().any(|line| line.split(':').next() == Some(user)),
                    "{user} in {text}"
                );
            }
        }
    }

    #[test]
    fn every_link_in_an_image_is_a_program_that_exists() {
        let (_dir, store) = store();
        for image in store.list() {
            let root = store.unpack(&image).expect("unpacked");
            let program = &root.binds[0].target;
            let mut dirs = vec![root.lower.clone()];
            while let Some(dir) = dirs.pop() {
                for entry in std::fs::read_dir(&dir).expect("readable").flatten() {
                    let kind = entry.file_type().expect("its type");
                    if kind.is_dir() {
                        dirs.push(entry.path());
                    } else if kind.is_symlink() {
                        assert_eq!(&std::fs::read_link(entry.path()).expect("a link"), program);
                        let name = entry.file_name().into_string().expect("text");
                        assert!(
                            knarr_toolbox::names().any(|n| n == name),
                            "{name} in {:?}",
                            image.references
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn small_images_have_no_bash() {
        let (_dir, store) = store();
        for (name, bash) in [
            ("gcr.io/kuar-demo/kuard-amd64:blue", false),
            ("busybox", false),
            ("alpine", false),
            ("nginx", true),
            ("luksa/kubia", true),
        ] {
            let image = store.find(name).expect("valid").expect("found");
            let root = store.unpack(&image).expect("unpacked");
            assert_eq!(root.lower.join("bin/bash").symlink_metadata().is_ok(), bash, "{name}");
            assert!(root.lower.join("bin/sh").symlink_metadata().is_ok(), "{name}");
        }
    }
}
