//! Where registries are, and who one is to them.
//!
//! `registries.toml`, in a cluster's directory or beside Knarr's configuration:
//!
//! ```toml
//! [registry."docker.io"]
//! mirrors = ["http://127.0.0.1:5000"]   # asked first, in order
//!
//! [registry."registry.example:5000"]
//! plain-http = true                     # no TLS; as for localhost without being said
//! ca = "/etc/ssl/registry.pem"          # trusted besides the system's authorities
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::{Doing, ImageError, Reference};

/// What is configured of the registries.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    registry: BTreeMap<String, One>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct One {
    mirrors: Vec<String>,
    plain_http: bool,
    ca: Option<PathBuf>,
}

impl Config {
    /// Reads the first of these files that is there.
    pub(super) fn load(paths: &[PathBuf]) -> Result<Self, ImageError> {
        let Some(path) = paths.iter().find(|path| path.is_file()) else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path).doing(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).map_err(|error| ImageError::Invalid(format!("{}: {error}", path.display())))
    }

    /// Under which addresses a registry's images are to be asked for, in order: mirrors, then itself.
    pub(super) fn endpoints(&self, registry: &str) -> Vec<String> {
        let own = self.registry.get(registry);
        let mirrors = own.iter().flat_map(|own| &own.mirrors);
        let mirrors = mirrors.map(|url| url.trim_end_matches('/').to_owned());
        mirrors.chain([self.itself(registry)]).collect()
    }

    /// Where a registry itself is: what is pushed goes nowhere else.
    pub(super) fn itself(&self, registry: &str) -> String {
        let host = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let plain = self.registry.get(registry).is_some_and(|own| own.plain_http);
        let scheme = if plain || is_local(host) { "http" } else { "https" };
        format!("{scheme}://{host}")
    }

    /// Files of certificates to trust.
    pub(super) fn authorities(&self) -> impl Iterator<Item = &Path> {
        self.registry.values().filter_map(|one| one.ca.as_deref())
    }
}

/// Nobody listens in between.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.starts_with("127.") || name == "[::1]"
}

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name.
    pub user: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

impl Credentials {
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// Users by what they are for, as Docker's configuration and pull secrets say it.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<(String, Credentials)>);

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
}

impl Keyring {
    /// Adds what is in a `config.json` or in a Secret of type `kubernetes.io/dockerconfigjson`.
    pub fn add_docker_config(&mut self, json: &[u8]) -> Result<(), ImageError> {
        let config: DockerConfig = parse(json)?;
        config
            .auths
            .into_iter()
            .for_each(|(place, auth)| self.auth(&place, auth));
        Ok(())
    }

    /// Adds what is in a Secret of type `kubernetes.io/dockercfg`.
    pub fn add_docker_cfg(&mut self, json: &[u8]) -> Result<(), ImageError> {
        let auths: BTreeMap<String, Auth> = parse(json)?;
        auths.into_iter().for_each(|(place, auth)| self.auth(&place, auth));
        Ok(())
    }

    /// Adds one user.
    pub fn add(&mut self, place: &str, credentials: Credentials) {
        let place = place.trim_start_matches("https://").trim_start_matches("http://");
        let place = place
            .trim_end_matches('/')
            .trim_end_matches("/v1")
            .trim_end_matches("/v2");
        let place = match place {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        self.0.push((place.to_owned(), credentials));
    }

    fn auth(&mut self, place: &str, auth: Auth) {
        let decoded = STANDARD.decode(auth.auth.trim()).ok();
        let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair
            .as_deref()
            .and_then(|text| text.trim_end_matches('\0').split_once(':'));
        let (user, password) = match pair {
            Some((user, password)) => (user.to_owned(), password.to_owned()),
            None => (auth.username, auth.password),
        };
        if !user.is_empty() {
            self.add(place, Credentials { user, password });
        }
    }

    /// Who to be for an image: the most specific first.
    pub(super) fn users(&self, image: &Reference) -> Vec<Credentials> {
        let mut fitting: Vec<_> = self
            .0
            .iter()
            .filter(|(place, _)| fits(place, &image.repository))
            .collect();
        fitting.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
        fitting.into_iter().map(|(_, user)| user.clone()).collect()
    }
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, ImageError> {
    // What it says may be secret, also where it is wrong.
    serde_json::from_slice(json).map_err(|_| ImageError::Invalid("the credentials are no Docker configuration".into()))
}

/// Whether credentials for `place` are for a repository: its host, in which a part may be `*`, and a beginning of its path.
fn fits(place: &str, repository: &str) -> bool {
    let split = |text: &'_ str| -> (String, String) {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        (host.to_owned(), path.to_owned())
    };
    let ((host, path), (own_host, own_path)) = (split(place), split(repository));
    let (parts, own_parts): (Vec<_>, Vec<_>) = (host.split('.').collect(), own_host.split('.').collect());
    let same = |(part, own): (&&str, &&str)| part == own || *part == "*";
    let below = own_path
        .strip_prefix(&path)
        .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'));
    parts.len() == own_parts.len() && parts.iter().zip(&own_parts).all(same) && below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_what_their_place_says() {
        for (place, repository, fit) in [
            ("docker.io", "docker.io/library/nginx", true),
            ("r.example:5000", "r.example:5000/a", true),
            ("r.example", "r.example:5000/a", false),
            ("*.example", "r.example/a", true),
            ("*.example", "a.r.example/a", false),
            ("r.example/team", "r.example/team/app", true),
            ("r.example/team", "r.example/teams/app", false),
        ] {
            assert_eq!(fits(place, repository), fit, "{place} {repository}");
        }
        let mut ring = Keyring::default();
        let auth = STANDARD.encode("me:se:cret");
        let json = format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}}}}}}"#);
        ring.add_docker_config(json.as_bytes()).unwrap();
        let users = ring.users(&Reference::parse("nginx").unwrap());
        assert_eq!((users[0].user.as_str(), users[0].password.as_str()), ("me", "se:cret"));
        assert!(!format!("{ring:?}").contains("cret"));
        assert!(
            ring.add_docker_config(b"{\"auths\": \"secret\"}")
                .unwrap_err()
                .to_string()
                .find("secret")
                .is_none()
        );
    }

    #[test]
    fn mirrors_come_before_the_registry_and_localhost_needs_no_tls() {
        let text =
            "[registry.\"docker.io\"]\nmirrors = [\"http://127.0.0.1:5000/\"]\n[registry.\"r:1\"]\nplain-http = true\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(
            config.endpoints("docker.io"),
            ["http://127.0.0.1:5000", "https://registry-1.docker.io"]
        );
        assert_eq!(config.endpoints("r:1"), ["http://r:1"]);
        assert_eq!(config.endpoints("localhost:5000"), ["http://localhost:5000"]);
        assert_eq!(config.endpoints("quay.io"), ["https://quay.io"]);
    }
}
