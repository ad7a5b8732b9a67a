//! `tar`, as `kubectl cp` uses it, and against archives that mean harm.

use std::path::Path;

use super::{feed, program, sh};

/// An archive with entries exactly as given, names checked by nobody.
fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        let link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_entry_type(*kind);
        header.set_mode(if *kind == tar::EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_size(if link { 0 } else { content.len() as u64 });
        header.set_cksum();
        bytes.extend(header.as_bytes());
        if !link {
            bytes.extend(content.as_bytes());
            bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        }
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn extract(into: &Path, bytes: &[u8]) -> (i32, String, String) {
    feed(program("tar").args(["-xmf", "-", "-C"]).arg(into), bytes)
}

#[test]
fn trees_go_through_and_come_back_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "cd \"$0\" && mkdir -p in/sub in/empty && echo one > in/a && echo two > in/sub/b && ln -s a in/link && chmod 750 in/sub && chmod +x in/a \
                  && head -c 100000 /dev/zero > in/zeros && mkdir out && tar cf - in | tar -xmf - -C out && diff -r in out/in && stat -c %a out/in/sub out/in/a \
                  && readlink out/in/link && tar czf t.tgz in && tar tzf t.tgz | sort | tr '\\n' ' ' && tar xzf t.tgz -C out --strip-components=1 && cat out/sub/b";
    let output = program("sh")
        .args(["-c", script])
        .arg(dir.path())
        .output()
        .expect("sh runs");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        out,
        "750\n755\na\nin in/a in/empty in/link in/sub in/sub/b in/zeros two\n"
            .replace("in in/a", "in/ in/a")
            .replace("in/empty ", "in/empty/ ")
            .replace("in/sub in", "in/sub/ in"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn hostile_entries_are_refused_and_the_rest_is_kept() {
    use tar::EntryType::{Link, Regular, Symlink};
    let outside = tempfile::tempdir().expect("a directory");
    let outside_path = outside.path().to_str().expect("text").to_owned();
    std::fs::write(outside.path().join("victim"), "safe").expect("written");
    let victim = format!("{outside_path}/victim");
    let cases: Vec<Vec<(&str, tar::EntryType, &str)>> = vec![
        vec![("../escape", Regular, "x"), ("good", Regular, "y")],
        vec![("a/../../escape", Regular, "x"), ("good", Regular, "y")],
        vec![(&victim, Regular, "x"), ("good", Regular, "y")],
        vec![
            ("dir", Symlink, &outside_path),
            ("dir/victim", Regular, "x"),
            ("good", Regular, "y"),
        ],
        vec![
            ("l1", Symlink, ".."),
            ("l1/escape", Regular, "x"),
            ("good", Regular, "y"),
        ],
        vec![("hard", Link, "../victim"), ("good", Regular, "y")],
        vec![("hard", Link, &victim), ("good", Regular, "y")],
        vec![
            ("d", Symlink, &outside_path),
            ("hard", Link, "d/victim"),
            ("good", Regular, "y"),
        ],
    ];
    for entries in cases {
        let parent = tempfile::tempdir().expect("a directory");
        let target = parent.path().join("target");
        std::fs::create_dir(&target).expect("a directory");
        let (status, _, err) = extract(&target, &archive(&entries));
        assert_eq!(status, 2, "{entries:?}: {err}");
        assert!(err.contains("refused"), "{entries:?}: {err}");
        assert_eq!(
            std::fs::read_to_string(target.join("good")).expect("the good entry"),
            "y",
            "{entries:?}"
        );
        assert_eq!(
            std::fs::read_to_string(outside.path().join("victim")).expect("the victim"),
            "safe",
            "{entries:?}"
        );
        assert!(!parent.path().join("escape").exists(), "{entries:?}");
        assert!(!target.join("hard").exists(), "{entries:?}");
    }
    // A link in the way is replaced, not written through.
    let target = tempfile::tempdir().expect("a directory");
    let (status, ..) = extract(
        target.path(),
        &archive(&[("f", Symlink, &victim), ("f", Regular, "new")]),
    );
    assert_eq!(status, 0);
    assert_eq!(
        std::fs::read_to_string(outside.path().join("victim")).expect("the victim"),
        "safe"
    );
    assert_eq!(
        std::fs::read_to_string(target.path().join("f")).expect("the file"),
        "new"
    );
}

#[test]
fn broken_archives_are_errors() {
    let target = tempfile::tempdir().expect("a directory");
    let whole = archive(&[("a", tar::EntryType::Regular, "content")]);
    for bytes in [
        &whole[..100],
        &b"not an archive at all, but long enough to be read as one block".repeat(20)[..],
        &whole[..514],
    ] {
        let (status, _, err) = extract(target.path(), bytes);
        assert_eq!(status, 2, "{err}");
    }
    let (status, _, err) = sh("tar cf - /nonexistent > /dev/null");
    assert_eq!(status, 2);
    assert!(
        err.contains("/nonexistent: Cannot stat: No such file or directory"),
        "{err}"
    );
    let (status, _, err) = sh("tar xf /nonexistent");
    assert_eq!(
        (status, err.as_str()),
        (2, "tar: can't open '/nonexistent': No such file or directory\n")
    );
}
