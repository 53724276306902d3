//! Who we are to the kernel, and who others are: users and groups by name, and to whom we may give files.

use std::collections::BTreeSet;

use crate::rules::Who;

/// The capability to give files away (capabilities(7)), its bit in `CapEff`.
const CAP_CHOWN: u64 = 1;

/// This process, as far as giving files away is concerned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    uid: u32,
    groups: BTreeSet<u32>,
    may_give: bool,
}

impl Caller {
    /// Reads what the kernel says of this process.
    pub fn myself() -> Caller {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let capabilities = u64::from_str_radix(line("CapEff:").trim(), 16).unwrap_or(0);
        let supplementary = line("Groups:").split_whitespace().filter_map(|word| word.parse().ok());
        let mut groups: BTreeSet<u32> = supplementary.collect();
        groups.insert(rustix::process::getegid().as_raw());
        Caller { uid: rustix::process::geteuid().as_raw(), groups, may_give: capabilities & CAP_CHOWN != 0 }
    }

    /// The number of a user to whom we may give files; otherwise why not.
    pub fn user(&self, who: &Who) -> Result<u32, String> {
        let (uid, shown) = match who {
            Who::Id(uid) => (*uid, format!("uid {uid}")),
            Who::Name(name) => match number("/etc/passwd", name) {
                Some(uid) => (uid, format!("user `{name}`")),
                None => return Err(format!("no user is named `{name}` on this machine")),
            },
        };
        match self.may_give || uid == self.uid {
            true => Ok(uid),
            false => Err(format!("Trued runs as uid {} and may not give files to {shown}", self.uid)),
        }
    }

    /// The number of a group to which we may give files; otherwise why not.
    pub fn group(&self, who: &Who) -> Result<u32, String> {
        let (gid, shown) = match who {
            Who::Id(gid) => (*gid, format!("gid {gid}")),
            Who::Name(name) => match number("/etc/group", name) {
                Some(gid) => (gid, format!("group `{name}`")),
                None => return Err(format!("no group is named `{name}` on this machine")),
            },
        };
        match self.may_give || self.groups.contains(&gid) {
            true => Ok(gid),
            false => Err(format!("Trued runs as uid {} and is not in {shown}", self.uid)),
        }
    }
}

/// The number that a file in the form of passwd(5) or group(5) gives a name.
fn number(file: &str, name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}
