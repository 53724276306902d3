//! What talking to a program promises, with real programs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};

use trued_doors::{Program, Runner, Talk};
use trued_model::{Code, Duration};
use trued_sandbox::Programs;

/// Far away: a test that reaches it has failed.
const FAR: Duration = Duration::from_secs(120);

fn programs() -> Programs {
    Programs::through(env!("CARGO_BIN_EXE_trued-stage"))
}

fn shell(script: &str, deadline: Duration) -> Program {
    Program {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        folder: None,
        input: Vec::new(),
        deadline,
        output_cap: 64,
    }
}

/// Talks on a thread that may block, as callers do.
fn talking<T: Send + 'static>(program: Program, silence: Duration, talk: impl FnOnce(Talk) -> T + Send + 'static) -> T {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let opened = programs().open(program, silence).await.unwrap_or_else(|refusal| panic!("{refusal}"));
        tokio::task::spawn_blocking(move || talk(opened)).await.unwrap()
    })
}

#[test]
fn a_program_answers_line_by_line_and_ends_when_its_input_does() {
    talking(shell("while read line; do echo \"heard $line\"; done; echo bye >&2; exit 7", FAR), FAR, |mut talk| {
        let mut lines = BufReader::new(talk.output);
        for word in ["one", "two"] {
            writeln!(talk.input, "{word}").unwrap();
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert_eq!(line, format!("heard {word}\n"));
        }
        drop(talk.input);
        let mut rest = Vec::new();
        lines.read_to_end(&mut rest).unwrap();
        let exit = talk.program.end().unwrap();
        assert_eq!((rest.len(), exit.status, exit.error.as_slice()), (0, Some(7), &b"bye\n"[..]));
    });
}

#[test]
fn more_goes_through_than_a_pipe_holds() {
    talking(shell("cat", FAR), FAR, |mut talk| {
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let copy = sent.clone();
        let writer = std::thread::spawn(move || talk.input.write_all(&copy).unwrap());
        let mut received = vec![0; sent.len()];
        talk.output.read_exact(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == sent);
        assert_eq!(talk.program.end().unwrap().status, Some(0));
    });
}

#[test]
fn a_silent_program_is_not_waited_for() {
    talking(shell("sleep 600", FAR), Duration(50), |mut talk| {
        let mut byte = [0];
        assert_eq!(talk.output.read(&mut byte).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(talk.input);
        assert_eq!(talk.program.end().unwrap().status, None, "it was ended");
    });
}

#[test]
fn a_program_past_its_deadline_ends_with_all_it_started() {
    talking(shell("sleep 600 & echo $!; wait", Duration::from_secs(1)), FAR, |mut talk| {
        let mut text = String::new();
        talk.output.read_to_string(&mut text).unwrap();
        let refusal = talk.program.end().expect_err("a refusal");
        assert_eq!(refusal.code, Code::TimedOut, "{refusal}");
        is_gone(text.trim());
    });
}

#[test]
fn a_talk_that_is_dropped_ends_the_program() {
    let child = talking(shell("sleep 600 & echo $!; wait", FAR), FAR, |talk| {
        let mut line = String::new();
        BufReader::new(talk.output).read_line(&mut line).unwrap();
        drop(talk.program);
        is_gone(line.trim());
        line
    });
    is_gone(child.trim());
}

#[test]
fn a_program_that_is_talked_to_ends_with_the_process_that_asked_for_it_even_when_that_one_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut asking = std::process::Command::new(env!("CARGO_BIN_EXE_trued-stage"))
        .env("TRUED_STAGE_TALKS", format!("trap '' HUP PIPE; echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", file.display()))
        .spawn()
        .unwrap();
    for _ in 0..6000 {
        if file.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = std::fs::read_to_string(&file).expect("it runs");
    assert!(std::path::Path::new("/proc").join(pid.trim()).exists());
    asking.kill().unwrap();
    asking.wait().unwrap();
    is_gone(pid.trim());
}

#[test]
fn what_leaves_the_group_and_the_session_ends_with_the_talk() {
    let child = talking(shell("setsid sh -c 'echo $$; exec sleep 600'; wait", FAR), FAR, |mut talk| {
        let mut line = String::new();
        BufReader::new(&mut talk.output).read_line(&mut line).unwrap();
        assert!(talk.program.end().unwrap().status.is_none());
        line
    });
    is_gone(child.trim());
}

#[test]
fn a_file_that_is_no_program_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd");
    std::fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = Program { argv: vec![file.display().to_string()], output_cap: 4096, ..shell("", FAR) };
    talking(program, FAR, |mut talk| {
        let mut said = Vec::new();
        talk.output.read_to_end(&mut said).unwrap();
        let exit = talk.program.end().unwrap();
        let error = String::from_utf8(exit.error).unwrap();
        assert!(said.is_empty() && exit.status == Some(125) && error.contains("the interpreter it names is missing"), "{error}");
    });
}

#[test]
fn only_the_last_of_the_errors_is_kept() {
    talking(shell("i=0; while [ $i -lt 2000 ]; do echo \"line $i\" >&2; i=$((i+1)); done", FAR), FAR, |mut talk| {
        let mut all = Vec::new();
        talk.output.read_to_end(&mut all).unwrap();
        let error = String::from_utf8(talk.program.end().unwrap().error).unwrap();
        assert!(error.len() <= 64 && error.ends_with("line 1999\n"), "{error:?}");
    });
}

#[tokio::test]
async fn a_program_that_is_not_there_is_absent() {
    let program = Program { argv: vec!["no-such-program".to_owned()], ..shell("", FAR) };
    let refusal = programs().open(program, FAR).await.err().expect("a refusal");
    assert_eq!(refusal.code, Code::Absent);
}

/// Waits until a process has ended; fails when it never does. One that nobody has reaped yet has.
fn is_gone(pid: &str) {
    for _ in 0..3000 {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])) => {}
            _ => return,
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("process {pid} never ended");
}
