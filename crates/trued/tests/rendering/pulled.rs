//! Charts from elsewhere: by digest from a registry or a repository, fetched once, had offline, and never from where nobody granted.
//! The server is ours and speaks what `helm push` and `helm repo index` make.

use std::fs;
use std::sync::{Arc, Mutex};

use trued_model::Digest;

use crate::kit::{Site, canonical};
use crate::registry::{Answer, Asked, Server};

const TEMPLATE: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: { name: {{ .Release.Name }}-words, namespace: {{ .Release.Namespace }} }
data: { colour: {{ .Values.colour | quote }}, chart: {{ .Chart.Version | quote }} }
";

/// A stack that renders a chart from elsewhere, and the chart's archive, made by helm.
pub fn site(render: &str) -> Site {
    let site = Site::new("{ plain: { path: deploy } }", &["helm", "kustomize"]);
    site.write("deploy/prod.yaml", "colour: red\n");
    site.write("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n");
    site.write("chart/values.yaml", "colour: none\n");
    site.write("chart/templates/words.yaml", TEMPLATE);
    site.by_hand("helm", &["package", "chart", "--destination", "packed"]);
    site.configure(render);
    site
}

fn settings(chart: &str, more: &str) -> String {
    format!("{{ helm: {{ path: deploy, name: web, values_files: [prod.yaml], chart: {{ {chart}, plain_http: true }}{more} }} }}")
}

fn pushed(server: &Server, more: &str) -> Site {
    let site = site("{ plain: { path: deploy } }");
    site.by_hand("helm", &["push", "packed/shop-1.2.3.tgz", &server.at("oci", "/charts"), "--plain-http"]);
    site.configure(&settings(&of_registry(server), more));
    site
}

fn of_registry(server: &Server) -> String {
    format!("oci: \"{}\", digest: \"{}\"", server.at("oci", "/charts/shop"), server.manifest())
}

pub fn by_hand(site: &Site, more: &[&str]) -> Vec<String> {
    let words = ["template", "web", "packed/shop-1.2.3.tgz", "-f", "deploy/prod.yaml", "--include-crds", "--skip-tests"];
    canonical(&site.by_hand("helm", &[&words[..], more].concat()))
}

/// Answers every read with a challenge, until somebody shows `token`.
fn challenging(port: Arc<Mutex<u16>>, token: &'static str) -> impl Fn(&Asked) -> Option<Answer> + Send + Sync {
    move |(method, path, authorization)| {
        if path.starts_with("/token") {
            let good = path == "/token?service=charts&scope=repository%3Acharts%2Fshop%3Apull";
            return Some((if good { 200 } else { 400 }, Vec::new(), format!("{{\"token\":\"{token}\"}}").into_bytes()));
        }
        (method == "GET" && *authorization != format!("Bearer {token}")).then(|| {
            let realm = format!("Bearer realm=\"http://127.0.0.1:{}/token\",service=\"charts\"", port.lock().unwrap());
            (401, vec![("WWW-Authenticate".to_owned(), realm)], Vec::new())
        })
    }
}

#[test]
fn a_chart_that_helm_pushed_renders_as_helm_does_is_fetched_once_and_had_offline() {
    let port = Arc::new(Mutex::new(0));
    let server = Server::start(challenging(port.clone(), "for-anybody"));
    *port.lock().unwrap() = server.port;
    let site = pushed(&server, "");
    site.applied();
    assert_eq!(canonical(&site.landed()), by_hand(&site, &[]));
    assert!(site.landed().contains("1.2.3"));
    let count = server.asked().len();
    site.configure(&settings(&of_registry(&server), ", values: { colour: blue }"));
    site.applied();
    assert_eq!(server.asked().len(), count, "what was fetched is had");
    site.configure(&settings(&of_registry(&server), ", values: { colour: green }"));
    drop(server);
    site.applied();
    assert_eq!(canonical(&site.landed()), by_hand(&site, &["--set", "colour=green"]));
}

#[test]
fn what_has_another_digest_is_refused_before_anything_reads_it() {
    let server = Server::start(|_| None);
    let site = pushed(&server, "");
    let right = site.path("trued.yaml");
    let text = fs::read_to_string(&right).unwrap();
    // Somebody put another chart in its place: the manifest, then the archive alone.
    let manifest = format!("/v2/charts/shop/manifests/{}", server.manifest());
    let bytes = server.kept.bytes.lock().unwrap()[&manifest].clone();
    server.put(&manifest, [&bytes[..], b" "].concat());
    let said = site.refused();
    assert!(said.contains("trued.yaml:") && said.contains("the manifest has digest sha256:") && said.contains("was asked for"), "{said}");
    server.put(&manifest, bytes);
    let blob = server.kept.bytes.lock().unwrap().keys().find(|path| path.contains("/blobs/") && path.ends_with(&archive(&site))).cloned();
    let blob = blob.expect("the archive");
    let whole = server.kept.bytes.lock().unwrap()[&blob].clone();
    server.put(&blob, b"another chart".to_vec());
    let said = site.refused();
    assert!(said.contains("the archive has digest sha256:"), "{said}");
    assert!(!site.path("www").exists(), "nothing was made of it");
    server.put(&blob, whole);
    site.applied();
    // A digest that nobody has.
    fs::write(&right, text.replace(&server.manifest().hex(), &Digest::of(b"nobody").hex())).unwrap();
    assert!(site.refused().contains("has no such thing"));
}

/// The digest of the archive that helm packed.
pub fn archive(site: &Site) -> String {
    Digest::of(&fs::read(site.path("packed/shop-1.2.3.tgz")).unwrap()).to_string()
}

#[test]
fn a_repository_is_asked_for_name_and_version_and_believed_by_digest() {
    let server = Server::start(|_| None);
    let site = site("{ plain: { path: deploy } }");
    site.by_hand("helm", &["repo", "index", "packed"]);
    server.put("/stable/index.yaml", fs::read(site.path("packed/index.yaml")).unwrap());
    server.put("/stable/shop-1.2.3.tgz", fs::read(site.path("packed/shop-1.2.3.tgz")).unwrap());
    let chart = |version: &str, digest: &str| {
        let url = server.at("http", "/stable");
        settings(&format!("repository: \"{url}\", name: shop, version: \"{version}\", digest: \"{digest}\""), "")
    };
    site.configure(&chart("1.2.4", &archive(&site)));
    assert!(site.refused().contains("its index has no version 1.2.4 of shop"));
    site.configure(&chart("1.2.3", &Digest::of(b"other").to_string()));
    assert!(site.refused().contains("its index says that shop 1.2.3 has digest sha256:"));
    site.configure(&chart("1.2.3", &archive(&site)));
    site.applied();
    assert_eq!(canonical(&site.landed()), by_hand(&site, &[]));
    let paths: Vec<String> = server.asked().into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(paths, ["/stable/index.yaml", "/stable/index.yaml", "/stable/index.yaml", "/stable/shop-1.2.3.tgz"]);
}

#[test]
fn credentials_go_to_the_named_server_alone_and_nobody_is_sent_on_to_the_inside() {
    let elsewhere = Server::start(|_| None);
    let to = elsewhere.at("http", "/cdn");
    let basic = "Basic cm9ib3Q6aHVudGVyMg==";
    let server = Server::start(move |(method, path, authorization)| {
        let reads = method == "GET" && path.contains("sha256:");
        if reads && authorization != basic {
            return Some((401, vec![("WWW-Authenticate".to_owned(), "Basic realm=\"charts\"".to_owned())], Vec::new()));
        }
        (reads && path.contains("/blobs/")).then(|| (307, vec![("Location".to_owned(), to.clone())], Vec::new()))
    });
    let site = pushed(&server, "");
    let said = site.refused();
    assert!(said.contains("the server asks for credentials") && said.contains("password: { secret: NAME }"), "{said}");
    site.write("token", "hunter2\n");
    let chart = format!("{}, user: robot, password: {{ secret: charts }}", of_registry(&server));
    site.configure(&settings(&chart, ""));
    let own = format!("secrets: {{ charts: {{ file: token }} }}\n{}", fs::read_to_string(site.path("trued.yaml")).unwrap());
    site.write("trued.yaml", &own);
    let said = site.refused();
    assert!(said.contains("127.0.0.1 is 127.0.0.1, a loopback address") && !said.contains("hunter2"), "{said}");
    assert_eq!(elsewhere.asked(), [], "nobody granted the inside to whoever a server names");
    assert!(server.asked().iter().any(|(_, path, authorization)| path.contains("/blobs/") && authorization == basic));
    // Where the operator grants it, an app file may name it, and whoever it sends us on to gets no credentials.
    elsewhere.put("/cdn", fs::read(site.path("packed/shop-1.2.3.tgz")).unwrap());
    let tools = own.lines().find(|line| line.starts_with("sandbox")).unwrap().to_owned();
    let operator = |reach: &str| {
        format!(
            "{tools}\nsources: {{ shop: {{ folder: {{ path: . }} }} }}\nenvironments: {{ prod: {{}} }}\napps: [\"shop//deploy/app.yaml\"]\n\
             secrets: {{ charts: {{ file: token, allow: [\"shop//deploy\"] }} }}\n\
             targets: {{ web: {{ files: {{ root: www, create: true }}, allow: [\"shop//deploy\"], reach: [\"{reach}\"] }} }}\n"
        )
    };
    site.write("deploy/values/prod.yaml", "colour: red\n");
    let render = settings(&chart, "").replace("path: deploy", "path: values");
    site.write("deploy/app.yaml", &format!("app: shop\nrender: {render}\nstacks: {{ prod: {{ target: web }} }}\n"));
    site.write("trued.yaml", &operator("http://shop.example/*"));
    let said = site.refused();
    assert!(said.contains("deploy/app.yaml:2:") && said.contains("is not an address that target `web` grants"), "{said}");
    site.write("trued.yaml", &operator("http://127.0.0.1:*/*"));
    site.applied();
    assert_eq!(canonical(&site.landed()), by_hand(&site, &[]));
    assert_eq!(elsewhere.asked(), [("GET".to_owned(), "/cdn".to_owned(), String::new())]);
}

#[test]
fn a_server_that_never_ends_is_left_after_its_time_and_one_that_sends_too_much_too() {
    let server = Server::start(|(method, path, _)| {
        (method == "GET" && path.contains("/manifests/")).then(|| {
            std::thread::sleep(std::time::Duration::from_secs(8));
            (200, Vec::new(), Vec::new())
        })
    });
    let site = pushed(&server, "");
    let text = fs::read_to_string(site.path("trued.yaml")).unwrap();
    site.write("trued.yaml", &text.replace("    target:", "    limits: { time: 1s }\n    target:"));
    let (status, said) = site.said(&["plan"]);
    assert!(status == Some(1) && said.contains("not done within 1s"), "{said}");
    let large = Server::start(|(method, path, _)| {
        (method == "GET" && path.contains("/manifests/")).then(|| (200, Vec::new(), vec![b' '; (4 << 20) + 1]))
    });
    let site = pushed(&large, "");
    assert!(site.refused().contains("sends more than 4194304 bytes"));
}

#[test]
fn what_does_not_say_where_and_what_is_a_finding_at_its_place() {
    let digest = Digest::of(b"chart");
    let refused = |chart: &str| {
        let site = site(&format!("{{ helm: {{ path: deploy, name: web, chart: {{ {chart} }} }} }}"));
        let said = site.refused();
        assert!(said.contains("trued.yaml:4:"), "{said}");
        said
    };
    assert!(refused("oci: \"oci://ghcr.io/team/shop\"").contains("nothing pins what is fetched"));
    assert!(refused(&format!("oci: \"https://ghcr.io/shop\", digest: \"{digest}\"")).contains("is no place in a registry"));
    assert!(refused(&format!("repository: \"https://charts.example\", digest: \"{digest}\"")).contains("does not say where the chart is"));
    let plain = format!("repository: \"http://charts.example\", name: shop, version: \"1\", digest: \"{digest}\"");
    assert!(refused(&plain).contains("is not encrypted"));
    let user = format!("oci: \"oci://ghcr.io/shop\", digest: \"{digest}\", user: robot");
    assert!(refused(&user).contains("`user` and `password` stand together"));
}

#[test]
fn a_chart_written_in_one_is_an_address_and_a_digest_or_a_finding_that_says_how() {
    let digest = Digest::of(b"chart");
    let site = site("{ plain: { path: deploy } }");
    let refused = |chart: &str| {
        site.configure(&format!("{{ helm: {{ path: deploy, name: web, chart: \"{chart}\" }} }}"));
        let said = site.refused();
        assert!(said.contains("trued.yaml:4:"), "{said}");
        said
    };
    let form = "write `oci://ghcr.io/team/shop@sha256:…`";
    let said = refused("oci://ghcr.io/team/shop");
    assert!(said.contains("nothing pins what is fetched") && said.contains(form), "{said}");
    let said = refused("oci://ghcr.io/team/shop:1.2.3");
    assert!(said.contains("nothing pins what is fetched") && said.contains(form), "{said}");
    let said = refused(&format!("oci://ghcr.io/team/shop:1.2.3@{digest}"));
    assert!(said.contains("`1.2.3` and a digest say the same twice") && said.contains(form), "{said}");
    let said = refused("oci://ghcr.io/team/shop@sha256:12");
    assert!(said.contains("does not end in a digest") && said.contains(form), "{said}");
    assert!(refused("oci://robot@ghcr.io/team/shop").contains("is no place in a registry"));
    let said = refused("https://charts.example/shop");
    assert!(said.contains("does not say which chart") && said.contains("repository: ADDRESS, name: …"), "{said}");
    // One that is as it should be is asked for, and is not there.
    site.configure(&format!("{{ helm: {{ path: deploy, name: web, chart: \"oci://127.0.0.1:1/team/shop@{digest}\" }} }}"));
    let (status, said) = site.said(&["plan"]);
    assert!(status == Some(1) && said.contains("fetch oci://127.0.0.1:1/team/shop: 127.0.0.1 cannot be asked"), "{said}");
    // A folder is a folder.
    site.configure("{ helm: { path: ., name: web, chart: chart } }");
    site.applied();
}

#[test]
fn a_chart_from_a_registry_is_a_step_of_a_chain_rendered_once_and_had_offline() {
    let server = Server::start(|_| None);
    let site = pushed(&server, "");
    let chain = |overlay: &str| {
        let helm = settings(&of_registry(&server), "").replace("path: deploy, ", "");
        site.configure(&format!("{{ chain: {{ path: deploy, steps: [{helm}, {{ kustomize: {{ overlay: {overlay} }} }}] }} }}"));
    };
    let overlay = |name: &str, namespace: &str| {
        let text = format!("namespace: {namespace}\nnamePrefix: a-\nresources: [rendered.yaml]\n");
        site.write(&format!("deploy/{name}/kustomization.yaml"), &text);
        site.write(&format!("by-hand/{name}/kustomization.yaml"), &text);
        let chart = site.by_hand("helm", &["template", "web", "packed/shop-1.2.3.tgz", "-f", "deploy/prod.yaml", "--include-crds"]);
        site.write(&format!("by-hand/{name}/rendered.yaml"), &chart);
        canonical(&site.by_hand("kustomize", &["build", &format!("by-hand/{name}")]))
    };
    let (one, other) = (overlay("one", "shop"), overlay("other", "market"));
    chain("one");
    site.applied();
    assert_eq!((site.renders(), canonical(&site.landed())), (1, one.clone()));
    assert!(one.len() == 1 && one[0].contains("a-web-words") && one[0].contains("red"), "{one:?}");
    let names: Vec<_> = site.tools().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["helm", "kustomize"]);
    let asked = server.asked().len();
    site.applied();
    assert_eq!((site.renders(), server.asked().len()), (0, asked), "the same inputs were rendered again");
    chain("other");
    drop(server);
    site.applied();
    assert_eq!((site.renders(), canonical(&site.landed())), (1, other));
    // What is wrong with a step's chart is told at its place.
    let text = fs::read_to_string(site.path("trued.yaml")).unwrap();
    site.write("trued.yaml", &text.replace("digest:", "digst:"));
    let said = site.refused();
    assert!(said.contains("trued.yaml:4:") && said.contains("digst"), "{said}");
}

#[test]
fn an_archive_that_would_lead_out_is_not_used() {
    let server = Server::start(|_| None);
    let site = site("{ plain: { path: deploy } }");
    fs::remove_dir_all(site.path("packed")).unwrap();
    fs::create_dir(site.path("packed")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", site.path("chart/templates/passwd.yaml")).unwrap();
    let packed = std::process::Command::new("tar").args(["-czf", "packed/shop.tgz", "chart"]).current_dir(site.path("")).status().unwrap();
    assert!(packed.success());
    let bytes = fs::read(site.path("packed/shop.tgz")).unwrap();
    let digest = Digest::of(&bytes);
    server.put("/index.yaml", b"entries: { shop: [{ version: '1', urls: [shop.tgz] }] }\n".to_vec());
    server.put("/shop.tgz", bytes);
    let url = server.at("http", "");
    site.configure(&settings(&format!("repository: \"{url}\", name: shop, version: '1', digest: \"{digest}\""), ""));
    let said = site.refused();
    assert!(said.contains("is not used: `chart/templates/passwd.yaml` is a link or a device"), "{said}");
}

#[test]
fn a_secret_among_values_is_refused_by_its_place_and_other_things_may_be_called_so() {
    let site = site("{ helm: { path: chart, name: web, values: { tls: { secret: shop-tls }, colour: { secret: charts } } } }");
    let text = fs::read_to_string(site.path("trued.yaml")).unwrap();
    site.write("token", "hunter2\n");
    site.write("trued.yaml", &format!("secrets: {{ charts: {{ file: token }} }}\n{text}"));
    let said = site.refused();
    assert!(
        said.contains("trued.yaml:5:") && said.contains("`{ secret: charts }` among the settings of `helm` would be plain text"),
        "{said}"
    );
    assert!(!said.contains("shop-tls") && !said.contains("hunter2"), "{said}");
    site.configure("{ helm: { path: chart, name: web, values: { tls: { secret: shop-tls }, colour: red } } }");
    site.applied();
}
