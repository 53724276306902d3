//! Charts that a chart of the source depends on: in its `charts/`, pinned by digest, or beside it; and what its lock says.

use std::fs;

use trued_model::Digest;

use crate::kit::{Site, canonical};
use crate::registry::Server;

/// The chart `shop` in `deploy/shop`, which depends on these.
fn site(dependencies: &str) -> Site {
    let site = Site::new("{ plain: { path: deploy } }", &["helm", "kustomize"]);
    chart(&site, "deploy/shop", "shop", "1.0.0");
    declare(&site, dependencies);
    render(&site, "");
    site
}

fn chart(site: &Site, folder: &str, name: &str, version: &str) {
    site.write(&format!("{folder}/Chart.yaml"), &format!("apiVersion: v2\nname: {name}\nversion: {version}\n"));
    site.write(&format!("{folder}/values.yaml"), "colour: none\n");
    let object = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {{{{ .Release.Name }}}}-{{{{ .Chart.Name }}}} }}\n\
         data: {{ version: \"{version}\", colour: {{{{ .Values.colour | quote }}}} }}\n"
    );
    site.write(&format!("{folder}/templates/{name}.yaml"), &object);
}

fn declare(site: &Site, dependencies: &str) {
    let list = if dependencies.is_empty() { String::new() } else { format!("dependencies:\n{dependencies}") };
    site.write("deploy/shop/Chart.yaml", &format!("apiVersion: v2\nname: shop\nversion: 1.0.0\n{list}"));
}

fn render(site: &Site, more: &str) {
    site.configure(&format!("{{ helm: {{ path: deploy, chart: shop, name: web{more} }} }}"));
}

/// What helm gives for the chart in a folder, as it lies there.
fn by_hand(site: &Site, folder: &str, more: &[&str]) -> Vec<String> {
    canonical(&site.by_hand("helm", &[&["template", "web", folder][..], more].concat()))
}

/// Packs a chart of this name and version and pushes it; gives its digest in the registry and that of its archive.
fn push(site: &Site, server: &Server, name: &str, version: &str) -> (Digest, Digest) {
    chart(site, &format!("made/{name}"), name, version);
    site.by_hand("helm", &["package", &format!("made/{name}"), "--destination", "made"]);
    let archive = format!("made/{name}-{version}.tgz");
    site.by_hand("helm", &["push", &archive, &server.at("oci", "/charts"), "--plain-http"]);
    let bytes = fs::read(site.path(&archive)).unwrap();
    server.put(&format!("/stable/{name}-{version}.tgz"), bytes.clone());
    (server.manifest_of(name, version), Digest::of(&bytes))
}

#[test]
fn one_that_is_nowhere_is_a_finding_at_its_line_with_the_key_to_write() {
    let site = site(
        "  - { name: cache, version: 1.4.0, repository: \"https://charts.example/stable/\" }\n\
         \x20 - { name: queue, alias: jobs, version: \"^2.0\", repository: \"oci://ghcr.io/team/charts\" }\n\
         \x20 - { name: own, version: 1.0.0 }\n  - { name: named, version: 1.0.0, repository: \"@stable\" }\n",
    );
    let said = site.refused();
    for words in [
        "deploy/shop/Chart.yaml:5:5: ",
        "write `dependencies: { cache: { repository: \"https://charts.example/stable\", name: cache, version: 1.4.0, digest: sha256:… } }`",
        "deploy/shop/Chart.yaml:6:5: ",
        "write `dependencies: { jobs: \"oci://ghcr.io/team/charts/queue@sha256:…\" }`",
        "`helm pull oci://ghcr.io/team/charts/queue --version VERSION`",
        "deploy/shop/Chart.yaml:7:5: ",
        "commit it into `charts/`: without a `repository` it is nowhere else",
        "deploy/shop/Chart.yaml:8:5: ",
        "{ repository: \"https://…\", name: named, version: 1.0.0, digest: sha256:… }",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn those_that_are_pinned_are_pulled_by_digest_once_and_are_as_if_they_lay_there() {
    let server = Server::start(|_| None);
    let site = site("");
    let (_, of_cache) = push(&site, &server, "cache", "1.4.0");
    let (of_queue, _) = push(&site, &server, "queue", "2.3.0");
    let index = "apiVersion: v1\nentries: { cache: [{ version: 1.4.0, urls: [cache-1.4.0.tgz] }] }\n";
    server.put("/stable/index.yaml", index.into());
    let (repository, registry) = (server.at("http", "/stable"), server.at("oci", "/charts"));
    let declared = format!(
        "  - {{ name: cache, version: \"~1.4\", repository: \"{repository}\", condition: cache.enabled }}\n\
         \x20 - {{ name: queue, alias: jobs, version: \">=2 <3\", repository: \"{registry}\" }}\n\
         \x20 - {{ name: queue, alias: mails, version: \">=2 <3\", repository: \"{registry}\" }}\n"
    );
    declare(&site, &declared);
    let pins = |queue: &Digest| {
        let queue = format!("{{ oci: \"{registry}/queue\", digest: \"{queue}\", plain_http: true }}");
        format!(
            "cache: {{ repository: \"{repository}\", name: cache, version: 1.4.0, digest: \"{of_cache}\", plain_http: true }}, jobs: {queue}, mails: {queue}"
        )
    };
    let values = |colour: &str, cache: bool| format!(", values: {{ jobs: {{ colour: {colour} }}, cache: {{ enabled: {cache} }} }}");
    render(&site, &format!(", dependencies: {{ {} }}{}", pins(&of_queue), values("red", true)));
    site.applied();
    // The same chart with what it depends on where helm looks for it.
    for file in ["Chart.yaml", "values.yaml", "templates/shop.yaml"] {
        site.write(&format!("whole/shop/{file}"), &fs::read_to_string(site.path(&format!("deploy/shop/{file}"))).unwrap());
    }
    fs::create_dir(site.path("whole/shop/charts")).unwrap();
    for archive in ["cache-1.4.0.tgz", "queue-2.3.0.tgz"] {
        fs::copy(site.path(&format!("made/{archive}")), site.path(&format!("whole/shop/charts/{archive}"))).unwrap();
    }
    let expected = by_hand(&site, "whole/shop", &["--set", "jobs.colour=red,cache.enabled=true"]);
    assert_eq!(canonical(&site.landed()), expected);
    assert_eq!(expected.len(), 4, "{expected:?}");
    let asked = server.asked().len();
    assert_eq!(asked, 4, "an index and an archive, a manifest and an archive: {:?}", server.asked());
    // Another value is another render, and nothing is fetched; a condition leaves one out.
    render(&site, &format!(", dependencies: {{ {} }}{}", pins(&of_queue), values("blue", false)));
    site.applied();
    assert_eq!((site.renders(), server.asked().len()), (1, asked));
    assert_eq!(canonical(&site.landed()), by_hand(&site, "whole/shop", &["--set", "jobs.colour=blue,cache.enabled=false"]));
    // In a chain, and without the server.
    drop(server);
    site.write("deploy/over/kustomization.yaml", "namePrefix: a-\nresources: [rendered.yaml]\n");
    let helm = format!("helm: {{ chart: shop, name: web, dependencies: {{ {} }} }}", pins(&of_queue));
    site.configure(&format!("{{ chain: {{ path: deploy, steps: [{{ {helm} }}, {{ kustomize: {{ overlay: over }} }}] }} }}"));
    site.applied();
    site.write("by-hand/kustomization.yaml", "namePrefix: a-\nresources: [rendered.yaml]\n");
    site.write("by-hand/rendered.yaml", &site.by_hand("helm", &["template", "web", "whole/shop"]));
    assert_eq!(canonical(&site.landed()), canonical(&site.by_hand("kustomize", &["build", "by-hand"])));
}

#[test]
fn what_is_pinned_is_what_is_declared_or_a_finding() {
    let server = Server::start(|_| None);
    let site = site("");
    let (old, _) = push(&site, &server, "cache", "1.3.0");
    let (other, _) = push(&site, &server, "queue", "2.3.0");
    let registry = server.at("oci", "/charts");
    declare(&site, &format!("  - {{ name: cache, version: \"~1.4\", repository: \"{registry}\" }}\n"));
    let refused = |pins: &str| {
        render(&site, &format!(", dependencies: {{ {pins} }}"));
        site.refused()
    };
    let pin =
        |key: &str, name: &str, digest: &Digest| format!("{key}: {{ oci: \"{registry}/{name}\", digest: \"{digest}\", plain_http: true }}");
    let said = refused(&pin("cache", "cache", &old));
    assert!(said.contains("deploy/shop/Chart.yaml:5:5: ") && said.contains("`cache` is here in a version that is not `~1.4`"), "{said}");
    let said = refused(&pin("cache", "queue", &other));
    assert!(said.contains("`cache` is declared here") && said.contains("is the chart `queue`"), "{said}");
    let said = refused(&format!("{}, {}", pin("cache", "cache", &old), pin("queue", "queue", &other)));
    assert!(said.contains("deploy/shop/Chart.yaml:4:1: ") && said.contains("pins `queue`") && said.contains("write `cache`"), "{said}");
    let said = refused("cache: shop");
    assert!(said.contains("trued.yaml:4:") && said.contains("a chart from elsewhere"), "{said}");
    let said = refused(&format!("cache: \"{registry}/cache\""));
    assert!(said.contains("trued.yaml:4:") && said.contains("nothing pins what is fetched"), "{said}");
    site.by_hand("helm", &["package", "made/cache", "--destination", "deploy/shop/charts"]);
    let said = refused(&pin("cache", "cache", &old));
    assert!(said.contains("`cache` lies in `charts/`, and `dependencies` pins it too"), "{said}");
    // A link of the source is not written through.
    fs::remove_dir_all(site.path("deploy/shop/charts")).unwrap();
    fs::create_dir(site.path("outside")).unwrap();
    std::os::unix::fs::symlink(site.path("outside"), site.path("deploy/shop/charts")).unwrap();
    let said = refused(&pin("cache", "cache", &old));
    assert!(said.contains("is no folder"), "{said}");
    assert_eq!(fs::read_dir(site.path("outside")).unwrap().count(), 0);
    // An archive brings its own.
    let whole = format!("oci: \"{registry}/queue\", digest: \"{other}\", plain_http: true");
    site.configure(&format!("{{ helm: {{ path: deploy, name: web, chart: {{ {whole} }}, dependencies: {{ cache: {{ {whole} }} }} }} }}"));
    assert!(site.refused().contains("an archive brings its own"));
}

#[test]
fn a_lock_that_was_made_for_something_else_is_a_finding_and_one_of_helms_own_never_is() {
    let site = site("");
    chart(&site, "deploy/cache", "cache", "1.4.0");
    chart(&site, "deploy/queue", "queue", "2.0.1-rc.1");
    chart(&site, "deploy/shop/charts/within", "within", "0.1.0");
    let declared = "  - name: cache\n    version: \">=1.2 <2\"\n    repository: file://../cache\n    condition: cache.enabled\n    tags: [a, \"b&c\"]\n    \
                    import-values: [data, { parent: a, child: z }]\n  - { name: queue, alias: jobs, version: 2.0.1-rc.1, repository: \"file://../queue\" }\n  \
                    - { name: within, version: 0.1.0 }\n";
    declare(&site, declared);
    site.by_hand("helm", &["dependency", "update", "deploy/shop"]);
    site.applied();
    assert_eq!(canonical(&site.landed()), by_hand(&site, "deploy/shop", &[]));
    // What helm itself finds out of step, and where.
    let refused = |changed: &str, words: &[&str]| {
        declare(&site, changed);
        let said = site.refused();
        assert!(words.iter().all(|words| said.contains(words)) && said.contains("`helm dependency update deploy/shop`"), "{said}");
    };
    let lock = fs::read_to_string(site.path("deploy/shop/Chart.lock")).unwrap();
    let line = lock.lines().position(|line| line.starts_with("digest")).unwrap() + 1;
    let made_for = ["Chart.lock was made for other dependencies", &format!("deploy/shop/Chart.lock:{line}:9: ")];
    refused(&declared.replace(">=1.2", ">=1.3"), &made_for);
    refused(&declared.replace("cache.enabled", "cache.on"), &made_for);
    refused(&declared.replace("alias: jobs", "alias: mails"), &made_for);
    let without = declared.lines().filter(|line| !line.contains("within")).collect::<Vec<_>>().join("\n");
    refused(&format!("{without}\n"), &["`within` is locked, and Chart.yaml does not declare it so", "deploy/shop/Chart.lock:8:3: "]);
    refused(
        &format!("{declared}  - {{ name: more, version: 1.0.0 }}\n"),
        &["`more` is declared here, and Chart.lock does not have it", "deploy/shop/Chart.yaml:"],
    );
    declare(&site, declared);
    site.applied();
}

#[test]
fn one_beside_the_chart_is_packed_as_helm_does_and_one_that_is_not_there_is_a_finding() {
    let site = site("  - { name: cache, version: \">=1.2\", repository: \"file://../lib/cache\" }\n");
    let said = site.refused();
    assert!(said.contains("deploy/shop/Chart.yaml:5:5: ") && said.contains("no chart is there below `deploy`"), "{said}");
    chart(&site, "deploy/lib/cache", "cache", "1.4.0");
    site.write("deploy/lib/cache/.helmignore", "templates/left-out.yaml\n");
    site.write("deploy/lib/cache/templates/left-out.yaml", "kind: {{ fail \"this is not packed\" }}\n");
    site.applied();
    let copied = std::process::Command::new("cp").args(["-r", "deploy", "whole"]).current_dir(site.path("")).status().unwrap();
    assert!(copied.success());
    site.by_hand("helm", &["dependency", "build", "whole/shop"]);
    assert_eq!(canonical(&site.landed()), by_hand(&site, "whole/shop", &[]));
    site.write("deploy/lib/cache/Chart.yaml", "apiVersion: v2\nname: cache\nversion: 1.1.0\n");
    let said = site.refused();
    assert!(said.contains("`cache` is here in a version that is not `>=1.2`"), "{said}");
    site.write("deploy/lib/cache/templates/cache.yaml", "kind: {{ lookup \"v1\" \"Secret\" \"a\" \"b\" }}\n");
    let said = site.refused();
    assert!(said.contains("deploy/lib/cache/templates/cache.yaml:1:") && said.contains("`lookup`"), "{said}");
    declare(&site, "  - { name: cache, version: 1.4.0, repository: \"file://../../cache\" }\n");
    assert!(site.refused().contains("let `path` name the folder that holds both charts"));
    // A link to it is followed, as helm follows it.
    chart(&site, "deploy/lib/cache", "cache", "1.4.0");
    fs::remove_file(site.path("deploy/lib/cache/templates/left-out.yaml")).unwrap();
    fs::create_dir(site.path("deploy/shop/charts")).unwrap();
    std::os::unix::fs::symlink("../../lib/cache", site.path("deploy/shop/charts/cache")).unwrap();
    site.applied();
    assert_eq!(canonical(&site.landed()), by_hand(&site, "deploy/shop", &[]));
}
