//! Who uses the file now, and what waits to be appended to it. Whoever waits holds no thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};
use trued_doors::Answer;
use trued_model::{Code, Indexed, Refusal};

use super::append::Asked;
use super::opened::Opened;

/// Drafts that are appended in one step at most, unless one who asks has more: a step keeps them all in memory.
const TOGETHER: usize = 4_096;

/// One who reads and one who writes at a time.
pub(super) struct Turns {
    read: Arc<Semaphore>,
    write: Arc<Semaphore>,
}

/// What waits to be appended: whoever has the next turn appends it all.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<One>>);

pub(super) struct One {
    pub asked: Asked,
    pub answer: oneshot::Sender<Answer<Vec<Indexed>>>,
}

/// What a turn is for.
pub(super) enum For {
    Reading,
    Writing,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { read: Arc::new(Semaphore::new(1)), write: Arc::new(Semaphore::new(1)) }
    }
}

impl Waiting {
    pub fn add(&self, asked: Asked) -> oneshot::Receiver<Answer<Vec<Indexed>>> {
        let (answer, waits) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(One { asked, answer });
        waits
    }

    /// Takes as much as one step appends, in the order it was asked.
    pub fn take(&self) -> Vec<One> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut drafts = 0;
        let fits = waiting.iter().position(|one: &One| {
            drafts += one.asked.drafts.len();
            drafts > TOGETHER
        });
        let count = fits.map_or(waiting.len(), |fits| fits.max(1));
        waiting.drain(..count).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Does work on the file where blocking is allowed, when its turn comes. Without a runtime it is done at once.
pub(super) async fn in_turn<T: Send + 'static>(
    opened: Arc<Opened>,
    what_for: For,
    work: impl FnOnce(&Opened) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return work(&opened) };
    let turns = match what_for {
        For::Reading => opened.turns.read.clone(),
        For::Writing => opened.turns.write.clone(),
    };
    // A task of its own: whoever asks may go away or be left waiting, and must not keep a turn from the others.
    let taken = runtime.spawn(async move {
        let _turn = turns.acquire_owned().await;
        tokio::task::spawn_blocking(move || work(&opened)).await
    });
    let ended = taken.await.and_then(|ended| ended);
    ended.unwrap_or_else(|error| Err(broken_off(&error.to_string())))
}

/// The same for what is read in less time than it takes to hand it to another thread: here and now, unless somebody reads.
pub(super) async fn at_once<T: Send + 'static>(opened: Arc<Opened>, work: impl FnOnce(&Opened) -> Answer<T> + Send + 'static) -> Answer<T> {
    let turn = opened.turns.read.clone().try_acquire_owned();
    match turn {
        Ok(_turn) => work(&opened),
        Err(_) => in_turn(opened, For::Reading, work).await,
    }
}

/// Appends in turn. What somebody else appended meanwhile, with what was theirs, needs no turn of its own.
pub(super) async fn append(opened: Arc<Opened>, asked: Asked) -> Answer<Vec<Indexed>> {
    let answer = opened.waiting.add(asked);
    match tokio::runtime::Handle::try_current() {
        Err(_) => opened.append_waiting(),
        Ok(runtime) => {
            // Also where nobody waits for the answer any more.
            runtime.spawn(async move {
                let _turn = opened.turns.write.clone().acquire_owned().await;
                while !opened.waiting.is_empty() {
                    let opened = opened.clone();
                    let appended = tokio::task::spawn_blocking(move || opened.append_waiting()).await;
                    if appended.is_err() {
                        return;
                    }
                }
            });
        }
    }
    answer.await.unwrap_or_else(|_| Err(broken_off("it broke off")))
}

fn broken_off(why: &str) -> Refusal {
    Refusal::new(Code::Broken, format!("use the ledger: {why}"))
}
