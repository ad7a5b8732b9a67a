//! `knarr info`: which paths and settings are in use.

use std::fmt::Write as _;

use knarr::config::{Config, Paths};
use knarr::error::Result;
use knarr::keys::Keymap;
use knarr::theme::{Role, Theme};

use super::Flags;

pub(super) fn run(flags: &Flags, roles: bool) -> Result<()> {
    let mut out = String::new();
    if roles {
        for role in Role::ALL {
            let _ = writeln!(out, "{:<18} {}", role.name(), role.doc());
        }
        super::print(&out);
        return Ok(());
    }
    let paths = Paths::find();
    let config = Config::load(&paths)?;
    let kubeconfig = match (&flags.place.kubeconfig, std::env::var("KUBECONFIG")) {
        (Some(path), _) => path.display().to_string(),
        (None, Ok(paths)) if !paths.is_empty() => paths,
        _ => "~/.kube/config".into(),
    };
    let line = |out: &mut String, name: &str, value: &str| {
        let _ = writeln!(out, "{name:<14} {value}");
    };
    line(&mut out, "version", env!("CARGO_PKG_VERSION"));
    line(
        &mut out,
        "config",
        &paths.config.join("config.toml").display().to_string(),
    );
    line(&mut out, "themes", &paths.config.join("themes").display().to_string());
    line(&mut out, "keymaps", &paths.config.join("keymaps").display().to_string());
    line(&mut out, "state", &paths.state.display().to_string());
    line(&mut out, "log", &paths.log().display().to_string());
    line(
        &mut out,
        "clusters",
        &knarr::cluster::clusters_dir().map_or_else(|| "-".into(), |dir| dir.display().to_string()),
    );
    line(&mut out, "kubeconfig", &kubeconfig);
    line(
        &mut out,
        "theme",
        &format!(
            "{} ({})",
            config.theme.as_deref().unwrap_or("light or dark, as the terminal is"),
            Theme::built_in().collect::<Vec<_>>().join(", ")
        ),
    );
    line(
        &mut out,
        "keymap",
        &format!(
            "{} ({})",
            config.keymap,
            Keymap::built_in().collect::<Vec<_>>().join(", ")
        ),
    );
    super::print(&out);
    Ok(())
}
