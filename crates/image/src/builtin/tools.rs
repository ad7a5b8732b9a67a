//! Which programs the images have, by the kind of system they stand for.

/// What every image with a shell has in /bin, as busybox installs it.
pub(super) const BIN: &[&str] = &[
    "ash", "base64", "cat", "chgrp", "chmod", "chown", "cp", "date", "dd", "df", "dmesg", "echo", "egrep", "false",
    "fgrep", "grep", "gunzip", "gzip", "hostname", "kill", "ln", "ls", "mkdir", "mktemp", "more", "mount", "mv",
    "netstat", "nice", "ping", "printenv", "ps", "pwd", "rm", "rmdir", "sed", "sh", "sleep", "stat", "stty", "sync",
    "tar", "touch", "true", "uname", "vi", "watch", "zcat",
];

/// What goes to /usr/bin.
pub(super) const USR_BIN: &[&str] = &[
    "[",
    "basename",
    "clear",
    "cmp",
    "comm",
    "cut",
    "diff",
    "dirname",
    "du",
    "env",
    "expr",
    "find",
    "fold",
    "free",
    "head",
    "id",
    "killall",
    "less",
    "md5sum",
    "nc",
    "nl",
    "nohup",
    "nproc",
    "nslookup",
    "od",
    "paste",
    "pgrep",
    "pidof",
    "pkill",
    "printf",
    "readlink",
    "realpath",
    "reset",
    "seq",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "sort",
    "split",
    "tac",
    "tail",
    "tee",
    "telnet",
    "test",
    "time",
    "timeout",
    "top",
    "tr",
    "truncate",
    "tty",
    "uniq",
    "uptime",
    "wc",
    "wget",
    "which",
    "whoami",
    "xargs",
    "yes",
];

/// What goes to /sbin.
pub(super) const SBIN: &[&str] = &["ifconfig", "ip", "route"];

/// What the images of a full distribution have besides.
pub(super) const FULL: &[&str] = &["bash", "curl"];
