//! Files much larger than the memory that is spent on them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::kit::{Shop, repo_of};
use crate::servers::{Repo, Server};

/// Bytes of the file, and how many MiB the program may hold at the most: what it needs itself, and pieces.
const SIZE: usize = 96 << 20;
const MOST: u64 = 80;

/// Writes bytes that no compression makes fewer, other ones for each seed.
fn noise(path: &Path, seed: u64) {
    let mut file = File::create(path).expect("made");
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut piece = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        for bytes in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece).expect("written");
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).expect("there"), File::open(other).expect("there"));
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = one.read(&mut left).expect("read");
        if count == 0 {
            return other.read(&mut right).expect("read") == 0;
        }
        if other.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return false;
        }
    }
}

/// Commits all there is. Git keeps a file below its threshold as an object of its own, one above it in a pack.
fn commit(repo: &Repo, threshold: &str) {
    repo.git(&["-c", "core.compression=0", "-c", &format!("core.bigFileThreshold={threshold}"), "add", "-A"]);
    repo.git(&["commit", "-q", "-m", "a large file"]);
}

#[test]
fn fault_29_a_large_file_in_git_passes_through_in_pieces() {
    let repo = repo_of("shop");
    fs::create_dir(repo.path.join("site")).expect("made");
    let file = repo.path.join("site/disk.img");
    let shop = Shop::new(&[("shop", format!("{{ git: {{ path: {}, branch: main }} }}", repo.path.display()))]);
    let objects = |folder: &str| fs::read_dir(repo.path.join(".git/objects").join(folder)).map_or(0, Iterator::count);
    for (seed, place, threshold) in [(1, "in a file of its own", "2g"), (2, "in a pack", "1m")] {
        noise(&file, seed);
        commit(&repo, threshold);
        assert_eq!(objects("pack") > 0, place == "in a pack");
        let peak = shop.peak(&["apply"]);
        assert!(same(&file, &shop.path("www/shop/disk.img")), "{place}");
        assert!(peak < MOST, "{place}: {peak} MiB for a file of {}", SIZE >> 20);
    }
    // Bytes that are not what their name says are noticed, and go no further.
    let mut packs = fs::read_dir(repo.path.join(".git/objects/pack")).expect("packs").map(|entry| entry.expect("an entry").path());
    let pack = packs.find(|path| path.extension().is_some_and(|extension| extension == "pack")).expect("a pack");
    crate::kit::damage(&pack, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    noise(&shop.path("www/shop/disk.img"), 3);
    fs::remove_dir_all(shop.path("state")).expect("removed");
    let said = shop.run(&["apply"], 2);
    assert!(said.contains("git fsck"), "{said}");
}

#[test]
fn fault_29_a_large_file_of_a_working_tree_passes_through_in_pieces() {
    let repo = Repo::new();
    let home = tempfile::tempdir().expect("a folder");
    let root = home.path().join("www");
    let text = format!("stacks: {{ home: {{ path: site, target: {{ files: {{ root: {}, create: true }} }} }} }}\n", root.display());
    repo.write("trued.yaml", &text);
    repo.write("site/index.html", "one");
    repo.commit("one");
    let file = repo.path.join("site/disk.img");
    noise(&file, 4);
    let shop = Shop::new(&[]);
    fs::copy(repo.path.join("trued.yaml"), shop.path("operator.yaml")).expect("copied");
    fs::rename(repo.path.join(".git"), shop.path(".git")).expect("moved");
    fs::rename(repo.path.join("site"), shop.path("site")).expect("moved");
    let peak = shop.peak(&["apply"]);
    assert!(same(&shop.path("site/disk.img"), &root.join("disk.img")));
    assert!(shop.log("verdict")[0]["revision"].as_str().is_some_and(|revision| revision.contains("+dirty.")));
    assert!(peak < MOST, "{peak} MiB for a file of {}", SIZE >> 20);
}

#[test]
fn fault_29_a_large_file_that_is_fetched_is_held_while_its_pack_is_taken_apart_and_never_again() {
    let repo = repo_of("shop");
    fs::create_dir(repo.path.join("site")).expect("made");
    let file = repo.path.join("site/disk.img");
    noise(&file, 5);
    commit(&repo, "1m");
    let server = Server::start(repo.path.parent().expect("a folder"));
    let shop = Shop::new(&[("shop", format!("{{ git: {{ url: \"{}\", branch: main }} }}", server.url("repo")))]);
    let fetched = shop.peak(&["plan"]);
    let applied = shop.peak(&["apply"]);
    assert!(same(&file, &shop.path("www/shop/disk.img")));
    // The library that resolves packs has each object whole, and the pack mapped: `limits.object_bytes` bounds it.
    let size = SIZE as u64 >> 20;
    assert!(fetched < 3 * size, "{fetched} MiB to fetch a file of {size}");
    assert!(applied < MOST, "{applied} MiB to apply a file of {size}");
}
