//! The asking end of the control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use super::place::Place;
use super::{CALL, MAX_REQUEST, MAX_RESPONSE, Peer, Request, Response, line, read_line};

/// How long a full socket is tried again.
const CONNECT: Duration = Duration::from_secs(5);

/// Asks whoever listens in a state folder; `None` when nobody does.
///
/// `Code::Denied` when the socket is another user's, `Code::Unknown` when the other side went away before it answered:
/// then only the record says what happened.
pub async fn ask(state: &Path, request: &Request) -> Answer<Option<Response>> {
    ask_within(state, request, CALL + CONNECT).await
}

/// [`ask`], for what is answered at once: `Code::TimedOut` when it is not. A process that was stopped still listens.
pub async fn ask_within(state: &Path, request: &Request, patience: Duration) -> Answer<Option<Response>> {
    let place = match Place::open(state) {
        Ok(place) => place,
        Err(refusal) if refusal.code == Code::Absent => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    let Some(stream) = connect(&place).await? else { return Ok(None) };
    let refuse = |code, why: &str| Refusal::new(code, format!("ask the process at {}: {why}", place.shown().display()));
    let peer = Peer::of(&stream).map_err(|error| refuse(Code::Unknown, &error.to_string()))?;
    if !peer.is_trusted() && place.owner() != Some(peer.uid) {
        return Err(refuse(Code::Denied, "it runs as a user who owns neither the state folder nor this process"));
    }
    let bytes = line(request).map_err(|error| refuse(Code::Invalid, &error.to_string()))?;
    if bytes.len() > MAX_REQUEST {
        return Err(refuse(Code::TooLarge, &format!("the request is larger than {MAX_REQUEST} bytes")));
    }
    let mut stream = BufReader::new(stream);
    let exchange = async {
        stream.write_all(&bytes).await?;
        read_line(&mut stream, MAX_RESPONSE).await
    };
    let answered = timeout(patience, exchange).await.map_err(|_| refuse(Code::TimedOut, "it did not answer"))?;
    let gone = || refuse(Code::Unknown, "it went away before it answered").help("`trued log` says what was done");
    match answered {
        Ok(Some(line)) => match serde_json::from_slice(&line) {
            Ok(response) => Ok(Some(response)),
            Err(error) => Err(refuse(Code::Broken, &format!("its answer is not one: {error}"))),
        },
        Ok(None) => Err(gone()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refuse(Code::TooLarge, "its answer is too large")),
        Err(_) => Err(gone()),
    }
}

/// Connects; `None` when nobody listens.
async fn connect(place: &Place) -> Answer<Option<UnixStream>> {
    let refuse = |code, why: &str| Refusal::new(code, format!("reach the process at {}: {why}", place.shown().display()));
    let start = Instant::now();
    loop {
        match UnixStream::connect(place.address()).await {
            Ok(stream) => return Ok(Some(stream)),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                io::ErrorKind::PermissionDenied => {
                    return Err(refuse(Code::Denied, "its socket is another user's").help("ask as the user that runs it, or as root"));
                }
                io::ErrorKind::WouldBlock if start.elapsed() < CONNECT => sleep(Duration::from_millis(50)).await,
                io::ErrorKind::WouldBlock => return Err(refuse(Code::Unreachable, "it has too many clients waiting")),
                _ => return Err(refuse(Code::Unknown, &error.to_string())),
            },
        }
    }
}
