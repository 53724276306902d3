//! The demo's six acts. Each does something for real, waits until it has happened, and shows what the record says.

use std::fs;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::stage::Stage;

const OPERATOR: &str = "\
environments:
  dev: {}
  prod: {}
targets:
  web: { files: { root: ../www } }
apps: [\"apps/*/app.yaml\"]
";
const APP: &str = "\
app: site
render: { plain: { path: site } }
stacks:
  dev:  { target: web, into: dev,  drift: revert }
  prod: { target: web, into: prod, drift: hold }
";
const PAGE: &str = "<html>\n<body>\n<h1>Shop</h1>\n";
/// Files of the large apply that is cut off.
const MANY: usize = 2000;
/// How often the large apply is tried until a kill falls between two receipts.
const TRIES: usize = 6;

pub fn play(stage: &mut Stage) -> anyhow::Result<()> {
    live(stage)?;
    edited_by_hand(stage)?;
    emptied(stage)?;
    killed(stage)?;
    the_past(stage)?;
    proof(stage)?;
    stage.title("That was it")?;
    stage.tell(&format!("took {} s; everything above ran in {}", stage.begun.elapsed().as_secs(), stage.folder.display()))?;
    stage.tell("to go on: trued init, trued plan, trued serve; `trued demo --keep` leaves the folder for a look around")
}

/// A repository, two environments, live; the second pass costs nothing.
fn live(stage: &mut Stage) -> anyhow::Result<()> {
    stage.title("1  A repository, two environments, live")?;
    stage.write("shop/trued.yaml", OPERATOR)?;
    stage.write("shop/apps/site/app.yaml", APP)?;
    stage.write("shop/apps/site/site/index.html", PAGE)?;
    stage.write("shop/apps/site/site/about.html", "<p>about</p>\n")?;
    stage.write("shop/apps/site/site/css/shop.css", "h1 { color: teal }\n")?;
    stage.quiet("git", &["init", "-q", "-b", "main", "shop"])?;
    stage.commit("the shop")?;
    stage.run("trued apply")?;
    ensure!(stage.files("www/prod") == 3, "the first apply did not land");
    let cost = stage.counted(&["apply"])?;
    let count = |name: &str| cost.get(name).and_then(Value::as_u64).with_context(|| format!("no counter {name}"));
    let (renders, writes, rows) = (count("renders")?, count("target_writes")?, count("ledger_rows")?);
    stage.tell(&format!("a second pass cost {renders} renders, {writes} writes, {rows} rows (read from its counters)"))?;
    ensure!(renders + writes + rows == 0, "the second pass was not free");
    stage.serve()?;
    stage.until("serve to answer", || Ok(stage.quiet("trued", &["reconcile"])?.status.success().then_some(())))
}

/// Somebody edits both environments by hand.
fn edited_by_hand(stage: &mut Stage) -> anyhow::Result<()> {
    stage.title("2  Somebody edits production by hand")?;
    stage.append("www/prod/index.html", "<h1>50 % off, says Bob</h1>")?;
    stage.append("www/dev/index.html", "<h1>50 % off, says Bob</h1>")?;
    let index = stage.until("the drift in prod to be seen", || {
        let opened = stage.log(&["--stack", "prod/site", "--kind", "drift.opened"])?;
        Ok(opened.last().and_then(|entry| entry.get("index")?.as_u64()))
    })?;
    stage.run("trued incidents")?;
    stage.until("dev to be put back", || Ok((fs::read_to_string(stage.path("www/dev/index.html"))? == PAGE).then_some(())))?;
    stage.tell("in dev, where the policy is revert, it is back already; prod holds, and their bytes are on record:")?;
    stage.run(&format!("trued show {index}"))?;
    stage.run(&format!("trued answer {index} revert --reason \"not through the repository\""))?;
    stage.until("prod to be put back", || Ok((fs::read_to_string(stage.path("www/prod/index.html"))? == PAGE).then_some(())))?;
    stage.pause(1500);
    stage.quiet_since = std::time::Instant::now();
    stage.pause(1500);
    Ok(())
}

/// A commit empties the folder: nothing is deleted.
fn emptied(stage: &mut Stage) -> anyhow::Result<()> {
    stage.title("3  A commit empties the folder")?;
    fs::remove_dir_all(stage.path("shop/apps/site/site")).context("failed to empty the folder")?;
    stage.commit("clean up (oops)")?;
    stage.until("the deletes to be held", || {
        let held = stage.log(&["--stack", "prod/site", "--kind", "held"])?;
        let empty = |entry: &Value| entry.pointer("/body/parts/0/kind").and_then(Value::as_str) == Some("empty");
        Ok(held.last().filter(|entry| empty(entry)).map(|_| ()))
    })?;
    stage.run("trued status")?;
    ensure!(stage.files("www/prod") == 3, "something was deleted");
    stage.tell(&format!("{} files in prod still; nothing goes without a yes", stage.files("www/prod")))?;
    let shop = stage.path("shop");
    stage.quiet("git", &["-C", &shop.to_string_lossy(), "revert", "--no-edit", "HEAD"])?;
    stage.tell("$ git revert --no-edit HEAD")
}

/// kill -9 between two receipts of a large apply.
fn killed(stage: &mut Stage) -> anyhow::Result<()> {
    stage.title(&format!("4  kill -9 in the middle of {MANY} files"))?;
    for attempt in 1..=TRIES {
        for file in 0..MANY {
            stage.write(
                &format!("shop/apps/site/site/items/{:02}/{file}.html", file % 50),
                &format!("<p>item {file}, edition {attempt}</p>\n"),
            )?;
        }
        let before = stage.log(&["--limit", "1"])?.last().and_then(|entry| entry.get("index")?.as_u64()).unwrap_or(0);
        stage.commit(&format!("{MANY} items, edition {attempt}"))?;
        stage.until("receipts of the large apply", || {
            let receipts = stage.log(&["--kind", "receipt", "--limit", "4"])?;
            let fresh = receipts.iter().filter(|entry| entry.get("index").and_then(Value::as_u64) > Some(before));
            Ok((fresh.count() >= 2).then_some(()))
        })?;
        stage.kill()?;
        stage.tell("$ kill -9 %1")?;
        let open = open_runs(stage, before)?;
        if open == 0 {
            stage.tell("(it had ended before the kill; once more, with the next edition)")?;
            stage.serve()?;
            continue;
        }
        stage.run("trued log --kind receipt --limit 3")?;
        stage.serve()?;
        stage.until("the run to be closed and continued", || {
            let verdicts = stage.log(&["--kind", "verdict", "--limit", "6"])?;
            let fresh = verdicts.iter().filter(|entry| entry.get("index").and_then(Value::as_u64) > Some(before));
            let landed = fresh.filter(|entry| entry.pointer("/body/outcome").and_then(Value::as_str) == Some("landed"));
            Ok((landed.count() >= 2).then_some(()))
        })?;
        stage.run("trued log --kind verdict --limit 4")?;
        return Ok(());
    }
    bail!("in {TRIES} tries the apply always ended before it could be killed")
}

/// How many runs were begun and not ended since an entry.
fn open_runs(stage: &Stage, since: u64) -> anyhow::Result<usize> {
    let entries = stage.log(&["--limit", "200"])?;
    let fresh = |kind: &str| {
        let kind = kind.to_owned();
        let newer = move |entry: &&Value| {
            entry.get("index").and_then(Value::as_u64) > Some(since) && entry.get("kind").and_then(Value::as_str) == Some(&kind)
        };
        entries.iter().filter(newer).count()
    };
    Ok(fresh("intent").saturating_sub(fresh("verdict")))
}

/// The past is a question; going back needs no repository.
fn the_past(stage: &mut Stage) -> anyhow::Result<()> {
    stage.title("5  What was there, and back to it without the repository")?;
    let ago = stage.quiet_since.elapsed().as_secs().max(1);
    stage.run(&format!("trued at \"{ago} seconds ago\" prod/site"))?;
    stage.stop()?;
    fs::rename(stage.path("shop"), stage.path("shop-is-gone")).context("failed to move the repository away")?;
    stage.tell("$ mv shop shop-is-gone")?;
    let before = stage.files("www/prod");
    stage.run("trued rollback prod/site")?;
    let after = stage.files("www/prod");
    ensure!(before != after || before == 3, "the rollback changed nothing");
    stage.tell(&format!("prod had {before} files and has {after}, byte for byte as verified before; the source was not there"))?;
    fs::rename(stage.path("shop-is-gone"), stage.path("shop")).context("failed to move the repository back")
}

/// One byte of the record is changed; verify names the entry.
fn proof(stage: &mut Stage) -> anyhow::Result<()> {
    stage.title("6  One byte of the record")?;
    let file = stage.path("state/ledger.sqlite");
    let whole = fs::read(&file).context("failed to read the ledger")?;
    let needle = b"clean up";
    let place = find(&whole, b"\"reason\":\"not through the repository\"")
        .or_else(|| find(&whole, needle))
        .context("the reason is not in the file")?;
    let mut forged = whole.clone();
    let at = place + b"\"reason\":\"not ".len();
    forged[at] ^= 1;
    fs::write(&file, &forged).context("failed to change the ledger")?;
    stage.tell(&format!("one bit of byte {at} of ledger.sqlite is turned"))?;
    let said = stage.quiet("trued", &["verify"])?;
    ensure!(!said.status.success(), "verify accepted a forged record");
    stage.run("trued verify")?;
    fs::write(&file, &whole).context("failed to put the ledger back")?;
    stage.tell("put back:")?;
    stage.run("trued verify")?;
    stage.run("trued export tiles")?;
    stage.tell("tiles/checkpoint is the signed head: keep it elsewhere, and a rewritten past is found with")?;
    stage.run("trued verify --against tiles/checkpoint").map(|_| ())
}

fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}
