//! What documents may be, and what is said of those that may not.

use trued_doors::Facts;
use trued_model::Document;

use super::ground::{Ground, Thing, file, link, program};
use crate::parse::parse;

fn findings(documents: &[(&str, Thing)]) -> Vec<String> {
    let ground = Ground::new();
    let documents: Vec<Document> = documents.iter().map(|(path, thing)| ground.document(path, thing)).collect();
    parse(&Facts::default(), "", &documents).findings.into_iter().map(|finding| finding.message).collect()
}

#[test]
fn fault_06_paths_that_cannot_be_written_are_named() {
    let tree = [
        ("ok", file("")),
        ("../a", file("")),
        ("b/../../c", file("")),
        (".git/hooks/x", program("")),
        ("d/.GIT", file("")),
        ("e%00f", file("")),
        ("/g", file("")),
        (".trued/mark", file("")),
    ];
    let ours = "`.git` would make a repository of it, with hooks that run";
    assert_eq!(
        findings(&tree),
        [
            "../a cannot be written: a name in it is `.` or `..`".to_owned(),
            "b/../../c cannot be written: a name in it is `.` or `..`".to_owned(),
            format!(".git/hooks/x cannot be written: {ours}"),
            format!("d/.GIT cannot be written: {ours}"),
            "e%00f cannot be written: it has a NUL character in it".to_owned(),
            "/g cannot be written: a name in it is empty".to_owned(),
            ".trued/mark cannot be written: `.trued` at the root is Trued's own".to_owned(),
        ]
    );
}

#[test]
fn fault_07_links_that_leave_the_root_are_named() {
    let tree = [("a", link("/etc/passwd")), ("b/c", link("../../d")), ("e", link("f")), ("f", link("e")), ("fine", link("b"))];
    assert_eq!(
        findings(&tree),
        [
            "a is a link that cannot be made: its text is absolute, so it leads out of the root",
            "b/c is a link that cannot be made: it leads out of the root by `..`",
            "e is a link that cannot be made: it leads in a circle",
            "f is a link that cannot be made: it leads in a circle",
        ]
    );
}

#[test]
fn fault_19_the_same_path_twice_is_named() {
    assert_eq!(findings(&[("a", file("1")), ("a", file("2"))]), ["a is there twice"]);
    assert_eq!(
        findings(&[("a", file("1")), ("a/b", file("2")), ("a/c/d", file("3"))]),
        ["a/b cannot lie in a, which is a file", "a/c/d cannot lie in a, which is a file"]
    );
    assert_eq!(findings(&[("a", link("x")), ("a/b", file("2"))]), ["a/b cannot lie in a, which is a link"]);
    assert_eq!(findings(&[("a", Thing::Folder), ("a/b", file("2"))]), [""; 0], "a folder that holds something may be written down");
}

#[test]
fn a_place_comes_before_each_path() {
    let ground = Ground::new();
    let documents = [ground.document("b/c", &file("1")), ground.document("up", &link("../dev/x"))];
    let parsed = parse(&Facts::default(), "prod/", &documents);
    let addresses: Vec<&str> = parsed.resources.iter().map(|resource| resource.address.as_str()).collect();
    assert_eq!((addresses, parsed.findings), (vec!["prod/b/c", "prod/up"], vec![]), "another place below the same root is inside");
    assert_eq!(&*parsed.resources[0].origin.file, "b/c");
    for bad in ["/srv", "../x", ".trued"] {
        let parsed = parse(&Facts::default(), bad, &documents);
        assert_eq!((parsed.resources.len(), parsed.findings.len()), (0, 1), "{bad}");
    }
}
