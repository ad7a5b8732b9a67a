//! Users and groups as /etc/passwd and /etc/group of the container name them.

/// One line of /etc/passwd.
pub(crate) struct Account {
    pub name: String,
    pub uid: u32,
    pub home: String,
}

fn accounts() -> Vec<Account> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let home = fields.nth(2)?.to_owned();
            Some(Account { name, uid, home })
        })
        .collect()
}

/// The account of that name.
pub(crate) fn by_name(name: &str) -> Option<Account> {
    accounts().into_iter().find(|a| a.name == name)
}

/// The account of that number.
pub(crate) fn by_uid(uid: u32) -> Option<Account> {
    accounts().into_iter().find(|a| a.uid == uid)
}

/// Who runs this process.
pub(crate) fn current() -> Option<Account> {
    by_uid(nix::unistd::geteuid().as_raw())
}
