//! The command line.

#[cfg(feature = "embedded")]
mod cluster;
mod ground;
#[cfg(feature = "embedded")]
mod image;
mod info;
mod start;
mod why;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use knarr::cluster::{Size, Source};
use knarr::error::{Error, Result};

/// A keyboard-driven Kubernetes workstation in the terminal, with a whole mini-cluster inside.
///
/// Without a command it opens on the kubeconfig's cluster; with --embedded it starts a local cluster in the same process,
/// offline, and opens on that. Any other word is the first command: `knarr -n web deployments`.
#[derive(Parser)]
#[command(name = "knarr", version, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Which cluster, and as whom: flags as kubectl's users expect them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Start (or attach to) the embedded cluster and open on it; NAME keeps several apart
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "default")]
    embedded: Option<String>,
    /// Keep nothing of the embedded cluster
    #[arg(long, requires = "embedded")]
    ephemeral: bool,
    /// Nodes the embedded cluster has at least
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "embedded", value_parser = clap::value_parser!(u16).range(1..=255))]
    nodes: u16,
    /// Nodes it has besides, whose pods go through their states without processes
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "embedded")]
    hollow: u16,
    /// Kubeconfig file to use
    #[arg(long, value_name = "FILE", conflicts_with = "embedded")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME", conflicts_with = "embedded")]
    context: Option<String>,
    /// Namespace to open in
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Open in all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// User to impersonate
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
    /// Group to impersonate; may be given several times
    #[arg(long = "as-group", value_name = "GROUP", requires = "as_user")]
    as_group: Vec<String>,
}

impl Place {
    /// The cluster meant.
    fn source(&self) -> Source {
        match &self.embedded {
            Some(name) => Source::Embedded {
                name: name.clone(),
                ephemeral: self.ephemeral,
                size: Size {
                    nodes: self.nodes.into(),
                    hollow: self.hollow.into(),
                },
            },
            None => Source::Kubeconfig {
                path: self.kubeconfig.clone(),
                context: self.context.clone(),
            },
        }
    }
}

/// Flags of the workstation.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    place: Place,
    /// Refuse everything that would change the cluster
    #[arg(long)]
    read_only: bool,
    /// Theme: dark, light, contrast, or one of your own; else what suits the terminal's ground
    #[arg(long, value_name = "NAME")]
    theme: Option<String>,
    /// Keymap: default, vim, k9s, emacs, or one of your own
    #[arg(long, value_name = "NAME")]
    keymap: Option<String>,
    /// Signs that every terminal font has
    #[arg(long)]
    ascii: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run embedded clusters in the background, for kubectl and CI
    #[cfg(feature = "embedded")]
    Cluster {
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Work with the images of an embedded cluster: list, pull, push, import, export, build ...
    #[cfg(feature = "embedded")]
    Image(image::Images),
    /// Print the paths, files and settings in use
    Info {
        /// List the roles a theme can style
        #[arg(long)]
        roles: bool,
    },
    /// Say why something does not work, and what to do about it; exit code 1 when something is wrong
    Why(why::Why),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The first command to run
    #[command(external_subcommand)]
    Start(Vec<String>),
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        #[cfg(feature = "embedded")]
        Some(Command::Cluster { action }) => cluster::run(action),
        #[cfg(feature = "embedded")]
        Some(Command::Image(images)) => image::run(images),
        Some(Command::Info { roles }) => info::run(&cli.flags, roles).map(|()| ExitCode::SUCCESS),
        Some(Command::Why(ask)) => why::run(ask),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "knarr", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Start(words)) => start::run(&cli.flags, Some(quote(&words))),
        None => start::run(&cli.flags, None),
    }
}

/// Words as one line that splits into the same words again.
fn quote(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = word.chars().all(|ch| ch.is_alphanumeric() || "-_./:=,@".contains(ch));
        if plain && !word.is_empty() {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Becomes a credential plugin when this process was started as one: in a session of its own, so that it can neither write on the
/// terminal nor read from it, and for a bounded time.
pub(crate) fn plugin() -> Option<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    let mut args = std::env::args_os().skip(1);
    if args.next()? != knarr::cluster::PLUGIN {
        return None;
    }
    let program = args.next()?;
    let _ = nix::unistd::setsid();
    // The alarm outlives the exec: it ends a plugin that waits for ever.
    nix::unistd::alarm::set(knarr::cluster::PLUGIN_SECONDS);
    let error = std::process::Command::new(&program).args(args).exec();
    let _ = writeln!(std::io::stderr(), "cannot run {}: {error}", program.to_string_lossy());
    Some(ExitCode::from(127))
}

/// Says on the terminal why the program ends.
pub(crate) fn complain(error: &Error) {
    let _ = writeln!(std::io::stderr(), "knarr: {error}");
}

/// Writes to standard output; a closed pipe is no error.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
