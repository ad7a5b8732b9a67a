//! Tests of the store as a whole.

use super::*;

fn store() -> (tempfile::TempDir, ImageStore) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = ImageStore::open(dir.path()).expect("a store");
    (dir, store)
}

#[test]
fn every_name_that_exercises_use_is_found() {
    let (_dir, store) = store();
    for name in [
        "gcr.io/kuar-demo/kuard-amd64:blue",
        "gcr.io/kuar-demo/kuard-amd64:1",
        "luksa/kubia",
        "docker.io/luksa/kubia:v2",
        "nginx",
        "nginx:1.14.2",
        "nginx:1.15.4",
        "nginx:1.16.0",
        "nginx:1.25.3-alpine",
        "busybox:1.36.0-musl",
        "alpine:3.18.4",
        "busybox",
        "busybox:1.28",
        "luksa/kubia-pet",
        "luksa/kubia-pet-peers",
        "luksa/fortune",
        "luksa/batch-job",
        "tutum/dnsutils",
        "alpine:3.20",
        "curlimages/curl",
        "registry.k8s.io/pause:3.9",
    ] {
        assert!(store.find(name).expect("a valid name").is_some(), "{name}");
    }
    for name in [
        "nginx:1.161",
        "nginx:2.0",
        "nginx:1.x",
        "nginx:1.2.3.4",
        "busybox:9.1",
        "alpine:4",
    ] {
        assert!(store.find(name).expect("a valid name").is_none(), "{name}");
    }
    let release = store.find("nginx:1.16.0").expect("a valid name").expect("found");
    assert!(release.config.env.contains(&("NGINX_VERSION".into(), "1.16.0".into())));
    assert_eq!(release.references, ["docker.io/library/nginx:1.16.0"]);
    assert!(store.find("NGINX").is_err());
}

#[test]
fn names_and_identities_are_unique() {
    let (_dir, store) = store();
    let mut names = std::collections::HashSet::new();
    let mut ids = std::collections::HashSet::new();
    for image in store.list().expect("listed") {
        assert!(ids.insert(image.id.clone()), "{image:?}");
        assert!(!image.references.is_empty());
        for reference in &image.references {
            assert_eq!(ImageStore::normalize(reference).expect("valid"), *reference);
            assert!(names.insert(reference.clone()), "{reference} names two images");
        }
        let by_digest = store.find(&image.repo_digest).expect("valid").expect("found by digest");
        assert_eq!(by_digest.id, image.id);
        assert_eq!(store.find(&image.id).expect("valid").expect("found by ID").id, image.id);
    }
}

#[test]
fn a_root_file_system_is_written_once_and_whole() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store) = store();
    for image in store.list().expect("listed") {
        let root = store.unpack(&image).expect("unpacked");
        let again = store.unpack(&image).expect("unpacked again");
        assert_eq!(root.lower, again.lower);
        assert!(root.lower.join("etc/passwd").is_file());
        let tmp = std::fs::metadata(root.lower.join("tmp")).expect("/tmp");
        assert_eq!(tmp.permissions().mode() & 0o7777, 0o1777);
        let program = &root.binds.first().expect("the program");
        assert!(
            root.lower
                .join(program.target.strip_prefix("/").expect("absolute"))
                .is_file()
        );
        // The first word of what runs exists in the image.
        let argv: Vec<&String> = image.config.entrypoint.iter().chain(&image.config.cmd).collect();
        let name = argv.first().expect("a command");
        let path = image
            .config
            .env
            .iter()
            .find(|(n, _)| n == "PATH")
            .expect("PATH")
            .1
            .clone();
        let found = if name.starts_with('/') {
            root.lower.join(name.trim_start_matches('/')).symlink_metadata().is_ok()
        } else {
            path.split(':')
                .any(|dir| root.lower.join(&dir[1..]).join(name).symlink_metadata().is_ok())
        };
        assert!(found, "{name} in {:?}", image.references);
    }
}

#[test]
fn settings_name_things_once_and_users_that_exist() {
    let (_dir, store) = store();
    for image in store.list().expect("listed") {
        let mut names: Vec<&String> = image.config.env.iter().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{:?}", image.config.env);
        let root = store.unpack(&image).expect("unpacked");
        for (user, file) in image
            .config
            .user
            .split(':')
            .zip(["etc/passwd", "etc/group"])
            .filter(|(user, _)| !user.is_empty())
        {
            let text = std::fs::read_to_string(root.lower.join(file)).expect("readable");
            assert!(
                text.lines().any(|line| line.split(':').next() == Some(user)),
                "{user} in {text}"
            );
        }
    }
}

#[test]
fn every_link_in_an_image_is_a_program_that_exists() {
    let (_dir, store) = store();
    for image in store.list().expect("listed") {
        let root = store.unpack(&image).expect("unpacked");
        let program = &root.binds.first().expect("the program").target;
        let mut dirs = vec![root.lower.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("readable").flatten() {
                let kind = entry.file_type().expect("its type");
                if kind.is_dir() {
                    dirs.push(entry.path());
                } else if kind.is_symlink() {
                    assert_eq!(&std::fs::read_link(entry.path()).expect("a link"), program);
                    let name = entry.file_name().into_string().expect("text");
                    assert!(
                        knarr_toolbox::names().any(|n| n == name),
                        "{name} in {:?}",
                        image.references
                    );
                }
            }
        }
    }
}

#[test]
fn small_images_have_no_bash() {
    let (_dir, store) = store();
    for (name, bash) in [
        ("gcr.io/kuar-demo/kuard-amd64:blue", false),
        ("busybox", false),
        ("alpine", false),
        ("nginx", true),
        ("luksa/kubia", true),
    ] {
        let image = store.find(name).expect("valid").expect("found");
        let root = store.unpack(&image).expect("unpacked");
        assert_eq!(root.lower.join("bin/bash").symlink_metadata().is_ok(), bash, "{name}");
        assert!(root.lower.join("bin/sh").symlink_metadata().is_ok(), "{name}");
    }
}

#[test]
fn an_image_comes_back_from_an_archive_with_the_same_digests() {
    let (_dir, store) = store();
    let image = store.get("luksa/kubia:v2").expect("found");
    let mut archive = Vec::new();
    store
        .export(&[("luksa/kubia:v2".into(), image.clone())], &mut archive)
        .expect("exported");
    let (other_dir, other) = self::store();
    let file = other_dir.path().join("archive.tar");
    std::fs::write(&file, &archive).expect("written");
    let names = other.import(Some(&file), Some("mine:1")).expect("imported");
    assert_eq!(names, ["docker.io/library/mine:1"]);
    let mine = other.get("mine:1").expect("found");
    assert_eq!((&mine.id, mine.size), (&image.id, image.size));
    assert!(other.unpack(&mine).expect("unpacked").lower.join("app.js").is_file());
    // As a directory, and from there again.
    let layout = other_dir.path().join("layout");
    other
        .export_directory(&[("mine:1".into(), mine)], &layout)
        .expect("exported");
    assert_eq!(
        store.import(Some(&layout), None).expect("imported"),
        ["docker.io/library/mine:1"]
    );
    assert_eq!(store.get("mine:1").expect("found").id, image.id);
}

#[test]
fn archives_that_lie_are_refused_and_name_nothing() {
    let (dir, store) = store();
    let image = store.get("luksa/kubia:v1").expect("found");
    let layout = dir.path().join("layout");
    store
        .export_directory(&[("kubia:lie".into(), image.clone())], &layout)
        .expect("exported");
    let (layer, _) = store.layers(&image).pop().expect("a layer");
    let blob = layout.join("blobs/sha256").join(layer.hex());
    let truth = std::fs::read(&blob).expect("read");
    let mut changed = truth.clone();
    changed[600] ^= 1;
    for (lie, why) in [
        (truth[..truth.len() - 512].to_vec(), "bytes, not"),
        (changed, "unexpected commit digest"),
    ] {
        let (_other_dir, other) = self::store();
        std::fs::write(&blob, lie).expect("written");
        let refused = other.import(Some(&layout), None).expect_err("refused").to_string();
        assert!(refused.contains(why), "{refused}");
        assert!(other.find("kubia:lie").expect("looked up").is_none());
    }
    std::fs::remove_file(&blob).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &blob).expect("linked");
    let (_other_dir, other) = self::store();
    assert!(other.import(Some(&layout), None).is_err(), "a link out of the layout");
}

#[test]
fn names_move_and_go_and_the_disk_is_cleaned_of_what_nobody_uses() {
    let (_dir, store) = store();
    let blue = store.get("gcr.io/kuar-demo/kuard-amd64:blue").expect("found");
    let green = store.get("gcr.io/kuar-demo/kuard-amd64:green").expect("found");
    store.tag(&blue, "mine").expect("tagged");
    store.tag(&green, "mine").expect("tagged");
    assert_eq!(store.get("mine").expect("found").id, green.id);
    // Another process sees it.
    let again = ImageStore::open(&store.dir).expect("opened");
    assert_eq!(again.get("mine").expect("found").id, green.id);
    again.remove("mine").expect("removed");
    assert!(store.find("mine").expect("looked up").is_none());
    assert!(store.remove("nginx").is_err(), "built in");

    let root = store.unpack(&blue).expect("unpacked");
    store.unpack(&green).expect("unpacked");
    let pruned = again.prune(true, |_| false).expect("pruned");
    assert!(pruned.bytes > 0);
    assert!(root.lower.join("bin/sh").symlink_metadata().is_ok(), "in use");
    drop(root);
    again.prune(true, |_| false).expect("pruned");
    let left = std::fs::read_dir(store.dir.join("layers")).expect("read");
    let left = left.flatten().filter(|entry| entry.file_name().len() == 64).count();
    assert_eq!(left, 0);
    assert!(store.unpack(&blue).is_ok(), "what is built in is made again");
}
