//! A simulated process's standard streams.

use knarr_runtime::{Reader, Writer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

/// What a pipe holds.
const PIPE: usize = 64 << 10;

/// The process's ends.
pub(super) struct Stdio {
    input: Option<BufReader<DuplexStream>>,
    output: DuplexStream,
    error: Option<DuplexStream>,
}

/// The other ends.
pub(super) struct Ends {
    pub(super) stdin: Option<Writer>,
    pub(super) stdout: Reader,
    pub(super) stderr: Option<Reader>,
}

impl Stdio {
    /// New streams. On a terminal there is no second output.
    pub(super) fn new(input: bool, tty: bool) -> (Self, Ends) {
        let (stdout, output) = tokio::io::duplex(PIPE);
        let (stderr, error) = if tty {
            (None, None)
        } else {
            Some(tokio::io::duplex(PIPE)).unzip()
        };
        let (stdin, input) = if input {
            Some(tokio::io::duplex(PIPE)).unzip()
        } else {
            (None, None)
        };
        let ends = Ends {
            stdin: stdin.map(|writer| Box::new(writer) as Writer),
            stdout: Box::new(stdout),
            stderr: stderr.map(|reader| Box::new(reader) as Reader),
        };
        let stdio = Self {
            input: input.map(BufReader::new),
            output,
            error,
        };
        (stdio, ends)
    }

    /// Writes text; a reader that has gone is no concern of the program.
    pub(super) async fn print(&mut self, text: &str) {
        let _ = self.output.write_all(text.as_bytes()).await;
    }

    /// Writes bytes as they are: part of a character may be one of them.
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.output.write_all(bytes).await; // as above
    }

    /// Writes to the second output, or on a terminal to the only one.
    pub(super) async fn complain(&mut self, text: &str) {
        let stream = self.error.as_mut().unwrap_or(&mut self.output);
        let _ = stream.write_all(text.as_bytes()).await;
    }

    /// The next line of input without its end; `None` at the end of input.
    pub(super) async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.input.as_mut()?.read_until(b'\n', &mut line).await.ok()?;
        if read == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        Some(line.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// The next byte of input.
    pub(super) async fn byte(&mut self) -> Option<u8> {
        self.input.as_mut()?.read_u8().await.ok()
    }
}
