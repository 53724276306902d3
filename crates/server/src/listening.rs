//! A task that answers on an address until it is dropped.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use crate::bounded::{Bounded, Opened};

/// Answers until it is dropped.
pub struct Listening {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Listening {
    /// Where it listens; the port is a real one even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn start(address: SocketAddr, listener: Bounded, routes: Router) -> Listening {
        let serving = axum::serve(listener, routes.into_make_service_with_connect_info::<Opened>());
        let serving = tokio::spawn(async move {
            // It ends only with an error of the listener, which is not given up by itself.
            let _ = serving.await;
        });
        Listening { address, serving }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Takes an address; with the port that it really is.
pub(crate) async fn bind(address: SocketAddr) -> Answer<(SocketAddr, TcpListener)> {
    let refuse = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::AddrInUse => Code::Denied,
            _ => Code::Unknown,
        };
        Refusal::new(code, format!("listen on {address}: {error}"))
    };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    Ok((listener.local_addr().map_err(refuse)?, listener))
}
