use serde_json::json;
use trued_model::Bound;

use super::*;

fn template(files: &[(&str, &str)], vars: Value) -> Case {
    Case { vars, ..Case::new("template", Tree::of(files)) }
}

#[test]
fn templates_lose_their_suffix_and_everything_else_is_copied_byte_for_byte() {
    let tree = Tree::of(&[("index.html.j2", "<h1>{{ title }}</h1>\n"), ("raw.txt", "{{ title }}\r\n")])
        .with("bin/run.j2", Shape::File { executable: true }, b"#!/bin/sh\necho {{ ports | join(' ') }}\n")
        .with("link.j2", Shape::Link, b"index.html");
    let case = Case { vars: json!({ "title": "Shop & Co", "ports": [80, 443] }), ..Case::new("template", tree) };
    let rendered = case.rendered();
    assert_eq!(paths(&rendered), ["bin/run", "index.html", "link.j2", "raw.txt"]);
    assert_eq!(rendered.documents[0].shape, Shape::File { executable: true });
    assert_eq!(text(&rendered, "index.html"), "<h1>Shop & Co</h1>\n");
    assert_eq!(text(&rendered, "bin/run"), "#!/bin/sh\necho 80 443\n");
    assert_eq!(text(&rendered, "raw.txt"), "{{ title }}\r\n");
}

#[test]
fn templates_include_import_and_extend_files_of_their_own_tree() {
    let rendered = template(
        &[
            ("base.txt", "[{% block body %}{% endblock %}]"),
            ("macros.txt", "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}"),
            ("parts/foot.txt.j2", "foot of {{ name }}"),
            ("page.j2", "{% extends 'base.txt' %}{% import 'macros.txt' as m %}{% block body %}{{ m.twice(name) }} {% include 'parts/foot.txt.j2' %}{% endblock %}"),
        ],
        json!({ "name": "x" }),
    )
    .rendered();
    assert_eq!(text(&rendered, "page"), "[xx foot of x]");
}

#[test]
fn nothing_outside_the_tree_can_be_included() {
    for path in ["/etc/hostname", "../secret.txt", "./../../etc/hostname", "a/../../x"] {
        let findings = template(&[("page.j2", &format!("\n{{% include '{path}' %}}"))], json!({})).findings();
        assert!(findings.starts_with("site/page.j2:2:1: template not found: "), "{findings}");
    }
}

#[test]
fn fault_26_one_bad_template_fails_the_whole_render_and_all_errors_come_at_once() {
    let findings = template(
        &[
            ("good.txt.j2", "{{ title }}"),
            ("a.txt.j2", "{{ title }}\n\n{{ titel }} {{ subtitle }}\n{{ title.long }}"),
            ("b.txt.j2", "{% for %}"),
            ("c.txt.j2", "{% include 'parts/d.txt' %}"),
            ("parts/d.txt", "one\ntwo {{ missing }}"),
            ("e.txt.j2", "{{ title | shout }}"),
        ],
        json!({ "title": "Shop" }),
    )
    .findings();
    assert_eq!(
        findings,
        "site/a.txt.j2:3:1: `subtitle` is not defined; define `subtitle` under `vars`, or write `subtitle | default(\"\")`; defined are `title`\n\
         site/a.txt.j2:3:1: `titel` is not defined; define `titel` under `vars`, or write `titel | default(\"\")`; defined are `title`\n\
         site/b.txt.j2:1:1: syntax error: unexpected end of block, expected in; templates are Jinja; see https://docs.rs/minijinja/latest/minijinja/syntax/\n\
         site/e.txt.j2:1:1: unknown filter: filter shout is unknown; correct the template\n\
         site/parts/d.txt:2:1: `missing` is not defined; define `missing` under `vars`, or write `missing | default(\"\")`; defined are `title`\n"
    );
}

#[test]
fn a_missing_part_of_a_value_is_named_as_the_template_spells_it() {
    let findings = template(&[("a.j2", "{{ site.title }}")], json!({ "site": { "name": "x" } })).findings();
    assert_eq!(
        findings,
        "site/a.j2:1:1: `site.title` is not defined; `site` has no such part: add it under `vars`, or write `site.title | default(\"\")`\n"
    );
}

#[test]
fn a_missing_name_is_an_error_in_conditions_loops_and_filters_too() {
    for use_ in
        ["{% if titel %}{% endif %}", "{% for x in titel %}{% endfor %}", "{{ titel | upper }}", "{{ titel ~ 'x' }}", "{{ titel + 1 }}"]
    {
        let findings = template(&[("a.j2", use_)], json!({})).findings();
        assert!(findings.starts_with("site/a.j2:1:1: `titel` is not defined"), "{use_}: {findings}");
    }
    assert_eq!(text(&template(&[("a.j2", "{{ titel | default('none') }}")], json!({})).rendered(), "a"), "none");
}

#[test]
fn a_rendered_path_that_is_there_already_is_a_finding() {
    let case =
        template(&[("a.html", ""), ("a.html.j2", ""), ("conf.j2", ""), ("conf/site", ""), ("deep.j2", ""), ("deep/x.j2", "")], json!({}));
    assert_eq!(
        case.findings(),
        "site/a.html.j2:1:1: `a.html.j2` renders to `a.html`, which the tree has already; rename or remove one of the two\n\
         site/conf.j2:1:1: `conf.j2` renders to `conf`, which is the folder of `conf/site`; rename one of the two\n\
         site/deep.j2:1:1: `deep.j2` renders to `deep`, which is the folder of `deep/x`; rename one of the two\n"
    );
}

#[test]
fn a_template_named_like_another_ones_output_collides_with_nothing() {
    let rendered = template(&[("a.j2", "one"), ("a.j2.j2", "two")], json!({})).rendered();
    assert_eq!((text(&rendered, "a"), text(&rendered, "a.j2")), ("one".to_owned(), "two".to_owned()));
}

#[test]
fn fault_06_a_suffix_hides_no_name_that_a_source_refuses() {
    for name in [".j2", "..j2", "...j2", ".git.j2", "x/.GIT.j2", ".trued.j2"] {
        let findings = template(&[(name, "")], json!({})).findings();
        assert!(findings.contains("would render to a file named"), "{name}: {findings}");
    }
}

#[test]
fn a_template_that_is_not_text_is_a_finding() {
    let tree = Tree::of(&[("page.j2", "{% include 'bad.bin' %}")]).with("latin.j2", Shape::File { executable: false }, b"caf\xe9").with(
        "bad.bin",
        Shape::File { executable: false },
        b"\xff\xfe",
    );
    let findings = Case::new("template", tree).findings();
    assert_eq!(
        findings,
        "site/latin.j2:1:1: `latin.j2` is not UTF-8 text; correct the template\n\
         site/page.j2:1:1: `bad.bin` is not UTF-8 text; correct the template\n"
    );
}

#[test]
fn fault_29_output_steps_and_nesting_are_bounded() {
    let cases = [
        ("{% for i in range(1000) %}{{ 'x' * 100000 }}{% endfor %}", "the template writes more than 16777216 bytes"),
        ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "the template takes more than 500000 steps"),
        ("{% for i in range(1000) %}{% include 'loop.txt' %}{% endfor %}", "the template takes more than 500000 steps"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "invalid operation: recursion limit exceeded"),
        ("{% include 'self.txt' %}", "invalid operation: recursion limit exceeded"),
    ];
    for (source, expected) in cases {
        let files =
            [("a.j2", source), ("loop.txt", "{% for i in range(100000) %}{{ '' }}{% endfor %}"), ("self.txt", "{% include 'self.txt' %}")];
        let findings = template(&files, json!({})).findings();
        assert!(findings.contains(expected), "{source}: {findings}");
    }
}

#[test]
fn a_template_larger_than_a_template_may_be_is_refused() {
    let findings = template(&[("a.j2", &"x".repeat((1 << 20) + 1))], json!({})).findings();
    assert!(findings.contains("has 1048577 bytes, more than the 1048576 a template may have"), "{findings}");
}

/// Each step can nest a value once more; dropping, writing and comparing it must not run out of stack.
#[test]
fn fault_18_a_value_nested_as_deep_as_the_fuel_allows_ends_the_render_and_not_the_process() {
    let wrap = |depth: usize| format!("{}ns.x{}", "[".repeat(depth), "]".repeat(depth));
    let deep = format!("{{% set ns = namespace(x=[]) %}}{{% for i in range(10500) %}}{{% set ns.x = {} %}}{{% endfor %}}", wrap(40));
    for end in ["", "{{ ns.x }}", "{{ ns.x == [ns.x] }}", "{{ ns.x | tojson }}", "{{ [ns.x, [ns.x]] | sort | unique | length }}"] {
        let case = template(&[("a.j2", &format!("{deep}{end}"))], json!({}));
        assert!(case.run().is_ok(), "{end}: {}", case.findings());
    }
}

#[test]
fn the_same_input_gives_the_same_output() {
    let files: Vec<(String, String)> = (0..100)
        .map(|n| (format!("{n}.txt.j2"), format!("{{% for key, value in all | items %}}{{{{ key }}}}={{{{ value }}}} {{% endfor %}}{n}")))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let case = template(&files, json!({ "all": { "z": 1, "a": [1, 2], "m": { "y": null, "b": 1.5 } } }));
    let first = case.rendered();
    for _ in 0..5 {
        let next = case.rendered();
        assert_eq!(first.documents, next.documents);
        assert!(paths(&next).iter().all(|path| stored(&first, path) == stored(&next, path)));
    }
    assert_eq!(text(&first, "0.txt"), "a=[1, 2] m={'b': 1.5, 'y': None} z=1 0");
}

#[test]
fn templates_have_no_clock_no_chance_and_no_look_at_their_own_context() {
    assert!(template(&[("a.j2", "{{ 1 | pprint }}")], json!({})).findings().contains("unknown filter"));
    for name in ["now", "random", "debug", "env", "lookup"] {
        let findings = template(&[("a.j2", &format!("{{{{ {name}() }}}}"))], json!({})).findings();
        assert!(findings.contains(&format!("unknown function: {name} is unknown")), "{findings}");
    }
}

#[test]
fn copied_files_of_a_template_tree_are_not_read_again() {
    let files = [("a.txt", "one"), ("b.txt", "two"), ("c.j2", "{{ x }}")];
    let first = template(&files, json!({ "x": 1 })).rendered();
    assert_eq!(first.copied.len(), 2);
    let mut second = template(&files, json!({ "x": 2 }));
    second.known = first.copied;
    second.rendered();
    assert_eq!(second.tree.reads.load(Ordering::Relaxed), 1);
}

/// Does our own tasks, counts them, and may cut one off as a process that was ended in the middle.
#[derive(Default)]
struct Ending {
    tasks: AtomicUsize,
    /// Bytes missing at the end, the bound that was passed, and the last words.
    cut: Option<(usize, Option<Bound>, &'static str)>,
}

impl Runner for Ending {
    fn run(&self, _: trued_doors::Program) -> BoxFuture<'_, Answer<Exit>> {
        panic!("a renderer starts a program of the operator's")
    }

    fn task(&self, name: &'static str, input: Vec<u8>, confines: Confines) -> BoxFuture<'_, Answer<Confined>> {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let mut ended = NoPrograms.task(name, input, confines).await?;
            if let Some((bytes, passed, said)) = self.cut {
                ended.exit.output.truncate(ended.exit.output.len() - bytes);
                (ended.passed, ended.exit.status, ended.exit.error) = (passed, None, said.as_bytes().to_vec());
            }
            Ok(ended)
        })
    }
}

#[test]
fn one_process_writes_all_templates_and_none_is_asked_where_there_are_none() {
    let count = |files: &[(&str, &str)]| {
        let runner = Arc::new(Ending::default());
        Case { runner: runner.clone(), ..template(files, json!({})) }.rendered();
        runner.tasks.load(Ordering::Relaxed)
    };
    assert_eq!(count(&[("a.txt", "one")]), 0);
    assert_eq!(count(&[("a.j2", "{% include 'parts/b.txt' %}"), ("b.j2", "x"), ("parts/b.txt", "{% include \"c\" %}"), ("c", "y")]), 1);
}

#[test]
fn files_are_included_by_names_that_a_template_makes_up() {
    let files = [
        ("a.j2", "{% for n in all %}{% include 'parts/' ~ n ~ '.txt' %}{% endfor %}{% include 'no' ~ 'where' ignore missing %}"),
        ("b.j2", "{% import 'macros.' ~ kind as m %}{{ m.twice('b') }}"),
        ("macros.txt", "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}"),
        ("parts/1.txt", "[one {% include 'deep/' ~ kind %}]"),
        ("parts/2.txt", "[two]"),
        ("deep/txt", "deep"),
    ];
    let runner = Arc::new(Ending::default());
    let case = Case { runner: runner.clone(), ..template(&files, json!({ "all": [1, 2], "kind": "txt" })) };
    let rendered = case.rendered();
    assert_eq!((text(&rendered, "a"), text(&rendered, "b")), ("[one deep][two]".to_owned(), "bb".to_owned()));
    assert_eq!(runner.tasks.load(Ordering::Relaxed), 2);
    let findings = template(&[("a.j2", "{% include 'no' ~ 'where' %}")], json!({})).findings();
    assert!(findings.starts_with("site/a.j2:1:1: template not found: "), "{findings}");
}

#[test]
fn fault_29_what_ended_the_process_is_said_with_the_template_it_was_at() {
    let long = "x".repeat(10_000);
    let files = [("a.j2", "fine"), ("b.j2", long.as_str()), ("c.j2", "fine")];
    let ends = [
        (Some(Bound::Memory), "", "site/b.j2:1:1: the template used more than 512MiB of memory (`memory`); look for a text or a list"),
        (Some(Bound::Time), "", "site/b.j2:1:1: the template did not end within 10m (`time`); "),
        (None, "memory allocation of 9 bytes failed\n", "site/b.j2:1:1: the template used more than 512MiB of memory (`memory`); "),
        (None, "\nthread 'templates' has overflowed its stack\n", "site/b.j2:1:1: the template nests values too deep; "),
        (None, "panicked at hunter2", "site/b.j2:1:1: the template was ended by a signal; the machine may be short of memory"),
    ];
    for (passed, said, expected) in ends {
        let runner = Arc::new(Ending { cut: Some((5000, passed, said)), ..Ending::default() });
        let findings = Case { runner, ..template(&files, json!({})) }.findings();
        assert!(findings.starts_with(expected) && findings.lines().count() == 1, "{findings}");
        assert!(!findings.contains("hunter2"), "{findings}");
    }
}

#[test]
fn fault_29_texts_are_bounded_together() {
    let text = "x".repeat(1 << 20);
    let names: Vec<String> = (0..65).map(|n| format!("{n}.j2")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
    let findings = template(&files, json!({})).findings();
    assert!(findings.starts_with("the templates of `site` and what they include have more than 67108864 bytes together"), "{findings}");
}
