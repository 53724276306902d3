//! What running a program promises, with real programs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration as Span;

use trued_doors::{Answer, Exit, Program, Runner};
use trued_model::{Code, Duration, Refusal};
use trued_sandbox::Programs;

/// Far away: a test that reaches it has failed.
const FAR: Duration = Duration::from_secs(120);

fn program(argv: &[&str]) -> Program {
    Program {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::new(),
        folder: None,
        input: Vec::new(),
        deadline: FAR,
        output_cap: 64 << 10,
    }
}

fn shell(script: &str) -> Program {
    program(&["/bin/sh", "-c", script])
}

fn programs() -> Programs {
    Programs::through(env!("CARGO_BIN_EXE_trued-stage"))
}

#[tokio::main(flavor = "current_thread")]
async fn run(program: Program) -> Answer<Exit> {
    programs().run(program).await
}

fn output(program: Program) -> String {
    let exit = run(program).unwrap();
    assert_eq!(exit.status, Some(0), "{}", String::from_utf8_lossy(&exit.error));
    String::from_utf8(exit.output).unwrap()
}

fn refused(program: Program) -> Refusal {
    run(program).expect_err("a refusal")
}

/// Whether a process has ended. One that nobody has reaped yet has.
fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

/// Waits for something another process does; fails when it never happens.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if happened() {
            return;
        }
        std::thread::sleep(Span::from_millis(10));
    }
    panic!("never: {what}");
}

fn pid_in(file: &Path) -> String {
    eventually("a process id is written", || fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n')));
    fs::read_to_string(file).unwrap()
}

#[test]
fn output_errors_and_exit_status_are_kept_apart() {
    let exit = run(shell("echo out; echo err >&2; exit 7")).unwrap();
    assert_eq!(exit, Exit { status: Some(7), output: b"out\n".to_vec(), error: b"err\n".to_vec() });
    assert_eq!(run(shell("kill -9 $$")).unwrap().status, None);
}

#[test]
fn nothing_is_inherited_but_what_is_given() {
    let mut given = program(&["env"]);
    given.env.insert("COLOUR".into(), "blue".into());
    let mut lines: Vec<String> = output(given).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["COLOUR=blue", &format!("PATH={}", trued_sandbox::PATH)]);
    assert_eq!(output(program(&["pwd"])), "/\n");
    let open = tempfile::NamedTempFile::new().unwrap();
    let name = open.path().file_name().unwrap().to_str().unwrap();
    assert!(!output(program(&["ls", "-l", "/proc/self/fd"])).contains(name));
}

#[test]
fn arguments_reach_the_program_as_they_are_without_a_shell() {
    assert_eq!(output(program(&["printf", "%s|", "$HOME", "; ls", "`id`", "*", ""])), "$HOME|; ls|`id`|*||");
}

#[test]
fn the_program_runs_in_the_folder_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    assert_eq!(output(Program { folder: Some(real.clone()), ..program(&["pwd"]) }).trim(), real.to_str().unwrap());
    let refusal = refused(Program { folder: Some(real.join("none")), ..program(&["pwd"]) });
    assert_eq!(refusal.code, Code::Absent);
    assert!(refusal.message.contains("there is no folder"), "{refusal}");
}

#[test]
fn input_is_fed_or_closed() {
    let large = vec![b'x'; 1 << 20];
    assert_eq!(output(Program { input: large.clone(), ..program(&["wc", "-c"]) }).trim(), "1048576");
    assert_eq!(output(program(&["cat"])), "");
    // A program need not read its input.
    assert_eq!(output(Program { input: large, ..program(&["true"]) }), "");
}

#[test]
fn a_program_that_is_not_there_or_may_not_run_is_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let orphan = file("orphan", "#!/no/such/interpreter\n", 0o755);
    let noise = file("noise", "\u{1}\u{2}\u{3}", 0o755);
    let cases = [
        (vec!["no-such-program"], Code::Absent, "there is no such program in /usr/local/sbin"),
        (vec!["/no/such/program"], Code::Absent, "there is no such program"),
        (vec![&*orphan], Code::Absent, "the interpreter it names is missing"),
        (vec![&*plain], Code::Denied, "it is not executable for this user"),
        (vec![&*noise], Code::Invalid, "it is not a program this machine can run"),
        (vec!["./here"], Code::Invalid, "a relative path could mean any program"),
        (vec!["/tmp"], Code::Invalid, "it is not a file"),
        (vec!["echo", "a\0b"], Code::Invalid, "NUL"),
        (vec![], Code::Invalid, "names no program"),
    ];
    for (argv, code, words) in cases {
        let refusal = refused(program(&argv));
        assert_eq!(refusal.code, code, "{argv:?}: {refusal}");
        assert!(refusal.message.contains(words), "{argv:?}: {refusal}");
    }
}

#[test]
fn the_callers_path_does_not_choose_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("echo");
    fs::write(&fake, "#!/bin/sh\nprintf fake\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let mut given = program(&["echo", "real"]);
    given.env.insert("PATH".into(), folder.path().to_str().unwrap().into());
    assert_eq!(output(given), "real\n");
}

#[test]
fn the_program_leads_a_group_of_its_own() {
    let stat = output(shell("cat /proc/$$/stat"));
    let after_name: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(after_name[2], stat.split(' ').next().unwrap(), "{stat}");
}

#[test]
fn fault_21_a_program_that_hangs_forks_and_ignores_sigterm_is_gone_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (leader, child) = (folder.path().join("leader"), folder.path().join("child"));
    let script = format!(
        "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $! > {}; echo $$ > {}; while :; do sleep 1000; done",
        child.display(),
        leader.display()
    );
    let refusal = refused(Program { deadline: Duration(500), ..shell(&script) });
    assert_eq!(refusal.code, Code::TimedOut);
    assert_eq!(refusal.message, "run `/bin/sh`: it did not end within 500ms and was stopped");
    for file in [leader, child] {
        let pid = pid_in(&file);
        eventually("the group is dead", || is_gone(&pid));
    }
}

#[test]
fn a_program_that_obeys_sigterm_may_clean_up() {
    let folder = tempfile::tempdir().unwrap();
    let (ready, tidy) = (folder.path().join("ready"), folder.path().join("tidy"));
    let script = format!("trap 'echo done > {}; exit' TERM; echo > {}; while :; do sleep 0.05; done", tidy.display(), ready.display());
    assert_eq!(refused(Program { deadline: Duration(3000), ..shell(&script) }).code, Code::TimedOut);
    assert!(ready.exists(), "too slow a machine: it was asked to end before it had begun");
    assert!(tidy.exists());
}

#[test]
fn what_a_program_leaves_behind_is_killed_and_its_open_pipe_is_not_waited_for() {
    let pid = output(shell("sleep 1000 & echo $!"));
    eventually("the orphan is dead", || is_gone(&pid));
}

#[test]
fn fault_21_what_leaves_its_group_and_its_session_is_killed_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // A daemon as the textbook makes it: a session of its own, its parent gone.
    let script = format!("(setsid sh -c 'echo $$ > {}; exec sleep 1000' &) ; while ! test -s {0}; do sleep 0.01; done", file.display());
    output(shell(&script));
    let pid = pid_in(&file);
    assert!(is_gone(&pid), "{pid} lives on");
}

#[test]
fn a_program_ends_with_the_process_that_asked_for_it_even_when_that_one_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut asking = std::process::Command::new(env!("CARGO_BIN_EXE_trued-stage"))
        .env("TRUED_STAGE_RUNS", format!("setsid sh -c 'echo $$ > {}; exec sleep 1000'", file.display()))
        .spawn()
        .unwrap();
    let pid = pid_in(&file);
    assert!(!is_gone(&pid));
    asking.kill().unwrap();
    asking.wait().unwrap();
    eventually("the program is dead", || is_gone(&pid));
}

#[test]
fn fault_22_output_beyond_the_cap_ends_the_program() {
    for (script, stream) in [("exec yes", "output"), ("exec yes >&2", "error output"), ("head -c 65537 /dev/zero", "output")] {
        let refusal = refused(shell(script));
        assert_eq!(refusal.code, Code::TooLarge);
        assert_eq!(refusal.message, format!("run `/bin/sh`: its {stream} is larger than 65536 bytes and it was stopped"));
    }
    assert_eq!(output(shell("head -c 65536 /dev/zero")).len(), 65536);
}

#[test]
fn a_run_nobody_waits_for_any_longer_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", file.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pid = runtime.block_on(async {
        let task = tokio::spawn(async move { programs().run(shell(&script)).await });
        let pid = tokio::task::spawn_blocking(move || pid_in(&file)).await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        pid
    });
    eventually("the abandoned program is dead", || is_gone(&pid));
}

#[test]
fn many_programs_run_side_by_side_and_none_is_left_as_a_zombie() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let pids: Vec<String> = runtime.block_on(async {
        let runs = (0..40).map(|_| tokio::spawn(async { programs().run(shell("echo $$")).await.unwrap() }));
        let mut pids = Vec::new();
        for run in runs.collect::<Vec<_>>() {
            pids.push(String::from_utf8(run.await.unwrap().output).unwrap());
        }
        pids
    });
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists(), "{pid} was not reaped");
    }
}
