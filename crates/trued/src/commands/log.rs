//! `trued log`: what happened, oldest first, one line each.

use std::io::{self, Write};

use serde::Serialize;
use trued_doors::Query;
use trued_model::{Duration, Entry, Indexed, Kind};

use crate::commands::Session;
use crate::exit::{Exit, usage};
use crate::record::Record;
use crate::when;

/// Entries read at a time, so that a long record is not held in memory.
const PAGE: usize = 1024;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trued log --limit 20
  trued log --stack prod/site --since yesterday
  trued log --around \"Thu 21:40\" --within 5m
  trued log --kind drift.opened --output json")]
pub struct Args {
    /// Only this stack
    #[arg(long)]
    stack: Option<String>,
    /// Not older than this instant
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not newer than this instant
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this kind; may be given more than once
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only this revision, or a prefix of it
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Only this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only what happened near this instant
    #[arg(long, value_name = "TIME", conflicts_with_all = ["since", "until"])]
    around: Option<String>,
    /// How near
    #[arg(long, value_name = "SPAN", default_value = "10m", requires = "around")]
    within: Duration,
    /// Only the newest so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// An entry with its place, as it leaves the house.
#[derive(Serialize)]
pub struct Row<'a> {
    pub index: u64,
    #[serde(flatten)]
    pub entry: &'a Entry,
}

pub async fn run(args: Args, session: &Session<'_>) -> anyhow::Result<Exit> {
    let record = Record::open(session).await?;
    let query = query(&args, &record).await?;
    // The newest so many are found newest first and told oldest first.
    if let Some(limit) = args.limit {
        let mut entries = record.find(Query { limit: Some(limit), ..query }).await?;
        entries.reverse();
        print(&entries, &record, session)?;
        return Ok(Exit::Done);
    }
    let mut after = None;
    loop {
        let entries = record.find(Query { after, ascending: true, limit: Some(PAGE), ..query.clone() }).await?;
        print(&entries, &record, session)?;
        match entries.last() {
            Some(newest) if entries.len() == PAGE => after = Some(newest.index),
            _ => return Ok(Exit::Done),
        }
    }
}

async fn query(args: &Args, record: &Record) -> anyhow::Result<Query> {
    let stack = args.stack.as_deref().map(|named| record.stack(named)).transpose()?;
    let (mut from, mut until) = (None, None);
    if let Some(typed) = &args.around {
        let around = record.moment(typed, stack.as_ref()).await?;
        (from, until) = (Some(around - args.within), Some(around + args.within));
    }
    if let Some(typed) = &args.since {
        from = Some(record.moment(typed, stack.as_ref()).await?);
    }
    if let Some(typed) = &args.until {
        until = Some(record.moment(typed, stack.as_ref()).await?);
    }
    let kind = |word: &String| {
        let known = || Kind::ALL.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(", ");
        Kind::from_word(word).ok_or_else(|| usage(format!("{word:?} is no kind of entry; there are {}", known())))
    };
    let kinds = args.kind.iter().map(kind).collect::<anyhow::Result<_>>()?;
    Ok(Query { stack, kinds, from, until, revision: args.revision.clone(), run: args.run.clone(), ..Query::default() })
}

fn print(entries: &[Indexed], record: &Record, session: &Session<'_>) -> anyhow::Result<()> {
    let screen = session.screen;
    if screen.is_json() {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for e in entries {
            screen.row(&mut out, &Row { index: e.index, entry: &e.entry })?;
        }
        return Ok(out.flush()?);
    }
    for e in entries {
        let place = screen.dim(&format!("#{:<5} {}", e.index, when::date_and_clock(e.entry.valid_from)));
        screen.line(format!("{place}  {}", record.sentence(e)))?;
    }
    Ok(())
}
