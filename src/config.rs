//! The user's files: where they are, and the settings in `config.toml`. Flags come before the file, the file before the defaults.

mod column;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

pub use column::ColumnChoice;

use crate::error::{Error, ErrorKind, Result};

/// Directories of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `config.toml`, `themes/`, `keymaps/`.
    pub config: PathBuf,
    /// What is remembered between runs, and the log.
    pub state: PathBuf,
}

impl Paths {
    /// The platform's directories (XDG on Linux); `KNARR_CONFIG_DIR` and `KNARR_STATE_DIR` come first.
    pub fn find() -> Self {
        let own = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let dirs = directories::ProjectDirs::from("", "", "knarr");
        let fallback = || std::env::temp_dir().join("knarr");
        let config = own("KNARR_CONFIG_DIR").or_else(|| dirs.as_ref().map(|dirs| dirs.config_dir().to_owned()));
        let state = own("KNARR_STATE_DIR").or_else(|| {
            dirs.as_ref()
                .map(|dirs| dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).to_owned())
        });
        Self {
            config: config.unwrap_or_else(fallback),
            state: state.unwrap_or_else(fallback),
        }
    }

    /// The log file.
    pub fn log(&self) -> PathBuf {
        self.state.join("knarr.log")
    }
}

/// `config.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Theme by name; without one, `light` or `dark` as the terminal's ground is.
    pub theme: Option<String>,
    /// Keymap by name.
    pub keymap: String,
    /// Only signs every font has.
    pub ascii: bool,
    /// Refuse changes.
    pub read_only: bool,
    /// Short forms for the command prompt, and the lines they stand for (`dp = "deployments -A"`).
    pub aliases: BTreeMap<String, String>,
    /// Columns of tables by kind, in their order: `pods = ["NAME", "STATUS", "IMAGE:.spec.containers[*].image"]`.
    #[serde(skip)]
    pub columns: BTreeMap<String, Vec<ColumnChoice>>,
    /// Contexts where every change must be asked for by name; `*` stands for anything (`prod*`).
    pub protected: Vec<String>,
    /// The colours by which contexts are known (`"staging*" = "yellow"`); what is called production is red without one.
    pub contexts: BTreeMap<String, ContextColour>,
}

/// A colour by which a context is known in the top line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextColour {
    /// As what is broken.
    Red,
    /// As what needs a look.
    Yellow,
    /// As what is healthy.
    Green,
    /// As what is on its way.
    Cyan,
    /// As any context.
    Blue,
    /// As what is not known.
    Violet,
}

/// The colour of a context: that of the first pattern that it is like, else red for production.
pub fn context_colour(rules: &BTreeMap<String, ContextColour>, name: &str) -> Option<ContextColour> {
    let told = rules.iter().find(|(pattern, _)| is_like(pattern, name));
    let production = || {
        let mut words = name.split(|ch: char| !ch.is_ascii_alphanumeric());
        words.any(|word| matches!(&*word.to_ascii_lowercase(), "prod" | "production" | "prd" | "live"))
    };
    told.map(|(_, colour)| *colour)
        .or_else(|| production().then_some(ContextColour::Red))
}

/// Whether one of the patterns is the name; `*` stands for any number of characters.
pub fn is_protected(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| is_like(pattern, name))
}

/// Whether the pattern is the name.
fn is_like(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            theme: None,
            keymap: "default".into(),
            ascii: false,
            read_only: false,
            aliases: BTreeMap::new(),
            columns: BTreeMap::new(),
            protected: Vec::new(),
            contexts: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads the file; a missing one gives the defaults.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or understood, with the line.
    pub fn load(paths: &Paths) -> Result<Self> {
        Self::read(&paths.config.join("config.toml"))
    }

    fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Error::new(ErrorKind::Config, format!("cannot read {}", path.display())).because(&error));
            }
        };
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        /// What needs more than its shape to be understood: errors name its line.
        #[derive(Deserialize, Default)]
        struct Columns {
            #[serde(default)]
            columns: BTreeMap<String, Vec<Spanned<String>>>,
        }
        let refused = |error: &toml::de::Error| {
            Error::new(ErrorKind::Config, format!("{} cannot be understood", path.display()))
                .because(error)
                .hint("settings are theme, keymap, ascii, read_only, protected, contexts, aliases and columns")
        };
        let mut table: toml::Table = toml::from_str(text).map_err(|error| refused(&error))?;
        let columns: Columns = toml::from_str(text).map_err(|error| refused(&error))?;
        table.remove("columns");
        // What is left is short; its errors name the setting.
        let mut config: Self = match table.is_empty() {
            true => Self::default(),
            false => table.try_into().map_err(|error| refused(&error))?,
        };
        for (kind, choices) in columns.columns {
            let mut read = Vec::with_capacity(choices.len());
            for choice in choices {
                read.push(ColumnChoice::parse(choice.get_ref()).map_err(|why| {
                    let line = text[..choice.span().start].matches('\n').count() + 1;
                    Error::new(ErrorKind::Config, format!("{}:{line}: {why}", path.display())).hint(format!(
                        "columns of {kind} are written as TITLE, or as TITLE:.json.path"
                    ))
                })?);
            }
            config.columns.insert(kind.to_lowercase(), read);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_is_red_unless_the_user_says_otherwise() {
        let rules = BTreeMap::from([("prod-eu*".to_owned(), ContextColour::Violet)]);
        assert_eq!(context_colour(&rules, "prod-eu-1"), Some(ContextColour::Violet));
        assert_eq!(context_colour(&rules, "shop-prod"), Some(ContextColour::Red));
        assert_eq!(context_colour(&rules, "gke_PROD_x"), Some(ContextColour::Red));
        assert_eq!(context_colour(&rules, "products"), None);
    }

    #[test]
    fn protected_contexts_are_found_by_pattern() {
        let is = |pattern: &str, name: &str| is_protected(&[pattern.to_owned()], name);
        assert!(is("prod*", "prod-eu") && is("*prod*", "my-prod-eu") && is("prod", "prod") && is("a*c*", "abcd"));
        assert!(!is("prod", "prod-eu") && !is("prod*", "preprod") && !is("a*c", "abcd") && !is("", "x"));
    }

    #[test]
    fn a_missing_file_gives_the_defaults_and_a_wrong_one_an_error() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("config.toml");
        assert_eq!(Config::read(&path).expect("defaults"), Config::default());
        std::fs::write(&path, "theme = \"light\"\n").expect("write");
        assert_eq!(Config::read(&path).expect("reads").theme.as_deref(), Some("light"));
        let columns = "ascii = true\n[columns]\npods = [\n  \"NAME\",\n  \"image:.spec.containers[*].image\",\n]\n";
        std::fs::write(&path, columns).expect("write");
        let config = Config::read(&path).expect("reads");
        let titles: Vec<&str> = config.columns["pods"].iter().map(|choice| &*choice.title).collect();
        assert_eq!((titles, config.ascii), (vec!["NAME", "IMAGE"], true));
        std::fs::write(&path, columns.replace("containers[*]", "containers[")).expect("write");
        let error = Config::read(&path).expect_err("refused").to_string();
        assert!(error.contains("config.toml:5:") && error.contains("bracket"), "{error}");
        std::fs::write(&path, "colour = 1\n").expect("write");
        assert!(Config::read(&path).expect_err("refused").to_string().contains("colour"));
    }
}
