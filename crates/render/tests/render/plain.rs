use super::*;

#[test]
fn a_tree_is_rendered_as_it_is_with_modes_links_and_empty_folders() {
    let tree = Tree::of(&[("index.html", "<h1>"), ("page.html.j2", "{{ not_a_template }}")])
        .with("bin/run", Shape::File { executable: true }, b"#!")
        .with("current", Shape::Link, b"releases/7")
        .with("empty", Shape::Folder, b"");
    let rendered = Case::new("plain", tree).rendered();
    assert_eq!(paths(&rendered), ["bin/run", "current", "empty", "index.html", "page.html.j2"]);
    assert_eq!(rendered.documents[0].shape, Shape::File { executable: true });
    assert_eq!(rendered.documents[1].shape, Shape::Link);
    assert_eq!(text(&rendered, "current"), "releases/7");
    assert_eq!(text(&rendered, "page.html.j2"), "{{ not_a_template }}");
    assert_eq!(stored(&rendered, "empty"), b"");
    assert!(rendered.documents.iter().all(|document| document.identity == document.content.digest));
}

#[test]
fn what_an_earlier_render_copied_is_not_read_again() {
    let files: Vec<(String, String)> = (0..500).map(|n| (format!("{n:04}.txt"), format!("file {n}"))).collect();
    let tree = |changed: &str| {
        let mut tree = Tree::default();
        for (path, text) in &files {
            tree = tree.with(path, Shape::File { executable: false }, if path == changed { b"changed" } else { text.as_bytes() });
        }
        tree
    };
    let first = Case::new("plain", tree(""));
    let one = first.rendered();
    assert_eq!(first.tree.reads.load(Ordering::Relaxed), 500);

    let mut second = Case::new("plain", tree("0123.txt"));
    second.known = one.copied.clone();
    let two = second.rendered();
    assert_eq!(second.tree.reads.load(Ordering::Relaxed), 1);
    let differing: Vec<_> = one.documents.iter().zip(&two.documents).filter(|(one, two)| one != two).collect();
    assert_eq!(differing.len(), 1);
    assert_eq!(text(&two, "0123.txt"), "changed");
    assert_eq!(two.copied.len(), 500);
}

#[test]
fn a_source_that_knows_the_content_is_believed_without_reading() {
    let case = Case::new("plain", Tree::of(&[("a", "text")]));
    let mut input = case.input();
    let mut entries = (*input.bundle.entries).clone();
    entries.get_mut("a").unwrap().content = Some(BlobRef::of(b"text"));
    input.bundle.entries = Arc::new(entries);
    let kind = trued_render::kinds().into_iter().find(|kind| kind.describe().kind == "plain").unwrap();
    let rendered = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(kind.render(input)).ok().unwrap();
    assert_eq!(case.tree.reads.load(Ordering::Relaxed), 0);
    assert_eq!(text(&rendered, "a"), "text");
}

#[test]
fn an_empty_tree_renders_to_nothing_and_the_engine_decides_what_that_means() {
    assert!(Case::new("plain", Tree::default()).rendered().documents.is_empty());
    assert!(Case::new("template", Tree::default()).rendered().documents.is_empty());
}

#[test]
fn fault_14_a_file_that_cannot_be_read_fails_the_render_and_leaves_nothing_to_remember() {
    let findings = Case::new("plain", Tree::of(&[("a", "text"), ("b", "unreadable"), ("c", "unreadable ")])).findings();
    assert_eq!(findings, "site/b:1:1: `b` cannot be read: the bytes are not those of its id; nothing was rendered; it is tried again\n");
}

#[test]
fn bytes_that_changed_since_they_were_named_are_refused() {
    let case = Case::new("plain", Tree::of(&[("a", "one")]));
    let mut input = case.input();
    let rendered = case.rendered();
    let other = Arc::new(Tree::of(&[("a", "two")]));
    input.bundle.reader = other;
    input.known = rendered.copied.clone();
    let kind = trued_render::kinds().into_iter().find(|kind| kind.describe().kind == "plain").unwrap();
    let lying = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(kind.render(input)).ok().unwrap();
    let refusal = lying.contents.open(&lying.documents[0].content).err().unwrap();
    assert_eq!(refusal.code, Code::Invalid);
}

#[test]
fn fault_29_a_file_beyond_the_bound_is_refused_before_it_is_read() {
    let case = Case::new("plain", Tree::of(&[("huge.img", "x"), ("ok", "y")]));
    let mut input = case.input();
    let mut entries = (*input.bundle.entries).clone();
    entries.get_mut("huge.img").unwrap().bytes = 1 << 40;
    input.bundle.entries = Arc::new(entries);
    let kind = trued_render::kinds().into_iter().find(|kind| kind.describe().kind == "plain").unwrap();
    let findings = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(kind.render(input)).err().unwrap();
    assert!(lines(&findings).starts_with("site/huge.img:1:1: `huge.img` has 1099511627776 bytes, more than"), "{}", lines(&findings));
    assert_eq!(case.tree.reads.load(Ordering::Relaxed), 0);
}
