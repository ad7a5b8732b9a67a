//! The `knarr` program: flags, a cluster, the application.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, before any thread exists: this process may be one of the mini-cluster's own programs.
    if let Some(code) = knarr::cluster::reexec() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    if let Some(code) = cli::plugin() {
        return code;
    }
    match cli::main() {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
