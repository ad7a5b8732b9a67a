//! Commands that the kubelet itself runs in containers: for probes and hooks.

use knarr_runtime::{ExecSpec, ExitStatus, Reader, Runtime, RuntimeError};
use tokio::io::AsyncReadExt;

/// Most of its output that is kept.
const LONGEST: u64 = 10 << 10;

/// Runs a command to its end. Returns how it ended and the beginning of what it said on both outputs.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    container: &str,
    argv: &[String],
) -> Result<(ExitStatus, String), RuntimeError> {
    let spec = ExecSpec {
        argv: argv.to_vec(),
        tty: false,
        stdin: false,
    };
    let started = runtime.exec(container, spec).await?;
    let read = async |reader: Option<Reader>| {
        let mut text = Vec::new();
        if let Some(mut reader) = reader {
            let _ = (&mut reader).take(LONGEST).read_to_end(&mut text).await; // what came is kept
            let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await; // the rest must not block it
        }
        text
    };
    let (out, err, exit) = tokio::join!(read(Some(started.stdout)), read(started.stderr), started.exit);
    let text = [out, err].concat();
    Ok((exit, String::from_utf8_lossy(&text).into_owned()))
}
