//! `knarr image`: the images of an embedded cluster's node.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use knarr::cluster::image::{self, Builder, Image, ImageStore, Keyring, Recipe};
use knarr::error::{Error, ErrorKind, Result};

/// What to do, with the images of which cluster.
#[derive(Args)]
pub(super) struct Images {
    /// Which of several clusters; it may be running
    #[arg(long, global = true, default_value = "default", value_name = "NAME")]
    cluster: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the images
    #[command(visible_alias = "ls")]
    List {
        /// Built-in images, too
        #[arg(short, long)]
        all: bool,
    },
    /// Bring an image from its registry
    Pull {
        /// As in a pod: nginx:1.29, quay.io/team/app@sha256:...
        image: String,
        #[command(flatten)]
        login: Login,
    },
    /// Bring an image to its registry
    Push {
        /// Its name, which says the registry
        image: String,
        #[command(flatten)]
        login: Login,
    },
    /// Give an image another name
    Tag {
        /// The image
        image: String,
        /// Its new name
        name: String,
    },
    /// Print an image's configuration
    Inspect {
        /// The image
        image: String,
    },
    /// Forget images by their names, or all names of an ID
    #[command(visible_alias = "rm")]
    Remove {
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Take in an OCI layout, an archive of one, or one of `docker save`
    Import {
        /// A file or a directory; - is standard input
        file: PathBuf,
        /// What to call the image; makes an archive of a root file system an image as well
        name: Option<String>,
    },
    /// Write images to an archive that docker, podman, skopeo and containerd read
    Export {
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
        /// The new file; a name that ends with / is a directory, - standard output
        #[arg(short, long, default_value = "-")]
        output: PathBuf,
    },
    /// Build an image from a Dockerfile
    Build {
        /// Directory with the files that the Dockerfile names
        context: PathBuf,
        /// What to call the image
        #[arg(short, long, value_name = "NAME")]
        tag: Vec<String>,
        /// The Dockerfile [default: CONTEXT/Dockerfile]
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// Stop at this stage
        #[arg(long, value_name = "STAGE")]
        target: Option<String>,
        /// A value for an ARG of the Dockerfile
        #[arg(long, value_name = "NAME=VALUE")]
        build_arg: Vec<String>,
        /// Do everything anew
        #[arg(long)]
        no_cache: bool,
    },
    /// Free the disk of what no image needs
    Prune {
        /// Also remove the images that no container uses
        #[arg(short, long)]
        all: bool,
    },
}

/// Who to be to a registry, besides what `docker login` has noted.
#[derive(Args)]
struct Login {
    /// User and password, as user:password
    #[arg(
        long,
        value_name = "USER:PASSWORD",
        env = "KNARR_REGISTRY_CREDS",
        hide_env_values = true
    )]
    creds: Option<String>,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Other, error.to_string())
}

pub(super) fn run(images: Images) -> Result<ExitCode> {
    let store = Arc::new(image::store(&images.cluster).map_err(failed)?);
    let text = match images.action {
        Action::List { all } => list(&store, all)?,
        Action::Pull { image: name, login } => {
            let registries = image::registries_of(&images.cluster).map_err(failed)?;
            let keyring = login.keyring(&name)?;
            let pulled = wait(registries.pull(&store, &name, &keyring))?.map_err(failed)?;
            format!("{}\n", pulled.repo_digest)
        }
        Action::Push { image: name, login } => {
            let registries = image::registries_of(&images.cluster).map_err(failed)?;
            let keyring = login.keyring(&name)?;
            let digest = wait(registries.push(&store, &name, &keyring))?.map_err(failed)?;
            format!("{digest}\n")
        }
        Action::Tag { image, name } => {
            let found = store.get(&image).map_err(failed)?;
            format!("{}\n", store.tag(&found, &name).map_err(failed)?)
        }
        Action::Inspect { image } => inspect(&store, &image)?,
        Action::Remove { images } => {
            let mut out = String::new();
            for name in images {
                for gone in store.remove(&name).map_err(failed)? {
                    let _ = writeln!(out, "{gone}");
                }
            }
            out
        }
        Action::Import { file, name } => {
            let path = (file != Path::new("-")).then_some(file.as_path());
            let names = store.import(path, name.as_deref()).map_err(failed)?;
            names.iter().fold(String::new(), |out, name| out + name + "\n")
        }
        Action::Export { images, output } => return export(&store, &images, &output),
        Action::Build {
            context,
            tag,
            file,
            target,
            build_arg,
            no_cache,
        } => {
            let recipe = Recipe {
                file: file.unwrap_or_else(|| context.join("Dockerfile")),
                context,
                target,
                args: build_arg.iter().map(|arg| argument(arg)).collect(),
                no_cache,
                tags: tag,
            };
            build(&store, &images.cluster, &recipe)?
        }
        Action::Prune { all } => {
            let pruned = store.prune(all, |image| store.in_use(image)).map_err(failed)?;
            let gone = pruned.images.iter().fold(String::new(), |out, name| out + name + "\n");
            format!("{gone}{} freed\n", size(pruned.bytes))
        }
    };
    super::print(&text);
    Ok(ExitCode::SUCCESS)
}

impl Login {
    fn keyring(&self, name: &str) -> Result<Keyring> {
        let mut keyring = image::keyring().map_err(failed)?;
        if let Some(creds) = &self.creds {
            let (user, password) = creds
                .split_once(':')
                .ok_or_else(|| failed("--creds is user:password"))?;
            let name = ImageStore::normalize(name).map_err(failed)?;
            let (user, password) = (user.to_owned(), password.to_owned());
            let registry = name.split('/').next().unwrap_or_default();
            keyring.add(registry, image::Credentials { user, password });
        }
        Ok(keyring)
    }
}

/// `NAME=value`, or a name whose value is in the environment.
fn argument(text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.to_owned(), std::env::var(text).unwrap_or_default()),
    }
}

fn wait<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    Ok(runtime.block_on(work))
}

fn list(store: &ImageStore, all: bool) -> Result<String> {
    let images = store.list().map_err(failed)?;
    let mut lines: Vec<[String; 4]> = vec![["NAME", "TAG", "ID", "SIZE"].map(str::to_owned)];
    let shown = images.iter().filter(|image| all || !image.built_in);
    for image in shown {
        let mut names = image.references.clone();
        names.sort();
        for name in names {
            let (name, tag) = split(&name);
            lines.push([name, tag, image.id[7..19].to_owned(), size(image.size)]);
        }
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut out = String::new();
    for [name, tag, id, size] in &lines {
        let _ = writeln!(
            out,
            "{name:<a$}   {tag:<b$}   {id:<c$}   {size}",
            a = widths[0],
            b = widths[1],
            c = widths[2]
        );
    }
    Ok(out)
}

/// A full name's repository and its tag or digest.
fn split(name: &str) -> (String, String) {
    let (name, tag) = match name.split_once('@') {
        Some((name, digest)) => (name, digest),
        None => name.rsplit_once(':').unwrap_or((name, "")),
    };
    (name.to_owned(), tag.to_owned())
}

/// As docker prints sizes.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match value {
        small if unit == "B" => format!("{small}{unit}"),
        small if small < 10.0 => format!("{small:.2}{unit}"),
        small if small < 100.0 => format!("{small:.1}{unit}"),
        large => format!("{large:.0}{unit}"),
    }
}

fn inspect(store: &ImageStore, name: &str) -> Result<String> {
    let found = store.get(name).map_err(failed)?;
    let document = store.configuration(&found).map_err(failed)?;
    let document: serde_json::Value = serde_json::from_slice(&document).map_err(failed)?;
    let layers: Vec<_> = store
        .layers(&found)
        .into_iter()
        .map(|(digest, size)| serde_json::json!({ "digest": digest.as_str(), "size": size }))
        .collect();
    let all = serde_json::json!({
        "Id": found.id,
        "RepoTags": found.references,
        "RepoDigests": [found.repo_digest],
        "Size": found.size,
        "Created": found.created,
        "Layers": layers,
        "Image": document,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&all).map_err(failed)?))
}

fn export(store: &ImageStore, names: &[String], output: &Path) -> Result<ExitCode> {
    let found = names.iter().map(|name| Ok((name.clone(), store.get(name)?)));
    let found: Vec<(String, Arc<Image>)> = found
        .collect::<std::result::Result<_, image::ImageError>>()
        .map_err(failed)?;
    if output == Path::new("-") {
        let stdout = std::io::stdout();
        if stdout.is_terminal() {
            return Err(failed(
                "an archive is nothing for a terminal: name a file with -o, or redirect it",
            ));
        }
        store.export(&found, &mut stdout.lock()).map_err(failed)?;
    } else if output.as_os_str().to_string_lossy().ends_with('/') || output.is_dir() {
        store.export_directory(&found, output).map_err(failed)?;
    } else {
        // Nobody finds half of it under its name.
        let place = output.parent().filter(|place| !place.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(place.unwrap_or(Path::new("."))).map_err(failed)?;
        store.export(&found, &mut file).map_err(failed)?;
        file.flush().map_err(failed)?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(failed)?;
        file.persist(output).map_err(failed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn build(store: &Arc<ImageStore>, cluster: &str, recipe: &Recipe) -> Result<String> {
    let state = tempfile::Builder::new()
        .prefix("knarr-build-")
        .tempdir()
        .map_err(failed)?;
    let builder = Builder::new(store.clone(), cluster, state.path()).map_err(failed)?;
    let built = wait(async {
        let say = |line: &str| {
            let _ = writeln!(std::io::stderr(), "{line}");
        };
        let built = image::build::build(store, recipe, &builder, &say).await;
        drop(builder);
        built
    })?;
    let built = built.map_err(failed)?;
    Ok(format!("{}\n", built.id))
}
