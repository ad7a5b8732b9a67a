//! A runtime, an image made of the host's own programs, and short ways to use them.

use std::fs;
use std::future::Future;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use knarr_runtime::{
    Best, ContainerSpec, ExecSpec, ExitStatus, Mode, Mount, ProcessRuntime, Runtime, RuntimeError, Sandbox,
    SandboxSpec, Started, start_best,
};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longer than anything here takes; a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every test gets. Tests run at once and share it; each uses sandboxes of its own.
#[derive(Clone)]
pub struct Stage {
    pub runtime: Arc<dyn Runtime>,
    pub state_dir: PathBuf,
    image: PathBuf,
    tokio: Arc<tokio::runtime::Runtime>,
    next: Arc<AtomicU32>,
    _files: Arc<TempDir>,
}

/// What a process wrote, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub out: String,
    pub err: String,
    pub status: ExitStatus,
}

impl Stage {
    /// With namespaces, or why this host has none.
    pub fn namespaces() -> Result<Self, Vec<String>> {
        let (files, tokio) = basis();
        let state = files.path().join("state");
        let Best { runtime, refusals } = tokio.block_on(start_best(&state)).expect("start the runtime");
        if runtime.mode() == Mode::Processes {
            return Err(refusals);
        }
        Ok(Self::with(runtime, state, files, tokio))
    }

    pub fn processes() -> Self {
        let (files, tokio) = basis();
        let state = files.path().join("state");
        let runtime = tokio
            .block_on(async { ProcessRuntime::new(&state) })
            .expect("start the runtime");
        Self::with(Arc::new(runtime), state, files, tokio)
    }

    fn with(runtime: Arc<dyn Runtime>, state_dir: PathBuf, files: TempDir, tokio: tokio::runtime::Runtime) -> Self {
        let image = files.path().join("image");
        fs::create_dir_all(image.join("etc")).expect("make the image");
        fs::write(
            image.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n",
        )
        .expect("make the image");
        // Here rather than in its test: a file that another test's fork still holds open for writing cannot be executed.
        fs::write(image.join("broken.sh"), "#!/no/interpreter\n").expect("make the image");
        fs::set_permissions(image.join("broken.sh"), fs::Permissions::from_mode(0o755)).expect("make the image");
        // Debian's /bin is a link to /usr/bin; elsewhere these are directories.
        for name in ["bin", "sbin", "lib", "lib64"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, image.join(name)).expect("make the image");
            }
        }
        Self {
            runtime,
            state_dir,
            image,
            tokio: Arc::new(tokio),
            next: Arc::default(),
            _files: Arc::new(files),
        }
    }

    /// Runs a test's async part, with an end to patience.
    pub fn run<T>(&self, test: impl Future<Output = T>) -> T {
        self.tokio
            .block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test hangs") })
    }

    pub fn has_namespaces(&self) -> bool {
        self.runtime.mode() != Mode::Processes
    }

    /// An ID nobody else uses.
    pub fn id(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{number:064x}")
    }

    pub async fn sandbox(&self) -> Sandbox {
        self.sandbox_with(|_| {}).await
    }

    pub async fn sandbox_with(&self, change: impl FnOnce(&mut SandboxSpec)) -> Sandbox {
        let mut spec = SandboxSpec {
            id: self.id(),
            hostname: "pod-a".into(),
            ..SandboxSpec::default()
        };
        change(&mut spec);
        self.runtime.create_sandbox(spec).await.expect("create a sandbox")
    }

    /// A container that runs `script` in the host's shell.
    pub fn shell(&self, sandbox: &Sandbox, script: &str) -> ContainerSpec {
        let mounts = ["/usr", "/bin", "/sbin", "/lib", "/lib64"].map(Path::new).into_iter();
        let mounts = mounts.filter(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()));
        ContainerSpec {
            id: self.id(),
            sandbox: sandbox.id.clone(),
            root: self.image.clone(),
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            mounts: mounts.map(|path| bind(path, path)).collect(),
            ..ContainerSpec::default()
        }
    }

    pub async fn start(&self, spec: &ContainerSpec) -> Started {
        self.runtime
            .start(spec.clone())
            .await
            .unwrap_or_else(|error| panic!("start {:?}: {error}", spec.argv))
    }

    /// Starts a container and waits for its end.
    pub async fn finish(&self, spec: &ContainerSpec) -> Ended {
        finish(self.start(spec).await).await
    }

    /// Runs a script in a sandbox of its own.
    pub async fn script(&self, script: &str) -> Ended {
        let sandbox = self.sandbox().await;
        let ended = self.finish(&self.shell(&sandbox, script)).await;
        self.runtime
            .remove_sandbox(&sandbox.id)
            .await
            .expect("remove the sandbox");
        ended
    }

    pub async fn exec(&self, container: &ContainerSpec, script: &str) -> Ended {
        let spec = ExecSpec {
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            ..ExecSpec::default()
        };
        finish(self.runtime.exec(&container.id, spec).await.expect("exec")).await
    }
}

fn basis() -> (TempDir, tokio::runtime::Runtime) {
    let files = tempfile::tempdir().expect("make a directory");
    // The user of a container may be another than ours.
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).expect("open the directory");
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("start tokio");
    (files, tokio)
}

pub fn bind(source: &Path, target: &Path) -> Mount {
    Mount {
        source: source.into(),
        target: target.into(),
        read_only: true,
        ..Mount::default()
    }
}

pub async fn finish(started: Started) -> Ended {
    let mut stderr = started.stderr;
    let mut stdout = started.stdout;
    let read_err = async {
        match &mut stderr {
            Some(stderr) => text(stderr).await,
            None => String::new(),
        }
    };
    let (out, err, status) = tokio::join!(text(&mut stdout), read_err, started.exit);
    Ended { out, err, status }
}

pub async fn text(reader: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.expect("read output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `wanted` has come by.
pub async fn read_until(reader: &mut (impl AsyncRead + Unpin), wanted: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains(wanted) {
        let count = reader.read(&mut buffer).await.expect("read output");
        assert!(count > 0, "ended before {wanted:?}: {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    seen
}

/// Insists on a missing program and returns the message.
pub fn missing_program(result: Result<Started, RuntimeError>) -> String {
    match result {
        Err(RuntimeError::NoSuchProgram(message)) => message,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it started"),
    }
}
