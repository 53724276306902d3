//! `build`, with a program that is played: what it gets, what of its work is taken, and what is said when it fails.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use trued_doors::{Answer, BoxFuture, Confined, Confines, Exit, Program, Room, Runner, Workspace};
use trued_model::{Bound, Level, Limits, Shape, Size};

use crate::{Case, Tree, stored};

type Play = fn(&Path) -> (Option<Bound>, Option<i32>, Vec<u8>);

/// Plays a program in a real folder.
struct Played {
    level: Level,
    play: Play,
}

fn well() -> (Option<Bound>, Option<i32>, Vec<u8>) {
    (None, Some(0), b"all is well\n".to_vec())
}

impl Runner for Played {
    fn run(&self, _: Program) -> BoxFuture<'_, Answer<Exit>> {
        panic!("a build is run confined or not at all")
    }

    fn confine(&self, program: Program, confines: Confines) -> BoxFuture<'_, Answer<Confined>> {
        let folder = confines.room.expect("a build has a folder").folder;
        assert!(confines.one_log && confines.limits == limits() && program.env["TZ"] == "UTC", "{:?}", program.env);
        fs::write(folder.join("said"), program.argv.join(" ")).unwrap();
        let (passed, status, output) = (self.play)(&folder);
        Box::pin(async move { Ok(Confined { level: self.level, passed, exit: Exit { status, output, error: Vec::new() } }) })
    }

    fn level(&self) -> BoxFuture<'_, Level> {
        Box::pin(async { self.level })
    }

    fn workspace(&self) -> Answer<Workspace> {
        let whole = tempfile::tempdir().unwrap();
        let room = Room { folder: whole.path().join("build"), scratch: whole.path().join("tmp") };
        fs::create_dir(&room.folder).unwrap();
        fs::create_dir(&room.scratch).unwrap();
        Ok(Workspace { room, keep: Box::new(whole) })
    }
}

fn limits() -> Limits {
    Limits { memory: Size::mib(64), ..Limits::default() }
}

fn case(play: Play) -> Case {
    let tree = Tree::of(&[("src/a.txt", "one"), ("build.sh", "#!/bin/sh\n")])
        .with("run", Shape::File { executable: true }, b"#!/bin/sh\n")
        .with("link", Shape::Link, b"src/a.txt")
        .with("empty", Shape::Folder, b"");
    let mut case = Case::new("build", tree);
    case.settings = json!({ "path": "site", "command": ["./run", "$HOME", "a b"], "output": "./out" });
    case.sandbox.limits = limits();
    case.runner = Arc::new(Played { level: Level::Base, play });
    case
}

fn paths(play: Play) -> Vec<String> {
    case(play).rendered().documents.into_iter().map(|document| document.path).collect()
}

#[test]
fn what_the_program_leaves_in_its_output_is_the_render() {
    let rendered = case(|folder| {
        fs::create_dir_all(folder.join("out/deep/none")).unwrap();
        fs::copy(folder.join("said"), folder.join("out/deep/said")).unwrap();
        fs::write(folder.join("out/ü 1.html"), "<p>").unwrap();
        fs::set_permissions(folder.join("out/ü 1.html"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.join("beside"), "not taken").unwrap();
        well()
    })
    .rendered();
    let documents: Vec<_> = rendered.documents.iter().map(|document| (document.path.as_str(), document.shape)).collect();
    let file = |executable| Shape::File { executable };
    assert_eq!(documents, [("deep/none", Shape::Folder), ("deep/said", file(false)), ("ü 1.html", file(true))]);
    // No shell has touched its arguments.
    assert_eq!(stored(&rendered, "deep/said"), b"./run $HOME a b");
    assert_eq!(rendered.sandbox, Some(Level::Base));
}

#[test]
fn it_works_in_a_copy_that_is_the_same_each_time() {
    let seen = paths(|folder| {
        let meta = |name: &str| folder.join(name).symlink_metadata().unwrap();
        assert_eq!((meta("run").mode() & 0o777, meta("build.sh").mode() & 0o777), (0o755, 0o644));
        assert_eq!((meta("run").mtime(), meta("src/a.txt").mtime()), (315_532_800, 315_532_800));
        assert!(meta("empty").is_dir() && meta("link").is_symlink());
        // What it does to its copy reaches nobody.
        fs::write(folder.join("src/a.txt"), "changed").unwrap();
        fs::create_dir(folder.join("out")).unwrap();
        fs::copy(folder.join("link"), folder.join("out/a")).unwrap();
        well()
    });
    assert_eq!(seen, ["a"]);
}

#[test]
fn fault_23_links_and_what_is_no_file_are_refused_by_name() {
    let findings = case(|folder| {
        fs::create_dir_all(folder.join("out/.git")).unwrap();
        symlink("/etc/passwd", folder.join("out/passwd")).unwrap();
        symlink("good", folder.join("out/inner")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("out/pipe"), rustix::fs::Mode::RUSR).unwrap();
        fs::write(folder.join("out").join(std::ffi::OsStr::from_bytes(b"bad-\xff")), "").unwrap();
        fs::write(folder.join("out/good"), "").unwrap();
        well()
    })
    .findings();
    for words in ["`passwd` of the output is a link", "`inner` of the output is a link", "`pipe` of the output is a pipe"] {
        assert!(findings.contains(words), "{findings}");
    }
    assert!(findings.contains("`bad-%FF` of the output has a name that is not UTF-8"), "{findings}");
    assert!(findings.contains("`.git` of the output has a name that no target takes"), "{findings}");
    assert!(!findings.contains("good"), "{findings}");
}

#[test]
fn fault_23_an_output_that_is_itself_a_link_is_not_followed() {
    let findings = case(|folder| {
        symlink("/etc", folder.join("out")).unwrap();
        well()
    })
    .findings();
    assert!(findings.contains("reached through a link"), "{findings}");
    let mut outside = case(|_| well());
    for output in ["../out", "/etc", "out/../.."] {
        outside.settings["output"] = output.into();
        assert!(outside.findings().contains("is no folder below the build's own"));
    }
}

#[test]
fn fault_26_output_and_then_a_bad_end_is_no_render() {
    let findings = case(|folder| {
        fs::create_dir(folder.join("out")).unwrap();
        fs::write(folder.join("out/half"), "half").unwrap();
        (None, Some(1), b"first\nno such page\x1b[2J\n".to_vec())
    })
    .findings();
    assert_eq!(findings, "`./run` ended with status 1; it said last:\n  | first\n  | no such page[2J\n");
    let findings = case(|_| well()).findings();
    assert!(findings.contains("left no folder `out`; it said last:\n  | all is well"), "{findings}");
    assert!(case(|_| (None, None, Vec::new())).findings().contains("`./run` was ended by a signal"));
}

#[test]
fn fault_22_a_passed_bound_is_named_with_its_key_and_the_end_of_the_log() {
    let findings = case(|folder| {
        fs::create_dir(folder.join("out")).unwrap();
        (Some(Bound::Memory), None, [b"noise\n".repeat(10_000), b"last words".to_vec()].concat())
    })
    .findings();
    assert!(findings.starts_with("`./run` used more than 64MiB of memory (`memory`); it said last:"), "{findings}");
    assert!(findings.contains("| last words; make it smaller, or raise `memory`: the operator's under"), "{findings}");
    assert!(findings.len() < 6_000, "{}", findings.len());
}

#[test]
fn below_the_level_that_is_demanded_nothing_is_built() {
    let play: Play = |_| panic!("it runs");
    let mut below = case(play);
    below.runner = Arc::new(Played { level: Level::Unsafe, play });
    assert!(below.findings().contains("cannot be confined on this machine"));
    let mut demanding = case(play);
    demanding.sandbox.level = Some(Level::Namespaced);
    assert!(demanding.findings().contains("confined at level `base` here, and the operator demands `namespaced`"));
    // Only the operator's word lets it run, and the render says how it was made.
    let mut accepted = case(play);
    accepted.sandbox.even_unsafe = true;
    accepted.runner = Arc::new(Played {
        level: Level::Unsafe,
        play: |folder| {
            fs::create_dir(folder.join("out")).unwrap();
            well()
        },
    });
    assert_eq!(accepted.rendered().sandbox, Some(Level::Unsafe));
}

#[test]
fn sensitive_output_is_sealed_whole() {
    let mut sealed = case(|folder| {
        fs::create_dir(folder.join("out")).unwrap();
        fs::write(folder.join("out/a.key"), "secret").unwrap();
        well()
    });
    sealed.sensitive = &["*.key"];
    let rendered = sealed.rendered();
    assert!(rendered.documents[0].content.sealed);
    assert!(!stored(&rendered, "a.key").windows(6).any(|bytes| bytes == b"secret"));
}

#[test]
fn fault_25_a_repeat_gets_its_copy_in_the_opposite_order() {
    let order = |repeat| {
        let case = Case {
            repeat,
            ..case(|folder| {
                fs::create_dir(folder.join("out")).unwrap();
                well()
            })
        };
        case.rendered();
        case.tree.order.lock().unwrap().clone()
    };
    let (mut first, again) = (order(false), order(true));
    assert!(first.len() > 2 && first != again);
    first.reverse();
    assert_eq!(first, again);
}
