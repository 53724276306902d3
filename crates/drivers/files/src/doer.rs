//! What `/proc` tells of a process that changed something: whose it is, who logged in, which program. Never its
//! arguments or its environment, which may hold secrets.

use std::os::fd::BorrowedFd;

use crate::trail::descriptor_says;

/// The login user of a process that nobody logged in for (audit(7): -1).
const NOBODY: u32 = u32::MAX;

/// A name that a process gave itself is cut here.
const LONGEST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doer {
    /// Real user id.
    pub uid: u32,
    /// Who logged in for it (`/proc/PID/loginuid`), where that is somebody.
    pub login: Option<u32>,
    /// The program's name, with its file where that is called otherwise.
    pub process: String,
}

impl Doer {
    /// Asks about a process. `None` when it is gone, or its number is somebody else's by now: the descriptor, which is
    /// the very process's, says so after all was read.
    pub fn ask(pid: i32, pidfd: BorrowedFd<'_>) -> Option<Doer> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let status = read("status")?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()?;
        let login = read("loginuid").and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != NOBODY);
        let name = plain(read("comm")?.trim_end());
        let file = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let file = file.and_then(|path| Some(plain(&path.file_name()?.to_string_lossy())));
        let process = match file {
            Some(file) if file != name => format!("{name} ({file})"),
            _ => name,
        };
        let still = descriptor_says(pidfd, "Pid:").is_some_and(|number| number == pid.to_string());
        still.then_some(Doer { uid, login, process })
    }
}

/// A name as it can be shown: nothing that steers a terminal, and not endless.
fn plain(name: &str) -> String {
    name.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_processes_give_themselves_are_made_plain() {
        assert_eq!(plain("vi\u{1b}[2Jm\n"), "vi?[2Jm?");
        assert_eq!(plain(&"n".repeat(1000)).len(), LONGEST);
    }
}
