//! A cluster in the background, without the workstation around it: `cluster start|stop|status|delete|kubeconfig NAME`.

use std::io::Write;
use std::process::ExitCode;

use knarr_cluster::{Error, daemon};

fn main() -> ExitCode {
    if let Some(code) = knarr_cluster::reexec() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (text, code) = match run(&arguments) {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => {
            let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
            let causes: String = causes.map(|cause| format!(": {cause}")).collect();
            let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            (format!("{error}{causes}{hint}"), ExitCode::FAILURE)
        }
    };
    let _ = writeln!(std::io::stdout(), "{text}"); // nobody may be reading
    code
}

fn run(arguments: &[&str]) -> Result<String, Error> {
    Ok(match *arguments {
        ["start", name] => daemon::start(name)?.display().to_string(),
        ["stop", name] => daemon::stop(name)?.to_string(),
        ["status", name] => daemon::status(name)?.text,
        ["delete", name] => daemon::delete(name)?.to_string(),
        ["kubeconfig", name] => daemon::kubeconfig(name)?.display().to_string(),
        _ => "usage: cluster start|stop|status|delete|kubeconfig NAME".to_string(),
    })
}
