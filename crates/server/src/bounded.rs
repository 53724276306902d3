//! A listener that holds few connections, none of them for long: asking must not take the process's descriptors away. With
//! papers it speaks TLS, and a greeting that does not come to its end holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::reports::{Refused, Tally};
use crate::secure::Shown;

/// What one listener may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time; more wait until one is done.
    pub connections: usize,
    /// How long the two sides may take to agree on keys.
    pub greeting: Duration,
    /// How long one connection may last. A monitor that keeps its connection connects again.
    pub lifetime: Duration,
    /// How long the body of one report may take. Well below half a lifetime, so that none is cut off.
    pub body: Duration,
    /// The most bytes one report may have: an API server sends 400 events at a time, of a few kilobytes each.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let seconds = Duration::from_secs;
        Bounds { connections: 32, greeting: seconds(5), lifetime: seconds(30), body: seconds(10), bytes: 16 << 20 }
    }
}

pub(crate) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    bounds: Bounds,
    papers: Option<Arc<Shown>>,
    tally: Arc<Tally>,
}

impl Bounded {
    pub fn new(listener: TcpListener, bounds: Bounds, papers: Option<Arc<Shown>>, tally: Arc<Tally>) -> Bounded {
        Bounded { listener, places: Arc::new(Semaphore::new(bounds.connections)), bounds, papers, tally }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.ok();
        // Axum's own listener waits out errors of the machine, such as too many open files.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let (stream, first) = match &self.papers {
            None => (Stream::Plain(stream), self.bounds.lifetime),
            // The greeting is the connection's own business: nobody else waits for it.
            Some(papers) => (Stream::Greeting(Box::new(TlsAcceptor::from(papers.current()).accept(stream))), self.bounds.greeting),
        };
        let (opened, over) = (Instant::now(), Box::pin(sleep(first)));
        let (lifetime, tally) = (self.bounds.lifetime, self.tally.clone());
        (Connection { stream, opened, over, lifetime, tally, answered: false, ended: false, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// When a connection was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened(pub Instant);

impl Connected<IncomingStream<'_, Bounded>> for Opened {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Opened {
        Opened(stream.io().opened)
    }
}

enum Stream {
    Plain(TcpStream),
    Greeting(Box<Accept<TcpStream>>),
    Secure(Box<TlsStream<TcpStream>>),
    Gone,
}

trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// One connection with its place and its time.
pub(crate) struct Connection {
    stream: Stream,
    opened: Instant,
    over: Pin<Box<Sleep>>,
    lifetime: Duration,
    tally: Arc<Tally>,
    /// Whether anything was answered on it.
    answered: bool,
    /// Whether its end was counted.
    ended: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// What is read from and written to, once both sides know each other. Fails when the connection's time is over, and wakes
    /// the task then.
    fn stream(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut dyn Io>> {
        self.in_time(context)?;
        if let Stream::Greeting(greeting) = &mut self.stream {
            match ready!(Pin::new(greeting.as_mut()).poll(context)) {
                Ok(secure) => {
                    self.stream = Stream::Secure(Box::new(secure));
                    self.over.as_mut().reset(self.opened + self.lifetime);
                    self.in_time(context)?;
                }
                Err(error) => {
                    tracing::debug!("a connection came to nothing: {error}");
                    self.stream = Stream::Gone;
                    self.end(Refused::Greeting);
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.stream {
            Stream::Plain(stream) => Ok(stream),
            Stream::Secure(stream) => Ok(stream.as_mut()),
            Stream::Greeting(_) | Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.over.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        if !self.answered {
            self.end(Refused::Late);
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn end(&mut self, why: Refused) {
        if !std::mem::replace(&mut self.ended, true) {
            self.tally.refused(why);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.get_mut().stream(context))?;
        Pin::new(stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.answered = true;
        let stream = ready!(this.stream(context))?;
        Pin::new(stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.get_mut().stream(context))?;
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.get_mut().stream(context))?;
        Pin::new(stream).poll_shutdown(context)
    }
}
