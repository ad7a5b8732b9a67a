//! nginx, a web server. Tags differ in the version the server names and in the signal that stops it.

use super::full;
use crate::definition::Definition;

const WELCOME: &str = include_str!("nginx/index.html");
const ERROR: &str = include_str!("nginx/50x.html");
const MAIN: &str = include_str!("nginx/nginx.conf");
const SITE: &str = include_str!("nginx/default.conf");
const ENTRYPOINT: &str = include_str!("nginx/entrypoint.sh");

pub(super) const REPOSITORY: &str = "docker.io/library/nginx";
/// The newest minor version that there may be a tag of, and the highest patch.
const NEWEST: (u32, u32) = (31, 30);

/// Any other release: `1.16.0`, `1.25.3-alpine`. Not a tag that never was, which is how tutorials try what a failed rollout looks like.
pub(super) fn release(tag: &str) -> Option<Definition> {
    let version = tag.split('-').next()?;
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (major, minor) = (numbers.next()??, numbers.next()??);
    let patch = numbers.next().map_or(Some(0), |patch| patch)?;
    let plausible = major == 1 && (7..=NEWEST.0).contains(&minor) && patch <= NEWEST.1 && numbers.next().is_none();
    plausible.then(|| image(&format!("{major}.{minor}.{patch}"), &[]).tagged(REPOSITORY, tag))
}

fn image(version: &str, tags: &'static [&'static str]) -> Definition {
    let image = full()
        .name(REPOSITORY, tags)
        .program("/usr/sbin/nginx")
        .dir("/var/log/nginx", 0o755)
        .dir("/var/cache/nginx", 0o755)
        .dir("/docker-entrypoint.d", 0o755)
        .file("/usr/share/nginx/html/index.html", 0o644, WELCOME)
        .file("/usr/share/nginx/html/50x.html", 0o644, ERROR)
        .file("/etc/nginx/nginx.conf", 0o644, MAIN)
        .file("/etc/nginx/conf.d/default.conf", 0o644, SITE)
        .file("/etc/nginx/mime.types", 0o644, include_str!("nginx/mime.types"))
        .env("NGINX_VERSION", version)
        .port("80/tcp")
        .cmd(&["nginx", "-g", "daemon off;"]);
    // Images up to 1.18 start the server itself; later ones go through a script and stop gracefully.
    let minor: u32 = version.split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    if minor < 19 {
        return image;
    }
    let mut image = image
        .file("/docker-entrypoint.sh", 0o755, ENTRYPOINT)
        .entrypoint(&["/docker-entrypoint.sh"]);
    image.config.stop_signal = "SIGQUIT".to_owned();
    image
}

pub(super) fn images() -> Vec<Definition> {
    vec![
        image(
            "1.29.1",
            &[
                "latest",
                "1",
                "1.29",
                "1.29.1",
                "mainline",
                "alpine",
                "1.29-alpine",
                "mainline-alpine",
            ],
        ),
        image("1.28.0", &["stable", "1.28", "1.28.0", "stable-alpine", "1.28-alpine"]),
        image("1.27.5", &["1.27", "1.27.5", "1.27-alpine"]),
        image("1.27.0", &["1.27.0"]),
        image("1.26.3", &["1.26", "1.26.3"]),
        image("1.25.5", &["1.25", "1.25.5", "1.25-alpine"]),
        image("1.25.0", &["1.25.0"]),
        image("1.24.0", &["1.24", "1.24.0"]),
        image("1.23.4", &["1.23", "1.23.4"]),
        image("1.22.1", &["1.22", "1.22.1"]),
        image("1.21.6", &["1.21", "1.21.6"]),
        image("1.21.0", &["1.21.0"]),
        image("1.20.2", &["1.20", "1.20.2"]),
        image("1.19.10", &["1.19", "1.19.10"]),
        image("1.18.0", &["1.18", "1.18.0"]),
        image("1.17.10", &["1.17", "1.17.10"]),
        image("1.16.1", &["1.16", "1.16.1"]),
        image("1.15.12", &["1.15", "1.15.12"]),
        image("1.14.2", &["1.14", "1.14.2"]),
        image("1.14.0", &["1.14.0"]),
        image("1.13.12", &["1.13", "1.13.12"]),
        image("1.12.2", &["1.12", "1.12.2"]),
        image("1.11.13", &["1.11", "1.11.13"]),
        image("1.10.3", &["1.10", "1.10.3"]),
        image("1.9.1", &["1.9", "1.9.1"]),
        image("1.7.9", &["1.7", "1.7.9"]),
    ]
}
