//! What a confined program is given and what ends it, at both levels, as root and as a user without rights.

mod ground;

use std::fs;

use ground::{Ground, LEVELS, block, said, twice};
use trued_doors::{Confines, Runner as _};
use trued_model::{Bound, Code, Duration, Level, Limits, Size};
use trued_sandbox::Programs;

#[test]
fn a_confined_program_works_in_its_folder_and_says_what_it_has_to_say() {
    twice("a_confined_program_works_in_its_folder_and_says_what_it_has_to_say", || {
        for level in LEVELS {
            let ground = Ground::at(level);
            let ended = ground.shell(
                "cat input; echo made > made; mkdir -p deep/er; mv made deep/er/; ln -s er deep/link; cat deep/link/made; \
                 echo x > $TMPDIR/x; cat < $TMPDIR/x; ln deep/er/made twice; echo err >&2; exit 3",
            );
            assert_eq!((ended.level, ended.passed, ended.exit.status), (level, None, Some(3)), "{}", said(&ended));
            assert_eq!(said(&ended), "input\nmade\nx\nerr\n");
            assert_eq!(fs::read_to_string(ground.folder().join("deep/er/made")).unwrap(), "made\n");
        }
    });
}

#[test]
fn languages_and_pipes_work_inside() {
    for level in LEVELS {
        let ground = Ground::at(level);
        let ended = ground.shell(
            "seq 1000 | sort -r | tail -1; python3 -c 'import json, subprocess, threading; t = threading.Thread(target=lambda: None); \
             t.start(); t.join(); print(subprocess.run([\"echo\", \"sub\"], capture_output=True, text=True).stdout.strip())'; \
             head -c4 /dev/urandom | wc -c; date +%Z; cat < /dev/null",
        );
        assert_eq!(said(&ended), "1\nsub\n4\nUTC\n");
        let ended = ground.run(&["/bin/bash", "-c", "cat <(echo substituted); cat <<< here"]).unwrap();
        assert_eq!(said(&ended), "substituted\nhere\n");
    }
}

#[test]
fn a_namespaced_program_is_alone_and_in_the_same_place_each_time() {
    let ground = Ground::at(Level::Namespaced);
    let ended = ground
        .shell("pwd; hostname 2> /dev/null || cat /proc/sys/kernel/hostname; ls -d /proc/[0-9]*; ls /; id -u; cat /proc/net/dev | wc -l");
    let text = said(&ended);
    assert!(text.starts_with("/build\nsandbox\n"), "{text}");
    let processes = text.lines().filter(|line| line.starts_with("/proc/")).count();
    assert!(processes <= 4, "{text}");
    for hidden in ["home", "root", "var", "srv", "mnt", "run", "opt"] {
        assert!(!text.lines().any(|line| line == hidden), "{hidden} is seen: {text}");
    }
    assert!(text.contains("\n1000\n"), "{text}");
}

#[test]
fn what_was_declared_is_readable_and_nothing_beside_it() {
    let tools = tempfile::Builder::new().prefix("trued-tools-").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(tools.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["declared", "other"] {
        fs::create_dir(tools.path().join(name)).unwrap();
        fs::write(tools.path().join(name).join("tool"), "#!/bin/sh\necho works\n").unwrap();
        fs::set_permissions(tools.path().join(name).join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    for level in LEVELS {
        let mut ground = Ground::at(level);
        ground.read = vec![tools.path().join("declared"), "/no/such/tool".into()];
        let here = tools.path().display();
        assert_eq!(said(&ground.shell(&format!("{here}/declared/tool"))), "works\n");
        assert_ne!(ground.shell(&format!("{here}/other/tool")).exit.status, Some(0));
        assert_ne!(ground.shell(&format!("echo x > {here}/declared/new")).exit.status, Some(0));
    }
}

/// Runs a script that passes a bound, at both levels and as both users. Nothing of it may be left.
fn passes(test: &str, bound: Bound, limits: Limits, script: &str) {
    twice(test, || {
        for level in LEVELS {
            let mut ground = Ground::at(level);
            ground.limits = limits;
            let mark = format!("trued-{test}-{}-{}", std::process::id(), level.word());
            let ended = ground.shell(&script.replace("MARK", &mark));
            assert_eq!(
                ended.passed,
                Some(bound),
                "{level:?}: {:?} {}",
                ended.exit.status,
                said(&ended).chars().take(2000).collect::<String>()
            );
            let left = left(&mark);
            assert!(left.is_empty(), "{level:?}: {left:?} live on");
        }
    });
}

/// Processes that have a word among their arguments, but for this one's.
fn left(mark: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok().map(|line| String::from_utf8_lossy(&line).into_owned()));
    lines.filter(|line| line.contains(mark)).collect()
}

fn within(seconds: u64) -> Limits {
    Limits { time: Duration::from_secs(seconds), ..Limits::default() }
}

#[test]
fn fault_21_one_that_hangs_forks_and_ignores_sigterm_is_gone_at_its_deadline() {
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000; : MARK' & (setsid sh -c 'sleep 1000; : MARK' &); \
                  while :; do sleep 1000; done; : MARK";
    passes("fault_21_one_that_hangs_forks_and_ignores_sigterm_is_gone_at_its_deadline", Bound::Time, within(1), script);
}

#[test]
fn fault_22_one_that_takes_memory_is_ended() {
    let limits = Limits { memory: Size::mib(64), ..within(590) };
    let script = "exec python3 -c 'import time\nkept = []\nwhile True: kept.append(bytearray(1 << 20)); time.sleep(0.005)  # MARK'";
    passes("fault_22_one_that_takes_memory_is_ended", Bound::Memory, limits, script);
}

#[test]
fn fault_22_one_that_takes_its_memory_at_once_and_fails_is_told_by_its_bound() {
    let limits = Limits { memory: Size::mib(48), ..within(590) };
    // It is over before anybody may have looked, and does not say why.
    let script = "exec python3 -c 'import os\nkept = bytearray(3 * 48 << 20)\nos._exit(7)  # MARK'";
    passes("fault_22_one_that_takes_its_memory_at_once_and_fails_is_told_by_its_bound", Bound::Memory, limits, script);
}

#[test]
fn fault_22_one_that_fails_within_its_memory_is_told_by_its_status() {
    twice("fault_22_one_that_fails_within_its_memory_is_told_by_its_status", || {
        for level in LEVELS {
            let mut ground = Ground::at(level);
            ground.limits = Limits { memory: Size::mib(96), ..within(590) };
            let ended = ground.shell("exec python3 -c 'import os\nkept = bytearray(24 << 20)\nos._exit(7)'");
            assert_eq!((ended.passed, ended.exit.status), (None, Some(7)), "{level:?}: {}", said(&ended));
        }
    });
}

#[test]
fn fault_22_many_that_take_memory_together_are_ended() {
    let limits = Limits { memory: Size::mib(100), ..within(590) };
    let script = "for i in 1 2 3 4 5 6 7 8; do python3 -c 'import time\nkept = b\"x\" * (24 << 20)\ntime.sleep(1000)  # MARK' & done; wait";
    passes("fault_22_many_that_take_memory_together_are_ended", Bound::Memory, limits, script);
}

#[test]
fn fault_22_one_that_speaks_for_ever_is_ended_and_its_log_is_kept() {
    let limits = Limits { log: Size(100 << 10), ..within(590) };
    passes("fault_22_one_that_speaks_for_ever_is_ended_and_its_log_is_kept", Bound::Log, limits, "sh -c 'yes MARK'");
    let mut ground = Ground::at(Level::Namespaced);
    ground.limits = limits;
    assert_eq!(ground.shell("yes a line").exit.output.len(), 100 << 10);
}

#[test]
fn fault_22_one_that_writes_for_ever_is_ended() {
    let limits = Limits { output: Size::mib(20), ..within(590) };
    let name = "fault_22_one_that_writes_for_ever_is_ended";
    passes(name, Bound::Output, limits, "i=0; while :; do i=$((i+1)); head -c 4000000 /dev/zero > file-$i; done; : MARK");
}

#[test]
fn fault_22_holes_count_as_what_they_claim() {
    let limits = Limits { output: Size::mib(20), ..within(590) };
    let script = "for i in 1 2 3; do truncate -s 19M sparse-$i; done; sleep 0.1; : MARK";
    passes("fault_22_holes_count_as_what_they_claim", Bound::Output, limits, script);
    // One alone is stopped by the kernel.
    let mut ground = Ground::at(Level::Base);
    ground.limits = limits;
    assert_ne!(ground.shell("truncate -s 100G sparse").exit.status, Some(0));
}

#[test]
fn fault_100_a_fork_bomb_is_ended() {
    let limits = Limits { processes: 40, ..within(590) };
    // Each starts two more, in sessions of their own, and none waits.
    let script = "cat > bomb <<'END'\nsetsid sh ./bomb MARK & setsid sh ./bomb MARK & sleep 1000\nEND\nexec sh ./bomb MARK";
    passes("fault_100_a_fork_bomb_is_ended", Bound::Processes, limits, script);
}

#[test]
fn fault_21_what_a_program_leaves_behind_ends_with_it() {
    twice("fault_21_what_a_program_leaves_behind_ends_with_it", || {
        for level in LEVELS {
            let ground = Ground::at(level);
            let mark = format!("trued-left-{}-{}", std::process::id(), level.word());
            let ended = ground.shell(&format!("(setsid sh -c 'sleep 1000; : {mark}' &); setsid sh -c 'sleep 1000; : {mark}' & echo done"));
            assert_eq!((said(&ended).as_str(), ended.passed, ended.exit.status), ("done\n", None, Some(0)));
            assert!(left(&mark).is_empty());
        }
    });
}

#[test]
fn a_program_ended_by_a_signal_has_no_good_end() {
    for level in LEVELS {
        let ended = Ground::at(level).shell("kill -9 $$");
        assert!(!matches!(ended.exit.status, Some(0)), "{ended:?}");
    }
}

#[test]
fn a_program_that_is_not_there_is_refused_before_anything_runs() {
    for level in LEVELS {
        let ground = Ground::at(level);
        assert_eq!(ground.run(&["no-such-program"]).unwrap_err().code, Code::Absent);
        // One whose interpreter is missing is told by the stage itself.
        fs::write(ground.folder().join("odd"), "#!/no/such\n").unwrap();
        fs::set_permissions(ground.folder().join("odd"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(ground.shell("./odd").exit.status, Some(127));
    }
}

#[test]
fn a_task_of_our_own_runs_confined_too() {
    for level in LEVELS {
        let ground = Ground::at(level);
        let input = vec![b'x'; 1 << 20];
        let ended = block(ground.programs.task("echo", input.clone(), Confines::default())).unwrap();
        assert_eq!((ended.level, ended.passed, ended.exit.status), (level, None, Some(0)));
        assert_eq!(ended.exit.output, input);
        assert_eq!(block(ground.programs.task("unknown", Vec::new(), Confines::default())).unwrap_err().code, Code::Denied);
    }
}

#[test]
fn below_base_nothing_runs_unless_the_operator_says_so() {
    let programs = Programs::through(env!("CARGO_BIN_EXE_trued-stage")).at_most(Level::Unsafe);
    assert_eq!(block(programs.level()), Level::Unsafe);
    let refusal = block(programs.task("echo", Vec::new(), Confines::default())).unwrap_err();
    assert_eq!(refusal.code, Code::Denied);
    assert!(refusal.help.contains("unsafe: true"), "{refusal:?}");
    let ended = block(programs.task("echo", b"x".to_vec(), Confines { even_unsafe: true, ..Confines::default() })).unwrap();
    assert_eq!((ended.level, ended.exit.output), (Level::Unsafe, b"x".to_vec()));
}

#[test]
fn bounds_hold_even_where_nothing_else_does() {
    let rooms = tempfile::tempdir().unwrap();
    let programs = Programs::through(env!("CARGO_BIN_EXE_trued-stage")).with_rooms(rooms.path()).at_most(Level::Unsafe);
    let program = trued_doors::Program {
        argv: vec!["/bin/sh".into(), "-c".into(), "while :; do sleep 1000 & done".into()],
        env: Default::default(),
        folder: None,
        input: Vec::new(),
        deadline: Duration::from_secs(0),
        output_cap: 0,
    };
    let confines = Confines { limits: Limits { processes: 40, ..within(590) }, even_unsafe: true, ..Confines::default() };
    assert_eq!(block(programs.confine(program, confines)).unwrap().passed, Some(Bound::Processes));
}

#[test]
fn a_workspace_leaves_nothing_and_clears_what_dead_processes_left() {
    let rooms = tempfile::tempdir().unwrap();
    let programs = Programs::through(env!("CARGO_BIN_EXE_trued-stage")).with_rooms(rooms.path());
    // No process has this id: it is above the highest that there may be.
    let leftover = rooms.path().join("trued-program-4194999-xyz");
    fs::create_dir_all(leftover.join("closed/deep")).unwrap();
    fs::set_permissions(leftover.join("closed"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let workspace = programs.workspace().unwrap();
    assert!(!leftover.exists() && workspace.room.folder.exists());
    drop(workspace);
    assert_eq!(fs::read_dir(rooms.path()).unwrap().count(), 0);
}

#[test]
fn identity_follows_the_bytes_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("tool");
    let programs = Programs::new();
    let mut seen = std::collections::BTreeSet::new();
    for text in ["#!/bin/sh\n# one\n", "#!/bin/sh\n# two\n"] {
        fs::write(&tool, text).unwrap();
        fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        seen.insert(programs.identify(tool.to_str().unwrap(), &[]).unwrap());
        seen.insert(programs.identify(tool.to_str().unwrap(), &[]).unwrap());
    }
    assert_eq!(seen.len(), 2);
    assert_eq!(programs.identify("no-such-program", &[]).unwrap_err().code, Code::Absent);
    // A plain name is looked for among the tools first; a folder of that name is none.
    assert!(seen.contains(&programs.identify("tool", std::slice::from_ref(&tool)).unwrap()));
    assert_eq!(programs.identify("tool", &[folder.path().to_owned()]).unwrap_err().code, Code::Absent);
}

/// What confining costs is what is started for it: time is measured by `cargo xtask bench`.
#[test]
fn a_confined_program_costs_a_keeper_and_a_stage_beside_itself() {
    const TEST: &str = "a_confined_program_costs_a_keeper_and_a_stage_beside_itself";
    if let Ok(level) = std::env::var("TRUED_TEST_LEVEL") {
        let level = LEVELS.into_iter().find(|known| known.word() == level).unwrap();
        assert_eq!(Ground::at(level).shell("true").exit.status, Some(0));
        return;
    }
    for level in LEVELS {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-qq", "-s", "64", "-e", "trace=execve,execveat", "-o"]).arg(&trace);
        strace.arg(std::env::current_exe().unwrap()).args(["--exact", TEST, "--nocapture"]);
        let output = strace.env("TRUED_TEST_LEVEL", level.word()).output().expect("strace is there: apt-get install strace");
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
        let trace = fs::read_to_string(&trace).unwrap();
        let started: Vec<&str> = trace.lines().filter(|line| line.contains("exec") && line.ends_with("= 0")).collect();
        let of =
            |line: &&str| ["\"keep\"]", "\"enter\"]", "[\"/bin/sh\""].into_iter().find(|word| line.contains(word)).unwrap_or("another");
        let words: Vec<&str> = started.iter().map(of).collect();
        // The test itself, one look at what this machine can do, and the program.
        let (keep, enter) = ("\"keep\"]", "\"enter\"]");
        assert_eq!(words, ["another", keep, enter, keep, enter, "[\"/bin/sh\""], "{level:?}: {started:#?}");
    }
}
