//! Stories in one line per entry, questions about them, expected answers beside them.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use trued_model::{
    Action, Actor, Address, BlobNote, BlobRef, Commit, Digest, Draft, Entry, Fingerprint, Indexed, Kind, Link, Reason, StackId, StackNames,
    Timestamp, body::Landed,
};

use super::*;
use crate::{StackMemory, fold};

fn stack(name: &str) -> StackId {
    StackId::from_key(&format!("{name}@web")).expect("a stack")
}

/// Reads a story. A line is `SECONDS KIND [key=value ...]`; the entry's index is its place.
///
/// Keys: `stack`, `run`, `rev`, `saw` (content of the blob `observed`), `of`/`closes`/`answers`/`by`/`receipt` (links),
/// `actor=NAME/EVIDENCE`, and words that go into the body: `outcome`, `until`, `why`, `policy`, `path`, `line`, `command`.
fn story(text: &str) -> Vec<Indexed> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.enumerate().map(|(index, line)| Indexed { index: index as u64, entry: entry(line) }).collect()
}

fn entry(line: &str) -> Entry {
    let mut words = line.split_whitespace();
    let seconds: i64 = words.next().and_then(|word| word.parse().ok()).expect("seconds");
    let kind = words.next().and_then(Kind::from_word).expect("a kind");
    let said: BTreeMap<&str, &str> = words.map(|word| word.split_once('=').unwrap_or((word, "yes"))).collect();
    let links = [("of", "outcome-of"), ("closes", "closes"), ("answers", "answers"), ("by", "authorised-by"), ("receipt", "receipt-of")];
    let links = links.iter().filter_map(|(key, rel)| Some(Link::new(rel, said.get(key)?.parse().expect("an index"))));
    let actor = said.get("actor").map_or_else(Actor::engine, |actor| {
        let (id, evidence) = actor.split_once('/').expect("NAME/EVIDENCE");
        Actor { kind: "person".to_owned(), id: id.to_owned(), evidence: evidence.to_owned() }
    });
    let mut blobs: Vec<BlobNote> = said.get("saw").map(|saw| BlobNote::new("observed", BlobRef::of(saw.as_bytes()))).into_iter().collect();
    blobs.extend(said.get("path").map(|path| BlobNote::new(format!("kept:{path}"), BlobRef::of(b"foreign"))));
    let loose = said.get("stack") == Some(&"none");
    let draft = Draft {
        kind,
        stack: (!loose).then(|| stack(said.get("stack").unwrap_or(&"prod/site"))),
        run: said.get("run").map(|run| (*run).to_owned()),
        valid_from: Timestamp(seconds * 1000),
        actor,
        cause: "source".to_owned(),
        revision: said.get("rev").map(|rev| (*rev).to_owned()),
        links: links.collect(),
        body: body(kind, &said, seconds),
        blobs,
    };
    Entry::new(draft, Timestamp(seconds * 1000))
}

fn body(kind: Kind, said: &BTreeMap<&str, &str>, seconds: i64) -> Value {
    let word = |key: &str, otherwise: &str| said.get(key).map_or_else(|| otherwise.to_owned(), |word| word.replace('_', " "));
    let number = |key: &str, otherwise: u64| said.get(key).map_or(otherwise, |word| word.parse().expect("a number"));
    let time = |seconds: i64| Timestamp(seconds * 1000);
    let digest = Digest::of(b"plan");
    match kind {
        Kind::Intent => {
            let command = said.get("command");
            json!({ "plan": digest, "part": digest, "changes": number("changes", 3), "epoch": "1", "command": command })
        }
        Kind::Refusal => {
            let item =
                json!({ "address": word("path", "index.html"), "code": "denied", "message": word("why", ""), "next": word("next", "") });
            json!({ "count": number("count", 1), "items": [item] })
        }
        Kind::Receipt => json!({ "batch": 1, "done": number("done", 3), "so_far": number("done", 3), "of": number("changes", 3) }),
        Kind::Verdict => {
            let outcome = word("outcome", "landed");
            let checks: Vec<Value> =
                said.get("failed").map(|check| json!({ "check": check, "passed": false, "why": "503" })).into_iter().collect();
            let verified = outcome == "landed" && checks.is_empty();
            json!({ "outcome": outcome, "done": number("done", 3), "of": number("changes", 3), "verified": verified, "checks": checks, "why": word("why", "") })
        }
        Kind::DriftOpened | Kind::DriftUpdated => {
            let evidence = json!({ "by": "uid 1000", "grade": "C" });
            let item = json!({
                "address": word("path", "index.html"), "cause": "changed-outside", "made": "1:a", "found": "1:b", "since": time(seconds),
                "line": said.get("line").map(|line| line.parse::<u32>().expect("a line")), "evidence": evidence,
            });
            let until = said.get("until").map(|until| time(until.parse().expect("seconds")));
            json!({ "policy": word("policy", "hold"), "count": number("count", 1), "items": [item], "unchanged_until": until, "set": digest, "next": "answer it" })
        }
        Kind::DriftClosed | Kind::IncidentClosed => json!({ "how": word("how", "reverted") }),
        Kind::Held => {
            let part = json!({ "kind": word("hold", "deletes"), "digest": digest, "count": 9, "addresses": [], "why": "9 of 10 would go", "next": "approve it" });
            let parts = if said.contains_key("nothing") { vec![] } else { vec![part] };
            json!({ "plan": digest, "parts": parts })
        }
        Kind::IncidentOpened => {
            json!({ "kind": word("incident", "fetch"), "source": "shop", "message": "cannot be fetched", "next": "wait", "recurrence": number("recurrence", 0) })
        }
        Kind::BlindStart | Kind::BlindEnd => json!({ "why": "the root is missing" }),
        Kind::Answered => json!({ "word": word("word", "ignore"), "reason": word("why", "") }),
        Kind::Approval => json!({ "digest": digest, "until": time(seconds + 60), "reason": word("why", "") }),
        Kind::Observed => json!({ "count": number("count", 3), "why": word("why", "") }),
        Kind::Suspend | Kind::Resume => json!({ "reason": word("why", "") }),
        Kind::Heartbeat => json!({ "stacks": 2, "interval": "1m" }),
        _ => json!({}),
    }
}

fn clock(at: Timestamp) -> String {
    format!("{}s", at.0 / 1000)
}

/// Asks what was there at each instant and compares with `SECONDS certainty revision saw-entry [from..until) look`.
fn check_at(text: &str, looks: &[i64], instants: &[i64], expected: Expect) {
    let entries = story(text);
    let looks: Vec<Timestamp> = looks.iter().map(|seconds| Timestamp(seconds * 1000)).collect();
    let mut said = String::new();
    for seconds in instants {
        let answer = at(&entries, &looks, &stack("prod/site"), Timestamp(seconds * 1000));
        let time = |at: Option<Timestamp>| at.map_or("-".to_owned(), clock);
        let shown = answer.entry.map_or("-".to_owned(), |index| format!("#{index}"));
        let revision = answer.revision.as_deref().unwrap_or("-");
        let interval = format!("[{}, {})", time(answer.from), time(answer.until));
        let why = if answer.why.is_empty() { String::new() } else { format!(": {}", answer.why) };
        said += &format!("{seconds}s {} {revision} {shown} {interval} seen {}{why}\n", answer.certainty.word(), time(answer.observed_at));
        assert_eq!(answer.observed.is_some(), answer.certainty != Certainty::Unknown, "only what is unknown has no files");
    }
    expected.assert_eq(&said);
}

#[test]
fn at_is_known_between_a_look_and_the_intent_of_the_next_run() {
    check_at(
        "10 intent run=a rev=c1
         11 verdict run=a rev=c1 of=0 saw=one
         20 intent run=b rev=c2
         22 verdict run=b rev=c2 of=2 saw=two",
        &[],
        &[5, 11, 15, 20, 21, 22, 30],
        expect![[r#"
            5s unknown - - [-, 11s) seen -: it is before the first look on record
            11s known c1 #1 [11s, 22s) seen 11s
            15s known c1 #1 [11s, 22s) seen 11s
            20s known c1 #1 [11s, 22s) seen 11s
            21s inferred c1 #1 [11s, 22s) seen 11s: no later look vouches for it
            22s known c2 #3 [22s, -) seen 22s
            30s inferred c2 #3 [22s, -) seen 22s: no later look vouches for it
        "#]],
    );
}

#[test]
fn at_is_known_up_to_the_last_look_a_heartbeat_tells_of() {
    check_at(
        "10 verdict run=a rev=c1 saw=one
         60 heartbeat stack=none
         70 heartbeat stack=none",
        &[40, 65],
        &[10, 39, 65, 66],
        expect![[r#"
            10s known c1 #0 [10s, -) seen 10s
            39s known c1 #0 [10s, -) seen 10s
            65s known c1 #0 [10s, -) seen 65s
            66s inferred c1 #0 [10s, -) seen 65s: no later look vouches for it
        "#]],
    );
}

#[test]
fn at_shows_foreign_bytes_during_a_drift_and_is_inferred_between_last_look_and_drift() {
    check_at(
        "10 verdict run=a rev=c1 saw=ours
         60 drift.opened saw=foreign until=50
         90 drift.closed saw=ours closes=1",
        &[],
        &[50, 55, 60, 80, 95],
        expect![[r#"
            50s known c1 #0 [10s, 60s) seen 10s
            55s inferred c1 #0 [10s, 60s) seen 10s: no later look vouches for it
            60s known c1 #1 [60s, 90s) seen 60s
            80s inferred c1 #1 [60s, 90s) seen 60s: no later look vouches for it
            95s inferred c1 #2 [90s, -) seen 90s: no later look vouches for it
        "#]],
    );
}

#[test]
fn at_a_look_before_a_change_does_not_vouch_for_what_comes_after() {
    check_at(
        "10 verdict run=a rev=c1 saw=one
         60 drift.opened saw=two",
        &[30, 80],
        &[20, 40, 70, 81],
        expect![[r#"
            20s known c1 #0 [10s, 60s) seen 10s
            40s inferred c1 #0 [10s, 60s) seen 30s: no later look vouches for it
            70s known c1 #1 [60s, -) seen 60s
            81s inferred c1 #1 [60s, -) seen 80s: no later look vouches for it
        "#]],
    );
}

#[test]
fn at_is_unknown_while_blind_and_after_an_interrupted_run() {
    check_at(
        "10 verdict run=a rev=c1 saw=one
         20 blind.start
         30 blind.end
         40 intent run=b rev=c2
         50 verdict run=b rev=c2 of=3 outcome=interrupted saw=half
         60 verdict run=c rev=c2 saw=two
         70 intent run=d rev=c3",
        &[15, 35],
        &[14, 20, 29, 30, 41, 50, 55, 75],
        expect![[r#"
            14s known c1 #0 [10s, 50s) seen 10s
            20s unknown - #0 [20s, 30s) seen 15s: the target could not be seen: the root is missing
            29s unknown - #0 [20s, 30s) seen 15s: the target could not be seen: the root is missing
            30s known c1 #0 [10s, 50s) seen 15s
            41s unknown - #0 [40s, 50s) seen 35s: a run was interrupted after its intent #3
            50s known c1 #4 [50s, 60s) seen 50s
            55s inferred c1 #4 [50s, 60s) seen 50s: no later look vouches for it
            75s unknown - #5 [70s, -) seen 60s: the run of intent #6 has not ended
        "#]],
    );
}

#[test]
fn at_keeps_the_blind_interval_open_until_it_ends() {
    check_at(
        "10 verdict run=a rev=c1 saw=one
         20 blind.start",
        &[],
        &[25],
        expect![[r#"
            25s unknown - #0 [20s, -) seen 10s: the target could not be seen: the root is missing
        "#]],
    );
}

#[test]
fn at_gives_the_same_answer_from_any_superset() {
    let entries = story(
        "10 verdict run=a rev=c1 saw=one stack=dev/site
         11 verdict run=a rev=c1 saw=one
         12 intent run=b rev=c2
         13 verdict run=b rev=c2 of=2 saw=two
         14 held",
    );
    let narrow: Vec<Indexed> = entries.iter().filter(|e| [1, 2, 3].contains(&e.index)).cloned().collect();
    for seconds in 9..16 {
        let ask = |entries: &[Indexed]| at(entries, &[], &stack("prod/site"), Timestamp(seconds * 1000));
        assert_eq!(ask(&entries), ask(&narrow));
    }
}

#[test]
fn sentences_say_what_happened() {
    let entries = story(
        "10 intent run=a rev=0123456789abcdef changes=2000
         11 receipt run=a done=731 changes=2000
         12 verdict run=a outcome=interrupted done=731 changes=2000
         13 verdict run=a rev=0123456789abcdef
         14 verdict run=a rev=0123456789abcdef outcome=failed failed=http
         15 drift.opened path=index.html line=4
         16 drift.opened count=3 policy=revert
         17 drift.closed closes=5
         18 held
         19 held nothing
         20 answered answers=5 actor=ada/peer-credentials why=wanted
         21 approval actor=ada/mtime
         22 incident.opened stack=none recurrence=2
         23 blind.start
         24 intent command=reload
         25 heartbeat stack=none
         26 promotion
         27 refusal count=3 why=no_space next=make_room
         28 refusal why=gone",
    );
    let names = StackNames::new([&stack("prod/site")]);
    let voice = Voice { names: &names, clock: &clock };
    let said: String = entries.iter().map(|e| format!("#{} {}\n", e.index, sentence(e, &voice))).collect();
    expect![[r#"
        #0 prod/site: will make 2,000 changes of plan 64879f7d6b96
        #1 prod/site: 731 of 2,000 changes done
        #2 prod/site: stopped after 731 of 2,000 changes; looked; closed
        #3 prod/site: landed 0123456789ab, verified: 3 changes
        #4 prod/site: failed 0123456789ab after 3 of 3 changes; check http failed: 503
        #5 prod/site: drift: index.html line 4 changed from outside since 15s; held; kept as #5
        #6 prod/site: drift: index.html changed from outside since 16s, and 2 more; is put back
        #7 prod/site: drift of #5 closed: reverted
        #8 prod/site: 9 changes held: 9 of 10 would go; approve it
        #9 prod/site: nothing is held any more
        #10 prod/site: ada answered ignore on #5: wanted
        #11 prod/site: somebody, perhaps ada (mtime) approved 64879f7d6b96 until 81s
        #12 incident: source shop: cannot be fetched (again, 2 before); wait
        #13 prod/site: cannot be seen: the root is missing
        #14 prod/site: will run reload
        #15 awake, watching 2 stacks
        #16 prod/site: promotion
        #17 prod/site: 3 changes refused: index.html: no space, and 2 more; make room
        #18 prod/site: 1 change refused: index.html: gone
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_body_of_another_version_is_still_a_sentence() {
    let mut entries = story("10 held");
    entries[0].entry.body = json!({ "new": true });
    let names = StackNames::default();
    let voice = Voice { names: &names, clock: &clock };
    expect!["prod/site@web: held in a form this version does not know"].assert_eq(&sentence(&entries[0], &voice));
}

fn remembered(entries: &[Indexed]) -> BTreeMap<StackId, StackMemory> {
    let mut stacks: BTreeMap<StackId, StackMemory> = BTreeMap::new();
    for e in entries {
        if let Some(stack) = &e.entry.stack {
            fold(stacks.entry(stack.clone()).or_default(), e);
        }
    }
    stacks
}

fn check_incidents(text: &str, expected: Expect) {
    let entries = story(text);
    let loose: Vec<Indexed> = entries.iter().filter(|e| e.entry.stack.is_none()).cloned().collect();
    let names = StackNames::new([&stack("prod/site"), &stack("dev/site")]);
    let open = incidents(&remembered(&entries), &loose, &names);
    let row = |open: &Open| {
        let whose = open.stack.as_ref().map(StackId::key).or(open.source.as_ref().map(ToString::to_string));
        let why = if open.why.is_empty() { String::new() } else { format!(" ({})", open.why) };
        format!("#{} {} {}{why}; {}\n", open.index, whose.unwrap_or_default(), open.kind, open.next)
    };
    expected.assert_eq(&open.iter().map(row).collect::<String>());
}

#[test]
fn incidents_are_open_until_closed() {
    check_incidents(
        "10 incident.opened stack=none incident=fetch
         11 incident.opened stack=none incident=rewind
         12 incident.closed stack=none closes=0
         13 incident.opened incident=check
         14 incident.opened incident=render
         15 incident.closed closes=4",
        expect![[r#"
            #1 shop rewind (cannot be fetched); wait
            #3 prod/site@web check (cannot be fetched); wait
        "#]],
    );
}

#[test]
fn incidents_name_an_episode_of_drift_once_and_a_hold_until_it_ends() {
    check_incidents(
        "10 drift.opened
         11 drift.updated
         12 drift.opened stack=dev/site
         13 drift.closed stack=dev/site closes=2
         14 held hold=drift
         15 held hold=deletes stack=dev/site
         16 held hold=waiting stack=test/site
         17 held hold=empty stack=test/web
         18 held nothing stack=test/web",
        expect![[r#"
            #0 prod/site@web drift; answer it
            #5 dev/site@web deletes (9 of 10 would go); approve it
        "#]],
    );
}

fn check_status(text: &str, expected: Expect) {
    let entries = story(text);
    let memory = remembered(&entries).remove(&stack("prod/site")).unwrap_or_default();
    let status = status(&stack("prod/site"), &memory);
    let shown = status.shown_by.map_or("-".to_owned(), |index| format!("#{index}"));
    let more = [
        status.drift.as_ref().map(|drift| format!("drift #{}", drift.index)),
        status.held.as_ref().map(|(index, _)| format!("held #{index}")),
        status.suspended.map(|index| format!("suspended #{index}")),
    ];
    let incidents = status.incidents.iter().map(|open| format!("incident #{} {}", open.index, open.incident.kind));
    let more: Vec<String> = more.into_iter().flatten().chain(incidents).collect();
    let remains = if status.remains() { "remains" } else { "done" };
    expected.assert_eq(&format!("{} {:?} {shown} {remains} {}", status.health.word(), status.why, more.join(" ")));
}

#[test]
fn status_words() {
    check_status("", expect![[r#"unknown "nothing is on record" - remains "#]]);
    check_status("10 intent run=a", expect![[r#"progressing "the run of #0 has not ended" #0 remains "#]]);
    check_status("10 intent run=a\n 11 verdict run=a rev=1 of=0 saw=one", expect![[r#"ready "" #1 done "#]]);
    check_status(
        "10 verdict rev=1 saw=one\n 11 verdict",
        expect![[r#"ready "nobody wants it any more, and nothing of it is left to it" #1 done "#]],
    );
    check_status(
        "10 verdict rev=1 saw=one\n 11 verdict outcome=failed failed=http",
        expect![[r#"degraded "check http failed: 503" #1 remains "#]],
    );
    check_status("10 verdict rev=1 saw=one\n 11 blind.start", expect![[r#"unknown "the target cannot be seen" #1 remains "#]]);
    check_status("10 verdict rev=1 saw=one\n 11 drift.opened\n 12 held hold=drift", expect![[r#"ready "" #0 remains drift #1 held #2"#]]);
    // What landed last is there; what should be there now does not render.
    check_status("10 verdict rev=1 saw=one\n 11 incident.opened incident=render", expect![[r#"ready "" #0 remains incident #1 render"#]]);
    check_status("10 verdict rev=1 saw=one\n 11 suspend\n 12 resume\n 13 suspend", expect![[r#"ready "" #0 remains suspended #3"#]]);
}

const CHAIN: &str = "
    10 approval actor=ada/peer-credentials why=fine
    11 intent run=a rev=0123456789abcdef by=0
    12 receipt run=a receipt=1
    13 verdict run=a rev=0123456789abcdef of=1 saw=one
    20 drift.opened path=index.html line=4 saw=two
    21 answered answers=4 actor=bob/process word=ignore why=hotfix";

fn asked<R>(ask: impl FnOnce(&Story, &Voice) -> R) -> R {
    let entries = story(CHAIN);
    let address = Address::new("index.html");
    let landed = Landed { address: address.clone(), action: Action::Update, before: None, after: Some(Fingerprint::new("1:a")) };
    let touch = Touch { receipt: 2, landed, reasons: vec![Reason::DesiredChanged] };
    let commit = Commit {
        id: "0123456789abcdef".to_owned(),
        author: "Eve <eve@example.org>".to_owned(),
        subject: "new front page".to_owned(),
        at: Timestamp(9000),
        parents: vec![],
    };
    let names = StackNames::new([&stack("prod/site")]);
    let voice = Voice { names: &names, clock: &clock };
    ask(&Story { entries: &entries, address: Some(&address), touch: Some(&touch), commit: Some(&commit) }, &voice)
}

#[test]
fn why_goes_from_the_drift_back_to_the_commit_and_the_approval() {
    let told = asked(why);
    let row =
        |told: &Telling| format!("{} {} {}\n", told.index.map_or("-".to_owned(), |index| format!("#{index}")), clock(told.at), told.said);
    expect![[r#"
        #4 20s drift: index.html line 4 changed from outside since 20s
        #5 21s prod/site: bob answered ignore on #4: hotfix
        #2 12s index.html: update: desired state changed
        #3 13s prod/site: landed 0123456789ab, verified: 3 changes
        #1 11s prod/site: will make 3 changes of plan 64879f7d6b96
        - 9s revision 0123456789ab: new front page (Eve <eve@example.org>)
        #0 10s prod/site: ada approved 64879f7d6b96 until 70s: fine
    "#]]
    .assert_eq(&told.iter().map(row).collect::<String>());
}

#[test]
fn why_tells_what_was_refused_and_what_to_do_about_it() {
    let entries = story(
        "11 intent run=a
         12 refusal run=a receipt=0 path=index.html why=Unauthorized next=renew_the_token
         13 verdict run=a of=0 outcome=failed done=0 why=index.html:_Unauthorized",
    );
    let names = StackNames::new([&stack("prod/site")]);
    let voice = Voice { names: &names, clock: &clock };
    let address = Address::new("index.html");
    let told = |address: Option<&Address>| {
        let told = why(&Story { entries: &entries, address, touch: None, commit: None }, &voice);
        told.into_iter().filter(|step| step.index == Some(1)).map(|step| step.said).collect::<Vec<_>>()
    };
    assert_eq!(told(None), ["prod/site: 1 change refused: index.html: Unauthorized; renew the token"]);
    assert_eq!(told(Some(&address)), ["index.html: refused: Unauthorized; renew the token"]);
    assert_eq!(told(Some(&Address::new("other.html"))), Vec::<String>::new());
}

#[test]
fn who_never_names_below_a_minus_as_fact() {
    let said = asked(|story, voice| who(story).iter().map(|doer| doer.said(voice) + "\n").collect::<String>());
    expect![[r#"
        somebody changed index.html on the target at 20s; the target names uid 1000 (grade C, not proof)
        bob answered at 21s (process, grade A-)
        trued applied it at 11s (self, grade A)
        ada approved it at 10s (peer-credentials, grade A)
        somebody wrote revision 0123456789ab (new front page) at 9s; the commit names Eve <eve@example.org> (grade B, not proof)
    "#]]
    .assert_eq(&said);
}

#[test]
fn differences_are_sorted_and_by_fingerprint() {
    let manifest = |items: &[(&str, &str)]| trued_model::Manifest {
        items: items
            .iter()
            .map(|(a, f)| (Address::new(*a), trued_model::Item { fingerprint: Fingerprint::new(*f), content: None, errand: false }))
            .collect(),
    };
    let before = manifest(&[("b", "1:1"), ("c", "1:1"), ("d", "1:1")]);
    let after = manifest(&[("a", "1:1"), ("b", "1:2"), ("c", "1:1")]);
    let found = differences(&before, &after);
    let row = |d: &Difference| format!("{} {} {}\n", d.address, d.before.is_some(), d.after.is_some());
    expect![[r#"
        a false true
        b true true
        d true false
    "#]]
    .assert_eq(&found.iter().map(row).collect::<String>());
}
