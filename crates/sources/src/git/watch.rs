//! Reads along in what a server sends, for whatever way it comes: bytes, references, time and the pack inside of it are
//! bounded before anybody keeps anything.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gix::ObjectId;
use trued_model::{Code, Refusal};

use super::answers;
use super::pack::{Beyond, Most, Pack};
use super::repository::Repository;
use super::settings::Limits;

/// Most bytes of what is not a pack: references, and what the server says to people.
const WORDS: u64 = 64 << 20;

/// Where the first refusal of a fetch is kept, in our words: gix carries errors as text through many layers.
#[derive(Clone, Default)]
pub(super) struct Outcome(Arc<Mutex<Option<Refusal>>>);

impl Outcome {
    pub(super) fn take(&self) -> Option<Refusal> {
        self.lock().take()
    }

    /// Remembers a refusal and gives an error to stop with.
    pub(super) fn stop(&self, refusal: Refusal) -> io::Error {
        let error = io::Error::other(refusal.to_string());
        self.lock().get_or_insert(refusal);
        error
    }

    fn lock(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bounds of one fetch and what of them is used up, shared by all its answers.
#[derive(Clone)]
pub(super) struct Bounds {
    pub(super) host: String,
    pub(super) outcome: Outcome,
    pub(super) until: Instant,
    /// Longest silence.
    pub(super) idle: Duration,
    limits: Limits,
    left: Arc<Mutex<Left>>,
    here: Arc<Repository>,
}

struct Left {
    bytes: u64,
    words: u64,
    lines: u64,
}

impl Bounds {
    /// Starts the time of a fetch into a store.
    pub(super) fn new(host: String, limits: &Limits, here: Arc<Repository>) -> Bounds {
        let time = limits.fetch_time.to_std();
        Bounds {
            host,
            outcome: Outcome::default(),
            until: Instant::now() + time,
            idle: limits.fetch_idle.to_std().min(time),
            limits: *limits,
            left: Arc::new(Mutex::new(Left { bytes: limits.fetch_bytes, words: WORDS, lines: limits.fetch_refs })),
            here,
        }
    }

    /// An error when the time is over.
    pub(super) fn in_time(&self) -> io::Result<()> {
        if Instant::now() < self.until {
            return Ok(());
        }
        Err(self.outcome.stop(answers::too_slow(&self.host)))
    }

    fn beyond(&self, what: &str, setting: &str) -> io::Error {
        let refusal = Refusal::new(Code::TooLarge, format!("fetch from {}: the server sends {what}", self.host));
        self.outcome.stop(refusal.help(format!("raise limits.{setting} of the source if that is right")))
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server sends, up to its bounds.
pub(super) struct Watched<R> {
    from: R,
    broken: fn(&str, &io::Error) -> Option<Refusal>,
    watch: Watch,
}

impl<R> Watched<R> {
    /// `broken` says what an error of `from` means; `None` leaves that to who reads.
    pub(super) fn new(from: R, bounds: Bounds, broken: fn(&str, &io::Error) -> Option<Refusal>) -> Watched<R> {
        Watched { from, broken, watch: Watch::new(bounds) }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bounds = &self.watch.bounds;
        bounds.in_time()?;
        let count = self.from.read(buffer).map_err(|error| match (self.broken)(&bounds.host, &error) {
            Some(refusal) => bounds.outcome.stop(refusal),
            None => error,
        })?;
        self.watch.see(&buffer[..count])?;
        Ok(count)
    }
}

/// Packet lines (gitprotocol-common), of which those on side band 1 carry a pack.
struct Watch {
    bounds: Bounds,
    line: Line,
    /// What of a line's length was read.
    digits: Vec<u8>,
    pack: Option<Box<Pack>>,
}

#[derive(Clone, Copy)]
enum Line {
    Length,
    /// The first byte of a line, which may say what band it is on, and how many follow.
    Band(usize),
    Words(usize),
    Pack(usize),
    /// All that comes is a pack.
    Rest,
    /// Neither: whoever parses it will say so. Its bytes still count.
    Unknown,
}

impl Watch {
    fn new(bounds: Bounds) -> Watch {
        Watch { bounds, line: Line::Length, digits: Vec::new(), pack: None }
    }

    fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.spend(|left| &mut left.bytes, bytes.len(), "more bytes than allowed", "fetch_bytes")?;
        while let Some((first, rest)) = bytes.split_first() {
            let (taken, next) = match self.line {
                Line::Length => {
                    self.words(1)?;
                    self.digits.push(*first);
                    bytes = rest;
                    self.line = self.length()?;
                    continue;
                }
                Line::Band(left) if *first == 1 => (1, Line::Pack(left)),
                Line::Band(left) => {
                    self.words(1)?;
                    (1, Line::Words(left))
                }
                Line::Words(left) => {
                    let taken = left.min(bytes.len());
                    self.words(taken)?;
                    (taken, Line::Words(left - taken))
                }
                Line::Pack(left) => {
                    let taken = left.min(bytes.len());
                    self.pack(&bytes[..taken])?;
                    (taken, Line::Pack(left - taken))
                }
                Line::Rest => {
                    self.pack(bytes)?;
                    (bytes.len(), Line::Rest)
                }
                Line::Unknown => {
                    self.words(bytes.len())?;
                    (bytes.len(), Line::Unknown)
                }
            };
            bytes = &bytes[taken..];
            self.line = if matches!(next, Line::Words(0) | Line::Pack(0)) { Line::Length } else { next };
        }
        Ok(())
    }

    /// What the digits in hand announce.
    fn length(&mut self) -> io::Result<Line> {
        if self.digits.len() < 4 {
            return Ok(Line::Length);
        }
        let digits = std::mem::take(&mut self.digits);
        let length = std::str::from_utf8(&digits).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        match length {
            // A pack without side bands: what follows is the rest of its header.
            None if digits == b"PACK" => {
                self.pack(&digits)?;
                Ok(Line::Rest)
            }
            None => Ok(Line::Unknown),
            Some(0..=4) => {
                self.lines()?;
                Ok(Line::Length)
            }
            Some(length) => {
                if self.pack.is_none() {
                    self.lines()?;
                }
                Ok(Line::Band(length - 5))
            }
        }
    }

    fn words(&self, count: usize) -> io::Result<()> {
        self.spend(|left| &mut left.words, count, "too much that is neither a reference nor an object", "fetch_refs")
    }

    /// Counts a line that carries no pack: most of them are references.
    fn lines(&self) -> io::Result<()> {
        let most = self.bounds.limits.fetch_refs;
        self.spend(|left| &mut left.lines, 1, &format!("more than {most} references"), "fetch_refs")
    }

    fn spend(&self, of: fn(&mut Left) -> &mut u64, count: usize, what: &str, setting: &str) -> io::Result<()> {
        let mut left = self.bounds.left();
        let left = of(&mut left);
        match left.checked_sub(count as u64) {
            Some(less) => {
                *left = less;
                Ok(())
            }
            None => Err(self.bounds.beyond(what, setting)),
        }
    }

    fn pack(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (limits, here) = (self.bounds.limits, &self.bounds.here);
        let pack = self.pack.get_or_insert_with(|| {
            let here = here.clone();
            let most = Most { objects: limits.fetch_objects, object: limits.object_bytes, inflated: limits.fetch_inflated };
            Box::new(Pack::new(most, Box::new(move |id: &ObjectId| here.has(*id))))
        });
        let beyond = match pack.see(bytes) {
            Ok(()) => return Ok(()),
            Err(beyond) => beyond,
        };
        Err(match beyond {
            Beyond::Objects(count) => self.bounds.beyond(&format!("{count} objects, more than allowed"), "fetch_objects"),
            Beyond::Object(bytes) => self.bounds.beyond(&format!("an object of {bytes} bytes, more than allowed"), "object_bytes"),
            Beyond::Inflated => self.bounds.beyond("objects of more bytes than allowed", "fetch_inflated"),
            Beyond::Chain => self.bounds.beyond("an object that takes too much memory to be put together", "object_bytes"),
            Beyond::Malformed => {
                let message = format!("fetch from {}: the server sends a pack that is none", self.bounds.host);
                self.bounds.outcome.stop(Refusal::new(Code::Invalid, message).help("check the url, and the server"))
            }
        })
    }
}
