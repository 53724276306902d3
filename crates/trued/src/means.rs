//! What this process must have to work at all: a few threads and some memory. Asked before anything begins, since what is
//! missing later ends a run in the middle; and what is said, and with which status, where it is missing all the same.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

use anyhow::anyhow;

use crate::exit::Exit;

/// Memory that the smallest run needs beside its threads.
const MEMORY: usize = 16 << 20;

/// Memory that naming every function of a broken-off run takes at most.
const ROOM_FOR_A_TRACE: usize = 512 << 20;

/// Threads beside the workers: what blocks waits on them.
const OTHERS: usize = 2;

/// How many threads may work: as many as wanted, or as are to be had. Fails where nothing would work.
pub fn workers(wanted: Option<usize>) -> anyhow::Result<usize> {
    let wanted = wanted.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
    let gate = Mutex::new(());
    let pass = || drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let (count, missing, roomy) = scope(|scope| {
        let (mut count, mut missing) = (0, None);
        while count < wanted + OTHERS && missing.is_none() {
            match Builder::new().spawn_scoped(scope, pass) {
                Ok(_) => count += 1,
                Err(error) => missing = Some(error),
            }
        }
        let roomy = has_room_for(MEMORY);
        drop(closed);
        (count, missing, roomy)
    });
    if let Some(error) = missing.filter(|_| count <= OTHERS) {
        return Err(anyhow!("start: no more than {count} threads can be had ({error}); raise the limits on processes and memory"));
    }
    if !roomy {
        return Err(anyhow!("start: {} MiB of memory cannot be had; raise the limit on memory", MEMORY >> 20));
    }
    Ok(count - OTHERS)
}

/// Runs to the end, whatever breaks off on the way: that is a failure, and was said.
pub fn unbroken(run: impl FnOnce() -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Ok(Exit::Failed))
}

/// Says of a panic where it was in one line, and how it came to that only with room to find out: the standard library holds a
/// lock meanwhile, which it takes again when there is no memory, and then waits for itself for ever.
pub fn say_what_breaks() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if has_room_for(ROOM_FOR_A_TRACE) {
            return usual(panic);
        }
        let said = panic.payload_as_str().unwrap_or("for no reason that was given");
        let at = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        tracing::error!("broke off{at}: {said}");
    }));
}

/// Whether so much memory could be had now. None of it is touched.
fn has_room_for(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let had = room.try_reserve_exact(bytes).is_ok();
    black_box(&room);
    had
}
