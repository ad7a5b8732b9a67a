//! Tests of builds: everything but the commands, which need containers.

use std::sync::Mutex;

use super::*;

/// Runs nothing, but leaves a file that says what it was asked.
#[derive(Default)]
struct Pretend {
    upper: Option<tempfile::TempDir>,
    ran: Mutex<Vec<Command>>,
}

#[async_trait]
impl Worker for Pretend {
    async fn pull(&self, reference: &str) -> Result<Arc<Image>, ImageError> {
        Err(ImageError::NotFound(format!("{reference}: no registry here")))
    }

    fn user(&self, user: &str, _root: &Path) -> Result<(Option<u32>, Option<u32>), String> {
        let mut ids = user.split(':').map(|id| id.parse().ok());
        Ok((ids.next().flatten(), ids.next().flatten()))
    }

    async fn run(&self, command: Command) -> Result<PathBuf, String> {
        let upper = self.upper.as_ref().ok_or("nothing runs here")?.path();
        fs::write(upper.join("ran"), command.argv.join(" ")).map_err(|error| error.to_string())?;
        self.ran.lock().unwrap().push(command);
        Ok(upper.to_owned())
    }

    async fn forget(&self, _id: &str) {}
}

struct World {
    dir: tempfile::TempDir,
    store: Arc<ImageStore>,
    worker: Pretend,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join("context").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let worker = Pretend {
            upper: Some(tempfile::tempdir().unwrap()),
            ..Pretend::default()
        };
        let store = Arc::new(ImageStore::open(&dir.path().join("store")).unwrap());
        Self { dir, store, worker }
    }

    async fn build(&self, change: impl FnOnce(&mut Recipe)) -> Result<(Arc<Image>, Vec<String>), ImageError> {
        let context = self.dir.path().join("context");
        let mut recipe = Recipe {
            file: context.join("Dockerfile"),
            context,
            tags: vec!["built:1".into()],
            ..Recipe::default()
        };
        change(&mut recipe);
        let said = Mutex::new(Vec::new());
        let say = |line: &str| said.lock().unwrap().push(line.to_owned());
        let built = build(&self.store, &recipe, &self.worker, &say).await?;
        Ok((built, said.into_inner().unwrap()))
    }
}

#[tokio::test]
async fn stages_files_and_settings_become_an_image() {
    let world = World::new(&[
        (
            "Dockerfile",
            "ARG BASE=busybox\nFROM scratch AS files\nCOPY --chmod=0640 a.txt /from/\nCOPY dir /from/dir\n\
             FROM $BASE\nARG VERSION=1\nENV VERSION=$VERSION MODE=\"a b\"\nWORKDIR /srv\nWORKDIR app\n\
             COPY --from=files --chown=7:8 /from/dir/ ./\nCOPY --from=files /from/a.txt renamed\nCOPY *.txt /bin\n\
             RUN echo $VERSION\nEXPOSE 80 53/udp\nUSER 7:8\nLABEL a=\"b c\"\nHEALTHCHECK NONE\nENTRYPOINT [\"sh\", \"-c\"]\nCMD echo hi\n",
        ),
        ("a.txt", "a"),
        ("dir/b", "b"),
        ("dir/sub/c", "c"),
    ]);
    let (image, said) = world
        .build(|recipe| recipe.args = vec![("VERSION".into(), "2".into())])
        .await
        .unwrap();
    assert_eq!(image.references, ["docker.io/library/built:1"]);
    let config = &image.config;
    assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/srv/app", "7:8"));
    assert_eq!(config.exposed_ports, ["53/udp", "80/tcp"]);
    assert_eq!(config.cmd, ["/bin/sh", "-c", "echo hi"]);
    assert!(
        config.env.contains(&("VERSION".into(), "2".into())) && config.env.contains(&("MODE".into(), "a b".into()))
    );
    assert!(
        said.iter().any(|line| line.contains("HEALTHCHECK is ignored")),
        "{said:?}"
    );
    let root = world.store.unpack(&image).unwrap();
    for (path, text) in [
        ("srv/app/b", "b"),
        ("srv/app/sub/c", "c"),
        ("srv/app/renamed", "a"),
        ("bin/a.txt", "a"),
        ("ran", "/bin/sh -c echo $VERSION"),
    ] {
        assert_eq!(fs::read_to_string(root.lower.join(path)).unwrap(), text, "{path}");
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(root.lower.join("srv/app/renamed"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    // What is built on a built-in image has its programs.
    assert_eq!(root.binds[0].target, Path::new("/bin/busybox"));
    let ran = world.worker.ran.lock().unwrap();
    assert_eq!(ran[0].working_dir, Path::new("/srv/app/"));
}

#[tokio::test]
async fn what_has_not_changed_is_not_done_again_and_targets_stop_early() {
    let text = "FROM busybox AS one\nCOPY a.txt /\nRUN make\nFROM one AS two\nCOPY b.txt /\n";
    let world = World::new(&[("Dockerfile", text), ("a.txt", "a"), ("b.txt", "b")]);
    let (first, _) = world.build(|_| ()).await.unwrap();
    fs::write(world.dir.path().join("context/b.txt"), "changed").unwrap();
    let (second, said) = world.build(|_| ()).await.unwrap();
    assert_eq!(said.iter().filter(|line| *line == "CACHED").count(), 2, "{said:?}");
    assert_ne!(first.id, second.id);
    world.build(|recipe| recipe.no_cache = true).await.unwrap();
    assert_eq!(world.worker.ran.lock().unwrap().len(), 2);
    let (one, _) = world.build(|recipe| recipe.target = Some("one".into())).await.unwrap();
    assert!(!world.store.unpack(&one).unwrap().lower.join("b.txt").exists());
    let missing = world.build(|recipe| recipe.target = Some("three".into())).await;
    assert!(missing.unwrap_err().to_string().contains("could not be found"));
}

#[tokio::test]
async fn onbuild_and_archives_do_their_work_where_they_are_used() {
    let world = World::new(&[
        ("Dockerfile", "FROM busybox\nONBUILD COPY a.txt /later\n"),
        ("a.txt", "a"),
    ]);
    world.build(|_| ()).await.unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    archive.append_data(&mut header, "in/side", &b"it"[..]).unwrap();
    let context = world.dir.path().join("context");
    fs::write(context.join("x.tar"), archive.into_inner().unwrap()).unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM built:1\nADD x.tar /opt\nADD a.txt /opt/\n",
    )
    .unwrap();
    let (image, _) = world.build(|recipe| recipe.tags = vec!["child".into()]).await.unwrap();
    let root = world.store.unpack(&image).unwrap().lower;
    for (path, text) in [("later", "a"), ("opt/in/side", "it"), ("opt/a.txt", "a")] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), text, "{path}");
    }
    assert!(image.config.on_build.is_empty());
}

#[tokio::test]
async fn errors_say_where_they_are_and_name_nothing() {
    for (text, why) in [
        (
            "RUN x",
            "Dockerfile:1: RUN: no build stage in current context: FROM comes first",
        ),
        ("FROM nowhere", "Dockerfile:1: FROM: nowhere: no registry here"),
        (
            "FROM busybox\n\nCOPY missing /",
            "Dockerfile:3: COPY: \"missing\" not found: not found",
        ),
        (
            "FROM busybox\nCOPY ../../etc/passwd /",
            "Dockerfile:2: COPY: \"../../etc/passwd\" not found: not found",
        ),
        (
            "FROM busybox\nCOPY a.txt ../../x",
            "Dockerfile:2: COPY: \"../../x\" leads out of the image",
        ),
        (
            "FROM busybox\nCOPY --chmod=rw a.txt /",
            "Dockerfile:2: COPY: \"rw\" are no rights: use octal digits",
        ),
        (
            "FROM busybox\nADD https://x.example/y /",
            "Dockerfile:2: ADD: https://x.example/y: builds fetch nothing; download it into the context",
        ),
        ("FROM busybox\nENV A", "Dockerfile:2: ENV: must have two arguments"),
        (
            "FROM busybox\nSHELL sh",
            "Dockerfile:2: SHELL: requires the arguments to be in JSON form",
        ),
    ] {
        let world = World::new(&[("Dockerfile", text), ("a.txt", "")]);
        assert_eq!(world.build(|_| ()).await.unwrap_err().to_string(), why);
        assert!(world.store.find("built:1").unwrap().is_none());
    }
}
