//! Tests of layers: what is applied, and what is refused.

use super::*;

/// An entry of an archive, with a name that no well-meaning tool would write.
fn raw(kind: EntryType, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &str) -> Vec<u8> {
    raw(EntryType::Regular, name, "", content.as_bytes())
}

fn dir(name: &str) -> Vec<u8> {
    raw(EntryType::Directory, name, "", b"")
}

fn link(name: &str, to: &str) -> Vec<u8> {
    raw(EntryType::Symlink, name, to, b"")
}

/// Unpacks layers one upon the other, each into a directory of its own.
fn unpack(host: &Path, layers: &[Vec<Vec<u8>>]) -> Result<PathBuf, ImageError> {
    let mut below: Option<PathBuf> = None;
    for (number, entries) in layers.iter().enumerate() {
        let root = host.join(number.to_string());
        let mut tree = Tree::create(&root)?;
        if let Some(below) = &below {
            tree.clone_of(below)?;
        }
        let mut bytes = entries.concat();
        bytes.extend([0; 1024]);
        tree.apply(
            bytes.as_slice(),
            Bounds {
                bytes: 4096,
                entries: 20,
            },
        )?;
        tree.finish()?;
        below = Some(root);
    }
    Ok(below.unwrap_or_default())
}

fn listing(root: &Path) -> Vec<String> {
    let (mut all, mut pending) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap().flatten() {
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path.clone());
            }
            all.push(path.display().to_string());
        }
    }
    all.sort();
    all
}

#[test]
fn layers_hide_replace_and_keep_what_is_below() {
    let host = tempfile::tempdir().unwrap();
    let root = unpack(
        host.path(),
        &[
            vec![
                dir("./"),
                dir("usr/"),
                dir("usr/bin/"),
                link("bin", "usr/bin"),
                file("usr/bin/old", "old"),
                file("etc/gone", "x"),
                file("etc/kept", "x"),
                file("cache/a", "x"),
                file("cache/b/c", "x"),
                file("turns", "into a directory"),
            ],
            vec![
                // Through the link of the layer below.
                file("bin/new", "new"),
                file("etc/.wh.gone", ""),
                file("etc/.wh.never", ""),
                file("cache/fresh", "x"),
                file("cache/.wh..wh..opq", ""),
                file("turns/inside", "x"),
                raw(EntryType::Link, "usr/bin/same", "bin/old", b""),
                raw(EntryType::Char, "dev/null", "", b""),
                file("usr/bin/old", "other"),
            ]
            .into_iter()
            .filter(|entry| !entry.starts_with(b"turns"))
            .collect(),
        ],
    )
    .unwrap();
    assert_eq!(
        listing(&root),
        [
            "bin",
            "cache",
            "cache/fresh",
            "dev",
            "etc",
            "etc/kept",
            "turns",
            "usr",
            "usr/bin",
            "usr/bin/new",
            "usr/bin/old",
            "usr/bin/same"
        ]
    );
    assert_eq!(fs::read_to_string(root.join("usr/bin/same")).unwrap(), "old");
    assert_eq!(fs::read_to_string(root.join("usr/bin/old")).unwrap(), "other");
    let below = host.path().join("0");
    assert_eq!(
        fs::read_to_string(below.join("usr/bin/old")).unwrap(),
        "old",
        "what is below is not touched"
    );
    assert!(below.join("etc/gone").exists());
    let inode = |root: &Path| fs::metadata(root.join("etc/kept")).unwrap().ino();
    assert_eq!(inode(&root), inode(&below), "a file that both have is there once");
}

#[test]
fn hostile_layers_are_refused_and_nothing_is_written_outside() {
    let outside = "/tmp/knarr-hostile-layer";
    let many = (0..30).map(|n| file(&format!("f{n}"), "")).collect();
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("leads out of it", vec![file("../escaped", "x")]),
        ("leads out of it", vec![file("a/../../escaped", "x")]),
        ("leads out of it", vec![file("/absolute", "x")]),
        (
            "leads out of it",
            vec![raw(EntryType::Link, "a", "../../etc/passwd", b"")],
        ),
        (
            "is a link to what is not in it",
            vec![raw(EntryType::Link, "a", "/etc/passwd", b"")],
        ),
        (
            "is a link to what is not in it",
            vec![link("out", "/etc"), raw(EntryType::Link, "a", "out/passwd", b"")],
        ),
        (
            "is a second name of a directory",
            vec![dir("d/"), raw(EntryType::Link, "a", "d", b"")],
        ),
        ("is a device", vec![raw(EntryType::Block, "disk", "", b"")]),
        (
            "has too many links",
            vec![link("a", "b"), link("b", "a"), file("a/x", "")],
        ),
        ("through what is no directory", vec![file("f", ""), file("f/x", "")]),
        ("removes no name", vec![file("a/.wh...", "")]),
        ("larger than a layer may be", vec![file("big", &"x".repeat(5000))]),
        ("larger than a layer may be", many),
        ("damaged", vec![vec![b'x'; 512]]),
        ("ends early", vec![file("cut", &"x".repeat(4000))[..600].to_vec()]),
    ];
    for (why, entries) in cases {
        let host = tempfile::tempdir().unwrap();
        let names: Vec<_> = entries
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry[..12]).into_owned())
            .collect();
        let refused = unpack(&host.path().join("deep/store"), &[entries]);
        let text = refused.expect_err(why).to_string();
        assert!(text.contains(why), "{names:?}: {text}");
        assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(host.path().join("deep")).unwrap().count(), 1);
    }
    // A link may lead anywhere; what goes through it stays inside.
    let host = tempfile::tempdir().unwrap();
    let root = unpack(
        host.path(),
        &[vec![
            link("out", outside),
            file("out/x", "inside"),
            link("up", "../../.."),
            file("up/y", "inside"),
        ]],
    )
    .unwrap();
    assert!(!Path::new(outside).exists());
    assert_eq!(
        fs::read_to_string(root.join(&outside[1..]).join("x")).unwrap(),
        "inside"
    );
    assert_eq!(fs::read_to_string(root.join("y")).unwrap(), "inside");
}

#[test]
fn what_a_container_has_changed_becomes_a_layer_again() {
    let host = tempfile::tempdir().unwrap();
    let base = unpack(host.path(), &[vec![file("etc/old", "x"), file("etc/kept", "x")]]).unwrap();
    let upper = host.path().join("upper");
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/new"), "new").unwrap();
    fs::hard_link(upper.join("etc/new"), upper.join("etc/twin")).unwrap();
    symlink("new", upper.join("etc/link")).unwrap();
    fs::write(upper.join("etc/mount"), "").unwrap();
    let mut archive = Vec::new();
    pack_changes(&upper, &[PathBuf::from("etc/mount")], &mut archive).unwrap();
    let mut tree = Tree::create(&host.path().join("next")).unwrap();
    tree.clone_of(&base).unwrap();
    tree.apply(archive.as_slice(), Bounds::of(1)).unwrap();
    tree.finish().unwrap();
    let next = host.path().join("next/etc");
    assert_eq!(listing(&next), ["kept", "link", "new", "old", "twin"]);
    let inode = |name: &str| fs::metadata(next.join(name)).unwrap().ino();
    assert_eq!(inode("new"), inode("twin"));
}
