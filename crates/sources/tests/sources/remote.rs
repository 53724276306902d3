//! The source `git` over HTTP: fetching, failing, and what stays when the server is gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use trued_doors::Source;
use trued_model::{Code, Relation, Want};

use crate::support::{Mood, PASSWORD, Repo, Server, bundle, git_command, newest, open_at, refused, revision};

struct World {
    repo: Repo,
    server: Server,
    cache: TempDir,
}

impl World {
    fn new() -> World {
        let repo = Repo::new();
        let server = Server::start(repo.path.parent().unwrap());
        World { repo, server, cache: TempDir::new().unwrap() }
    }

    fn open(&self, more: Value) -> Arc<dyn Source> {
        let mut settings = json!({ "url": self.server.url("repo") });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        open_at("git", settings, self.cache.path())
    }

    fn main(&self) -> Arc<dyn Source> {
        self.open(json!({ "branch": "main" }))
    }

    /// The store's only folder below the cache.
    fn store(&self) -> PathBuf {
        let folder = std::fs::read_dir(self.cache.path()).unwrap().next().unwrap().unwrap().path();
        folder.join("store")
    }
}

fn packs(store: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(store.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "pack")).collect()
}

/// Makes a file writable and changes it.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn what_is_followed_is_fetched_and_what_is_unchanged_costs_no_pack() {
    let world = World::new();
    let first = world.repo.commit_file("site/a", "1");
    let source = world.main();
    assert_eq!(source.fetches(), 0, "opening asks nobody");
    let at = newest(&source).await;
    assert_eq!(at.id, first);
    assert_eq!(bundle(&source, &at, "site").await.reader.read("a").unwrap(), b"1");
    assert_eq!(source.fetches(), 1, "reading asks nobody");
    assert_eq!(newest(&source).await, at);
    assert_eq!((source.fetches(), packs(&world.store()).len()), (2, 1));
    let second = world.repo.commit_file("site/a", "2");
    let next = newest(&source).await;
    assert_eq!(next.id, second);
    assert_eq!(packs(&world.store()).len(), 2, "only what is new is fetched");
    assert_eq!(bundle(&source, &at, "site").await.reader.read("a").unwrap(), b"1", "the old revision is still itself");
    assert_eq!(bundle(&source, &next, "site").await.reader.read("a").unwrap(), b"2");
    assert_eq!(source.relation(&at, &next).await.unwrap(), Relation::Follows);
    assert_eq!(source.commit(&next).await.unwrap().parents, [first]);
}

/// Bytes that no compression makes fewer.
fn noise(seed: u64, count: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..count).map(|_| next()).collect()
}

#[tokio::test]
async fn a_first_fetch_has_no_history_and_ten_commits_later_only_what_they_changed() {
    const FILES: u64 = 100;
    const SIZE: usize = 10_000;
    let world = World::new();
    // History that nobody needs: every file was another one a few times.
    for age in 0..4 {
        (0..FILES).for_each(|file| world.repo.write(&format!("site/{file}"), &noise(age * FILES + file, SIZE)));
        world.repo.git(&["add", "-A"]);
        let mut commit = git_command(&world.repo.path);
        commit.args(["commit", "-q", "-m", "all of it"]).env("GIT_COMMITTER_DATE", format!("2025-0{}-01T00:00:00Z", age + 1));
        assert!(commit.status().unwrap().success());
    }
    let source = world.main();
    let before = newest(&source).await;
    let whole = FILES * SIZE as u64;
    let first = world.server.sent();
    assert!(first > whole / 2 && first < whole * 5 / 4, "{first} bytes for a tree of {whole} and a history of four times that");
    newest(&source).await;
    let idle = world.server.sent();
    assert!(idle < 2_000, "{idle} bytes to hear that nothing is new");
    for n in 0..10 {
        world.repo.commit_file(&format!("site/{n}"), &noise(1_000 + n, SIZE));
    }
    let at = newest(&source).await;
    assert_eq!(source.relation(&before, &at).await.unwrap(), Relation::Follows);
    let later = world.server.sent();
    // Once for the newest commit, and once for what lies between, which says whether it follows.
    assert!(later > 10 * SIZE as u64 / 2 && later < 2 * 10 * SIZE as u64, "{later} bytes for ten commits of one file of {SIZE} each");
    assert_eq!(bundle(&source, &at, "site").await.entries.len() as u64, FILES);
}

#[tokio::test]
async fn head_branch_tag_and_commit_can_be_followed() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    world.repo.git(&["tag", "-a", "-m", "one", "v1"]);
    let second = world.repo.commit_file("a", "2");
    world.repo.git(&["checkout", "-q", "-b", "next"]);
    let third = world.repo.commit_file("a", "3");
    for (settings, expected) in [
        (json!({}), &third),
        (json!({ "branch": "main" }), &second),
        (json!({ "tag": "v1" }), &first),
        (json!({ "commit": first }), &first),
    ] {
        let source = world.open(settings.clone());
        assert_eq!(newest(&source).await.id, *expected, "{settings}");
        assert_eq!(source.resolve(Want::Known).await.unwrap().id, *expected, "{settings}");
    }
    let pinned = world.open(json!({ "commit": first }));
    newest(&pinned).await;
    assert_eq!(pinned.fetches(), 0, "a commit that is here needs nobody");
}

#[tokio::test]
async fn words_a_person_types_are_asked_for_only_when_they_are_not_here() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    let source = world.main();
    newest(&source).await;
    assert_eq!(source.resolve(Want::Named(first[..10].to_owned())).await.unwrap().id, first);
    assert_eq!(source.fetches(), 1);
    world.repo.git(&["checkout", "-q", "-b", "topic/x"]);
    let topic = world.repo.commit_file("b", "1");
    world.repo.git(&["tag", "v2"]);
    for word in ["topic/x", "v2", "refs/heads/topic/x", "refs/tags/v2"] {
        assert_eq!(source.resolve(Want::Named(word.to_owned())).await.unwrap().id, topic, "{word}");
    }
    let other = world.repo.commit_file("b", "2");
    assert_eq!(source.resolve(Want::Named(other.clone())).await.unwrap().id, other, "by its id, from the server");
    assert_eq!(source.read(&revision(&other), "b").await.unwrap(), b"2");
    for nowhere in ["1".repeat(40), "12345678".to_owned()] {
        let refusal = refused(source.resolve(Want::Named(nowhere)).await);
        assert_eq!(refusal.code, Code::Absent, "{refusal:?}");
    }
    let refusal = refused(source.resolve(Want::Named("nothing".into())).await);
    assert_eq!(refusal.code, Code::Absent, "{refusal:?}");
    assert_eq!(source.resolve(Want::Known).await.unwrap().id, first, "what is followed has not moved");
}

#[tokio::test]
async fn fault_01_a_server_that_is_gone_leaves_the_last_good_revision() {
    let mut world = World::new();
    world.repo.commit_file("site/a", "1");
    let source = world.main();
    let good = newest(&source).await;
    world.server.go_down();
    let refusal = refused(source.resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Unreachable, "{refusal:?}");
    assert!(refusal.passing());
    assert_eq!(source.resolve(Want::Known).await.unwrap(), good);
    assert_eq!(bundle(&source, &good, "site").await.reader.read("a").unwrap(), b"1");
    let restarted = world.main();
    assert_eq!(restarted.resolve(Want::Known).await.unwrap(), good, "also after a restart");
    assert_eq!(bundle(&restarted, &good, "site").await.reader.read("a").unwrap(), b"1");
    assert_eq!(restarted.fetches(), 0);
}

#[tokio::test]
async fn fault_01_each_kind_of_no_has_its_code_and_its_words() {
    let world = World::new();
    world.repo.commit_file("a", "1");
    let source = world.main();
    for (mood, code, words) in [
        (Mood::Status(500), Code::Unreachable, "500"),
        (Mood::Status(503), Code::Unreachable, "503"),
        (Mood::Status(429), Code::Unreachable, "too often"),
        (Mood::Status(403), Code::Denied, "forbids"),
        (Mood::Status(404), Code::Absent, "no such repository"),
        (Mood::Status(418), Code::Invalid, "418"),
        (Mood::Nonsense, Code::Invalid, "does not answer as a Git server"),
        (Mood::BreaksOff, Code::Unreachable, "broke"),
    ] {
        world.server.mood(mood.clone());
        let refusal = refused(source.resolve(Want::Newest).await);
        assert_eq!(refusal.code, code, "{mood:?}: {refusal:?}");
        assert!(refusal.message.contains(words), "{mood:?}: {refusal}");
        assert!(!refusal.message.contains('\n'), "{refusal}");
    }
    let known = refused(source.resolve(Want::Known).await);
    assert_eq!(known.code, Code::Absent, "{known:?}");
    world.server.mood(Mood::Fine);
    newest(&source).await;
    let gone = world.open(json!({ "branch": "gone" }));
    let refusal = refused(gone.resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Absent);
    assert!(refusal.message.contains("refs/heads/gone"), "{refusal}");
}

#[tokio::test]
async fn fault_14_an_error_is_not_remembered() {
    let mut world = World::new();
    let first = world.repo.commit_file("a", "1");
    let source = world.main();
    world.server.go_down();
    refused(source.resolve(Want::Newest).await);
    refused(source.resolve(Want::Newest).await);
    world.server.come_back();
    assert_eq!(newest(&source).await.id, first);
    world.server.mood(Mood::BreaksOff);
    let second = world.repo.commit_file("a", "2");
    refused(source.resolve(Want::Newest).await);
    assert_eq!(source.resolve(Want::Known).await.unwrap().id, first, "half a fetch is none");
    world.server.mood(Mood::Fine);
    assert_eq!(newest(&source).await.id, second);
    assert_eq!(source.fetches(), 5);
}

#[tokio::test]
async fn an_empty_repository_is_said_so() {
    let world = World::new();
    for source in [world.main(), world.open(json!({}))] {
        assert_eq!(refused(source.resolve(Want::Newest).await).code, Code::Absent);
    }
}

#[tokio::test]
async fn fault_04_a_force_push_is_a_rewind_and_the_old_bytes_stay() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    let second = world.repo.commit_file("a", "2");
    let source = world.main();
    let before = newest(&source).await;
    assert_eq!(before.id, second);
    world.repo.git(&["reset", "-q", "--hard", &first]);
    let after = newest(&source).await;
    assert_eq!(after.id, first);
    assert_eq!(source.relation(&before, &after).await.unwrap(), Relation::Rewinds);
    assert_eq!(source.read(&before, "a").await.unwrap(), b"2");
    world.repo.git(&["checkout", "-q", "--orphan", "x"]);
    world.repo.commit("unrelated");
    world.repo.git(&["branch", "-f", "main", "x"]);
    let unrelated = newest(&source).await;
    assert_eq!(source.relation(&before, &unrelated).await.unwrap(), Relation::Rewinds);
}

#[tokio::test]
async fn fault_04_a_frozen_mirror_stays_what_it_is() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    let source = world.main();
    for _ in 0..3 {
        let at = newest(&source).await;
        assert_eq!(at.id, first);
        assert_eq!(source.relation(&revision(&first), &at).await.unwrap(), Relation::Same);
    }
    assert_eq!(packs(&world.store()).len(), 1);
}

#[tokio::test]
async fn fault_05_a_tag_that_moves_does_not_move_what_was_resolved() {
    let world = World::new();
    world.repo.commit_file("a", "1");
    world.repo.git(&["tag", "release"]);
    let source = world.open(json!({ "tag": "release" }));
    let before = newest(&source).await;
    world.repo.commit_file("a", "2");
    world.repo.git(&["tag", "-f", "release"]);
    assert_eq!(bundle(&source, &before, "").await.reader.read("a").unwrap(), b"1");
    let after = newest(&source).await;
    assert_eq!(bundle(&source, &after, "").await.reader.read("a").unwrap(), b"2");
    assert_eq!(bundle(&source, &before, "").await.reader.read("a").unwrap(), b"1");
}

#[tokio::test]
async fn fault_11_any_flipped_bit_in_the_pack_is_found_and_fetched_again() {
    let world = World::new();
    for file in 0..8 {
        world.repo.write(&format!("site/f{file}"), &format!("content of {file}, long enough to be compressed, compressed, compressed"));
    }
    world.repo.commit("all");
    let good = newest(&world.main()).await;
    let [pack] = &packs(&world.store())[..] else { panic!("one pack") };
    let size = std::fs::metadata(pack).unwrap().len() as usize;
    let (mut flips, mut found) = (0, 0);
    // Every nineteenth byte between header and trailer, so that each kind of object is hit.
    for place in (12..size - 20).step_by(19) {
        let [pack] = &packs(&world.store())[..] else { panic!("one pack") };
        damage(pack, |bytes| bytes[place] ^= 0x10);
        let source = world.main();
        let site = bundle(&source, &good, "site").await;
        for file in 0..8 {
            let bytes = site.reader.read(&format!("f{file}")).unwrap();
            assert_eq!(
                String::from_utf8(bytes).unwrap(),
                format!("content of {file}, long enough to be compressed, compressed, compressed")
            );
        }
        let [pack] = &packs(&world.store())[..] else { panic!("one pack") };
        flips += 1;
        found += source.fetches();
        if source.fetches() == 0 {
            // The flip hit what nothing here needs to read (a commit's own bytes are needed, another's header may not be).
            damage(pack, |bytes| bytes[place] ^= 0x10);
        }
    }
    assert!(found * 2 > flips, "{found} of {flips} flips were where something was read");
}

#[tokio::test]
async fn fault_11_a_truncated_pack_a_stale_lock_and_a_lost_index_heal_by_themselves() {
    let world = World::new();
    let first = world.repo.commit_file("site/a", "1");
    newest(&world.main()).await;
    type Break = fn(&Path);
    let breaks: [(&str, Break); 5] = [
        ("truncated", |store| damage(&packs(store)[0], |bytes| bytes.truncate(bytes.len() / 2))),
        ("no index", |store| std::fs::remove_file(packs(store)[0].with_extension("idx")).unwrap()),
        ("garbage for an index", |store| damage(&packs(store)[0].with_extension("idx"), |bytes| bytes.fill(7))),
        ("no objects", |store| std::fs::remove_dir_all(store.join("objects/pack")).unwrap()),
        ("garbage for a reference", |store| std::fs::write(store.join("refs/trued/heads/main"), "garbage").unwrap()),
    ];
    for (what, break_it) in breaks {
        break_it(&world.store());
        let source = world.main();
        let at = newest(&source).await;
        assert_eq!(at.id, first, "{what}");
        assert_eq!(bundle(&source, &at, "site").await.reader.read("a").unwrap(), b"1", "{what}");
    }
    // A fetch that was killed while it moved the reference.
    let second = world.repo.commit_file("site/a", "2");
    std::fs::write(world.store().join("refs/trued/heads/main.lock"), "").unwrap();
    let source = world.main();
    let at = newest(&source).await;
    assert_eq!(at.id, second);
    assert_eq!(source.read(&at, "site/a").await.unwrap(), b"2");
    // And one that was killed while it built a store.
    std::fs::create_dir_all(world.store().with_file_name("fresh")).unwrap();
    std::fs::create_dir_all(world.store().with_file_name("store.half")).unwrap();
    std::fs::remove_dir_all(world.store()).unwrap();
    assert_eq!(newest(&world.main()).await.id, second);
}

#[tokio::test]
async fn fault_11_a_torn_store_stays_while_the_server_is_gone() {
    let mut world = World::new();
    for file in ["site/a", "other/b"] {
        world.repo.write(file, &file.repeat(40));
    }
    let commit = world.repo.commit("both");
    let source = world.main();
    let at = newest(&source).await;
    std::fs::remove_file(packs(&world.store())[0].with_extension("idx")).unwrap();
    world.server.go_down();
    let source = world.main();
    let refusal = refused(source.bundle(&at, "site").await);
    assert_eq!(refusal.code, Code::Unreachable, "{refusal:?}");
    assert_eq!(packs(&world.store()).len(), 1, "what is left is not thrown away");
    world.server.come_back();
    assert_eq!(bundle(&source, &revision(&commit), "site").await.reader.read("a").unwrap(), "site/a".repeat(40).into_bytes());
}

#[tokio::test]
async fn the_cache_may_vanish_at_any_time() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    let source = world.main();
    let at = newest(&source).await;
    std::fs::remove_dir_all(world.store().parent().unwrap()).unwrap();
    assert_eq!(source.read(&at, "a").await.unwrap(), b"1");
    assert_eq!(newest(&source).await.id, first);
    let gone = revision(&"1".repeat(40));
    let before = source.fetches();
    let refusal = refused(source.bundle(&gone, "").await);
    assert_eq!(refusal.code, Code::Unreachable, "a commit that is gone is not an empty one: {refusal:?}");
    assert!(refusal.message.contains("no such commit"), "{refusal}");
    assert_eq!(source.fetches(), before + 1, "one question, not a whole clone");
}

#[tokio::test]
async fn fault_11_many_who_find_the_same_damage_heal_it_once() {
    let world = World::new();
    for file in 0..8 {
        world.repo.write(&format!("f{file}"), &format!("{file}").repeat(200));
    }
    world.repo.commit("all");
    let at = newest(&world.main()).await;
    let [pack] = &packs(&world.store())[..] else { panic!("one pack") };
    damage(pack, |bytes| {
        let end = bytes.len() - 20;
        bytes[12..end].fill(0);
    });
    let source = world.main();
    let readers: Vec<_> = (0..8)
        .map(|file| {
            let (source, at) = (source.clone(), at.clone());
            tokio::spawn(async move { source.read(&at, &format!("f{file}")).await.unwrap() })
        })
        .collect();
    for (file, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.await.unwrap(), format!("{file}").repeat(200).into_bytes());
    }
    assert_eq!(source.fetches(), 1);
}

#[tokio::test]
async fn many_packs_become_one_and_other_branches_stay() {
    let world = World::new();
    world.repo.commit_file("a", "0");
    world.repo.git(&["branch", "other"]);
    let source = world.open(json!({ "branch": "main", "limits": { "packs": 2 } }));
    let other = source.resolve(Want::Named("other".into())).await.unwrap();
    let mut seen = Vec::new();
    for round in 1..=5 {
        world.repo.commit_file("a", &round.to_string());
        seen.push(newest(&source).await);
        assert!(packs(&world.store()).len() <= 2);
    }
    for (round, at) in (1..).zip(&seen) {
        assert_eq!(source.read(at, "a").await.unwrap(), round.to_string().into_bytes());
    }
    assert_eq!(source.read(&other, "a").await.unwrap(), b"0");
}

#[tokio::test]
async fn credentials_are_given_and_never_shown() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    world.server.ask_for(PASSWORD);
    let refusal = refused(world.main().resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Denied);
    assert!(refusal.message.contains("the server asks for credentials"), "{refusal}");
    for settings in [json!({ "token": { "secret": "good" } }), json!({ "username": "ada", "password": { "secret": "good" } })] {
        assert_eq!(newest(&world.open(settings)).await.id, first);
    }
    let refusal = refused(world.open(json!({ "token": { "secret": "bad" } })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Denied);
    assert!(refusal.message.contains("does not accept the credentials"), "{refusal}");
    let refusal = refused(world.open(json!({ "token": { "secret": "none" } })).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Absent, "a secret that is not there is said so: {refusal}");
}

#[tokio::test]
async fn fault_104_secrets_appear_neither_in_words_nor_in_the_store() {
    let world = World::new();
    world.repo.commit_file("a", "1");
    world.server.ask_for("something else");
    let source = world.open(json!({ "token": { "secret": "bad" } }));
    let refusal = refused(source.resolve(Want::Newest).await);
    world.server.ask_for("battery-staple");
    newest(&source).await;
    world.server.mood(Mood::Status(500));
    let other = refused(source.resolve(Want::Newest).await);
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode("x-access-token:battery-staple")
    };
    for secret in ["battery-staple", encoded.as_str()] {
        assert!(!format!("{refusal:?}{other:?}").contains(secret));
        for (path, _, bytes) in crate::support::snapshot(world.cache.path()) {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", path.display());
        }
    }
    assert!(world.server.credentials().contains(&Some(format!("Basic {encoded}"))), "but the server got it");
}

#[tokio::test]
async fn fault_09_redirections_are_followed_on_the_same_host_only() {
    let world = World::new();
    let first = world.repo.commit_file("a", "1");
    let other = Server::start(world.repo.path.parent().unwrap());
    let source = open_at("git", json!({ "url": world.server.url("old-name"), "token": { "secret": "good" } }), world.cache.path());
    world.server.mood(Mood::Redirect { from: "/old-name/".into(), to: "/repo/".into() });
    assert_eq!(newest(&source).await.id, first, "a repository may have got another name");
    let elsewhere = format!("{}/", other.url("repo"));
    world.server.mood(Mood::Redirect { from: "/old-name/".into(), to: elsewhere });
    let refusal = refused(source.resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Invalid, "{refusal:?}");
    assert!(refusal.message.contains("sends us on to 127.0.0.1"), "{refusal}");
    assert_eq!(other.requests(), Vec::<String>::new(), "nobody else was asked anything");
}

#[tokio::test]
async fn fault_10_a_fetch_beyond_its_bounds_is_refused() {
    let world = World::new();
    world.repo.write("big", &(0..40_000).map(|number| format!("{:x}", number * 2_654_435_761_u64)).collect::<String>());
    world.repo.commit("big");
    let small = world.open(json!({ "branch": "main", "limits": { "fetch_bytes": 20_000 } }));
    let refusal = refused(small.resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::TooLarge, "{refusal:?}");
    let few = world.open(json!({ "branch": "main", "limits": { "fetch_objects": 2 } }));
    let refusal = refused(few.resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::TooLarge, "{refusal:?}");
    assert!(refusal.message.contains("3 objects"), "{refusal}");
    let short = world.open(json!({ "branch": "main", "limits": { "fetch_time": "0s" } }));
    assert_eq!(refused(short.resolve(Want::Newest).await).code, Code::TimedOut);
    newest(&world.open(json!({ "branch": "main", "limits": { "fetch_objects": 3 } }))).await;
}

#[tokio::test]
async fn fault_13_many_fetch_and_read_at_once() {
    let world = World::new();
    let mut commits = Vec::new();
    for round in 0..4 {
        commits.push(world.repo.commit_file("a", &round.to_string()));
    }
    let sources = [world.main(), world.main()];
    let tasks: Vec<_> = (0..16_usize)
        .map(|task| {
            let (source, commit, round) = (sources[task % 2].clone(), commits[task % 4].clone(), task % 4);
            tokio::spawn(async move {
                newest(&source).await;
                assert_eq!(source.read(&revision(&commit), "a").await.unwrap(), round.to_string().into_bytes());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let fetches = sources.iter().map(|source| source.fetches()).sum::<u64>();
    assert_eq!(fetches, 16 + 3, "each of the three older commits is fetched once, for all");
}

#[tokio::test]
async fn https_trusts_the_certificate_that_is_named_and_no_other() {
    let repo = Repo::new();
    let first = repo.commit_file("a", "1");
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let server = Server::start_tls(repo.path.parent().unwrap(), Arc::new(tls));
    server.ask_for(PASSWORD);
    let cache = TempDir::new().unwrap();
    let ca = cache.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let other = cache.path().join("other.pem");
    std::fs::write(&other, rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap().cert.pem()).unwrap();
    let open = |ca: &Path| open_at("git", json!({ "url": server.url("repo"), "ca": ca, "token": { "secret": "good" } }), cache.path());
    assert_eq!(newest(&open(&ca)).await.id, first);
    let refusal = refused(open(&other).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Unreachable, "{refusal:?}");
    assert!(refusal.message.to_lowercase().contains("certificate"), "{refusal}");
    let refusal = refused(open(&cache.path().join("none.pem")).resolve(Want::Newest).await);
    assert_eq!(refusal.code, Code::Absent, "{refusal:?}");
}
