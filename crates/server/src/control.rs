//! The control socket: `control.sock` in the state folder. One JSON request per line, one JSON response per line, in
//! turn. Who asks is what the kernel says of the other end, not what is in the request.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use trued_doors::BoxFuture;

mod asking;
mod listening;
mod peer;
mod place;

pub use asking::{ask, ask_within};
pub use listening::{ControlSocket, listen, listen_over};
pub use peer::{Peer, user_name};

/// Bytes of a request's line. The largest name a few hundred stacks.
const MAX_REQUEST: usize = 1 << 20;

/// Bytes of a response's line.
const MAX_RESPONSE: usize = 16 << 20;

/// How long one call may take: an apply of everything, with its checks.
const CALL: std::time::Duration = std::time::Duration::from_secs(3600);

/// A verb and what it is to work on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub verb: String,
    #[serde(default)]
    pub arguments: Value,
}

/// What came of it: a result, or a no with its words in `message`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub ok: bool,
    #[serde(default)]
    pub body: Value,
    #[serde(default)]
    pub message: String,
    /// What is wrong besides, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl Response {
    /// A no.
    pub fn refused(message: impl Into<String>) -> Response {
        Response { ok: false, body: Value::Null, message: message.into(), remarks: Vec::new() }
    }
}

/// What a control socket asks.
pub trait Controlled: Send + Sync {
    /// Answers one request. Runs to its end even if the one who asked goes away.
    fn call<'a>(&'a self, request: Request, peer: Peer) -> BoxFuture<'a, Response>;
}

/// The next request, or what is wrong with it; `None` when the other side is done.
pub async fn requested(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Result<Request, String>>> {
    match read_line(from, MAX_REQUEST).await {
        Ok(line) => Ok(line
            .map(|line| serde_json::from_slice(&line).map_err(|error| format!("the request is not a verb with its arguments: {error}")))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Ok(Some(Err(format!("the request is larger than {MAX_REQUEST} bytes"))))
        }
        Err(error) => Err(error),
    }
}

/// One line without its end; `None` when the other side is done. `InvalidData` when it is longer than `cap`,
/// `UnexpectedEof` when it breaks off.
async fn read_line(from: &mut (impl AsyncBufRead + Unpin), cap: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(cap as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() >= cap => Err(io::ErrorKind::InvalidData.into()),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A value as one line; serialized JSON has no line end inside.
fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
