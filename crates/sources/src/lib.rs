//! Sources: Git repositories and folders, as immutable revisions whose bytes are verified when they are read.
//!
//! Nothing here starts a process, writes into a repository or a folder that somebody else owns, or follows a link.

use std::sync::Arc;

use tokio::sync::Semaphore;
use trued_doors::{Answer, BoxFuture, SourceKind};
use trued_model::{Code, Refusal};

mod disk;
mod folder;
mod git;
mod kept;
mod links;
mod names;
mod pull;
mod road;

pub use git::{RepositoryPlace, find_repository, outside};
pub use pull::{Charts, said};

/// All kinds of source that this crate knows.
pub fn kinds() -> Vec<Arc<dyn SourceKind>> {
    vec![Arc::new(folder::Folder), Arc::new(git::Git)]
}

/// How many may read of one source at once. A thousand stacks ask for their folders together, and a thread for each would keep
/// its memory long after.
const READERS: usize = 4;

/// Those who read of one source.
struct Readers(Arc<Semaphore>);

impl Readers {
    fn new() -> Readers {
        Readers(Arc::new(Semaphore::new(READERS)))
    }

    /// Reads off the async worker, once fewer than [`READERS`] do.
    fn read<T: Send + 'static>(&self, work: impl FnOnce() -> Answer<T> + Send + 'static) -> BoxFuture<'static, Answer<T>> {
        let places = self.0.clone();
        Box::pin(async move {
            let place = places.acquire_owned().await;
            blocking(move || {
                // Given back by who reads: whoever asked may have gone away meanwhile.
                let _place = place;
                work()
            })
            .await
        })
    }
}

/// Runs reading and fetching off the async worker.
fn blocking<T: Send + 'static>(work: impl FnOnce() -> Answer<T> + Send + 'static) -> BoxFuture<'static, Answer<T>> {
    Box::pin(async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(answer) => answer,
            Err(error) if error.is_cancelled() => Err(Refusal::new(Code::Cancelled, "read a source: the program is stopping")),
            Err(_) => Err(Refusal::new(Code::Broken, "read a source: the reader stopped")),
        }
    })
}
