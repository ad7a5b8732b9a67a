//! Building images from Dockerfiles.
//!
//! Files become layers without being unpacked first: the archive of a layer is written straight from what it copies. Commands run in
//! containers, by a [`Worker`]; what they change is read from the container's own layer. A layer that was made of the same things before
//! is taken from the cache.

mod context;
mod dockerfile;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::context::{Owner, Source};
use self::dockerfile::{Instruction, expand, pairs, words};
use crate::chain::{Layer, Lease};
use crate::digest::{Digest, Hashing};
use crate::name::Origin;
use crate::oci::{self, Configuration, Descriptor, History, Platform, RootFsIds};
use crate::{Doing, Image, ImageConfig, ImageError, ImageStore, Reference, layer};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables that a build may be given without an ARG that says so.
const PREDEFINED: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// Directory with the files that COPY and ADD name.
    pub context: PathBuf,
    /// The Dockerfile.
    pub file: PathBuf,
    /// The stage to stop at; the last one otherwise.
    pub target: Option<String>,
    /// Values for ARGs.
    pub args: Vec<(String, String)>,
    /// Do everything anew.
    pub no_cache: bool,
    /// What to call the image.
    pub tags: Vec<String>,
}

/// A command of a build.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Container ID: 64 hex digits.
    pub id: String,
    /// The files to run it in.
    pub root: PathBuf,
    /// Source and target of what is bound over them, read-only.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub working_dir: PathBuf,
    /// User and group.
    pub user: (Option<u32>, Option<u32>),
}

/// What a build needs of the outside.
#[async_trait]
pub trait Worker: Sync {
    /// Brings an image that is not in the store.
    async fn pull(&self, reference: &str) -> Result<Arc<Image>, ImageError>;
    /// The numbers of a user and group of an image.
    fn user(&self, user: &str, root: &Path) -> Result<(Option<u32>, Option<u32>), String>;
    /// Runs a command to its end; where to find what it has changed, as an overlay's upper directory.
    async fn run(&self, command: Command) -> Result<PathBuf, String>;
    /// Removes what a command has left.
    async fn forget(&self, id: &str);
}

/// An image in the making.
#[derive(Clone, Default)]
struct Stage {
    name: Option<String>,
    config: ImageConfig,
    layers: Vec<(Descriptor, Digest)>,
    history: Vec<History>,
    /// ARGs that have been named, with their values.
    args: BTreeMap<String, String>,
    /// Stands for everything that has gone into its files.
    key: String,
}

impl Stage {
    fn lookup(&self, name: &str) -> Option<String> {
        let env = self.config.env.iter().find(|(known, _)| known == name);
        env.map(|(_, value)| value.clone())
            .or_else(|| self.args.get(name).cloned())
    }

    fn set_env(&mut self, name: &str, value: &str) {
        match self.config.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.config.env.push((name.to_owned(), value.to_owned())),
        }
    }

    /// A path of an instruction, from the root.
    fn path(&self, path: &str) -> PathBuf {
        Path::new("/").join(&self.config.working_dir).join(path)
    }
}

/// One build.
struct Build<'a> {
    store: &'a Arc<ImageStore>,
    recipe: &'a Recipe,
    worker: &'a dyn Worker,
    say: &'a (dyn Fn(&str) + Sync),
    context: Source,
    /// ARGs before the first FROM.
    globals: BTreeMap<String, String>,
    done: Vec<Stage>,
}

/// A layer that the cache knows.
#[derive(Serialize, Deserialize)]
struct Cached {
    layer: Descriptor,
    diff_id: Digest,
}

/// Builds an image and names it. `say` is told of each step. Errors begin with the file and the line.
pub async fn build(
    store: &Arc<ImageStore>,
    recipe: &Recipe,
    worker: &dyn Worker,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Arc<Image>, ImageError> {
    let tags = recipe.tags.iter().map(|tag| Ok(Reference::parse(tag)?.to_string()));
    let tags = tags.collect::<Result<Vec<_>, ImageError>>()?;
    let text = fs::read_to_string(&recipe.file).doing(|| format!("cannot read {}", recipe.file.display()))?;
    let instructions = dockerfile::parse(&text)?;
    let _adding = store.adding()?;
    let mut build = Build {
        store,
        recipe,
        worker,
        say,
        context: Source::context(&recipe.context)?,
        globals: BTreeMap::new(),
        done: Vec::new(),
    };
    let stage = build.stages(&instructions).await?;
    build.finish(stage, tags)
}

impl Build<'_> {
    async fn stages(&mut self, instructions: &[Instruction]) -> Result<Stage, ImageError> {
        let mut current: Option<Stage> = None;
        for (number, instruction) in instructions.iter().enumerate() {
            (self.say)(&format!(
                "[{}/{}] {}",
                number + 1,
                instructions.len(),
                instruction.text()
            ));
            if instruction.keyword == "FROM" {
                if let Some(stage) = current.take() {
                    if self.is_target(&stage) {
                        return Ok(stage);
                    }
                    self.done.push(stage);
                }
                let mut stage = self.from(instruction).await?;
                for trigger in std::mem::take(&mut stage.config.on_build) {
                    for mut inner in dockerfile::parse(&trigger)? {
                        inner.line = instruction.line;
                        self.step(&mut stage, &inner).await?;
                    }
                }
                current = Some(stage);
                continue;
            }
            match &mut current {
                Some(stage) => self.step(stage, instruction).await?,
                None if instruction.keyword == "ARG" => {
                    let globals = self.globals.clone();
                    let lookup = |name: &str| globals.get(name).cloned();
                    for (name, value) in self.arguments(instruction, &lookup)? {
                        self.globals.insert(name, value.unwrap_or_default());
                    }
                }
                None => return Err(instruction.error("no build stage in current context: FROM comes first")),
            }
        }
        let stage = current.ok_or_else(|| ImageError::Invalid("the Dockerfile has no FROM".to_owned()))?;
        match &self.recipe.target {
            Some(target) if !self.is_target(&stage) => Err(ImageError::Invalid(format!(
                "target stage {target:?} could not be found"
            ))),
            _ => Ok(stage),
        }
    }

    fn is_target(&self, stage: &Stage) -> bool {
        let number = self.done.len().to_string();
        let Some(target) = &self.recipe.target else {
            return false;
        };
        *target == number
            || stage
                .name
                .as_deref()
                .is_some_and(|name| name.eq_ignore_ascii_case(target))
    }

    /// A stage that has been built, by name or number.
    fn earlier(&self, name: &str) -> Option<&Stage> {
        let named = self
            .done
            .iter()
            .find(|stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)));
        named.or_else(|| self.done.get(name.parse::<usize>().ok()?))
    }

    async fn from(&mut self, instruction: &Instruction) -> Result<Stage, ImageError> {
        let globals = self.globals.clone();
        let lookup = |name: &str| globals.get(name).cloned();
        let words = words(&instruction.rest, &lookup).map_err(|why| instruction.error(why))?;
        let (image, name) = match words.as_slice() {
            [image] => (image, None),
            [image, r#as, name] if r#as.eq_ignore_ascii_case("as") => (image, Some(name.clone())),
            _ => return Err(instruction.error("requires either one or three arguments")),
        };
        let mut stage = if image == "scratch" {
            Stage::default()
        } else if let Some(earlier) = self.earlier(image) {
            earlier.clone()
        } else {
            self.image(instruction, image).await?
        };
        (stage.name, stage.args) = (name, BTreeMap::new());
        if !stage.config.env.iter().any(|(name, _)| name == "PATH") {
            stage.set_env("PATH", PATH);
        }
        Ok(stage)
    }

    async fn image(&self, instruction: &Instruction, name: &str) -> Result<Stage, ImageError> {
        let found = self.store.find(name).map_err(|error| instruction.error(error))?;
        let image = match found {
            Some(image) => image,
            None => self.worker.pull(name).await.map_err(|error| instruction.error(error))?,
        };
        let configuration: Configuration =
            serde_json::from_slice(&self.store.configuration(&image)?).map_err(|error| instruction.error(error))?;
        Ok(Stage {
            config: image.config.clone(),
            layers: image
                .layers
                .iter()
                .map(|layer| (layer.blob.clone(), layer.diff_id.clone()))
                .collect(),
            history: configuration.history,
            key: image
                .layers
                .last()
                .map(|layer| layer.chain.to_string())
                .unwrap_or_default(),
            ..Stage::default()
        })
    }

    async fn step(&self, stage: &mut Stage, instruction: &Instruction) -> Result<(), ImageError> {
        let wrong = |why: String| instruction.error(why);
        let lookup = |name: &str| stage.lookup(name);
        let one = || expand(&instruction.rest, &lookup).map_err(wrong);
        let many = || words(&instruction.rest, &lookup).map_err(wrong);
        match instruction.keyword.as_str() {
            "RUN" => return self.run(stage, instruction).await,
            "COPY" | "ADD" => return self.copy(stage, instruction).await,
            "ARG" => {
                for (name, value) in self.arguments(instruction, &lookup)? {
                    if let Some(value) = value.or_else(|| self.globals.get(&name).cloned()) {
                        stage.args.insert(name, value);
                    }
                }
            }
            "ENV" => {
                for (name, value) in pairs(&instruction.rest, &lookup).map_err(wrong)? {
                    stage.set_env(&name, &value);
                }
            }
            "LABEL" => stage
                .config
                .labels
                .extend(pairs(&instruction.rest, &lookup).map_err(wrong)?),
            "WORKDIR" => {
                let path = stage.path(&one()?);
                stage.config.working_dir = path.display().to_string();
            }
            "USER" => stage.config.user = one()?,
            "STOPSIGNAL" => stage.config.stop_signal = one()?,
            "EXPOSE" => {
                for port in many()? {
                    let port = if port.contains('/') {
                        port
                    } else {
                        format!("{port}/tcp")
                    };
                    if !stage.config.exposed_ports.contains(&port) {
                        stage.config.exposed_ports.push(port);
                    }
                }
                stage.config.exposed_ports.sort();
            }
            "VOLUME" => {
                let volumes = instruction.exec().map_or_else(many, Ok)?;
                stage.config.volumes.extend(volumes);
                stage.config.volumes.sort();
                stage.config.volumes.dedup();
            }
            "SHELL" => {
                let shell = instruction.exec().filter(|shell| !shell.is_empty());
                stage.config.shell =
                    shell.ok_or_else(|| instruction.error("requires the arguments to be in JSON form"))?;
            }
            "CMD" => stage.config.cmd = command(stage, instruction),
            "ENTRYPOINT" => {
                stage.config.entrypoint = command(stage, instruction);
                // What an image below has for another program makes no sense for this one.
                stage.config.cmd.clear();
            }
            "ONBUILD" => stage.config.on_build.push(instruction.rest.clone()),
            "HEALTHCHECK" => (self.say)("HEALTHCHECK is ignored: Kubernetes has probes instead"),
            // "MAINTAINER"
            _ => {
                stage
                    .config
                    .labels
                    .insert("maintainer".to_owned(), instruction.rest.clone());
            }
        }
        stage.history.push(self.entry(instruction, true));
        Ok(())
    }

    fn entry(&self, instruction: &Instruction, empty_layer: bool) -> History {
        History {
            created: None,
            created_by: instruction.text(),
            empty_layer,
        }
    }

    /// The ARGs of an instruction: what the build was given counts before what the file says.
    fn arguments(
        &self,
        instruction: &Instruction,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<(String, Option<String>)>, ImageError> {
        let named = words(&instruction.rest, lookup).map_err(|why| instruction.error(why))?;
        let given = |name: &str| self.recipe.args.iter().rev().find(|(known, _)| known == name);
        let named = named.into_iter().map(|word| {
            let (name, default) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let value = given(&name).map(|(_, value)| value.clone()).or(default);
            (name, value)
        });
        Ok(named.collect())
    }

    fn unpack(&self, stage: &Stage) -> Result<(PathBuf, Lease), ImageError> {
        let (blobs, ids): (Vec<_>, Vec<_>) = stage.layers.iter().cloned().unzip();
        self.store
            .chains
            .unpack(&self.store.blobs, &Layer::chain(blobs, &ids), false)
    }

    async fn copy(&self, stage: &mut Stage, instruction: &Instruction) -> Result<(), ImageError> {
        let wrong = |why: String| instruction.error(why);
        if instruction.heredoc.is_some() {
            return Err(instruction.error("heredocs are for RUN only here"));
        }
        let lookup = |name: &str| stage.lookup(name);
        let mut names = match instruction.exec() {
            Some(names) => names,
            None => words(&instruction.rest, &lookup).map_err(wrong)?,
        };
        let to = names.pop().filter(|_| !names.is_empty());
        let to = to.ok_or_else(|| instruction.error("requires at least two arguments"))?;
        if let Some(url) = names.iter().find(|name| name.contains("://")) {
            return Err(instruction.error(format!("{url}: builds fetch nothing; download it into the context")));
        }
        let (mut from, mut owner) = (None, None);
        let mut lease = None;
        for (flag, value) in &instruction.flags {
            let value = expand(value, &lookup).map_err(wrong)?;
            match flag.as_str() {
                "from" if instruction.keyword == "COPY" => {
                    let other = match self.earlier(&value) {
                        Some(stage) => stage.clone(),
                        None => self.image(instruction, &value).await?,
                    };
                    let (root, held) = self.unpack(&other)?;
                    (from, lease) = (Some(Source::image(root)), Some(held));
                }
                "chown" => {
                    let (root, _held) = self.unpack(stage)?;
                    let (user, group) = self.worker.user(&value, &root).map_err(wrong)?;
                    let (user, group) = (user.unwrap_or(0), group.or(user).unwrap_or(0));
                    let owner = owner.get_or_insert_with(Owner::default);
                    (owner.user, owner.group) = (user, group);
                }
                "chmod" => {
                    let mode = u32::from_str_radix(&value, 8).ok().filter(|mode| *mode <= 0o7777);
                    let mode =
                        mode.ok_or_else(|| instruction.error(format!("{value:?} are no rights: use octal digits")))?;
                    owner.get_or_insert_with(Owner::default).mode = Some(mode);
                }
                // How others share layers, which changes nothing.
                "link" => {}
                other => return Err(instruction.error(format!("unknown flag: --{other}"))),
            }
        }
        let source = from.as_ref().unwrap_or(&self.context);
        let found = names
            .iter()
            .map(|name| source.find(name))
            .collect::<Result<Vec<_>, _>>();
        let found: Vec<PathBuf> = found.map_err(wrong)?.into_iter().flatten().collect();
        let target = stage.path(&to);
        let into = to.ends_with('/') || to == "." || self.is_directory(stage, &target)?;
        if found.len() > 1 && !into {
            return Err(instruction
                .error("when there is more than one source, the destination must be a directory and end with a /"));
        }
        let inner = layer::inner(target.strip_prefix("/").unwrap_or(&target));
        let inner = inner.ok_or_else(|| instruction.error(format!("{to:?} leads out of the image")))?;
        if let (true, [archive]) = (instruction.keyword == "ADD", found.as_slice())
            && let Some(packed) = archive_of(&source.root.join(archive))
        {
            return self.extract(stage, instruction, &packed, &inner, owner);
        }
        let mut items = Vec::new();
        for path in &found {
            items.extend(
                source
                    .items(path, &inner, into)
                    .doing(|| format!("cannot read {}", path.display()))?,
            );
        }
        let content = context::fingerprint(&items).doing(|| "cannot read the files".to_owned())?;
        let key = format!(
            "{} {} {content} {:?}",
            instruction.keyword,
            target.display(),
            owner.map(|o| (o.user, o.group, o.mode))
        );
        if !self.cached(stage, &key)? {
            let layer = self
                .store
                .blobs
                .create(oci::LAYER, |out| source.pack(&items, owner, out))?;
            self.add(stage, &key, layer)?;
        }
        drop(lease);
        stage.history.push(self.entry(instruction, false));
        Ok(())
    }

    /// ADD of an archive: what is in it.
    fn extract(
        &self,
        stage: &mut Stage,
        instruction: &Instruction,
        packed: &Path,
        to: &Path,
        owner: Option<Owner>,
    ) -> Result<(), ImageError> {
        let doing = || format!("cannot read {}", packed.display());
        let open = || layer::unpacked(fs::File::open(packed)?);
        let mut content = Hashing::new(open().doing(doing)?);
        std::io::copy(&mut content, &mut std::io::sink()).doing(doing)?;
        let key = format!(
            "ADD {} {} {:?}",
            to.display(),
            content.finish().1,
            owner.map(|o| (o.user, o.group, o.mode))
        );
        if !self.cached(stage, &key)? {
            let layer = self.store.blobs.create(oci::LAYER, |out| {
                let mut builder = tar::Builder::new(out);
                let mut archive = tar::Archive::new(open()?);
                for entry in archive.entries()? {
                    let entry = entry?;
                    let mut header = entry.header().clone();
                    let path = entry.path()?.into_owned();
                    let Some(path) = layer::inner(&path).map(|path| to.join(path)) else {
                        return Err(std::io::Error::other(format!(
                            "{:?} leads out of the archive",
                            path.display()
                        )));
                    };
                    if let Some(owner) = owner {
                        header.set_uid(owner.user.into());
                        header.set_gid(owner.group.into());
                    }
                    match entry.link_name()?.map(std::borrow::Cow::into_owned) {
                        Some(link) if header.entry_type().is_hard_link() => {
                            builder.append_link(&mut header, path, to.join(link))?
                        }
                        Some(link) => builder.append_link(&mut header, path, link)?,
                        None => builder.append_data(&mut header, path, entry)?,
                    }
                }
                builder.finish()
            })?;
            self.add(stage, &key, layer)?;
        }
        stage.history.push(self.entry(instruction, false));
        Ok(())
    }

    fn is_directory(&self, stage: &Stage, path: &Path) -> Result<bool, ImageError> {
        let (root, _lease) = self.unpack(stage)?;
        Ok(layer::find(&root, path).is_some_and(|found| found.is_dir()))
    }

    async fn run(&self, stage: &mut Stage, instruction: &Instruction) -> Result<(), ImageError> {
        if let Some((flag, _)) = instruction.flags.iter().find(|(flag, _)| flag != "network") {
            return Err(instruction.error(format!("unknown flag: --{flag}")));
        }
        let argv = match &instruction.heredoc {
            Some(script) => shell(stage, script),
            None => command(stage, instruction),
        };
        let mut env: Vec<(String, String)> = stage
            .args
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let given = self
            .recipe
            .args
            .iter()
            .filter(|(name, _)| PREDEFINED.contains(&name.as_str()));
        env.extend(given.cloned());
        env.retain(|(name, _)| !stage.config.env.iter().any(|(known, _)| known == name));
        env.extend(stage.config.env.iter().cloned());
        let (user, directory) = (stage.config.user.clone(), stage.config.working_dir.clone());
        let key = format!("RUN {argv:?} {env:?} {user} {directory}");
        if !self.cached(stage, &key)? {
            let (root, _lease) = self.unpack(stage)?;
            let wrong = |why: String| instruction.error(why);
            let binds = self.store.binds(&stage.config);
            let id = Digest::of(format!("{} {key}", stage.key).as_bytes()).hex().to_owned();
            let mut mounts: Vec<(PathBuf, PathBuf)> =
                binds.into_iter().map(|bind| (bind.source, bind.target)).collect();
            for name in ["/etc/resolv.conf", "/etc/hosts"] {
                if Path::new(name).is_file() {
                    mounts.push((name.into(), name.into()));
                }
            }
            let put = |(_, target): &(PathBuf, PathBuf)| target.strip_prefix("/").unwrap_or(target).to_owned();
            let left_out: Vec<PathBuf> = mounts.iter().map(put).collect();
            let command = Command {
                id: id.clone(),
                user: self.worker.user(&user, &root).map_err(wrong)?,
                root,
                mounts,
                argv,
                env,
                working_dir: stage.path(""),
            };
            let ran = self.worker.run(command).await;
            let layer = match &ran {
                Ok(upper) => self
                    .store
                    .blobs
                    .create(oci::LAYER, |out| layer::pack_changes(upper, &left_out, out)),
                Err(why) => Err(instruction.error(why)),
            };
            self.worker.forget(&id).await;
            self.add(stage, &key, layer?)?;
        }
        stage.history.push(self.entry(instruction, false));
        Ok(())
    }

    fn cache(&self, stage: &Stage, key: &str) -> PathBuf {
        let name = Digest::of(format!("{} {key}", stage.key).as_bytes());
        self.store.dir().join("build-cache").join(name.hex())
    }

    /// Takes the layer that was made of the same before, if it is still there.
    fn cached(&self, stage: &mut Stage, key: &str) -> Result<bool, ImageError> {
        let known = fs::read(self.cache(stage, key)).ok().filter(|_| !self.recipe.no_cache);
        let known: Option<Cached> = known.and_then(|json| serde_json::from_slice(&json).ok());
        let Some(known) = known.filter(|known| self.store.blobs.has(&known.layer)) else {
            return Ok(false);
        };
        (self.say)("CACHED");
        stage.key = Digest::of(format!("{} {key}", stage.key).as_bytes()).to_string();
        stage.layers.push((known.layer, known.diff_id));
        Ok(true)
    }

    fn add(&self, stage: &mut Stage, key: &str, layer: Descriptor) -> Result<(), ImageError> {
        let path = self.cache(stage, key);
        let doing = || format!("cannot write {}", path.display());
        // It is not compressed.
        let diff_id = layer.digest.clone();
        let known = Cached { layer, diff_id };
        let place = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(place).doing(doing)?;
        let mut file = tempfile::NamedTempFile::new_in(place).doing(doing)?;
        std::io::Write::write_all(&mut file, &serde_json::to_vec(&known).unwrap_or_default()).doing(doing)?;
        file.persist(&path).doing(doing)?;
        stage.key = Digest::of(format!("{} {key}", stage.key).as_bytes()).to_string();
        stage.layers.push((known.layer, known.diff_id));
        Ok(())
    }

    /// Puts the image together and names it.
    fn finish(&self, stage: Stage, tags: Vec<String>) -> Result<Arc<Image>, ImageError> {
        let platform = Platform::own();
        let (blobs, ids): (Vec<_>, Vec<_>) = stage.layers.into_iter().unzip();
        let configuration = Configuration {
            created: None,
            architecture: platform.architecture,
            os: platform.os,
            config: stage.config,
            rootfs: RootFsIds {
                kind: "layers".to_owned(),
                diff_ids: ids,
            },
            history: stage.history,
        };
        let bytes = serde_json::to_vec(&configuration).unwrap_or_default();
        let config = self.store.blobs.put(oci::CONFIG, &bytes)?;
        let target = self.store.put_manifest(config, blobs)?;
        self.store.unpack(&self.store.check(&target)?)?;
        for tag in &tags {
            self.store.name(tag, target.clone(), Origin::Here)?;
        }
        match tags.first() {
            Some(tag) => self.store.get(tag),
            None => self.store.check(&target).map(Arc::new),
        }
    }
}

/// An instruction's program: as it is, or by the shell.
fn command(stage: &Stage, instruction: &Instruction) -> Vec<String> {
    instruction.exec().unwrap_or_else(|| {
        if instruction.rest.is_empty() {
            return Vec::new();
        }
        shell(stage, &instruction.rest)
    })
}

fn shell(stage: &Stage, script: &str) -> Vec<String> {
    let mut argv = stage.config.shell.clone();
    if argv.is_empty() {
        argv = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    }
    argv.push(script.to_owned());
    argv
}

/// The file, if it is an archive, packed or not.
fn archive_of(path: &Path) -> Option<PathBuf> {
    let file = fs::File::open(path)
        .ok()
        .filter(|file| file.metadata().is_ok_and(|found| found.is_file()))?;
    let mut archive = tar::Archive::new(layer::unpacked(file).ok()?);
    let first = archive.entries().ok()?.next()?.ok()?;
    (first.header().as_ustar().is_some() || first.header().as_gnu().is_some()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests;
