//! Requests on the control socket, by whatever process of the same user.

use trued_server::control::{Request, requested};

use super::wait;

/// What one client sends: a request is a whole line, and what is not one is refused in words that repeat nothing of it.
pub fn requests(bytes: &[u8]) {
    let (mut rest, mut lines) = (bytes, 0);
    loop {
        match wait(requested(&mut rest)) {
            Ok(Some(Ok(request))) => {
                let line = [serde_json::to_vec(&request).expect("it is written"), b"\n".to_vec()].concat();
                let again: Request = wait(requested(&mut line.as_slice())).expect("whole").expect("a line").expect("a request");
                assert_eq!(again, request, "a request reads back");
            }
            Ok(Some(Err(words))) => assert!(!words.is_empty() && words.len() < 500 && !words.contains(char::is_control), "{words:?}"),
            Ok(None) => break assert!(rest.is_empty() && bytes.last().is_none_or(|last| *last == b'\n'), "something was left unread"),
            Err(_) => break assert!(bytes.last().is_some_and(|last| *last != b'\n'), "a whole line broke off"),
        }
        lines += 1;
    }
    assert_eq!(lines, bytes.iter().filter(|byte| **byte == b'\n').count(), "each line is one request");
}
