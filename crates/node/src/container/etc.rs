//! The files in /etc that the kubelet writes: hosts, hostname, resolv.conf.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use knarr_runtime::Mount;

use crate::options::Options;

/// The pod's host name as its containers see it.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let name = spec.and_then(|spec| spec.hostname_override.clone().or_else(|| spec.hostname.clone()));
    let name = name
        .filter(|name| !name.is_empty())
        .or_else(|| pod.metadata.name.clone())
        .unwrap_or_default();
    // The kernel takes 64 bytes, the kubelet keeps to DNS's 63.
    let short = if name.len() > 63 {
        name.get(..63).unwrap_or(&name)
    } else {
        &name
    };
    short.trim_end_matches(['-', '.']).to_owned()
}

/// Their names and contents.
pub(crate) fn files(pod: &Pod, pod_ip: Option<IpAddr>, options: &Options) -> Vec<(&'static str, String)> {
    vec![
        ("hosts", hosts(pod, pod_ip, options)),
        ("hostname", format!("{}\n", hostname(pod))),
        ("resolv.conf", resolv_conf(pod, options)),
    ]
}

/// Writes them below `dir` and tells where they go.
pub(crate) fn write(dir: &Path, files: &[(&str, String)]) -> io::Result<Vec<Mount>> {
    fs::create_dir_all(dir)?;
    let mut mounts = Vec::new();
    for (name, text) in files {
        let source: PathBuf = dir.join(name);
        fs::write(&source, text)?;
        mounts.push(Mount {
            source,
            target: Path::new("/etc").join(name),
            ..Mount::default()
        });
    }
    Ok(mounts)
}

fn hosts(pod: &Pod, pod_ip: Option<IpAddr>, options: &Options) -> String {
    let spec = pod.spec.as_ref();
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    if let Some(ip) = pod_ip {
        let name = hostname(pod);
        let subdomain = spec
            .and_then(|spec| spec.subdomain.as_deref())
            .filter(|name| !name.is_empty());
        match subdomain {
            Some(subdomain) => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                let domain = &options.cluster_domain;
                text += &format!("{ip}\t{name}.{subdomain}.{namespace}.svc.{domain}\t{name}\n");
            }
            None => text += &format!("{ip}\t{name}\n"),
        }
    }
    let aliases: Vec<_> = spec
        .and_then(|spec| spec.host_aliases.as_ref())
        .into_iter()
        .flatten()
        .collect();
    if !aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            text += &format!("{}\t{names}\n", alias.ip);
        }
    }
    text
}

fn resolv_conf(pod: &Pod, options: &Options) -> String {
    let spec = pod.spec.as_ref();
    let config = spec.and_then(|spec| spec.dns_config.as_ref());
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let policy = spec
        .and_then(|spec| spec.dns_policy.as_deref())
        .unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !host_network && !options.cluster_dns.is_empty(),
        "ClusterFirstWithHostNet" => !options.cluster_dns.is_empty(),
        _ => false,
    };
    let mut servers: Vec<String> = Vec::new();
    let mut searches: Vec<String> = Vec::new();
    let mut resolver_options: Vec<(String, Option<String>)> = Vec::new();
    if cluster {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let domain = &options.cluster_domain;
        servers.extend(options.cluster_dns.iter().map(IpAddr::to_string));
        searches.extend([
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ]);
        resolver_options.push(("ndots".into(), Some("5".into())));
    } else if policy != "None" {
        // As the node resolves names.
        let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        for line in host.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
                Some("search") => searches.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
    }
    if let Some(config) = config {
        servers.extend(config.nameservers.iter().flatten().cloned());
        searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            resolver_options.retain(|(known, _)| *known != name);
            resolver_options.push((name, option.value.clone()));
        }
    }
    let mut text = String::new();
    if !searches.is_empty() {
        text += &format!("search {}\n", searches.join(" "));
    }
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    let words: Vec<String> = resolver_options
        .into_iter()
        .map(|(name, value)| value.map_or(name.clone(), |value| format!("{name}:{value}")))
        .collect();
    if !words.is_empty() {
        text += &format!("options {}\n", words.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options() -> Options {
        let mut options = Options::new("n1", "/tmp");
        options.cluster_dns = vec!["10.96.0.10".parse().expect("an address")];
        options
    }

    fn pod(spec: serde_json::Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(json!({ "metadata": { "name": "web-0", "namespace": "shop" }, "spec": spec }))
            .expect("a pod")
    }

    #[test]
    fn names_resolve_in_the_cluster_and_as_the_pod_says() {
        let text = resolv_conf(&pod(json!({})), &options());
        assert_eq!(
            text,
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
        let own = json!({ "dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["1.2.3.4"], "searches": ["a.b"], "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }],
        } });
        assert_eq!(
            resolv_conf(&pod(own), &options()),
            "search a.b\nnameserver 1.2.3.4\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let spec = json!({ "subdomain": "db", "hostAliases": [{ "ip": "10.1.1.1", "hostnames": ["x", "y"] }] });
        let text = hosts(&pod(spec), Some("10.244.0.7".parse().expect("an address")), &options());
        assert!(
            text.contains("10.244.0.7\tweb-0.db.shop.svc.cluster.local\tweb-0\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\n# Entries added by HostAliases.\n10.1.1.1\tx\ty\n"),
            "{text}"
        );
    }
}
