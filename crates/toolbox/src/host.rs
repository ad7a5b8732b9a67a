//! The host's name: in a pod, the pod's.

/// What `hostname` prints.
pub(crate) fn name() -> String {
    nix::unistd::gethostname()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_else(|_| "localhost".to_owned())
}

/// The name in full: the first on the line of /etc/hosts that has this one, as the C library's resolver finds it.
fn full(name: &str) -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = hosts.lines().find_map(|line| {
        let mut names = line.split('#').next()?.split_whitespace().skip(1);
        let first = names.next()?;
        (first == name || names.any(|known| known == name)).then(|| first.to_owned())
    });
    found.unwrap_or_else(|| name.to_owned())
}

/// `hostname [-i|-f|-s|-d]`
pub(crate) fn main(args: &[String]) -> i32 {
    let name = name();
    match args.get(1).map(String::as_str) {
        None => crate::say::out(format!("{name}\n")),
        Some("-f" | "--fqdn" | "--long") => crate::say::out(format!("{}\n", full(&name))),
        Some("-s") => crate::say::out(format!("{}\n", name.split('.').next().unwrap_or(&name))),
        Some("-d") => crate::say::out(format!("{}\n", full(&name).split_once('.').map_or("", |(_, d)| d))),
        Some("-i" | "-I") => {
            // The pod's own line in /etc/hosts, which the kubelet writes.
            let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            let address = hosts.lines().find_map(|line| {
                let mut words = line.split('#').next()?.split_whitespace();
                let address = words.next()?;
                words.any(|w| w == name).then(|| address.to_owned())
            });
            match address {
                Some(address) => crate::say::out(format!("{address}\n")),
                None => return crate::say::fail("hostname", format!("{name}: Unknown host")),
            }
        }
        Some(other) => return crate::say::fail("hostname", format!("unrecognized option '{other}'")),
    }
    0
}
