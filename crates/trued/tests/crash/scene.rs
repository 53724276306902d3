//! What the program is doing when it is struck: a ground made ready, a verb, and how people go on afterwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use trued_model::Kind;

use crate::ground::{Ground, Holds, Tree};
use crate::tracer::{self, Blow, Call, Choice, Outside, Trace};

/// How many points are tried at once: more than a small machine has processors, since each waits for the disk often.
const ABREAST: usize = 4;

pub struct Scene {
    pub words: Vec<String>,
    /// The status of a run that nothing befalls.
    pub status: i32,
    pub template: Ground,
    /// The target before, and when all is done.
    pub old: Tree,
    pub new: Tree,
    /// What people do next; the last of it ends with this status.
    recover: fn(&Ground, &[String]) -> Result<u64, String>,
    /// Resources that an undisturbed run changes.
    pub writes: u64,
    pub intents: usize,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn again(ground: &Ground, words: &[String]) -> Result<u64, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    ground.must(&words, 0)
}

/// Says a person's word once more, unless it is on record, and applies.
fn say_again(ground: &Ground, words: &[String], kind: Kind, status: i32) -> Result<u64, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut written = 0;
    if ground.entries(&[kind]).is_empty() {
        match ground.run(&words) {
            (1 | 2, said, _) => return Err(format!("trued {words:?}: {said}")),
            (_, _, changed) => written += changed,
        }
    }
    Ok(written + ground.must(&["apply"], status)?)
}

impl Scene {
    fn new(template: Ground, said: &[&str], status: i32, new: Tree, recover: fn(&Ground, &[String]) -> Result<u64, String>) -> Scene {
        let old = template.tree("www");
        let known = template.path(".trued/ledger.sqlite").exists();
        let intents = if known { template.entries(&[Kind::Intent]).len() } else { 0 };
        let undisturbed = template.copy();
        let mut scene = Scene { words: words(said), status, template, old, new, recover, writes: 0, intents };
        if said[0] != "serve" {
            scene.writes = undisturbed.must(said, status).expect("an undisturbed run");
        }
        scene.writes += (scene.recover)(&undisturbed, &scene.words).expect("nothing befell it");
        scene.check_end(&undisturbed).expect("an undisturbed run is in order");
        scene
    }

    /// The very first apply: there is no record, no key, nothing on the target.
    pub fn first_apply() -> Scene {
        let ground = Ground::new();
        let new = ground.tree("site");
        Scene::new(ground, &["apply"], 0, new, again)
    }

    /// A change of every kind.
    pub fn change() -> Scene {
        let ground = Ground::new();
        ground.must(&["apply"], 0).expect("the first revision");
        ground.edit();
        let new = ground.tree("site");
        Scene::new(ground, &["apply"], 0, new, again)
    }

    /// Changes of a stranger's, put back.
    pub fn drift() -> Scene {
        let ground = Ground::new();
        ground.settings("    drift: revert\n");
        ground.must(&["apply"], 0).expect("the first revision");
        ground.meddle();
        let new = ground.tree("site");
        Scene::new(ground, &["apply"], 0, new, again)
    }

    /// Going back to the first revision.
    pub fn rollback() -> Scene {
        let ground = Ground::new();
        ground.must(&["apply"], 0).expect("the first revision");
        let new = ground.tree("site");
        ground.edit();
        ground.must(&["apply"], 0).expect("the second revision");
        Scene::new(ground, &["rollback", "homepage"], 3, new, |ground, words| say_again(ground, words, Kind::Rollback, 3))
    }

    /// A person's word on drift that is held.
    pub fn answer() -> Scene {
        let ground = Ground::new();
        ground.settings("    drift: hold\n");
        ground.must(&["apply"], 0).expect("the first revision");
        ground.meddle();
        ground.must(&["apply"], 3).expect("held");
        let drift = ground.entries(&[Kind::DriftOpened]).pop().expect("drift").index.to_string();
        let new = ground.tree("site");
        let said = ["answer", &drift, "revert", "--reason", "no"];
        Scene::new(ground, &said, 0, new, |ground, words| say_again(ground, words, Kind::Answered, 0))
    }

    /// A yes to a plan that deletes more than runs by itself.
    pub fn approval() -> Scene {
        let ground = Ground::new();
        ground.settings("    deletes: { at_most: 0 }\n");
        ground.must(&["apply"], 0).expect("the first revision");
        std::fs::remove_file(ground.path("site/about.html")).expect("removed");
        ground.must(&["apply"], 3).expect("held");
        let held = ground.entries(&[Kind::Held]).pop().expect("a hold").entry.body;
        let digest = held["plan"].as_str().expect("a digest").to_owned();
        let new = ground.tree("site");
        Scene::new(ground, &["approve", &digest], 0, new, |ground, words| say_again(ground, words, Kind::Approval, 0))
    }

    /// A long life: a newer revision and a stranger's changes wait for it, and it is told to stop when both are done.
    pub fn serve() -> Scene {
        let ground = Ground::new();
        ground.settings("    drift: revert\n");
        ground.must(&["apply"], 0).expect("the first revision");
        ground.write("site/index.html", "index.html, second\n");
        ground.write("site/new.html", "new\n");
        ground.write("www/css/main.css", "by hand\n");
        let new = ground.tree("site");
        Scene::new(ground, &["serve", "--poll", "50ms"], 0, new, |ground, _| ground.must(&["apply"], 0))
    }

    /// Runs the verb on a fresh copy of the ground.
    pub fn run(&self, choose: &mut Choice<'_>) -> (Ground, Trace) {
        let ground = self.template.copy();
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let trace = match words[0] {
            "serve" => self.run_until_done(&ground, &words, choose),
            _ => tracer::run(&mut ground.command(&words), choose),
        };
        (ground, trace)
    }

    /// SIGTERM comes as soon as the target is as desired: often in the middle of a batch. It comes soon after a call was made to
    /// fail, too: most then wait for their next try.
    fn run_until_done(&self, ground: &Ground, words: &[&str], choose: &mut Choice<'_>) -> Trace {
        let outside = Outside::default();
        let (over, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut noted = |count: usize, call: &Call| {
            let blow = choose(count, call);
            failed.fetch_or(matches!(blow, Some(Blow::Fail(_))), Ordering::AcqRel);
            blow
        };
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut since_failed = 0;
                while !over.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(5));
                    since_failed += u32::from(failed.load(Ordering::Acquire));
                    let process = *outside.process.lock().expect("nobody panics with it");
                    if let Some(process) = process.filter(|_| since_failed > 20 || ground.tree("www") == self.new) {
                        let _ = kill(process, Signal::SIGTERM);
                    }
                }
            });
            let trace = tracer::run_known(&mut ground.command(words), &mut noted, &outside);
            over.store(true, Ordering::Release);
            trace
        })
    }

    /// What must hold between the blow and the next start.
    pub fn check_between(&self, ground: &Ground) -> Holds {
        ground.is_whole(&self.old, &self.new)?;
        ground.is_recorded(&self.old, self.intents)?;
        ground.tells_no_lie(self.intents)
    }

    /// People go on; gives how many resources were changed.
    pub fn go_on(&self, ground: &Ground) -> Result<u64, String> {
        (self.recover)(ground, &self.words)
    }

    /// What must hold once people went on.
    pub fn check_end(&self, ground: &Ground) -> Holds {
        ground.is_settled(&self.new)?;
        ground.is_proven()?;
        let status = if self.words[0] == "rollback" { 3 } else { 0 };
        match ground.must(&["apply"], status)? {
            0 => Ok(()),
            writes => Err(format!("another apply writes {writes} times")),
        }
    }
}

/// Resources that a run put in place or took away before it ended. The call it was struck at did nothing.
pub fn placed(trace: &Trace) -> u64 {
    let struck = trace.struck && trace.status.is_none() && trace.calls.last().is_some_and(Call::places);
    trace.calls.iter().filter(|call| call.places()).count() as u64 - u64::from(struck)
}

/// Tries point after point, several at once, until the run ends before its point comes. Gives the number of points.
pub fn each_point(name: &str, one: impl Fn(usize) -> Result<bool, String> + Sync) -> usize {
    let (next, last) = (AtomicUsize::new(1), AtomicUsize::new(usize::MAX));
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..ABREAST {
            threads.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= last.load(Ordering::Relaxed) {
                        return;
                    }
                    match one(n) {
                        Ok(true) => {}
                        Ok(false) => {
                            last.fetch_min(n, Ordering::Relaxed);
                        }
                        Err(wrong) => failures.lock().expect("nobody panics with it").push(format!("{name}, point {n}: {wrong}")),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panicked");
    assert!(failures.is_empty(), "{} points failed:\n{}", failures.len(), failures.join("\n"));
    last.into_inner() - 1
}
