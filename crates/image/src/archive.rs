//! Images in files: OCI layouts as directories and archives, archives of `docker save`, and archives of root file systems.
//!
//! Nothing of an archive is unpacked on the way in: its files are found by their names and read where they lie, and become blobs whose
//! digests are checked. What is written has both forms at once, so that docker, podman, skopeo and containerd read it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::blob::Blobs;
use crate::digest::{Digest, Hashing};
use crate::layer::{self, Bounds};
use crate::name::{self, Origin};
use crate::oci::{self, Configuration, Descriptor, ImageConfig, Manifest, Platform, RootFsIds};
use crate::store::{here, manifest_for_here};
use crate::{Doing, Image, ImageError, ImageStore, Reference};

/// The tag alone, as most tools write it.
const TAG: &str = "org.opencontainers.image.ref.name";
/// Links from name to name in an archive.
const MOST_LINKS: usize = 8;

/// An image as `docker save` lists it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Where a file of an archive is.
enum Place {
    File { offset: u64, size: u64 },
    Link(PathBuf),
}

/// Files by name.
enum Files {
    Tar {
        file: File,
        places: HashMap<PathBuf, Place>,
    },
    Directory(PathBuf),
}

fn invalid(text: impl Into<String>) -> ImageError {
    ImageError::Invalid(text.into())
}

impl Files {
    /// `None` reads standard input.
    fn open(blobs: &Blobs, path: Option<&Path>) -> Result<Self, ImageError> {
        let Some(path) = path else {
            return Self::tar(blobs, spool(blobs, io::stdin().lock(), u64::MAX)?);
        };
        let doing = || format!("cannot read {}", path.display());
        let file = File::open(path).doing(doing)?;
        let found = file.metadata().doing(doing)?;
        if found.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        // A pipe cannot be read twice.
        let file = if found.is_file() {
            file
        } else {
            spool(blobs, file, u64::MAX)?
        };
        Self::tar(blobs, file)
    }

    fn tar(blobs: &Blobs, mut file: File) -> Result<Self, ImageError> {
        let doing = || "cannot read the archive".to_owned();
        let size = file.metadata().doing(doing)?.len();
        file.rewind().doing(doing)?;
        let mut start = [0; 4];
        let length = file.read(&mut start).doing(doing)?;
        file.rewind().doing(doing)?;
        if matches!(&start[..length], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) {
            let bytes = layer::unpacked(file).doing(doing)?;
            file = spool(blobs, bytes, Bounds::of(size).bytes)?;
        }
        let bounds = Bounds::of(size);
        let damaged = |error: io::Error| invalid(format!("this is no archive of an image: {error}"));
        let mut places = HashMap::new();
        let mut archive = tar::Archive::new(io::BufReader::new(file.try_clone().doing(doing)?));
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let kind = entry.header().entry_type();
            let name = PathBuf::from(std::ffi::OsStr::new(&*String::from_utf8_lossy(&entry.path_bytes())));
            let leads_out = || invalid(format!("{:?} in the archive leads out of it", name.display()));
            if kind.is_dir() || kind.is_pax_global_extensions() {
                continue;
            }
            let name = layer::inner(&name).ok_or_else(leads_out)?;
            let place = if kind.is_file() || kind.is_contiguous() {
                Place::File {
                    offset: entry.raw_file_position(),
                    size: entry.size(),
                }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let to = entry.link_name_bytes().unwrap_or_default();
                let to = PathBuf::from(std::ffi::OsStr::new(&*String::from_utf8_lossy(&to)));
                Place::Link(if kind.is_hard_link() { to } else { beside(&name, &to) })
            } else {
                continue;
            };
            places.insert(name, place);
            if places.len() as u64 > bounds.entries {
                return Err(invalid("the archive has too many files"));
            }
        }
        Ok(Self::Tar { file, places })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Tar { places, .. } => places.contains_key(Path::new(name)),
            Self::Directory(root) => root.join(name).is_file(),
        }
    }

    /// Opens a file and tells its size.
    fn file(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64), ImageError> {
        let absent = || invalid(format!("{name:?} is not in the archive"));
        match self {
            Self::Tar { file, places } => {
                let mut path = layer::inner(Path::new(name)).ok_or_else(absent)?;
                for _ in 0..MOST_LINKS {
                    match places.get(&path).ok_or_else(absent)? {
                        Place::Link(to) => path.clone_from(to),
                        Place::File { offset, size } => {
                            let at = At {
                                file,
                                offset: *offset,
                                left: *size,
                            };
                            return Ok((Box::new(io::BufReader::with_capacity(1 << 16, at)), *size));
                        }
                    }
                }
                Err(absent())
            }
            Self::Directory(root) => {
                let path = root.join(layer::inner(Path::new(name)).ok_or_else(absent)?);
                let doing = || format!("cannot read {}", path.display());
                let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
                let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(&path);
                let file = file.doing(doing)?;
                let found = file.metadata().doing(doing)?;
                if !found.is_file() {
                    return Err(invalid(format!("{} is no file", path.display())));
                }
                Ok((Box::new(file.take(found.len())), found.len()))
            }
        }
    }

    fn document(&self, name: &str, most: u64) -> Result<Vec<u8>, ImageError> {
        let (file, size) = self.file(name)?;
        if size > most {
            return Err(invalid(format!("{name:?} in the archive is too large: {size} bytes")));
        }
        let mut bytes = Vec::new();
        file.take(most)
            .read_to_end(&mut bytes)
            .doing(|| format!("cannot read {name}"))?;
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, ImageError> {
        let bytes = self.document(name, oci::MOST_MANIFEST)?;
        serde_json::from_slice(&bytes).map_err(|error| invalid(format!("{name:?} in the archive is damaged: {error}")))
    }

    /// Takes a blob of a layout into the store.
    fn take(&self, blobs: &Blobs, wanted: &Descriptor) -> Result<(), ImageError> {
        if blobs.has(wanted) {
            return Ok(());
        }
        let (file, size) = self.file(&blob_name(&wanted.digest))?;
        if size != wanted.size {
            return Err(invalid(format!(
                "{} in the archive has {size} bytes, not {}",
                wanted.digest, wanted.size
            )));
        }
        blobs.ingest(file, wanted)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Where a link beside `name` leads, within the archive.
fn beside(name: &Path, to: &Path) -> PathBuf {
    let mut path = name.parent().map(Path::to_owned).unwrap_or_default();
    for part in to.components() {
        match part {
            std::path::Component::Normal(part) => path.push(part),
            std::path::Component::ParentDir => _ = path.pop(),
            std::path::Component::RootDir => path = PathBuf::new(),
            _ => {}
        }
    }
    path
}

/// Reads a part of a file, wherever others read.
struct At<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = std::os::unix::fs::FileExt::read_at(self.file, &mut buffer[..most], self.offset)?;
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

/// Keeps what can be read once only.
fn spool(blobs: &Blobs, reader: impl Read, most: u64) -> Result<File, ImageError> {
    let doing = || "cannot keep the archive".to_owned();
    let mut file = tempfile::tempfile_in(blobs.scratch()).doing(doing)?;
    let length = io::copy(&mut reader.take(most.saturating_add(1)), &mut file).doing(doing)?;
    if length > most {
        return Err(invalid("the archive unpacks to far more than its size"));
    }
    file.seek(SeekFrom::Start(0)).doing(doing)?;
    Ok(file)
}

impl ImageStore {
    /// Takes in the images of an OCI layout, of an archive of one, or of one of `docker save`; `None` reads standard input. `name` is for an
    /// archive of one image that says none, or another; with it, an archive of a root file system becomes an image too. Returns the names.
    pub fn import(&self, path: Option<&Path>, name: Option<&str>) -> Result<Vec<String>, ImageError> {
        let name = name.map(Reference::parse).transpose()?.map(|name| name.to_string());
        let _adding = self.adding()?;
        let files = Files::open(&self.blobs, path)?;
        let mut found = if files.has("index.json") {
            self.layout(&files, name.is_some())?
        } else if files.has("manifest.json") {
            self.saved(&files)?
        } else if name.is_some() {
            vec![(self.root_fs(&files)?, Vec::new())]
        } else {
            return Err(invalid(
                "this is no archive of an image: it has neither index.json nor manifest.json; an archive of a root file system needs a name",
            ));
        };
        if let Some(name) = name {
            let [(_, names)] = found.as_mut_slice() else {
                return Err(invalid(format!(
                    "the archive has {} images: they cannot all be named {name}",
                    found.len()
                )));
            };
            *names = vec![name];
        }
        // An image that cannot be unpacked gets no name.
        for (target, _) in &found {
            self.unpack(&self.check(target)?)?;
        }
        let mut names = Vec::new();
        for (target, own) in found {
            for name in own {
                names.push(self.name(&name, target.clone(), Origin::Here)?);
            }
        }
        Ok(names)
    }

    fn layout(&self, files: &Files, named: bool) -> Result<Vec<(Descriptor, Vec<String>)>, ImageError> {
        let index: Manifest = files.json("index.json")?;
        let tags = docker_tags(files);
        let mut found: Vec<(Descriptor, Vec<String>)> = Vec::new();
        for mut target in index.manifests {
            let annotations = std::mem::take(&mut target.annotations);
            let read = |wanted: &Descriptor, _| {
                files.take(&self.blobs, wanted)?;
                self.blobs.read(wanted, oci::MOST_CONFIG)
            };
            let (_, manifest) = manifest_for_here(&target, &read)?;
            for blob in manifest.config.iter().chain(&manifest.layers) {
                files.take(&self.blobs, blob)?;
            }
            let full = annotations.get(name::NAME);
            let tag = annotations.get(TAG).filter(|tag| tag.contains(['/', ':']));
            let config = manifest.config.as_ref().map(|config| blob_name(&config.digest));
            let names = match (full.or(tag), config.and_then(|config| tags.get(&config))) {
                (Some(name), _) => vec![Reference::parse(name)?.to_string()],
                (None, Some(tags)) => tags.clone(),
                (None, None) if named => Vec::new(),
                (None, None) => {
                    return Err(invalid(
                        "the archive does not say what its image is called: give a name",
                    ));
                }
            };
            match found.iter_mut().find(|(known, _)| known.digest == target.digest) {
                Some((_, known)) => known.extend(names),
                None => found.push((target, names)),
            }
        }
        // One that is not for this machine has no place here, if there is one that is.
        if found.len() > 1 && found.iter().any(|(target, _)| target.platform.is_some()) {
            let fitting = here(found.iter().map(|(target, _)| target.clone()).collect());
            found.retain(|(target, names)| !names.is_empty() || fitting.as_ref() == Some(target));
        }
        Ok(found)
    }

    fn saved(&self, files: &Files) -> Result<Vec<(Descriptor, Vec<String>)>, ImageError> {
        let images: Vec<Saved> = files.json("manifest.json")?;
        let image = |saved: Saved| {
            let bytes = files.document(&saved.config, oci::MOST_CONFIG)?;
            let configuration: Configuration = serde_json::from_slice(&bytes)
                .map_err(|error| invalid(format!("{:?} in the archive is damaged: {error}", saved.config)))?;
            let layers = saved.layers.unwrap_or_default();
            let mut descriptors = Vec::new();
            for (name, diff_id) in layers.iter().zip(&configuration.rootfs.diff_ids) {
                let layer = self.saved_layer(files, name)?;
                if layer.media_type == oci::LAYER && layer.digest != *diff_id {
                    return Err(invalid(format!(
                        "{name:?} in the archive has the digest {}, expected {diff_id}",
                        layer.digest
                    )));
                }
                descriptors.push(layer);
            }
            let config = self.blobs.put(oci::CONFIG, &bytes)?;
            let names = saved.repo_tags.unwrap_or_default();
            let names = names.iter().map(|name| Ok(Reference::parse(name)?.to_string()));
            Ok((
                self.put_manifest(config, descriptors)?,
                names.collect::<Result<_, ImageError>>()?,
            ))
        };
        images.into_iter().map(image).collect()
    }

    fn saved_layer(&self, files: &Files, name: &str) -> Result<Descriptor, ImageError> {
        let (mut file, _) = files.file(name)?;
        let mut start = [0; 2];
        let packed = file.read_exact(&mut start).is_ok() && start == [0x1f, 0x8b];
        let (mut file, _) = files.file(name)?;
        let kind = if packed { oci::LAYER_GZIP } else { oci::LAYER };
        self.blobs.create(kind, |out| io::copy(&mut file, out).map(drop))
    }

    pub(crate) fn put_manifest(&self, config: Descriptor, layers: Vec<Descriptor>) -> Result<Descriptor, ImageError> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.to_owned(),
            config: Some(config),
            layers,
            manifests: Vec::new(),
        };
        let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
        self.blobs.put(oci::MANIFEST, &bytes)
    }

    /// An image of the files alone, as `docker import` makes it.
    fn root_fs(&self, files: &Files) -> Result<Descriptor, ImageError> {
        let Files::Tar { file, places } = files else {
            return Err(invalid("this is no OCI layout: it has no index.json"));
        };
        let shell = ["bin/bash", "usr/bin/bash", "bin/sh", "usr/bin/sh"];
        let shell = shell.into_iter().find(|path| places.contains_key(Path::new(path)));
        let size = file.metadata().doing(|| "cannot read the archive".into())?.len();
        let mut whole = At {
            file,
            offset: 0,
            left: size,
        };
        let layer = self
            .blobs
            .create(oci::LAYER, |out| io::copy(&mut whole, out).map(drop))?;
        let platform = Platform::own();
        let configuration = Configuration {
            architecture: platform.architecture,
            os: platform.os,
            config: ImageConfig {
                cmd: shell.map(|path| format!("/{path}")).into_iter().collect(),
                ..ImageConfig::default()
            },
            rootfs: RootFsIds {
                kind: "layers".to_owned(),
                diff_ids: vec![layer.digest.clone()],
            },
            ..Configuration::default()
        };
        let bytes = serde_json::to_vec(&configuration).unwrap_or_default();
        let config = self.blobs.put(oci::CONFIG, &bytes)?;
        self.put_manifest(config, vec![layer])
    }

    /// Writes images as one archive that is an OCI layout and one of `docker save` at once.
    pub fn export(&self, images: &[(String, std::sync::Arc<Image>)], out: &mut dyn Write) -> Result<(), ImageError> {
        let doing = || "cannot write the archive".to_owned();
        let mut builder = tar::Builder::new(out);
        let (documents, blobs) = self.describe(images)?;
        for (name, bytes) in &documents {
            let mut header = header(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_slice()).doing(doing)?;
        }
        for blob in blobs {
            let mut header = header(blob.size);
            let mut file = Hashing::new(self.blobs.file(&blob)?);
            builder
                .append_data(&mut header, blob_name(&blob.digest), &mut file)
                .doing(doing)?;
            undamaged(file.finish().1, &blob)?;
        }
        builder.finish().doing(doing)?;
        builder.into_inner().and_then(|out| out.flush()).doing(doing)
    }

    /// Writes images as an OCI layout into a directory that is empty or not there.
    pub fn export_directory(&self, images: &[(String, std::sync::Arc<Image>)], to: &Path) -> Result<(), ImageError> {
        let doing = || format!("cannot write {}", to.display());
        fs::create_dir_all(to.join("blobs/sha256")).doing(doing)?;
        let (documents, blobs) = self.describe(images)?;
        for blob in blobs {
            let mut file = Hashing::new(self.blobs.file(&blob)?);
            let mut target = File::create_new(to.join(blob_name(&blob.digest))).doing(doing)?;
            io::copy(&mut file, &mut target).doing(doing)?;
            undamaged(file.finish().1, &blob)?;
        }
        for (name, bytes) in documents {
            fs::write(to.join(name), bytes).doing(doing)?;
        }
        Ok(())
    }

    /// The documents of an archive, and the blobs it needs.
    #[expect(clippy::type_complexity, reason = "names with content")]
    fn describe(
        &self,
        images: &[(String, std::sync::Arc<Image>)],
    ) -> Result<(Vec<(&'static str, Vec<u8>)>, Vec<Descriptor>), ImageError> {
        let (mut manifests, mut saved, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for (name, image) in images {
            self.settle(image)?;
            let absent = || ImageError::NotFound(image.id.clone());
            let mut target = image.manifest.clone().ok_or_else(absent)?;
            let (_, manifest) = manifest_for_here(&target, &|wanted, most| self.blobs.read(wanted, most))?;
            let config = manifest.config.ok_or_else(absent)?;
            let reference = Reference::parse(name)?;
            saved.push(Saved {
                config: blob_name(&config.digest),
                repo_tags: Some(vec![familiar(&reference)]),
                layers: Some(manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect()),
            });
            for blob in [target.clone(), config].into_iter().chain(manifest.layers) {
                if seen.insert(blob.digest.clone()) {
                    blobs.push(blob);
                }
            }
            target.platform = None;
            target.annotations.insert(name::NAME.to_owned(), reference.to_string());
            let tag = reference.tag.clone().unwrap_or_default();
            target.annotations.insert(TAG.to_owned(), tag);
            manifests.push(target);
        }
        let index = Manifest {
            schema_version: 2,
            media_type: oci::INDEX.to_owned(),
            config: None,
            layers: Vec::new(),
            manifests,
        };
        let documents = vec![
            ("oci-layout", oci::LAYOUT.as_bytes().to_vec()),
            ("index.json", serde_json::to_vec(&index).unwrap_or_default()),
            ("manifest.json", serde_json::to_vec(&saved).unwrap_or_default()),
        ];
        Ok((documents, blobs))
    }
}

/// Names by configuration, of an archive that is one of `docker save` as well.
fn docker_tags(files: &Files) -> HashMap<String, Vec<String>> {
    let saved: Vec<Saved> = files.json("manifest.json").unwrap_or_default();
    let named = saved.into_iter().map(|image| {
        let tags = image.repo_tags.unwrap_or_default();
        let names = tags.iter().filter_map(|tag| Reference::parse(tag).ok());
        (image.config, names.map(|name| name.to_string()).collect::<Vec<_>>())
    });
    named.filter(|(_, names)| !names.is_empty()).collect()
}

fn undamaged(found: Digest, wanted: &Descriptor) -> Result<(), ImageError> {
    if found == wanted.digest {
        return Ok(());
    }
    Err(invalid(format!("{} is damaged in the store", wanted.digest)))
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

/// A name as docker shows it: without its own registry.
fn familiar(name: &Reference) -> String {
    let text = name.to_string();
    let short = text.strip_prefix("docker.io/").unwrap_or(&text);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}
