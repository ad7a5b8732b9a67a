//! What the main process and the node process say to each other.
//!
//! They share one `SOCK_SEQPACKET` pair: the kernel keeps message boundaries, delivers the file descriptors of a message together with it,
//! and reports end of file to either side the moment the other is gone, however it died. Bodies are JSON; one too large for a packet (a pod
//! may carry a megabyte of environment) travels in an anonymous file passed as the last descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{ContainerSpec, ExecSpec, ExitStatus, Mode, NodeSpec, RuntimeError, SandboxSpec, Usage};

/// Largest body sent inside the packet itself; well under the smallest default socket buffer.
const INLINE: usize = 32 * 1024;
/// Largest body accepted at all.
const LARGEST: u64 = 16 * 1024 * 1024;
/// Most descriptors in one message.
const DESCRIPTORS: usize = 8;

const TAG_INLINE: u8 = b'i';
const TAG_FILE: u8 = b'f';

/// One request of the main process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Call {
    /// Chosen by the caller; comes back in the answer.
    pub(crate) id: u64,
    pub(crate) request: Request,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// First request: where writable layers live.
    Open {
        state_dir: PathBuf,
    },
    /// A further node. Does nothing when it is there.
    AddNode(NodeSpec),
    /// Whose pods are gone.
    RemoveNode {
        node: u8,
    },
    /// Whether a further node's network and the others' reach each other.
    ConnectNode {
        node: u8,
        connected: bool,
    },
    CreateSandbox {
        node: u8,
        spec: SandboxSpec,
    },
    RemoveSandbox {
        id: String,
    },
    /// `process` names the process in [`Message::Ended`].
    Start {
        process: u64,
        spec: Box<ContainerSpec>,
    },
    Exec {
        process: u64,
        container: String,
        spec: ExecSpec,
    },
    Signal {
        container: String,
        signal: i32,
    },
    Remove {
        container: String,
    },
    /// Two unconnected TCP sockets, IPv4 and IPv6, made in a sandbox's network; in the node's when `None`.
    Sockets {
        node: u8,
        sandbox: Option<String>,
    },
    /// A bound socket in the network of the node whose address it is; in the first one's when it is nobody's.
    Bind {
        address: SocketAddr,
        datagram: bool,
    },
    Usage {
        container: String,
    },
    /// Only to be answered: whoever does is there.
    Ping,
}

/// Whatever the node process sends.
#[derive(Serialize, Deserialize)]
pub(crate) enum Message {
    /// First message: the mode that works on this host, or none; and why better ones do not.
    Hello {
        mode: Option<Mode>,
        refusals: Vec<String>,
        /// In what containers will be isolated less than they might.
        weaknesses: Vec<String>,
    },
    Answer {
        id: u64,
        result: Result<Answer, Failure>,
    },
    /// A process started by `Start` or `Exec` has ended.
    Ended {
        process: u64,
        status: ExitStatus,
    },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Sandbox { ip: IpAddr },
    Started(Ends),
    Usage(Usage),
}

/// Which descriptors come with [`Answer::Started`], in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ends {
    /// A pidfd: what tells the main process the process ID it sees.
    pub(crate) pidfd: bool,
    /// Write end of standard input.
    pub(crate) stdin: bool,
    /// Read ends of standard output and standard error.
    pub(crate) output: bool,
    /// The terminal's master instead of the pipes.
    pub(crate) terminal: bool,
}

/// A [`RuntimeError`] that can travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    NoSuchProgram(String),
    NotFound(String),
    AddressInUse(String),
    Unsupported(String),
    Io {
        context: String,
        errno: Option<i32>,
        text: String,
    },
}

impl Failure {
    /// `error` happened while doing `context`.
    pub(crate) fn new(context: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        Self::Io {
            context: context.into(),
            errno: error.raw_os_error(),
            text: error.to_string(),
        }
    }

    /// A refusal of our own.
    pub(crate) fn other(context: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Io {
            context: context.into(),
            errno: None,
            text: text.into(),
        }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchProgram(text) => Self::NoSuchProgram(text),
            Failure::NotFound(what) => Self::NotFound(what),
            Failure::AddressInUse(text) => Self::AddressInUse(text),
            Failure::Unsupported(text) => Self::Unsupported(text),
            Failure::Io { context, errno, text } => Self::Io {
                context,
                source: errno.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error),
            },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchProgram(text) | Self::AddressInUse(text) | Self::Unsupported(text) => f.write_str(text),
            Self::NotFound(what) => write!(f, "{what} not found"),
            Self::Io { context, text, .. } => write!(f, "{context}: {text}"),
        }
    }
}

/// Names what was being done when something failed.
pub(crate) trait Context<T> {
    fn context(self, context: &str) -> Result<T, Failure>;
    fn with_context(self, context: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, context: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(context, error))
    }

    fn with_context(self, context: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(context(), error))
    }
}

/// A connected pair, closed on exec.
pub(crate) fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Sends one message with descriptors. Blocks or fails with `WouldBlock` as the socket is set; never sends half.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut body = serde_json::to_vec(message).map_err(io::Error::other)?;
    // The receiver takes what it cannot read for a broken node, and a broken node ends every container.
    if body.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too large"));
    }
    let mut raw: Vec<RawFd> = descriptors.iter().map(|d| d.as_raw_fd()).collect();
    let mut tag = TAG_INLINE;
    let overflow; // Lives until the kernel has taken its reference.
    if body.len() > INLINE {
        let mut file = File::from(memfd_create(c"knarr-message", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&body)?;
        overflow = file;
        raw.push(overflow.as_raw_fd());
        body.clear();
        tag = TAG_FILE;
    }
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let parts = [IoSlice::new(std::slice::from_ref(&tag)), IoSlice::new(&body)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::Error::EINTR) => {}
            other => return other.map(drop).map_err(Into::into),
        }
    }
}

/// Receives one message with its descriptors; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; INLINE + 1];
    let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS]);
    let (length, mut descriptors) = loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(message) => {
                let mut descriptors = Vec::new();
                for part in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = part {
                        descriptors.extend(raw.into_iter().map(adopt));
                    }
                }
                break (message.bytes, descriptors);
            }
        }
    };
    let Some((tag, body)) = buffer.get(..length).and_then(|b| b.split_first()) else {
        return Ok(None);
    };
    let value = if *tag == TAG_FILE {
        let file = descriptors
            .pop()
            .ok_or_else(|| io::Error::other("a message without its file"))?;
        let mut file = File::from(file);
        file.seek(SeekFrom::Start(0))?;
        let mut body = Vec::new();
        file.take(LARGEST).read_to_end(&mut body)?;
        serde_json::from_slice(&body)
    } else {
        serde_json::from_slice(body)
    };
    Ok(Some((value.map_err(io::Error::other)?, descriptors)))
}

/// Takes ownership of a descriptor that the kernel has just installed.
#[allow(unsafe_code, reason = "SCM_RIGHTS hands out raw descriptors")]
fn adopt(raw: RawFd) -> OwnedFd {
    // SAFETY: recvmsg installed this descriptor for us a moment ago; nothing else knows its number.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn small_and_large_messages_arrive_whole_with_their_descriptors() {
        let (left, right) = pair().unwrap();
        for size in [0, 10, INLINE, 3 * 1024 * 1024] {
            let text = "x".repeat(size);
            let (reader, writer) = nix::unistd::pipe().unwrap();
            send(left.as_fd(), &text, &[writer.as_fd()]).unwrap();
            drop(writer);
            let (back, descriptors): (String, _) = receive(right.as_fd()).unwrap().unwrap();
            assert_eq!(back, text);
            assert_eq!(descriptors.len(), 1);
            File::from(descriptors.into_iter().next().unwrap())
                .write_all(b"ping")
                .unwrap();
            let mut heard = String::new();
            File::from(reader).read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "ping");
        }
        drop(left);
        assert!(receive::<String>(right.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_failure_keeps_its_error_number_on_the_way() {
        let failure = Failure::new("mount /proc", nix::Error::EPERM);
        let text = serde_json::to_string(&failure).unwrap();
        let back: Failure = serde_json::from_str(&text).unwrap();
        let RuntimeError::Io { context, source } = RuntimeError::from(back) else {
            panic!("wrong kind")
        };
        assert_eq!(
            (context.as_str(), source.raw_os_error()),
            ("mount /proc", Some(nix::libc::EPERM))
        );
    }
}
