//! The store as a whole: names to images, images to root file systems.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::fcntl::{Flock, FlockArg};

use crate::blob::Blobs;
use crate::chain::{Chains, Layer};
use crate::definition::{Definition, PROGRAM, Packed, Shared};
use crate::digest::Digest;
use crate::name::{self, Named, Names, Origin};
use crate::oci::{self, Configuration, Descriptor, Manifest};
use crate::{Bind, Doing, Image, ImageError, Reference, RootFs, builtin, elf};

/// The images a node can run.
#[derive(Debug)]
pub struct ImageStore {
    dir: PathBuf,
    program: PathBuf,
    pub(crate) blobs: Blobs,
    pub(crate) chains: Chains,
    state: Mutex<State>,
    binds: OnceLock<Vec<Bind>>,
}

#[derive(Debug)]
struct State {
    names: Names,
    catalogue: Vec<Packed>,
    shared: Shared,
    /// What manifests say, by their digests: content does not change.
    read: HashMap<Digest, Content>,
}

/// What an image is, whatever it is called.
#[derive(Clone, Debug)]
struct Content {
    manifest: Descriptor,
    config: Descriptor,
    configuration: Arc<Configuration>,
    layers: Vec<Layer>,
}

/// What a clean-up has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names of images.
    pub images: Vec<String>,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// Keeps a clean-up from taking for waste what is about to be named.
#[derive(Debug)]
pub struct Adding(#[expect(dead_code, reason = "held for what dropping it does")] Flock<File>);

impl ImageStore {
    /// Opens the store at `dir` (created if missing) with the built-in images in it, whose programs are this process' executable.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let program = std::env::current_exe().doing(|| "cannot find the running executable".to_owned())?;
        Self::with_program(dir, &program)
    }

    /// As [`Self::open`], with another executable that holds the programs: for tests, whose own executable has none.
    pub fn with_program(dir: &Path, program: &Path) -> Result<Self, ImageError> {
        let blobs = Blobs::open(dir)?;
        let layout = dir.join("oci-layout");
        if !layout.exists() {
            std::fs::write(&layout, oci::LAYOUT).doing(|| format!("cannot write {}", layout.display()))?;
        }
        let mut shared = Shared::default();
        let catalogue = builtin::all();
        Ok(Self {
            state: Mutex::new(State {
                names: Names::open(dir)?,
                catalogue: catalogue.iter().map(|image| image.pack(&mut shared)).collect(),
                shared,
                read: HashMap::new(),
            }),
            chains: Chains::open(dir)?,
            dir: dir.to_owned(),
            program: program.to_owned(),
            blobs,
            binds: OnceLock::new(),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While this is kept, no clean-up removes what has been added and has no name yet.
    pub fn adding(&self) -> Result<Adding, ImageError> {
        name::lock(&self.dir.join("adding.lock"), FlockArg::LockShared).map(Adding)
    }

    /// Every image, those with the most to them first.
    pub fn list(&self) -> Result<Vec<Arc<Image>>, ImageError> {
        let mut state = self.state();
        let named = state.named()?;
        let mut images: Vec<Arc<Image>> = Vec::new();
        let mut seen = HashSet::new();
        for one in &named {
            if !seen.insert(one.target.digest.clone()) {
                continue;
            }
            match state.image(&self.blobs, &one.target, &named) {
                Ok(image) => images.push(Arc::new(image)),
                Err(error) => tracing::warn!(image = one.name, %error, "an image in the store cannot be read"),
            }
        }
        images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.references.cmp(&b.references)));
        Ok(images)
    }

    /// Normalises `reference` as containerd does (`busybox` -> `docker.io/library/busybox:latest`) and looks it up. An image ID
    /// (`sha256:...`) finds its image too.
    pub fn find(&self, reference: &str) -> Result<Option<Arc<Image>>, ImageError> {
        let mut state = self.state();
        let named = state.named()?;
        let target = match reference.parse::<Digest>() {
            Ok(digest) => {
                let mut found = None;
                for one in &named {
                    let content = state.content(&self.blobs, &one.target);
                    if content.is_ok_and(|content| content.config.digest == digest || one.target.digest == digest) {
                        found = Some((one.target.clone(), one.origin));
                        break;
                    }
                }
                found
            }
            Err(_) => {
                let wanted = Reference::parse(reference)?;
                let known = lookup(&named, &wanted).map(|one| (one.target.clone(), one.origin));
                known.or_else(|| Some((state.release(&wanted)?, Origin::BuiltIn)))
            }
        };
        let Some((target, origin)) = target else {
            return Ok(None);
        };
        // A name that has just been made of a release is among them now.
        let named = state.named()?;
        let mut image = state.image(&self.blobs, &target, &named)?;
        image.from_registry = origin == Origin::Registry;
        Ok(Some(Arc::new(image)))
    }

    /// Completes a reference as containerd does, without looking anything up.
    pub fn normalize(reference: &str) -> Result<String, ImageError> {
        Ok(Reference::parse(reference)?.to_string())
    }

    /// As [`Self::find`], for who needs it.
    pub fn get(&self, reference: &str) -> Result<Arc<Image>, ImageError> {
        self.find(reference)?
            .ok_or_else(|| ImageError::NotFound(format!("{reference}: there is no such image")))
    }

    /// Prepares the image's root file system, once; later calls are cheap.
    pub fn unpack(&self, image: &Image) -> Result<RootFs, ImageError> {
        let _adding = self.adding()?;
        self.settle(image)?;
        let (lower, lease) = self.chains.unpack(&self.blobs, &image.layers, image.built_in)?;
        Ok(RootFs {
            lower,
            binds: self.binds(&image.config),
            lease: Some(lease),
        })
    }

    /// What an image asks to have bound into its containers.
    pub(crate) fn binds(&self, config: &crate::ImageConfig) -> Vec<Bind> {
        let Some(target) = config.labels.get(PROGRAM).filter(|path| path.starts_with('/')) else {
            return Vec::new();
        };
        let program = Bind {
            source: self.program.clone(),
            target: target.into(),
        };
        let libraries = self.binds.get_or_init(|| elf::dependencies(&self.program));
        [program].into_iter().chain(libraries.iter().cloned()).collect()
    }

    /// Puts a built-in image on the disk, where all others are.
    pub(crate) fn settle(&self, image: &Image) -> Result<(), ImageError> {
        if !image.built_in {
            return Ok(());
        }
        let mut state = self.state();
        let Some(target) = &image.target else { return Ok(()) };
        let Some(packed) = state.catalogue.iter().find(|packed| packed.manifest == *target) else {
            return Ok(());
        };
        for (digest, bytes) in &packed.blobs {
            self.blobs.put_again(digest, bytes)?;
        }
        let known = state.names.all()?;
        if known.iter().any(|named| named.target == *target) {
            return Ok(());
        }
        let added = image.references.iter().map(|name| Named {
            name: name.clone(),
            target: target.clone(),
            origin: Origin::BuiltIn,
        });
        let added: Vec<Named> = added.collect();
        state.names.change(|all| {
            all.retain(|old| old.origin != Origin::BuiltIn || added.iter().all(|new| new.name != old.name));
            all.extend(added);
        })
    }

    /// Gives an image another name, which may have been another's.
    pub fn tag(&self, image: &Image, reference: &str) -> Result<String, ImageError> {
        let wanted = Reference::parse(reference)?;
        if wanted.digest.is_some() {
            return Err(ImageError::Invalid(format!("{reference}: a digest is no tag")));
        }
        let _adding = self.adding()?;
        self.settle(image)?;
        let target = image
            .target
            .clone()
            .ok_or_else(|| ImageError::NotFound(image.id.clone()))?;
        self.name(&wanted.to_string(), target, Origin::Here)
    }

    pub(crate) fn name(&self, name: &str, target: Descriptor, origin: Origin) -> Result<String, ImageError> {
        let named = Named {
            name: name.to_owned(),
            target,
            origin,
        };
        self.state().names.change(|all| {
            all.retain(|old| old.name != name);
            all.push(named);
        })?;
        Ok(name.to_owned())
    }

    /// Forgets names: the one that is given, or all of the image whose ID is given. Its content goes with the next clean-up.
    pub fn remove(&self, reference: &str) -> Result<Vec<String>, ImageError> {
        let image = self.get(reference)?;
        let gone: Vec<String> = match reference.parse::<Digest>() {
            Ok(_) => image.references.clone(),
            Err(_) => vec![Self::normalize(reference)?],
        };
        let mut removed = Vec::new();
        self.state().names.change(|all| {
            all.retain(|one| {
                let goes = one.origin != Origin::BuiltIn && gone.contains(&one.name);
                if goes {
                    removed.push(one.name.clone());
                }
                !goes
            });
        })?;
        if removed.is_empty() {
            return Err(ImageError::Invalid(format!(
                "{reference} is built in: it cannot be removed"
            )));
        }
        Ok(removed)
    }

    /// Removes what no name leads to. With `unused`, also the images that `used` does not name; built-in ones are made again when they are
    /// needed.
    pub fn prune(&self, unused: bool, used: impl Fn(&Image) -> bool) -> Result<Pruned, ImageError> {
        let path = self.dir.join("adding.lock");
        let _alone = name::lock(&path, FlockArg::LockExclusive)?;
        let images: Vec<Arc<Image>> = self.list()?;
        let mut pruned = Pruned::default();
        if unused {
            let kept: HashSet<&Digest> = images
                .iter()
                .filter(|image| used(image))
                .filter_map(|image| image.target.as_ref())
                .map(|target| &target.digest)
                .collect();
            let gone = &mut pruned.images;
            self.state().names.change(|all| {
                all.retain(|one| {
                    let stays = kept.contains(&one.target.digest);
                    if !stays && one.origin != Origin::BuiltIn {
                        gone.push(one.name.clone());
                    }
                    stays
                });
            })?;
        }
        let mut state = self.state();
        let named = state.names.all()?.to_vec();
        let (mut blobs, mut chains) = (HashSet::new(), HashSet::new());
        for one in &named {
            blobs.insert(one.target.digest.clone());
            let content = state.content(&self.blobs, &one.target)?;
            blobs.extend([content.manifest.digest, content.config.digest]);
            for layer in content.layers {
                blobs.insert(layer.blob.digest);
                chains.insert(layer.chain);
            }
        }
        for (digest, size) in self.blobs.all()? {
            if !blobs.contains(&digest) {
                self.blobs.remove(&digest)?;
                pruned.bytes += size;
            }
        }
        pruned.bytes += self.blobs.forget_partial();
        pruned.bytes += self.chains.prune(&chains)?;
        Ok(pruned)
    }

    /// Whether a container has an image's files, in whichever process.
    pub fn in_use(&self, image: &Image) -> bool {
        image.layers.last().is_some_and(|top| self.chains.in_use(&top.chain))
    }

    /// The document that says how to run an image, and how it was made.
    pub fn configuration(&self, image: &Image) -> Result<Vec<u8>, ImageError> {
        self.settle(image)?;
        let id: Digest = image.id.parse()?;
        self.blobs.read_digest(&id, oci::MOST_CONFIG)
    }

    /// The digests and sizes of an image's layers, lowest first.
    pub fn layers(&self, image: &Image) -> Vec<(Digest, u64)> {
        let layer = |layer: &Layer| (layer.blob.digest.clone(), layer.blob.size);
        image.layers.iter().map(layer).collect()
    }

    /// What an image's descriptor leads to, read and checked.
    pub(crate) fn check(&self, target: &Descriptor) -> Result<Image, ImageError> {
        self.state().image(&self.blobs, target, &[])
    }
}

/// The image that is meant.
fn lookup<'a>(named: &'a [Named], wanted: &Reference) -> Option<&'a Named> {
    let Some(digest) = &wanted.digest else {
        let name = wanted.to_string();
        return named.iter().find(|one| one.name == name);
    };
    // With a digest the tag is only decoration.
    named.iter().find(|one| {
        one.target.digest.as_str() == digest
            && Reference::parse(&one.name).is_ok_and(|name| name.repository == wanted.repository)
    })
}

impl State {
    /// All names: those on the disk, and the built-in ones that have not been taken by others.
    fn named(&mut self) -> Result<Vec<Named>, ImageError> {
        let own = self.names.all()?.iter().filter(|one| one.origin != Origin::BuiltIn);
        let mut named = own.cloned().collect::<Vec<_>>();
        let taken: HashSet<String> = named.iter().map(|one| one.name.clone()).collect();
        for packed in &self.catalogue {
            let names = packed.names.iter().filter(|name| !taken.contains(*name));
            named.extend(names.map(|name| Named {
                name: name.clone(),
                target: packed.manifest.clone(),
                origin: Origin::BuiltIn,
            }));
        }
        Ok(named)
    }

    /// Makes an image of a family of which there is every release.
    fn release(&mut self, wanted: &Reference) -> Option<Descriptor> {
        let tag = wanted.tag.as_deref().filter(|_| wanted.digest.is_none())?;
        let definition: Definition = builtin::release(&wanted.repository, tag)?;
        let packed = definition.pack(&mut self.shared);
        let target = packed.manifest.clone();
        self.catalogue.push(packed);
        Some(target)
    }

    /// Reads what a descriptor leads to: through an index, to the manifest for this machine.
    fn content(&mut self, blobs: &Blobs, target: &Descriptor) -> Result<Content, ImageError> {
        if let Some(known) = self.read.get(&target.digest) {
            return Ok(known.clone());
        }
        let packed = self.catalogue.iter().find(|packed| packed.manifest == *target);
        let read = |wanted: &Descriptor, most| {
            let mut made = packed.iter().flat_map(|packed| &packed.blobs);
            let made = made.find(|(digest, _)| *digest == wanted.digest);
            made.map_or_else(|| blobs.read(wanted, most), |(_, bytes)| Ok(bytes.to_vec()))
        };
        let (manifest, document) = manifest_for_here(target, &read)?;
        let no_image = || ImageError::Invalid(format!("{} is no image: it has no configuration", manifest.digest));
        let config = document.config.ok_or_else(no_image)?;
        let configuration: Configuration = serde_json::from_slice(&read(&config, oci::MOST_CONFIG)?)
            .map_err(|error| ImageError::Invalid(format!("the configuration {} is damaged: {error}", config.digest)))?;
        let ids = &configuration.rootfs.diff_ids;
        if ids.len() != document.layers.len() || ids.len() > oci::MOST_LAYERS {
            return Err(ImageError::Invalid(format!(
                "mismatched image rootfs and manifest layers: {} has {} layers, its configuration says {}",
                manifest.digest,
                document.layers.len(),
                ids.len()
            )));
        }
        let content = Content {
            layers: Layer::chain(document.layers, ids),
            manifest,
            config,
            configuration: Arc::new(configuration),
        };
        self.read.insert(target.digest.clone(), content.clone());
        Ok(content)
    }

    fn image(&mut self, blobs: &Blobs, target: &Descriptor, named: &[Named]) -> Result<Image, ImageError> {
        let content = self.content(blobs, target)?;
        let own: Vec<&Named> = named.iter().filter(|one| one.target.digest == target.digest).collect();
        let repository = own.first().and_then(|one| Reference::parse(&one.name).ok());
        let repo_digest = match &repository {
            Some(name) => format!("{}@{}", name.repository, target.digest),
            None => content.config.digest.to_string(),
        };
        let layers: u64 = content.layers.iter().map(|layer| layer.blob.size).sum();
        Ok(Image {
            references: own.iter().map(|one| one.name.clone()).collect(),
            id: content.config.digest.to_string(),
            repo_digest,
            size: layers + content.config.size + content.manifest.size,
            created: content.configuration.created.clone(),
            config: content.configuration.config.clone(),
            built_in: self.catalogue.iter().any(|packed| packed.manifest == *target),
            from_registry: false,
            target: Some(target.clone()),
            manifest: Some(content.manifest),
            layers: content.layers,
        })
    }
}

/// Reads what a descriptor stands for, of at most so many bytes.
pub(crate) type Fetch<'a> = dyn Fn(&Descriptor, u64) -> Result<Vec<u8>, ImageError> + 'a;

/// The manifest that a descriptor stands for, or that of its index which is for this machine.
pub(crate) fn manifest_for_here(target: &Descriptor, read: &Fetch<'_>) -> Result<(Descriptor, Manifest), ImageError> {
    /// An index may list indices.
    const DEEPEST: usize = 3;
    let mut target = target.clone();
    for _ in 0..DEEPEST {
        let document: Manifest = serde_json::from_slice(&read(&target, oci::MOST_MANIFEST)?)
            .map_err(|error| ImageError::Invalid(format!("the manifest {} is damaged: {error}", target.digest)))?;
        if document.manifests.is_empty() {
            return Ok((target, document));
        }
        target = here(document.manifests).ok_or_else(|| {
            let own = oci::Platform::own();
            ImageError::Invalid(format!(
                "no match for platform in manifest: {}/{} not found",
                own.os, own.architecture
            ))
        })?;
    }
    Err(ImageError::Invalid(format!(
        "{} lists indices of indices",
        target.digest
    )))
}

/// Of several manifests the one for this machine; one without a platform is for any.
pub(crate) fn here(manifests: Vec<Descriptor>) -> Option<Descriptor> {
    let mut fitting = manifests
        .into_iter()
        .filter(|one| one.platform.as_ref().is_none_or(oci::Platform::runs_here));
    fitting.next()
}

#[cfg(test)]
mod tests;
