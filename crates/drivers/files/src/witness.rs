//! Who changed an address last: as the kernel told it while it happened, or what the file system and the logged-in users
//! suggest. The first is evidence of grade A, the second of grade C, and where neither says anything nobody is named.

use std::collections::BTreeSet;

use rustix::fs::{AtFlags, Stat};
use trued_model::{Address, Evidence, Timestamp};

use crate::below::Below;
use crate::doer::Doer;
use crate::observe::evidence;
use crate::trail::{catch_up, locked};
use crate::tree::{Standing, Tree};

/// The size of one record of utmp(5) on Linux, and where type and user stand in it.
const UTMP: usize = 384;
const UTMP_USER: std::ops::Range<usize> = 44..76;
const USER_PROCESS: i16 = 7;

/// Tells who changed an address last.
pub(crate) fn witness(tree: &Tree, address: &Address) -> Option<Evidence> {
    let below = Below::read(address).ok()?;
    let Ok(Standing::Here(root)) = tree.stand() else { return None };
    let stat = root.folder(below.folder()).ok().and_then(|folder| {
        let stat = rustix::fs::statat(folder, below.name(), AtFlags::SYMLINK_NOFOLLOW);
        stat.ok()
    });
    catch_up(&tree.trail);
    let act = locked(&tree.trail).of(below.bytes(), stat.is_none());
    // What changed after we last heard of it was changed by somebody we did not hear of.
    let newest = act.filter(|act| stat.as_ref().is_none_or(|stat| millis(stat) <= act.heard));
    match newest {
        Some(act) if act.doer.is_some() => act.doer.map(|doer| seen(tree, &doer, Timestamp(act.heard))),
        _ => Some(circumstance(tree, stat.as_ref())),
    }
}

fn seen(tree: &Tree, doer: &Doer, at: Timestamp) -> Evidence {
    Evidence {
        changed_at: Some(at),
        by: Some(tree.owner(doer.uid)),
        grade: Some("A".to_owned()),
        uid: Some(doer.uid),
        login: doer.login.filter(|login| *login != doer.uid).map(|login| tree.owner(login)),
        process: Some(doer.process.clone()),
        seen_by: Some("fanotify".to_owned()),
        logged_in: Vec::new(),
    }
}

/// The owner of what is there now, and who is logged in: neither is who did it.
fn circumstance(tree: &Tree, stat: Option<&Stat>) -> Evidence {
    let weak = match stat {
        Some(stat) => Evidence { uid: Some(stat.st_uid), seen_by: Some("file owner".to_owned()), ..evidence(tree, stat) },
        None => Evidence { grade: Some("C".to_owned()), ..Evidence::default() },
    };
    Evidence { logged_in: logged_in().into_iter().collect(), ..weak }
}

fn millis(stat: &Stat) -> i64 {
    stat.st_ctime.saturating_mul(1000).saturating_add(i64::try_from(stat.st_ctime_nsec / 1_000_000).unwrap_or(0))
}

/// Who is logged in, as utmp(5) and systemd-logind have it; nobody where neither is kept.
fn logged_in() -> BTreeSet<String> {
    let utmp = std::fs::read("/run/utmp").unwrap_or_default();
    let mut users: BTreeSet<String> = of_utmp(&utmp);
    for session in std::fs::read_dir("/run/systemd/sessions").into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(session.path()).unwrap_or_default();
        users.extend(text.lines().find_map(|line| line.strip_prefix("USER=")).map(ToOwned::to_owned));
    }
    users
}

fn of_utmp(utmp: &[u8]) -> BTreeSet<String> {
    let (records, _) = utmp.as_chunks::<UTMP>();
    let user = |record: &[u8; UTMP]| {
        let name = record[UTMP_USER].split(|byte| *byte == 0).next()?;
        let live = i16::from_ne_bytes([record[0], record[1]]) == USER_PROCESS;
        (live && !name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    };
    records.iter().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_utmp() {
        let record = |kind: i16, name: &str| {
            let mut record = [0; UTMP];
            record[..2].copy_from_slice(&kind.to_ne_bytes());
            record[UTMP_USER.start..UTMP_USER.start + name.len()].copy_from_slice(name.as_bytes());
            record
        };
        let text = [record(7, "alice"), record(8, "gone"), record(7, "bob"), record(7, "alice")].concat();
        assert_eq!(of_utmp(&text), BTreeSet::from(["alice".to_owned(), "bob".to_owned()]));
        assert_eq!(of_utmp(&text[..100]), BTreeSet::new(), "a torn file is no user");
    }
}
