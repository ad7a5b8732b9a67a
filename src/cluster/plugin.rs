//! Credential plugins: programs that a kubeconfig names and that know who the user is (client.authentication.k8s.io).
//!
//! While the workstation has the terminal they run without it, and for a bounded time. One that has to ask something is lent the
//! terminal, when the user says so.

use std::fmt;
use std::process::{Command, Stdio};

use base64::Engine as _;
use jiff::Timestamp;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// The first argument of a process of this program that becomes a credential plugin.
pub const PLUGIN: &str = "__credential-plugin";
/// How long a credential plugin may take: seconds.
pub const PLUGIN_SECONDS: u32 = 30;

/// Runs the user's credential plugin through this program, without the terminal: what it writes to standard error becomes the reason
/// when it fails, and it reads nothing.
pub(super) fn confine(user: &mut AuthInfo) {
    let Some(exec) = &mut user.exec else { return };
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
    if let (Some(command), Ok(own)) = (exec.command.take(), std::env::current_exe()) {
        let mut args = vec![PLUGIN.to_owned(), command];
        args.extend(exec.args.take().unwrap_or_default());
        exec.command = Some(own.display().to_string());
        exec.args = Some(args);
    }
}

/// What a credential plugin wrote before it failed, if that is what went wrong.
pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    use std::os::unix::process::ExitStatusExt as _;
    let mut next = Some(error);
    let out = loop {
        let cause = next?;
        if let Some(kube::client::AuthError::AuthExecRun { out, .. }) = cause.downcast_ref() {
            break out;
        }
        next = cause.source();
    };
    let said = String::from_utf8_lossy(&out.stderr);
    let mut said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // The reason stands at the end, and a flood is no explanation.
    said.drain(..said.len().saturating_sub(4));
    let said = crate::text::clean(&said.join("; ")).into_owned();
    let why = match (out.status.signal(), said.is_empty()) {
        (Some(14), _) => format!("it did not end within {} s", PLUGIN_SECONDS),
        (_, false) => said,
        (_, true) => out.status.to_string(),
    };
    Some(
        Error::new(
            ErrorKind::Unauthenticated,
            format!("the credential plugin failed: {why}"),
        )
        .hint("`:login` lends it the terminal, where it can ask you to sign in"),
    )
}

/// A credential plugin that may ask the user.
#[derive(Clone, Debug)]
pub struct Plugin(ExecConfig);

impl Plugin {
    /// That of a user, when it may be asked on a terminal.
    pub(super) fn of(user: &AuthInfo) -> Option<Self> {
        let exec = user.exec.clone()?;
        (exec.command.is_some() && exec.interactive_mode != Some(ExecInteractiveMode::Never)).then_some(Self(exec))
    }

    /// How it is run on a terminal; its standard output is the credential.
    pub fn command(&self) -> Command {
        let Self(exec) = self;
        let mut command = Command::new(exec.command.as_deref().unwrap_or_default());
        command.args(exec.args.iter().flatten());
        for variable in exec.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                command.env(name, value);
            }
        }
        let info = serde_json::json!({
            "apiVersion": exec.api_version,
            "kind": "ExecCredential",
            "spec": {"interactive": true},
        });
        command
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::inherit())
            .stderr(Stdio::inherit())
            .stdout(Stdio::piped());
        command
    }
}

/// What a credential plugin has given. Only in memory, and never shown.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("expires", &self.expiration_timestamp)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Reads what a plugin has written.
    ///
    /// # Errors
    ///
    /// When that is no `ExecCredential` with a token or a certificate.
    pub fn parse(written: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct ExecCredential {
            status: Credential,
        }
        let nothing = || Error::new(ErrorKind::Unauthenticated, "the credential plugin gave no credential");
        let read: ExecCredential = serde_yaml::from_slice(written).map_err(|error| nothing().because(&error))?;
        let credential = read.status;
        match credential.token.is_some() || credential.client_certificate_data.is_some() {
            true => Ok(credential),
            false => Err(nothing()),
        }
    }

    /// Whether it still counts.
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        self.expiration_timestamp.is_none_or(|end| now < end)
    }

    /// The same way to the cluster, with this instead of the plugin.
    pub(super) fn in_place_of_plugin(&self, mut config: kube::Config) -> kube::Config {
        let base64 = |pem: &String| base64::engine::general_purpose::STANDARD.encode(pem);
        let user = &mut config.auth_info;
        user.exec = None;
        user.token = self.token.clone().map(Into::into);
        user.client_certificate_data = self.client_certificate_data.as_ref().map(base64);
        user.client_key_data = self.client_key_data.as_ref().map(base64).map(Into::into);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_gives_takes_its_place_and_is_never_shown() {
        let given = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",
            "status":{"token":"hunter2","expirationTimestamp":"2026-01-01T00:00:00Z"}}"#;
        let credential = Credential::parse(given.as_bytes()).expect("a credential");
        assert!(!format!("{credential:?}").contains("hunter2"));
        for nothing in ["", "hello", "{}", r#"{"status":{}}"#, r#"{"status":{"token":null}}"#] {
            let error = Credential::parse(nothing.as_bytes()).expect_err(nothing);
            assert_eq!(error.message, "the credential plugin gave no credential");
        }
    }

    #[test]
    fn a_plugin_is_asked_on_the_terminal_unless_its_kubeconfig_says_never() {
        let user = |mode: &str| -> AuthInfo {
            let text = format!(
                "exec: {{apiVersion: client.authentication.k8s.io/v1, command: sso, args: [get], interactiveMode: {mode}, \
                 env: [{{name: REGION, value: x}}]}}"
            );
            serde_yaml::from_str(&text).expect("a user")
        };
        let command = Plugin::of(&user("Always")).expect("a plugin").command();
        assert_eq!((command.get_program(), command.get_args().count()), ("sso".as_ref(), 1));
        let has = |name: &str, part: &str| {
            let mut variables = command.get_envs();
            variables
                .any(|(key, value)| key == name && value.is_some_and(|value| value.to_string_lossy().contains(part)))
        };
        assert!(has("REGION", "x") && has("KUBERNETES_EXEC_INFO", r#""interactive":true"#));
        assert!(Plugin::of(&user("Never")).is_none());
        assert!(Plugin::of(&AuthInfo::default()).is_none());
    }
}
