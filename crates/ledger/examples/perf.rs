use std::sync::Arc;
use std::time::Instant;
use futures::executor::block_on;
use trued_doors::conformance::SteppedClock;
use trued_doors::conformance::store::{START, draft};
use trued_doors::*;
use trued_ledger::*;
use trued_model::*;
fn main() {
    let dir = tempfile::TempDir::new_in(std::env::args().nth(2).unwrap_or("/tmp".into())).unwrap();
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let clock = Arc::new(SteppedClock::at(START));
    let t = Instant::now();
    let l = Ledger::open(&dir.path().join("s"), clock.clone(), Mode::Create).unwrap();
    println!("open create {:?}", t.elapsed());
    let t = Instant::now();
    let full = |k: u64| Draft { run: Some(format!("0192c0de-0000-7000-8000-{:012}", k / 4)), revision: Some(format!("{:040x}", k / 100)),
        valid_from: Timestamp(START.0 + k as i64 * 100), blobs: vec![BlobNote::new("plan", BlobRef::of(&k.to_le_bytes()))], links: if k == 0 { vec![] } else { vec![trued_model::Link::new("receipt-of", 0)] },
        ..draft([Kind::Receipt, Kind::Observed, Kind::Held, Kind::Heartbeat][k as usize % 4], Some(["prod/site@web","dev/site@web"][k as usize%2]), k) };
    let mut k = 0;
    while k < n { let c = 256.min(n - k); clock.pass(Duration(25_600)); block_on(l.store.append((k..k + c).map(full).collect(), None)).unwrap(); k += c; }
    println!("append {n} in batches {:?} = {:.0}/s", t.elapsed(), n as f64 / t.elapsed().as_secs_f64());
    let t = Instant::now();
    for _ in 0..200 { block_on(l.store.append(vec![full(k)], None)).unwrap(); k += 1; }
    println!("single append {:?}", t.elapsed() / 200);
    let t = Instant::now();
    for q in 0..200 { let r = block_on(l.store.find(Query { stack: StackId::from_key("prod/site@web"), kinds: vec![Kind::Held], until: Some(Timestamp(START.0 + q * (n as i64) * 100 / 200)), limit: Some(1), ..Default::default() })).unwrap(); assert!(r.len() == 1 || q == 0); }
    println!("at query {:?}", t.elapsed() / 200);
    let t = Instant::now();
    for _ in 0..200 { block_on(l.store.find(Query { limit: Some(1), kinds: vec![Kind::Heartbeat], ..Default::default() })).unwrap(); }
    println!("newest heartbeat {:?}", t.elapsed() / 200);
    let t = Instant::now();
    println!("{:?}", l.verify(&VerifyOptions::default()).unwrap());
    println!("verify {:?}", t.elapsed());
    let t = Instant::now();
    l.export(&dir.path().join("x")).unwrap();
    println!("export {:?}", t.elapsed());
    let t = Instant::now();
    for i in 0..10000u32 { l.blobs.put(format!("some bytes in a small file {i}").repeat(20).as_bytes()).unwrap(); }
    println!("10000 puts {:?}", t.elapsed());
    let t = Instant::now();
    l.blobs.flush().unwrap();
    println!("flush {:?}", t.elapsed());
    drop(l);
    let t = Instant::now();
    let l = Ledger::open(&dir.path().join("s"), clock.clone(), Mode::Existing).unwrap();
    println!("reopen {:?}", t.elapsed());
    let h = this_process("x").unwrap();
    let t = Instant::now();
    for _ in 0..100 { block_on(l.store.take(&StackId::from_key("prod/site@web").unwrap(), &h, 0, Duration(15000))).unwrap(); block_on(l.store.release(&h)).unwrap(); }
    println!("take+release {:?}", t.elapsed() / 100);
    let t = Instant::now();
    block_on(l.store.append(vec![full(k)], None)).unwrap();
    println!("first append of a process {:?}", t.elapsed());
    let m = MemoryStore::new(clock.clone());
    let t = Instant::now();
    for k in 0..10000 { block_on(m.append(vec![full(k)], None)).unwrap(); }
    println!("memory append {:?} (with making drafts)", t.elapsed() / 10000);
    let t = Instant::now();
    for k in 0..10000 { std::hint::black_box(full(k)); }
    println!("making drafts {:?}", t.elapsed() / 10000);
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
