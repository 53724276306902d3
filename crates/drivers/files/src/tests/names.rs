//! Names that are long, deep, or no text.

use trued_model::{Evidence, Seen, encode_path};

use super::ground::{Ground, Things, file, link, things, whole};

#[test]
fn names_that_are_no_text_arrive_as_they_are() {
    let ground = Ground::new();
    let path = encode_path(b"caf\xe9/\xff\x01 100%\n\xf0\x9f\x9a\x80");
    assert_eq!(path, "caf%E9/%FF%01 100%25%0A\u{1f680}");
    let wanted = Things::from([(path.clone(), file("1"))]);
    let owned = ground.begin(&wanted);
    assert_eq!(ground.everything(), whole(&wanted));
    assert_eq!(ground.plan(&ground.tree(), &owned, &wanted), []);
    ground.bring(&ground.tree(), &owned, &Things::new());
    assert_eq!(ground.everything(), Things::new());
}

#[test]
fn names_of_255_bytes_and_paths_of_4000_bytes() {
    let ground = Ground::new();
    let long = "n".repeat(255);
    let deep = vec!["d".repeat(99); 40].join("/");
    assert_eq!((long.len(), deep.len()), (255, 3999));
    let wanted = Things::from([(long.clone(), file("1")), (deep.clone(), file("2"))]);
    let owned = ground.begin(&wanted);
    let fingerprints = [&long, &deep].map(|path| ground.seen(path).fingerprint().cloned());
    assert!(fingerprints.iter().all(Option::is_some));
    assert_eq!(ground.plan(&ground.tree(), &owned, &wanted), []);
    let changed = Things::from([(long, file("1")), (deep, file("two"))]);
    ground.bring(&ground.tree(), &owned, &changed);
    ground.bring(&ground.tree(), &owned, &Things::new());
    assert_eq!(ground.everything(), Things::new(), "all forty folders are gone again");
}

#[test]
fn links_arrive_with_their_text_and_are_not_followed() {
    let ground = Ground::new();
    let wanted = things([("a", link("nowhere")), ("b/c", link("../a")), ("b/d", link("."))]);
    let owned = ground.begin(&wanted);
    assert_eq!(ground.everything(), whole(&wanted));
    assert_eq!(ground.plan(&ground.tree(), &owned, &wanted), []);
}

#[test]
fn the_file_system_tells_when_and_whose_but_not_who() {
    let ground = Ground::new();
    ground.begin(&things([("a", file("12345"))]));
    let time = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123));
    std::fs::File::options().write(true).open(ground.path("a")).unwrap().set_times(time).unwrap();
    let Seen::Present(state) = ground.seen("a") else { panic!("it is there") };
    let Evidence { changed_at, by, grade, .. } = &*state.evidence;
    assert_eq!(changed_at.unwrap().to_string(), "2023-11-14T22:13:20.123Z");
    assert_eq!((state.bytes, grade.as_deref()), (5, Some("C")));
    let me = rustix::process::geteuid().as_raw();
    assert!(by.as_ref().is_some_and(|by| me != 0 || by == "root"), "{by:?}");
}

#[test]
fn an_address_that_is_no_path_is_unknown_and_never_absent() {
    let ground = Ground::new();
    for bad in ["../x", "a//b", ".trued/mark", "%zz"] {
        assert!(matches!(ground.seen(bad), Seen::Unknown(_)), "{bad}");
    }
    assert_eq!(ground.seen("a/b"), Seen::Absent);
    let owned = ground.begin(&things([("file", file("1"))]));
    assert_eq!(ground.seen("file/inside"), Seen::Absent, "nothing lies in a file");
    assert!(owned.contains("file"));
}
