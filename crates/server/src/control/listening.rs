//! The answering end of the control socket.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, fchmod, flock, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as listen_at, socket_with};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use super::place::{NAME, Node, Place, code};
use super::{CALL, Controlled, MAX_RESPONSE, Peer, Response, line, requested};

/// Connections at a time; more wait until one is done.
const MAX_CLIENTS: usize = 64;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// How long a client may take to send its next request, or to take its response.
const IDLE: Duration = Duration::from_secs(10);

/// How often a folder that another process is just binding in is tried again, 20 ms apart.
const BINDING: usize = 50;

/// How long calls in hand are waited for when the socket is closed.
const DRAIN: Duration = Duration::from_secs(20);

/// A listening control socket. Dropped, it stops listening, breaks off what it was asked, and removes its file.
pub struct ControlSocket {
    place: Place,
    node: Option<Node>,
    accepting: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// Listens in a state folder, which must be there. `Code::Denied` when another process listens there already. Call it
/// inside the async runtime.
pub fn listen(state: &Path, controlled: Arc<dyn Controlled>) -> Answer<ControlSocket> {
    listen_at_place(state, controlled, false)
}

/// [`listen`], also in place of a process that listens and does not answer: the caller found out, and that it holds no lease
/// any more. When it goes on, nobody asks it anything.
pub fn listen_over(state: &Path, controlled: Arc<dyn Controlled>) -> Answer<ControlSocket> {
    listen_at_place(state, controlled, true)
}

fn listen_at_place(state: &Path, controlled: Arc<dyn Controlled>, over: bool) -> Answer<ControlSocket> {
    let place = Place::open(state)?;
    let listener = bind_in(&place, over)?;
    let node = place.node();
    let (stop, stopped) = watch::channel(false);
    Ok(ControlSocket { place, node, accepting: tokio::spawn(accept(listener, controlled, stopped)), stop })
}

impl ControlSocket {
    /// Stops listening and answers the calls in hand first, for a while.
    pub async fn close(mut self) {
        self.forget();
        let _ = self.stop.send(true);
        if timeout(DRAIN, &mut self.accepting).await.is_err() {
            tracing::warn!("calls of the control socket were broken off");
        }
    }

    /// Removes the socket's file, so that nobody new comes; whoever replaced it keeps theirs.
    fn forget(&mut self) {
        if self.node.is_some() && self.place.node() == self.node.take() {
            let _ = unlinkat(&self.place.folder, NAME, AtFlags::empty());
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.accepting.abort();
        self.forget();
    }
}

/// Binds the socket, mode 0600 from its first moment on, in place of one that nobody listens at any longer.
fn bind_in(place: &Place, over: bool) -> Answer<UnixListener> {
    let refuse = |error: Errno| Refusal::new(code(error), format!("listen at {}: {error}", place.shown().display()));
    let address = SocketAddrUnix::new(place.address()).map_err(refuse)?;
    // Two that start at once must not take each other's fresh socket for a stale one.
    lock(place)?;
    if let Some(node) = place.node() {
        let shown = place.shown().display().to_string();
        if !node.is_socket {
            let refusal = Refusal::new(Code::Invalid, format!("listen at {shown}: something that is not a socket is there"));
            return Err(refusal.help("remove it if it is not yours"));
        }
        if !over && is_answered(&address).map_err(refuse)? {
            let refusal = Refusal::new(Code::Denied, format!("listen at {shown}: another process listens there"));
            return Err(refusal.help("stop the other `trued serve`, or use another state folder"));
        }
        unlinkat(&place.folder, NAME, AtFlags::empty()).map_err(refuse)?;
    }
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).map_err(refuse)?;
    // A socket's file gets the mode that the socket has when it is bound.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(refuse)?;
    bind(&socket, &address).map_err(refuse)?;
    listen_at(&socket, BACKLOG).map_err(refuse)?;
    let _ = flock(&place.folder, FlockOperation::Unlock);
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
        .map_err(|error| Refusal::new(Code::Broken, format!("listen at {}: {error}", place.shown().display())))
}

/// Locks the folder for as long as it is being bound in; closing it would unlock it too.
fn lock(place: &Place) -> Answer<()> {
    for _ in 0..BINDING {
        match flock(&place.folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(Refusal::new(code(error), format!("lock the folder of {}: {error}", place.shown().display()))),
        }
    }
    Err(Refusal::new(Code::Denied, format!("listen at {}: another process is just about to", place.shown().display())))
}

/// Whether somebody listens at an address.
fn is_answered(address: &SocketAddrUnix) -> Result<bool, Errno> {
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&probe, address) {
        // Full of waiting clients: somebody is there.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn accept(listener: UnixListener, controlled: Arc<dyn Controlled>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (controlled, stop) = (controlled.clone(), stop.clone());
                clients.spawn(async move {
                    let _place = place;
                    if let Err(error) = attend(stream, controlled.as_ref(), stop).await {
                        tracing::debug!(%error, "a control connection broke off");
                    }
                });
            }
            // Out of descriptors, most likely: those who have one must get on first.
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
        while let Some(done) = clients.try_join_next() {
            note_panic(&done);
        }
    }
    drop(listener);
    while let Some(done) = clients.join_next().await {
        note_panic(&done);
    }
}

fn note_panic(done: &Result<(), JoinError>) {
    if done.as_ref().is_err_and(JoinError::is_panic) {
        tracing::error!("a call through the control socket panicked; others go on");
    }
}

/// Answers one client's requests, one after the other, until it or the socket is done.
async fn attend(stream: UnixStream, controlled: &dyn Controlled, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let peer = Peer::of(&stream)?;
    if !peer.is_trusted() {
        tracing::warn!(uid = peer.uid, pid = peer.pid, "a process of another user was sent away from the control socket");
        return Ok(());
    }
    let mut stream = BufReader::new(stream);
    loop {
        let request = tokio::select! {
            request = timeout(IDLE, requested(&mut stream)) => request??,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let request = match request {
            None => return Ok(()),
            Some(Ok(request)) => request,
            // What follows cannot be trusted to begin where a request begins.
            Some(Err(words)) => return respond(&mut stream, &Response::refused(words)).await,
        };
        let called = timeout(CALL, controlled.call(request, peer.clone())).await;
        let response = called.unwrap_or_else(|_| Response::refused(format!("it took longer than {} minutes", CALL.as_secs() / 60)));
        respond(&mut stream, &response).await?;
    }
}

async fn respond(to: &mut BufReader<UnixStream>, response: &Response) -> io::Result<()> {
    let mut bytes = line(response)?;
    if bytes.len() > MAX_RESPONSE {
        bytes = line(&Response::refused(format!("the answer is larger than {MAX_RESPONSE} bytes; ask for less")))?;
    }
    timeout(IDLE, to.write_all(&bytes)).await?
}
