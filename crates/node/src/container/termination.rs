//! What a container has to say about its end.

use std::io::Read;
use std::path::Path;

use k8s_openapi::api::core::v1::Container;
use knarr_runtime::ExitStatus;

use crate::log::ContainerLog;

/// Longest message that is taken from the file.
const LONGEST: u64 = 4096;

/// The content of the termination message file; or, if the container asks for it and has failed, the end of its log.
pub(crate) fn message(file: &Path, container: &Container, exit: &ExitStatus, log: &ContainerLog) -> Option<String> {
    let mut text = Vec::new();
    let opened = file.parent().zip(file.file_name());
    if let Some(Ok(file)) = opened.map(|(dir, name)| knarr_runtime::open_in_root(dir, Path::new(name))) {
        let _ = file.take(LONGEST).read_to_end(&mut text); // what can be read is taken
    }
    if !text.is_empty() {
        return Some(String::from_utf8_lossy(&text).into_owned());
    }
    let fall_back = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    let words = (fall_back && exit.code != 0).then(|| log.last_words())?;
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use knarr_clock::Clock;

    use super::*;
    use crate::log::Stream;

    #[test]
    fn the_file_is_preferred_and_the_log_stands_in_on_failure_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = ContainerLog::create(dir.path(), 0, Clock::system()).expect("created");
        log.write(Stream::Stderr, [(b"cannot go on".as_slice(), true)]);
        let file = dir.path().join("message");
        let container = Container {
            termination_message_policy: Some("FallbackToLogsOnError".into()),
            ..Container::default()
        };
        let exit = |code| ExitStatus {
            code,
            signal: 0,
            oom_killed: false,
        };
        assert_eq!(message(&file, &container, &exit(0), &log), None);
        assert_eq!(
            message(&file, &container, &exit(1), &log).as_deref(),
            Some("cannot go on\n")
        );
        assert_eq!(message(&file, &Container::default(), &exit(1), &log), None);
        std::fs::write(&file, "bye").expect("written");
        assert_eq!(message(&file, &container, &exit(1), &log).as_deref(), Some("bye"));
    }
}
