//! Hints: what they name, and what they are silent about.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use trued_doors::{BoxStream, Hint};

use super::ground::{Ground, file, things};
use crate::tree::Tree;
use crate::watch::watch;

/// A bound for what must come, not a measure.
const COMES_WITHIN: Duration = Duration::from_secs(20);

/// A watch that stands: a change has been heard, and nothing of it is left to come.
async fn standing(ground: &Ground, tree: Arc<Tree>) -> BoxStream<'static, Hint> {
    let mut hints = watch(tree);
    for turn in 0.. {
        std::fs::write(ground.path("probe"), format!("{turn}")).unwrap();
        if tokio::time::timeout(Duration::from_millis(500), hints.next()).await.is_ok() {
            break;
        }
    }
    quiet(&mut hints).await;
    hints
}

/// Takes hints until there are no more.
async fn quiet(hints: &mut BoxStream<'static, Hint>) {
    while tokio::time::timeout(Duration::from_millis(300), hints.next()).await.is_ok() {}
}

/// Collects hints until all of these are named, or "anywhere" is.
async fn named(hints: &mut BoxStream<'static, Hint>, paths: &[&str]) {
    let mut missing: BTreeSet<&str> = paths.iter().copied().collect();
    let all = async {
        while !missing.is_empty() {
            let hint = hints.next().await.expect("the watch goes on");
            if hint.addresses.is_empty() {
                return;
            }
            missing.retain(|path| !hint.addresses.iter().any(|address| address.as_str() == *path));
        }
    };
    assert!(tokio::time::timeout(COMES_WITHIN, all).await.is_ok(), "no hint at {missing:?}");
}

#[tokio::test]
async fn edits_renames_removals_and_modes_are_named() {
    let ground = Ground::new();
    ground.begin(&things([("a", file("1")), ("b/c", file("2")), ("b/d", file("3"))]));
    let mut hints = standing(&ground, Arc::new(ground.tree())).await;
    std::fs::write(ground.path("a"), "theirs").unwrap();
    named(&mut hints, &["a"]).await;
    std::fs::rename(ground.path("b/c"), ground.path("b/e")).unwrap();
    named(&mut hints, &["b/c", "b/e"]).await;
    std::fs::remove_file(ground.path("b/d")).unwrap();
    named(&mut hints, &["b/d"]).await;
    let mut mode = ground.path("a").metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(ground.path("a"), mode).unwrap();
    named(&mut hints, &["a"]).await;
}

#[tokio::test]
async fn new_folders_are_watched_and_what_came_with_them_is_named() {
    let ground = Ground::new();
    let mut hints = standing(&ground, Arc::new(ground.tree())).await;
    let away = ground.outside.path().join("ready");
    std::fs::create_dir_all(away.join("x/y")).unwrap();
    std::fs::write(away.join("x/y/z"), "").unwrap();
    std::fs::rename(&away, ground.path("new")).unwrap();
    named(&mut hints, &["new", "new/x", "new/x/y", "new/x/y/z"]).await;
    std::fs::write(ground.path("new/x/y/later"), "").unwrap();
    named(&mut hints, &["new/x/y/later"]).await;
    std::fs::rename(ground.path("new"), &away).unwrap();
    named(&mut hints, &["new", "new/x", "new/x/y"]).await;
    quiet(&mut hints).await;
    std::fs::write(away.join("x/y/outside"), "").unwrap();
    std::fs::write(ground.path("inside"), "").unwrap();
    let next = tokio::time::timeout(COMES_WITHIN, hints.next()).await.unwrap().unwrap();
    assert_eq!(next.addresses.iter().map(|address| address.as_str()).collect::<Vec<_>>(), ["inside"], "what was moved away is not watched");
}

#[tokio::test]
async fn what_we_write_ourselves_is_no_news_until_somebody_touches_it() {
    let ground = Ground::new();
    let owned = ground.begin(&things([("a", file("1")), ("gone", file("1"))]));
    let tree = Arc::new(ground.tree());
    let mut hints = standing(&ground, tree.clone()).await;
    let wanted = things([("a", file("2")), ("b", file("3"))]);
    ground.bring(&tree, &owned, &wanted);
    std::fs::write(ground.path("theirs"), "").unwrap();
    let mut heard = BTreeSet::new();
    while !heard.contains("theirs") {
        let hint = tokio::time::timeout(COMES_WITHIN, hints.next()).await.unwrap().unwrap();
        heard.extend(hint.addresses.into_iter().map(|address| address.to_string()));
    }
    assert_eq!(heard, BTreeSet::from(["theirs".to_owned()]));
    std::fs::write(ground.path("a"), "4").unwrap();
    named(&mut hints, &["a"]).await;
    std::fs::write(ground.path("gone"), "back").unwrap();
    named(&mut hints, &["gone"]).await;
}

#[tokio::test]
async fn a_root_that_goes_and_comes_is_hinted_at_and_watched_again() {
    let ground = Ground::new();
    let mut hints = standing(&ground, Arc::new(ground.tree())).await;
    std::fs::rename(ground.root(), ground.outside.path().join("away")).unwrap();
    let gone = tokio::time::timeout(COMES_WITHIN, hints.next()).await.unwrap().unwrap();
    assert_eq!(gone, Hint::default(), "anywhere");
    std::fs::create_dir(ground.root()).unwrap();
    let came = tokio::time::timeout(COMES_WITHIN, hints.next()).await.unwrap().unwrap();
    assert_eq!(came, Hint::default());
    std::fs::write(ground.path("a"), "").unwrap();
    named(&mut hints, &["a"]).await;
}

#[tokio::test]
async fn more_than_can_be_named_is_anywhere() {
    let ground = Ground::new();
    let mut hints = standing(&ground, Arc::new(ground.tree())).await;
    (0..5000).for_each(|n| drop(std::fs::write(ground.path(&format!("f{n}")), "")));
    let anywhere = async { while !hints.next().await.expect("the watch goes on").addresses.is_empty() {} };
    assert!(tokio::time::timeout(COMES_WITHIN, anywhere).await.is_ok());
    quiet(&mut hints).await;
    std::fs::write(ground.path("f7"), "again").unwrap();
    named(&mut hints, &["f7"]).await;
}
