//! `trued answer`: a person's word on an incident, a drift or a hold.

use serde_json::json;
use trued_runtime::Word;

use crate::acting::{Acting, person};
use crate::commands::Session;
use crate::exit::Exit;
use crate::record;
use crate::wire::Hand;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued answer #17 revert --reason \"not ours\"
  trued answer #17 ignore --until \"2026-11-23 08:00\" --reason \"hotfix until Monday\"")]
pub struct Args {
    /// The entry that `incidents` shows
    #[arg(value_name = "#N")]
    pub item: String,
    /// revert, adopt, ignore, delete, forget, take-over, accept, done or not-done: what the item offers
    pub word: String,
    /// Until when it holds
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    answer(session, &args.item, &args.word, args.until.as_deref(), &args.reason).await
}

/// Says a word on an item; `adopt` prints the patch too.
pub async fn answer(session: &Session<'_>, item: &str, word: &str, until: Option<&str>, reason: &str) -> anyhow::Result<Exit> {
    let item = record::index(item)?;
    let acting = Acting::open(session, Hand::Records, "answer").await?;
    let until = match until {
        Some(until) => Some(record::Record::open(session).await?.moment(until, None).await?),
        None => None,
    };
    let patch = match word {
        "adopt" => {
            acting.runtime.look_up(&acting.aim(&[], None, false).await?).await?;
            Some(acting.runtime.patch(item).await?)
        }
        _ => None,
    };
    let word = Word { item, word: word.to_owned(), until, reason: reason.to_owned() };
    let said = acting.runtime.answer(&word, &person()).await?;
    acting.wake_serve().await;
    if session.screen.is_json() {
        session.screen.document(&json!({ "answered": said, "patch": patch }))?;
        return Ok(Exit::Done);
    }
    session.screen.say(&match said.already {
        true => format!("#{item} was answered with {} already, by #{}", word.word, said.index),
        false => format!("#{item} answered with {}, recorded as #{}", word.word, said.index),
    });
    if let Some(patch) = patch {
        session.screen.bytes(patch.patch.as_bytes())?;
        patch.left_out.iter().for_each(|(address, why)| session.screen.say(&format!("{address} is left out: it {why}")));
    }
    Ok(Exit::Done)
}
