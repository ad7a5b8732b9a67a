//! Capabilities by the names that pods use.

use serde::{Deserialize, Serialize};

/// In the order of their numbers in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What container runtimes give by default, without the making of device nodes.
const DEFAULT: [&str; 13] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    set: u64,
    /// Those that were asked for by name: a node that lacks one must refuse.
    asked: u64,
}

impl Default for Capabilities {
    /// What a container has that asks for nothing.
    fn default() -> Self {
        let set = DEFAULT
            .iter()
            .filter_map(|name| bit(name))
            .fold(0, |all, bit| all | bit);
        Self { set, asked: 0 }
    }
}

fn bit(name: &str) -> Option<u64> {
    let number = NAMES.iter().position(|known| *known == name)?;
    Some(1 << number)
}

impl Capabilities {
    /// All there are.
    pub const ALL: Self = Self {
        set: u64::MAX,
        asked: 0,
    };

    /// The default set with some added and some dropped: names as pods have them, with or without `CAP_`, or `ALL`. As with other
    /// container runtimes, what is dropped by name stays dropped even of `ALL`, and what is added by name is had though `ALL` was dropped.
    /// `Err` is a name that is none.
    pub fn adjusted<'a>(
        add: impl IntoIterator<Item = &'a str>,
        drop: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, String> {
        let read = |names: Vec<&'a str>| -> Result<(bool, u64), String> {
            let mut all = false;
            let mut set = 0;
            for name in names {
                let upper = name.to_ascii_uppercase();
                let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
                if short == "ALL" {
                    all = true;
                } else {
                    set |= bit(short).ok_or_else(|| format!("unknown capability {name:?}"))?;
                }
            }
            Ok((all, set))
        };
        let (add_all, added) = read(add.into_iter().collect())?;
        let (drop_all, dropped) = read(drop.into_iter().collect())?;
        let mut set = Self::default().set;
        if add_all {
            set = u64::MAX;
        }
        if drop_all {
            set = 0;
        }
        Ok(Self {
            set: (set | added) & !dropped,
            asked: added & !dropped,
        })
    }

    /// Whether it holds the capability of this number.
    pub fn holds(self, number: u32) -> bool {
        1_u64.checked_shl(number).is_some_and(|bit| self.set & bit != 0)
    }

    /// Whether it holds the capability of this name.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.set & bit != 0)
    }

    /// Numbers and names of those asked for by name.
    pub fn asked(self) -> impl Iterator<Item = (u32, &'static str)> {
        (0..)
            .zip(NAMES)
            .filter(move |(number, _)| self.asked & (1 << *number) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_beats_all_and_names_come_with_and_without_prefix() {
        let set = |add: &[&'static str], drop: &[&'static str]| Capabilities::adjusted(add.to_vec(), drop.to_vec());
        assert_eq!(set(&[], &[]), Ok(Capabilities::default()));
        assert!(!Capabilities::default().has("MKNOD"));
        assert_eq!(format!("{:x}", Capabilities::default().set), "a00425fb");
        let only = set(&["CAP_NET_ADMIN"], &["ALL"]).expect("known");
        assert!(only.has("NET_ADMIN") && only.holds(12) && !only.has("CHOWN"));
        assert_eq!(only.asked().collect::<Vec<_>>(), [(12, "NET_ADMIN")]);
        let most = set(&["ALL"], &["sys_admin"]).expect("known");
        assert!(most.has("BPF") && !most.has("SYS_ADMIN"));
        assert_eq!(set(&["FLY"], &[]), Err("unknown capability \"FLY\"".to_owned()));
    }
}
