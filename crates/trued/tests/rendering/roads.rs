//! The road to charts over https: an authority of one's own, a proxy, and who learns what on the way.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use trued_model::Digest;

use crate::kit::{Site, canonical};
use crate::pulled::{archive, by_hand, site};
use crate::registry::{Answer, Asked, Server};

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server's side with a certificate for these names.
    fn signs(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let signed = params.signed_by(&key, &self.0).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![signed.der().clone()], key).unwrap())
    }

    fn server(&self, names: &[&str], before: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Server {
        Server::over(Some(self.signs(names, |_| {})), before)
    }
}

/// What a proxy was asked: where to, and all lines besides.
type Asks = Vec<(String, Vec<String>)>;

/// A proxy that knows every name as this machine.
struct Proxy {
    port: u16,
    seen: Arc<Mutex<Asks>>,
}

impl Proxy {
    /// Asks for these credentials, encoded, if any.
    fn start(wanted: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = proxy.seen.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = seen.clone();
                std::thread::spawn(move || connect(stream, &seen, wanted));
            }
        });
        proxy
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn seen(&self) -> Asks {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn connect(mut stream: TcpStream, seen: &Mutex<Asks>, wanted: Option<&str>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    let to = first.strip_prefix("CONNECT ").unwrap_or(&first).split(' ').next()?.to_owned();
    let known = wanted.is_none_or(|wanted| lines.contains(&format!("proxy-authorization: {wanted}").to_ascii_lowercase()));
    seen.lock().unwrap().push((to.clone(), lines));
    if !known {
        return stream.write_all(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n").ok();
    }
    let port: u16 = to.rsplit_once(':')?.1.parse().ok()?;
    let mut there = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"HTTP/1.1 200 Go\r\n\r\n").ok()?;
    let mut back = (there.try_clone().ok()?, stream);
    let returning = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back.0, &mut back.1);
        let _ = back.1.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut reader.by_ref(), &mut there);
    let _ = there.shutdown(std::net::Shutdown::Both);
    returning.join().ok()
}

/// A chart that was pushed to a registry and put into a repository, and a site whose system trusts somebody else.
struct Ground {
    site: Site,
    plain: Server,
    authority: Authority,
}

impl Ground {
    fn new() -> Ground {
        let (plain, site, authority) = (Server::start(|_| None), site("{ plain: { path: deploy } }"), Authority::new());
        site.by_hand("helm", &["push", "packed/shop-1.2.3.tgz", &plain.at("oci", "/charts"), "--plain-http"]);
        site.by_hand("helm", &["repo", "index", "packed"]);
        plain.put("/stable/index.yaml", fs::read(site.path("packed/index.yaml")).unwrap());
        plain.put("/stable/shop-1.2.3.tgz", fs::read(site.path("packed/shop-1.2.3.tgz")).unwrap());
        site.write("ca.pem", &authority.0.pem());
        site.write("system.pem", &Authority::new().0.pem());
        site.environment.borrow_mut().push(("SSL_CERT_FILE", site.path("system.pem").display().to_string()));
        Ground { site, plain, authority }
    }

    /// The chart at a host, in both ways.
    fn charts(&self, host: &str) -> [String; 2] {
        let of_registry = format!("oci: \"oci://{host}/charts/shop\", digest: \"{}\"", self.plain.manifest());
        let repository = format!("repository: \"https://{host}/stable\", name: shop, version: 1.2.3, digest: \"{}\"", archive(&self.site));
        [of_registry, repository]
    }

    /// Configures a chart, and what the operator says of registries; forgets what was fetched and rendered.
    fn configure(&self, chart: &str, registries: &str) {
        self.site.configure(&format!("{{ helm: {{ path: deploy, name: web, values_files: [prod.yaml], chart: {{ {chart} }} }} }}"));
        self.site.preface(&format!("registries: {{ {registries} }}"));
        let _ = fs::remove_dir_all(self.site.path(".trued/cache"));
    }

    fn renders(&self) {
        self.site.applied();
        assert_eq!(canonical(&self.site.landed()), by_hand(&self.site, &[]));
    }
}

#[test]
fn a_server_over_https_is_believed_for_its_name_by_the_authority_that_the_operator_names() {
    let ground = Ground::new();
    let good = ground.authority.server(&["127.0.0.1"], |_| None).stocked_as(&ground.plain);
    let for_another = ground.authority.server(&["charts.example"], |_| None).stocked_as(&ground.plain);
    let old = ground.authority.signs(&["127.0.0.1"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let old = Server::over(Some(old), |_| None).stocked_as(&ground.plain);
    let at = |server: &Server| format!("127.0.0.1:{}", server.port);
    for place in 0..2 {
        let refused = |server: &Server, road: &str| {
            ground.configure(&ground.charts(&at(server))[place], &format!("\"{}\": {{ {road} }}", at(server)));
            let said = ground.site.refused();
            assert!(said.contains("trued.yaml:5:"), "{said}");
            assert_eq!(server.asked(), [], "nothing was asked of a server that is not believed");
            said
        };
        let said = refused(&good, "");
        assert!(said.contains("127.0.0.1 shows a certificate of an authority that is not trusted here"), "{said}");
        assert!(said.contains(&format!("registries: {{ \"{}\": {{ ca: FILE }} }}", at(&good))), "{said}");
        let said = refused(&good, "ca: system.pem");
        assert!(said.contains("of an authority that the operator's `ca` does not hold"), "{said}");
        let said = refused(&for_another, "ca: ca.pem");
        assert!(said.contains("127.0.0.1 shows a certificate for another name") && said.contains("correct the address"), "{said}");
        let said = refused(&old, "ca: ca.pem");
        assert!(said.contains("a certificate that is not valid now") && said.contains("have it renewed"), "{said}");
        let said = refused(&good, "ca: gone.pem");
        assert!(said.contains("gone.pem: it is not there"), "{said}");
        let said = refused(&good, "ca: deploy/prod.yaml");
        assert!(said.contains("it holds no PEM certificate"), "{said}");
    }
    for chart in ground.charts(&at(&good)) {
        ground.configure(&chart, &format!("\"{}\": {{ ca: ca.pem }}", at(&good)));
        ground.renders();
    }
    assert_eq!(good.asked().len(), 4, "a manifest and an archive, an index and an archive");
}

#[test]
fn a_proxy_is_gone_through_where_it_is_named_and_only_there() {
    let ground = Ground::new();
    let server = ground.authority.server(&["127.0.0.1", "charts.example"], |_| None).stocked_as(&ground.plain);
    let (proxy, of_environment) = (Proxy::start(None), Proxy::start(None));
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        ground.site.environment.borrow_mut().push((name, of_environment.url()));
    }
    let (here, named) = (format!("127.0.0.1:{}", server.port), format!("charts.example:{}", server.port));
    let roads = format!("\"{here}\": {{ ca: ca.pem }}, \"{named}\": {{ ca: ca.pem, proxy: \"{}\" }}", proxy.url());
    for (direct, through) in ground.charts(&here).iter().zip(ground.charts(&named)) {
        ground.configure(direct, &roads);
        ground.renders();
        assert_eq!(proxy.seen(), []);
        // No server of names knows this one here: who knows it is the proxy.
        ground.configure(&through, &roads);
        ground.renders();
        let places: Vec<_> = proxy.seen().into_iter().map(|(to, _)| to).collect();
        assert_eq!(places, [named.as_str(); 2], "once for each of two requests");
    }
    assert_eq!(of_environment.seen(), [], "the environment says nothing here");
    // A proxy that nobody is at.
    ground.configure(&ground.charts(&named)[0], &format!("\"{named}\": {{ ca: ca.pem, proxy: \"http://127.0.0.1:1\" }}"));
    let (_, said) = ground.site.said(&["plan"]);
    assert!(
        said.contains("charts.example cannot be asked through its proxy") && said.contains("check `proxy` under `registries`"),
        "{said}"
    );
}

/// Asks who one is, as the user robot with the password hunter2.
const ROBOT: &str = "Basic cm9ib3Q6aHVudGVyMg==";

fn asking((method, path, authorization): &Asked) -> Option<Answer> {
    let reads = method == "GET" && path != "/cdn";
    (reads && authorization != ROBOT).then(|| (401, vec![("WWW-Authenticate".to_owned(), "Basic realm=\"charts\"".to_owned())], Vec::new()))
}

#[test]
fn a_proxy_learns_whereto_and_who_we_are_to_it_and_nobody_else_learns_that() {
    let ground = Ground::new();
    let server = ground.authority.server(&["charts.example"], asking).stocked_as(&ground.plain);
    // The user door, with the password sesame.
    let proxy = Proxy::start(Some("Basic ZG9vcjpzZXNhbWU="));
    let named = format!("charts.example:{}", server.port);
    ground.site.write("robot", "hunter2\n");
    ground.site.write("door", "sesame\n");
    let road = |proxy: &str| format!("\"{named}\": {{ ca: ca.pem, proxy: {proxy} }}");
    for chart in ground.charts(&named) {
        let chart = format!("{chart}, user: robot, password: {{ secret: robot }}");
        let configure = |proxy: &str| {
            ground.configure(&chart, &road(proxy));
            ground.site.preface("secrets: { robot: { file: robot }, door: { file: door } }");
        };
        configure(&format!("\"{}\"", proxy.url()));
        let said = ground.site.refused();
        assert!(said.contains("the proxy on the way to charts.example asks who we are") && said.contains("username: …"), "{said}");
        configure(&format!("{{ url: \"{}\", username: door, password: {{ secret: door }} }}", proxy.url()));
        ground.renders();
        let seen = proxy.seen();
        let told = |words: &str| seen.iter().filter(|(_, lines)| lines.iter().any(|line| line.contains(words))).count();
        assert_eq!(seen.iter().filter(|(to, _)| *to != named).count(), 0, "{seen:?}");
        assert!(told("proxy-authorization: basic zg9v") >= 2, "{seen:?}");
        assert_eq!(told(&ROBOT.to_ascii_lowercase()), 0, "what the server is told is encrypted: {seen:?}");
    }
    let asked = server.asked();
    assert!(asked.iter().any(|(_, _, who)| who == ROBOT) && asked.iter().all(|(_, _, who)| who.is_empty() || who == ROBOT), "{asked:?}");
}

#[test]
fn a_token_is_had_by_the_same_road_and_never_without_encryption() {
    let ground = Ground::new();
    let realm = Arc::new(Mutex::new(String::new()));
    let named = realm.clone();
    let server = ground.authority.server(&["charts.example"], move |(method, path, authorization)| {
        let token = path == "/token?service=r&scope=repository%3Acharts%2Fshop%3Apull" && authorization == ROBOT;
        let told = format!("Bearer realm=\"{}\",service=\"r\"", named.lock().unwrap());
        match (token, method == "GET" && authorization != "Bearer for-robot") {
            (true, _) => Some((200, Vec::new(), b"{\"token\":\"for-robot\"}".to_vec())),
            (false, true) => Some((401, vec![("WWW-Authenticate".to_owned(), told)], Vec::new())),
            (false, false) => None,
        }
    });
    let server = server.stocked_as(&ground.plain);
    let (proxy, host) = (Proxy::start(None), format!("charts.example:{}", server.port));
    let [chart, _] = ground.charts(&host);
    ground.configure(
        &format!("{chart}, user: robot, password: {{ secret: robot }}"),
        &format!("\"{host}\": {{ ca: ca.pem, proxy: \"{}\" }}", proxy.url()),
    );
    ground.site.preface("secrets: { robot: { file: robot } }");
    ground.site.write("robot", "hunter2\n");
    *realm.lock().unwrap() = format!("http://{host}/token");
    let said = ground.site.refused();
    assert!(said.contains("sends us on to a place that is not encrypted"), "{said}");
    let before = server.asked().len();
    *realm.lock().unwrap() = format!("https://{host}/token");
    ground.renders();
    let told: Vec<_> = server.asked().split_off(before).into_iter().map(|(_, _, who)| who).collect();
    assert_eq!(told, ["", ROBOT, "Bearer for-robot", "Bearer for-robot"]);
    assert!(proxy.seen().iter().all(|(to, _)| *to == host));
}

#[test]
fn whoever_a_server_sends_us_on_to_gets_no_credentials_and_is_nobodys_inside_through_a_proxy_either() {
    let ground = Ground::new();
    let elsewhere = ground.authority.server(&["127.0.0.1", "localhost"], |_| None);
    elsewhere.put("/cdn", fs::read(ground.site.path("packed/shop-1.2.3.tgz")).unwrap());
    let to = Arc::new(Mutex::new(String::new()));
    let there = to.clone();
    let server = ground.authority.server(&["charts.example"], move |asked| {
        let sends_on = asked.0 == "GET" && (asked.1.contains("/blobs/") || asked.1.ends_with(".tgz"));
        asking(asked).or_else(|| sends_on.then(|| (307, vec![("Location".to_owned(), there.lock().unwrap().clone())], Vec::new())))
    });
    let server = server.stocked_as(&ground.plain);
    let proxy = Proxy::start(None);
    let named = format!("charts.example:{}", server.port);
    let registries = format!("\"{named}\": {{ ca: ca.pem, proxy: \"{}\" }}", proxy.url());
    ground.site.write("robot", "hunter2\n");
    let secrets = |more: &str| format!("secrets: {{ robot: {{ file: robot{more} }} }}");
    let charts = ground.charts(&named).map(|chart| format!("{chart}, user: robot, password: {{ secret: robot }}"));
    for chart in &charts {
        for host in ["127.0.0.1", "localhost"] {
            *to.lock().unwrap() = format!("https://{host}:{}/cdn", elsewhere.port);
            ground.configure(chart, &registries);
            ground.site.preface(&secrets(""));
            let said = ground.site.refused();
            assert!(said.contains("a loopback address, which was not granted by name"), "{said}");
        }
        *to.lock().unwrap() = format!("http://127.0.0.1:{}/cdn", elsewhere.port);
        assert!(ground.site.refused().contains("sends us on to a place that is not encrypted"));
    }
    assert_eq!(elsewhere.asked(), []);
    assert!(proxy.seen().iter().all(|(to, _)| *to == named), "the proxy was not asked for it either");
    // Where the operator grants it, it is gone to by the same road, and is told nothing.
    *to.lock().unwrap() = format!("https://127.0.0.1:{}/cdn", elsewhere.port);
    let tools = fs::read_to_string(ground.site.path("trued.yaml")).unwrap();
    let tools = tools.lines().find(|line| line.starts_with("sandbox")).unwrap();
    ground.site.write("deploy/values/prod.yaml", "colour: red\n");
    ground.site.write(
        "trued.yaml",
        &format!(
            "{tools}\nregistries: {{ {registries} }}\n{}\nsources: {{ shop: {{ folder: {{ path: . }} }} }}\nenvironments: {{ prod: {{}} }}\n\
             apps: [\"shop//deploy/app.yaml\"]\ntargets: {{ web: {{ files: {{ root: www, create: true }}, allow: [\"shop//deploy\"], \
             reach: [\"https://charts.example:*/*\", \"https://127.0.0.1:*/*\"] }} }}\n",
            secrets(", allow: [\"shop//deploy\"]")
        ),
    );
    for chart in &charts {
        let render = format!("{{ helm: {{ path: values, name: web, values_files: [prod.yaml], chart: {{ {chart} }} }} }}");
        ground.site.write("deploy/app.yaml", &format!("app: shop\nrender: {render}\nstacks: {{ prod: {{ target: web }} }}\n"));
        let _ = fs::remove_dir_all(ground.site.path(".trued/cache"));
        ground.renders();
        assert_eq!(elsewhere.asked().last(), Some(&("GET".to_owned(), "/cdn".to_owned(), String::new())));
        let here = format!("127.0.0.1:{}", elsewhere.port);
        assert_eq!(proxy.seen().last().map(|(to, _)| to.clone()), Some(here), "by the same road");
    }
    assert!(elsewhere.asked().iter().all(|(_, _, who)| who.is_empty()));
}

#[test]
fn what_is_wrong_with_a_road_is_a_finding_at_its_place_and_repeats_no_password() {
    let ground = Ground::new();
    let refused = |chart: &str, registries: &str| {
        ground.configure(chart, registries);
        let said = ground.site.refused();
        assert!(!said.contains("Hunter2"), "{said}");
        said
    };
    let [chart, _] = ground.charts("charts.example");
    let at = |said: &str, column: u32, words: &str| {
        assert!(said.contains(&format!("trued.yaml:1:{column}: ")) && said.contains(words), "{said}")
    };
    at(&refused(&chart, "charts.example: { proxy: \"socks5://h:1\" }"), 40, "it is not an address such as http://host:port");
    at(&refused(&chart, "charts.example: { proxy: \"http://me:Hunter2@h:1\" }"), 40, "this address has a user or a password in it");
    at(&refused(&chart, "charts.example: { proxy: { url: \"http://h:1\", username: me } }"), 40, "a username with a password, or neither");
    at(&refused(&chart, "charts.example: { prxy: \"http://h:1\" }"), 33, "`prxy`");
    at(&refused(&chart, "\"https://charts.example\": {}"), 15, "a host such as charts.example");
    at(&refused(&chart, "charts.example: {}, \"charts.example:443\": {}"), 35, "is named twice");
    let secret = "charts.example: { proxy: { url: \"http://h:1\", username: me, password: { secret: door } } }";
    assert!(refused(&chart, secret).contains("no secret is named `door`"));
    let plain = format!("{chart}, plain_http: true").replace("charts.example", "charts.example:443");
    let said = refused(&plain, "charts.example: { ca: ca.pem }");
    assert!(said.contains("trued.yaml:5:") && said.contains("`registries` says how this is asked with encryption"), "{said}");
    let digest = Digest::of(b"chart");
    let said = refused(&format!("repository: \"https://me:Hunter2@charts.example\", name: shop, version: '1', digest: \"{digest}\""), "");
    assert!(said.contains("trued.yaml:5:") && said.contains("this address has a user or a password in it"), "{said}");
    let said =
        refused(&format!("repository: \"https://charts.example?token=Hunter2\", name: shop, version: '1', digest: \"{digest}\""), "");
    assert!(said.contains("more than a host and a path"), "{said}");
}
