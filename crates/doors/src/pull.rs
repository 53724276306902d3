//! Archives that renders need from elsewhere: fetched by digest, kept by digest, never believed.

use trued_model::{Code, Duration, Pull, Refusal, Secret};

use crate::{Answer, BoxFuture, Cache};

/// Gets archives. What it gives has the digest that was asked for.
pub trait Puller: Send + Sync {
    /// The archive, if it was fetched before; asks nobody.
    fn kept(&self, pull: &Pull, cache: &dyn Cache) -> Option<Vec<u8>>;

    /// Fetches it within a time, and keeps it. `Code::Invalid` where what is there is not what was asked for.
    fn fetch<'a>(
        &'a self,
        pull: &'a Pull,
        password: Option<Secret>,
        cache: &'a dyn Cache,
        within: Duration,
    ) -> BoxFuture<'a, Answer<Vec<u8>>>;
}

/// Gets nothing.
pub struct NoPuller;

impl Puller for NoPuller {
    fn kept(&self, _: &Pull, _: &dyn Cache) -> Option<Vec<u8>> {
        None
    }

    fn fetch<'a>(&'a self, pull: &'a Pull, _: Option<Secret>, _: &'a dyn Cache, _: Duration) -> BoxFuture<'a, Answer<Vec<u8>>> {
        let refusal = Refusal::new(Code::Unsupported, format!("fetch {}: nothing is fetched here", pull.from.words()));
        Box::pin(std::future::ready(Err(refusal)))
    }
}
