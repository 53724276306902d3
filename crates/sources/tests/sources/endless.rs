//! Servers that never end, never answer, or send what only looks small: what they may cost is counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use trued_model::{Code, Want};

use crate::support::{open_at, refused};

const ID: &str = "1111111111111111111111111111111111111111";
const MIB: u64 = 1 << 20;
/// Resident memory that the whole process may reach, whatever the server sends.
const MEMORY: u64 = 192 * MIB;

/// What a server does, by the first folder of the address; how the fetch must end; and most bytes that it may have sent.
fn cases() -> Vec<(&'static str, Value, Code, u64)> {
    let limits = |more: Value| {
        let mut limits = json!({ "fetch_bytes": 32 * MIB, "fetch_inflated": 256 * MIB, "fetch_time": "60s" });
        limits.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        limits
    };
    // What lies in the buffers of two sockets was sent, and never read.
    let buffers = 12 * MIB;
    vec![
        ("references", limits(json!({})), Code::TooLarge, 16 * MIB + buffers),
        ("pack", limits(json!({})), Code::TooLarge, 32 * MIB + buffers),
        ("bomb", limits(json!({})), Code::TooLarge, buffers),
        ("large", limits(json!({})), Code::TooLarge, buffers),
        ("objects", limits(json!({})), Code::TooLarge, buffers),
        ("slow", limits(json!({ "fetch_time": "2s" })), Code::TimedOut, MIB),
        ("silent", limits(json!({ "fetch_idle": "500ms" })), Code::TimedOut, MIB),
        ("hashes", limits(json!({})), Code::Unknown, buffers),
    ]
}

struct Endless {
    port: u16,
    sent: Arc<AtomicU64>,
}

impl Endless {
    fn start() -> Endless {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endless = Endless { port: listener.local_addr().unwrap().port(), sent: Arc::default() };
        let sent = endless.sent.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sent = sent.clone();
                std::thread::spawn(move || answer(stream, &sent));
            }
        });
        endless
    }
}

fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

/// A piece of a pack on its band.
fn band(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(60_000).flat_map(|piece| [format!("{:04x}\u{1}", piece.len() + 5).as_bytes(), piece].concat()).collect()
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut out = gix::zlib::stream::deflate::Write::new(Vec::new(), gix::zlib::Compression::DEFAULT);
    out.write_all(bytes).unwrap();
    out.flush().unwrap();
    out.into_inner()
}

/// A blob as it stands in a pack.
fn blob(size: u64, content: &[u8]) -> Vec<u8> {
    let mut head = vec![0x30 | (size & 15) as u8];
    let mut rest = size >> 4;
    while rest > 0 {
        *head.last_mut().unwrap() |= 128;
        head.push((rest & 127) as u8);
        rest >>= 7;
    }
    [head, zip(content)].concat()
}

fn answer(mut stream: TcpStream, sent: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let mode = first.split('/').nth(1)?.to_owned();
    let kind = if first.starts_with("GET") { "advertisement" } else { "result" };
    let mut send = |bytes: &[u8]| {
        stream.write_all(bytes).ok()?;
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Some(())
    };
    send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-git-upload-pack-{kind}\r\n\r\n").as_bytes())?;
    if kind == "advertisement" {
        let all = [line("# service=git-upload-pack\n"), b"0000".to_vec()].concat();
        let lines = ["version 2\n", "agent=endless\n", "ls-refs\n", "fetch=shallow\n", "object-format=sha1\n"];
        return send(&[all, lines.iter().flat_map(|text| line(text)).collect(), b"0000".to_vec()].concat());
    }
    if body.contains("command=ls-refs") {
        match mode.as_str() {
            "references" => (0_u64..).try_for_each(|number| send(&line(&format!("{ID} refs/heads/main-{number}\n"))))?,
            "slow" => line(&format!("{ID} refs/heads/main\n")).iter().cycle().try_for_each(|byte| {
                std::thread::sleep(Duration::from_millis(50));
                send(&[*byte])
            })?,
            "silent" => std::thread::sleep(Duration::from_secs(30)),
            _ => {}
        }
        return send(&[line(&format!("{ID} refs/heads/main\n")), b"0000".to_vec()].concat());
    }
    send(&line("packfile\n"))?;
    let count: u32 = if mode == "objects" { u32::MAX } else { 1_000_000 };
    let count = if mode == "hashes" { 1 } else { count };
    send(&band(&[b"PACK\0\0\0\x02".as_slice(), &count.to_be_bytes()].concat()))?;
    match mode.as_str() {
        "large" => send(&band(&blob(5 << 30, &[0; 1000])))?,
        "hashes" => {
            send(&band(&[blob(5, b"words"), vec![7; 20]].concat()))?;
            return send(b"0000");
        }
        _ => {}
    }
    // Text that does not get smaller, or zeros that get a thousand times smaller.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..65_536)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let piece = if mode == "bomb" { blob(8 * MIB, &vec![0; 8 << 20]) } else { blob(65_536, &noise) };
    let piece = band(&piece);
    loop {
        send(&piece)?;
    }
}

#[test]
fn fault_10_endless_slow_and_swollen_answers_cost_what_is_allowed_and_no_more() {
    let cache = TempDir::new().unwrap();
    for (mode, limits, code, most) in cases() {
        let server = Endless::start();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "endless::in_a_process_of_its_own", "--ignored", "--nocapture"])
            .env("SOURCE_URL", format!("http://127.0.0.1:{}/{mode}", server.port))
            .env("SOURCE_LIMITS", limits.to_string())
            .env("SOURCE_CACHE", cache.path().join(mode))
            .env("SAYS", cache.path().join("said"))
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains("1 passed"), "{mode}: {text}");
        let text = std::fs::read_to_string(cache.path().join("said")).unwrap();
        // Whether a pack that does not add up is no pack or one that cannot be kept is a matter of taste.
        let codes = if mode == "hashes" { vec![code, Code::Invalid] } else { vec![code] };
        assert!(codes.iter().any(|code| text.contains(&format!("refused as {code:?}"))), "{mode}: {text}");
        let peak: u64 = text.split("peak ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect(&text);
        let sent = server.sent.load(Ordering::Relaxed);
        assert!(sent <= most, "{mode}: {sent} bytes were taken, {most} are allowed");
        assert!(peak <= MEMORY, "{mode}: {peak} bytes of memory");
        let kept = crate::support::snapshot(&cache.path().join(mode));
        let packs = kept.iter().filter(|(path, _, _)| path.extension().is_some_and(|extension| extension == "pack")).count();
        assert_eq!(packs, 0, "{mode}: nothing of it is kept");
    }
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn in_a_process_of_its_own() {
    let get = |name: &str| std::env::var(name).unwrap();
    let limits: Value = serde_json::from_str(&get("SOURCE_LIMITS")).unwrap();
    let started = Instant::now();
    let settings = json!({ "url": get("SOURCE_URL"), "branch": "main", "limits": limits });
    let refusal = refused(open_at("git", settings, Path::new(&get("SOURCE_CACHE"))).resolve(Want::Newest).await);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak: u64 = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap();
    let said = format!("refused as {:?}, peak {} bytes, after {:?}: {refusal}", refusal.code, peak << 10, started.elapsed());
    std::fs::write(get("SAYS"), said).unwrap();
}
