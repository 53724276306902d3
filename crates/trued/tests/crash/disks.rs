//! A disk that fails or is full at any call: the program says so, records nothing that is not so, and goes on when the
//! disk is well again. And disks that lie, to see that what holds here is really looked at.

use nix::errno::Errno;

use crate::scene::{Scene, each_point, placed};
use crate::tracer::{Blow, Call, nth};

/// Calls that a disk can fail. What goes to sockets and pipes has no disk.
fn meets_disk(call: &Call) -> bool {
    !call.file.starts_with("socket:") && !matches!(call.name, "connect" | "bind" | "listen" | "sendto" | "sendmsg")
}

fn is_sync(call: &Call) -> bool {
    matches!(call.name, "fsync" | "fdatasync" | "syncfs")
}

fn is_write(call: &Call) -> bool {
    matches!(call.name, "write" | "pwrite64" | "writev" | "pwritev")
}

/// Whether this error is tried at this call. A disk fails anywhere; that it is full a run of writes to one file finds out at its
/// first, and what would be told by the later ones is told in the same place.
fn tried(errno: Errno, call: &Call, before: Option<&Call>) -> bool {
    let goes_on = |before: &Call| is_write(call) && is_write(before) && before.file == call.file;
    meets_disk(call) && (errno == Errno::EIO || !before.is_some_and(goes_on))
}

/// Lets every call fail, each in a run of its own: once as a failing disk, once as a full one.
fn failing_everywhere(name: &str, scene: &Scene) {
    for errno in [Errno::EIO, Errno::ENOSPC] {
        let points = failing_at_each(name, scene, errno);
        #[expect(clippy::print_stdout, reason = "a number that people ask for")]
        {
            println!("{name}: {errno} at each of {points} points");
        }
    }
}

fn failing_at_each(name: &str, scene: &Scene, errno: Errno) -> usize {
    let points = each_point(name, |n| {
        let (mut seen, mut before, mut place) = (0, None, 0);
        let (ground, trace) = scene.run(&mut |count, call| {
            let here = tried(errno, call, before.as_ref());
            seen += usize::from(here);
            before = Some(call.clone());
            let now = here && seen == n;
            place = if now { count } else { place };
            now.then_some(Blow::Fail(errno))
        });
        if !trace.struck {
            return Ok(false);
        }
        let (at, mut later) = (trace.calls[place - 1].clone(), trace.calls[place..].iter().filter(|call| meets_disk(call)));
        let within = |wrong: String| format!("{errno} at {at}: {wrong}\nit said: {}", trace.said);
        let status = trace.status.ok_or_else(|| within("it was killed".to_owned()))?;
        if !(0..=3).contains(&status) {
            return Err(within(format!("it ended with {status}")));
        }
        if status == 1 && trace.said.is_empty() {
            return Err(within("it failed without a word".to_owned()));
        }
        // What could not be removed is no resource (something staged, an emptied folder): the next batch removes it, and here
        // is none to come.
        let lies_about =
            ["www", "www/.trued/stage"].iter().find(|folder| at.name == "unlinkat" && at.file.ends_with(&format!("/{folder}")));
        lies_about.map(|folder| ground.path(folder).join(&at.path)).inspect(|path| {
            let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path));
        });
        if status == scene.status && scene.words[0] == "apply" && ground.tree("www") != scene.new {
            return Err(within("it claims to be done, and is not".to_owned()));
        }
        // What was not synced once is not synced again as it is: the second time claims what nobody knows. That a folder
        // knows its files SQLite takes for granted where the disk says no, so that is left out.
        if errno == Errno::EIO
            && is_sync(&at)
            && !at.file.ends_with("/.trued")
            && later.find(|later| later.file == at.file).is_some_and(is_sync)
        {
            return Err(within("a failed sync was tried again".to_owned()));
        }
        scene.check_between(&ground).map_err(within)?;
        // A move that failed is no move; one whose end failed is taken back and made again.
        let written = placed(&trace) - u64::from(at.places()) + scene.go_on(&ground).map_err(within)?;
        if written > scene.writes + 2 {
            return Err(within(format!("{written} writes, and {} on a good disk", scene.writes)));
        }
        scene.check_end(&ground).map_err(within)?;
        Ok(true)
    });
    assert!(points >= 20, "only {points} points");
    points
}

#[test]
fn fault_68_fault_69_a_failing_or_full_disk_at_every_call_of_the_first_apply() {
    failing_everywhere("first apply", &Scene::first_apply());
}

#[test]
fn fault_68_fault_69_a_failing_or_full_disk_at_every_call_of_a_change() {
    failing_everywhere("change", &Scene::change());
}

#[test]
fn fault_68_fault_69_a_failing_or_full_disk_at_every_call_of_a_rollback() {
    failing_everywhere("rollback", &Scene::rollback());
}

#[test]
fn fault_68_fault_69_a_failing_or_full_disk_at_every_call_of_an_answer() {
    failing_everywhere("answer", &Scene::answer());
}

#[test]
fn fault_68_fault_69_a_failing_or_full_disk_at_every_call_of_an_apply_that_reverts_drift() {
    failing_everywhere("drift", &Scene::drift());
}

#[test]
fn fault_68_fault_69_a_failing_or_full_disk_at_every_call_of_an_approval() {
    failing_everywhere("approval", &Scene::approval());
}

#[test]
fn fault_68_fault_69_a_failing_or_full_disk_at_every_call_of_a_serve() {
    failing_everywhere("serve", &Scene::serve());
}

/// Moves with a record that knows of no intent: that is what a program looks like that acts before it is on record.
#[test]
fn acting_before_the_intent_is_on_record_would_be_found() {
    let scene = Scene::change();
    let mut moves = 0;
    let (ground, trace) = scene.run(&mut |_, call| {
        moves += usize::from(call.places());
        (moves == 3).then_some(Blow::Kill)
    });
    assert_eq!(trace.status, None, "{}", trace.said);
    scene.check_between(&ground).expect("in order");
    std::fs::remove_dir_all(ground.path(".trued")).expect("removed");
    std::fs::rename(scene.template.copy().path(".trued"), ground.path(".trued")).expect("the record of before");
    let wrong = scene.check_between(&ground).expect_err("it acted without an intent");
    assert!(wrong.contains("no intent is on record"), "{wrong}");
}

/// A disk that claims to have put a file in place, then takes the program away: what is not as desired is found.
#[test]
fn a_file_that_is_torn_or_left_would_be_found() {
    let scene = Scene::change();
    let (ground, trace) = scene.run(&mut nth(usize::MAX, Blow::Kill));
    assert!(!trace.struck);
    scene.check_end(&ground).expect("in order");
    ground.write("www/index.html", "index.html, sec");
    assert!(ground.is_whole(&scene.old, &scene.new).expect_err("torn").contains("neither old nor new"));
    assert!(scene.check_end(&ground).expect_err("not as desired").contains("not as desired"));
    ground.write("www/index.html", "index.html, second\n");
    ground.write("www/.trued/stage/0", "left");
    assert!(scene.check_end(&ground).expect_err("a leftover").contains("left lying about"));
}
