//! Who is at the other end of a socket, as the kernel knows it.

use std::io;
use std::io::Read as _;

use rustix::process::geteuid;
use tokio::net::UnixStream;

/// Bytes of `/etc/passwd` that are looked through.
const PASSWD_CAP: u64 = 4 << 20;

/// The process at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    /// 0 where the kernel cannot say it (another process namespace).
    pub pid: u32,
    /// The user's name in `/etc/passwd`.
    pub name: Option<String>,
}

impl Peer {
    /// Asks the kernel (`SO_PEERCRED`): the credentials of the process that connected, when it did.
    pub fn of(stream: &UnixStream) -> io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        let uid = credentials.uid();
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        Ok(Peer { uid, pid, name: user_name(uid) })
    }

    /// Whether it may ask or answer here: this process's own user, and root, which could read its memory anyway.
    pub fn is_trusted(&self) -> bool {
        is_trusted(self.uid, geteuid().as_raw())
    }
}

fn is_trusted(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

/// A user's name in `/etc/passwd`, read up to a cap.
pub fn user_name(uid: u32) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open("/etc/passwd").ok()?.take(PASSWD_CAP).read_to_string(&mut text).ok()?;
    name_in(&text, uid)
}

/// The name of a user in the text of a `passwd` file (`name:password:uid:…`).
fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_user_and_root_are_trusted() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }

    #[test]
    fn users_are_named_as_the_machine_names_them() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:100:100::/:/bin/sh\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 7), None);
        assert_eq!(name_in(passwd, 10), None);
    }
}
