//! One question to a remote, whatever the way to it: which references it has, and the objects that are missing here.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use gix::remote::Direction;
use gix::remote::fetch::{Shallow, Tags};
use gix_transport::client::blocking_io::Transport;
use trued_model::{Code, Refusal};

use super::answers;
use super::repository::Repository;
use super::store::{APPROVALS, Failure, Wanted};
use super::watch::Bounds;

/// Most characters of an error that is not in our own words.
const LONGEST_WORDS: usize = 400;
/// How Git's own servers say that they do not have a commit that was asked for by its id.
const NOT_THERE: &str = "not our ref";
/// How gix says that a server cannot give a part of the history.
const NO_SHALLOW: &str = "Server lack feature \"shallow\"";

/// How far back a fetch reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Only what is asked for itself.
    Tips,
    /// All that was made since then, in seconds since 1970.
    Since(i64),
    Generations(NonZeroU32),
    Whole,
}

/// Why asking failed.
pub(super) enum Failed {
    /// Before anything came: the address, the settings, the store's own files.
    Local(String),
    /// The server was asked which references it has.
    References(String),
    Nothing(String),
    /// It was asked for objects.
    Objects(String),
}

impl Failed {
    /// What it comes to: the refusal of the bounds, what the program on the way said, or what gix says.
    pub(super) fn failure(self, bounds: &Bounds, said: Option<Refusal>) -> Failure {
        let host = &bounds.host;
        if let Some(refusal) = bounds.outcome.take() {
            return Failure::Remote(refusal);
        }
        match self {
            Failed::Nothing(names) => Failure::Remote(Refusal::new(Code::Absent, format!("fetch from {host}: the server has no {names}"))),
            _ if Instant::now() >= bounds.until => Failure::Remote(answers::too_slow(host)),
            Failed::Objects(words) if words.contains(NOT_THERE) => {
                Failure::Remote(Refusal::new(Code::Absent, format!("fetch from {host}: the server has no such commit")))
            }
            Failed::Local(words) => Failure::Local(words),
            Failed::References(_) | Failed::Objects(_) if said.is_some() => said.map_or(Failure::Local(String::new()), Failure::Remote),
            Failed::References(words) => {
                let message = format!("fetch from {host}: the server does not answer as a Git server: {words}");
                Failure::Remote(Refusal::new(Code::Invalid, message).help("check the url"))
            }
            Failed::Objects(words) => Failure::Local(words),
        }
    }
}

/// What a remote is asked for.
pub(super) struct Question<'a> {
    pub(super) wanted: &'a [Wanted],
    /// Tags that may bear signatures: the beginning of their names, and `*`.
    pub(super) approvals: Option<&'a str>,
    pub(super) depth: Depth,
}

/// Asks for all that is wanted; gives what of it the server has. References here are moved when all objects are.
pub(super) fn ask(
    here: &Repository,
    url: &str,
    transport: Box<dyn Transport + Send>,
    question: &Question<'_>,
    bounds: &Bounds,
) -> Result<Vec<Wanted>, Failed> {
    let Question { wanted, approvals, depth } = *question;
    here.with(|repository| {
        let local = |error: gix::Error| Failed::Local(words(&error));
        let mut specs: Vec<String> = wanted.iter().map(|wanted| format!("+{}:{}", wanted.there, wanted.here)).collect();
        specs.extend(approvals.map(|tags| format!("+refs/tags/{tags}:{APPROVALS}{tags}")));
        let url = gix::url::parse(url).map_err(local)?;
        let way = repository
            .remote_at_without_url_rewrite(url)
            .and_then(|remote| remote.with_fetch_tags(Tags::None).with_refspecs(specs.iter().map(gix::bstr::BStr::new), Direction::Fetch))
            .map_err(local)?;
        let connection = way
            .to_connection_with_transport(transport)
            // Credentials are on the way already; nobody is asked for others.
            .with_credentials(|_| Ok(None))
            .with_transport_options(Box::new(()));
        let prepared =
            connection.prepare_fetch(gix::progress::Discard, Default::default()).map_err(|error| Failed::References(words(&error)))?;
        let mappings = &prepared.ref_map().mappings;
        let is_there =
            |wanted: &&Wanted| mappings.iter().any(|mapping| mapping.local.as_ref().is_some_and(|local| local == wanted.here.as_str()));
        let found: Vec<Wanted> = wanted.iter().filter(is_there).cloned().collect();
        if found.is_empty() {
            let names: Vec<&str> = wanted.iter().map(|wanted| wanted.there.as_str()).collect();
            return Err(Failed::Nothing(names.join(" and no ")));
        }
        let known = mappings.iter().all(|mapping| mapping.remote.as_id().is_some_and(|id| here.has(id.to_owned())));
        let shallow = match depth {
            // Nothing is missing: only the references are moved.
            Depth::Tips if known => Shallow::NoChange,
            Depth::Tips => Shallow::DepthAtRemote(NonZeroU32::MIN),
            Depth::Since(seconds) => Shallow::Since { cutoff: gix::date::Time { seconds, offset: 0 } },
            Depth::Generations(count) => Shallow::DepthAtRemote(count),
            Depth::Whole if repository.is_shallow().is_ok_and(|shallow| !shallow) => Shallow::NoChange,
            Depth::Whole => Shallow::undo(),
        };
        let locals = mappings.iter().filter_map(|mapping| mapping.local.as_ref());
        let approved: HashSet<String> = locals.map(ToString::to_string).filter(|local| local.starts_with(APPROVALS)).collect();
        let stop = AtomicBool::new(false);
        let (over, wait) = mpsc::channel::<()>();
        let received = std::thread::scope(|scope| {
            let stop = &stop;
            // Taking a pack apart takes time of its own, when nothing comes any more.
            scope.spawn(move || {
                if wait.recv_timeout(bounds.until.saturating_duration_since(Instant::now())) == Err(mpsc::RecvTimeoutError::Timeout) {
                    stop.store(true, Ordering::Relaxed);
                }
            });
            let received = prepared.with_shallow(shallow).receive(gix::progress::Discard, stop);
            drop(over);
            received
        });
        received.map_err(|error| Failed::Objects(words(&error)))?;
        withdraw(repository, &approved).map_err(local).map(|()| found)
    })
}

/// Removes the approvals that stand here and no longer at the remote: whoever withdrew a tag vouches no more.
fn withdraw(repository: &gix::Repository, there: &HashSet<String>) -> Result<(), gix::Error> {
    let all = repository.references().map_err(gix::Error::from_error)?;
    for reference in all.prefixed(APPROVALS).map_err(gix::Error::from_error)?.flatten() {
        if !there.contains(&reference.name().as_bstr().to_string()) {
            reference.delete().map_err(gix::Error::from_error)?;
        }
    }
    Ok(())
}

/// Whether an error only says that the server gives its whole history or nothing.
pub(super) fn wants_all(why: &str) -> bool {
    why.contains(NO_SHALLOW)
}

/// What gix says, with its causes, in one line that moves no cursor: a server's words may be in it.
fn words(error: &gix::Error) -> String {
    let mut text = String::new();
    for cause in error.iter_errors() {
        let words = cause.to_string();
        let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
        if !text.contains(&words) {
            text = if text.is_empty() { words } else { format!("{text}: {words}") };
        }
    }
    text.chars().take(LONGEST_WORDS).collect()
}
