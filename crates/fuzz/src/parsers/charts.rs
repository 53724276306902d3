//! What servers of charts send, and what a chart's own files say: all of it a stranger's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trued_doors::{
    Answer, BoxFuture, Bundle, BundleEntry, BundleReader, Cache, Confined, Confines, Exit, Program, Puller, RenderInput, Renderer, Room,
    Runner, Workspace,
};
use trued_ledger::NullSeal;
use trued_model::{Code, Digest, Finding, Level, Place, Pull, PullFrom, Refusal, Revision, SandboxRules, Shape};
use trued_sources::said;

use super::wait;

/// The index of a repository: an archive is had over HTTP, from a host, as nobody.
pub fn index(bytes: &[u8]) {
    let base = "https://charts.example/stable/".parse().expect("an address");
    let digest = Digest::of(b"chart");
    let located = || said::located(bytes, &base, "shop", "1.2.3", &digest);
    match located() {
        Ok(url) => {
            assert!(matches!(url.scheme(), "http" | "https") && url.host_str().is_some(), "{url}");
            assert!(url.username().is_empty() && url.password().is_none(), "somebody else's credentials: {url}");
        }
        Err(refusal) => told(&refusal),
    }
    assert_eq!(located(), located());
}

struct Kept(Digest, Vec<u8>);

impl Cache for Kept {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let named = |digest: &Digest| key.ends_with(&digest.hex());
        if named(&self.0) { Some(self.1.clone()) } else { named(&Digest::of(b"archive")).then(|| b"archive".to_vec()) }
    }

    fn put(&self, _: &str, _: &[u8]) {}
}

/// The manifest of a registry: what is had by it is what its one layer names, and nothing if that is not here.
pub fn image(bytes: &[u8]) {
    let digest = Digest::of(bytes);
    let place = Place { file: "trued.yaml".to_owned(), line: 1, column: 1 };
    let pull = Pull::of(PullFrom::oci("oci://r.example/shop").expect("a place"), digest, place);
    let had = trued_sources::Charts.kept(&pull, &Kept(digest, bytes.to_vec()));
    match said::layer(bytes) {
        Ok(layer) => {
            // Digests are taken in capitals too.
            let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
            assert!(text.contains(&layer.hex()) || text.contains('\\'), "{layer} from nowhere");
            assert_eq!(had.is_some(), layer == Digest::of(b"archive") || layer == digest);
        }
        Err(refusal) => {
            told(&refusal);
            assert_eq!(had, None);
        }
    }
}

/// A challenge, and after the first empty line the answer of whoever gives tokens.
pub fn challenge(bytes: &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(bytes.len());
    let base = "https://r.example/".parse().expect("an address");
    match said::challenge(&String::from_utf8_lossy(&bytes[..end]), &base, "team/shop") {
        Ok(said::Challenge::Token(realm)) => {
            assert!(matches!(realm.scheme(), "http" | "https") && realm.host_str().is_some(), "{realm}");
            assert!(realm.username().is_empty() && realm.password().is_none(), "{realm}");
            let scope = ("scope".into(), "repository:team/shop:pull".into());
            assert_eq!(realm.query_pairs().last(), Some(scope), "asks for what is needed, and last: {realm}");
        }
        Ok(said::Challenge::Basic) => {}
        Err(refusal) => told(&refusal),
    }
    match said::token(bytes.get(end + 2..).unwrap_or_default()) {
        Ok(header) => assert!(header.is_sensitive() && header.as_bytes().starts_with(b"Bearer ") && header.len() > 7),
        Err(refusal) => told(&refusal),
    }
}

/// Says something, and moves no cursor.
fn told(refusal: &Refusal) {
    assert!(!refusal.message.is_empty() && matches!(refusal.code, Code::Invalid | Code::Absent | Code::TooLarge | Code::Unsupported));
    assert!(!refusal.message.contains(['\0', '\x1b', '\r']), "{refusal:?}");
}

/// An archive without its wrapping: one that leads out, or has links, is given to no program, as the chart or as a dependency of one.
pub fn archive(bytes: &[u8]) {
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zip.write_all(bytes).expect("in memory");
    let packed = zip.finish().expect("in memory");
    let digest = Digest::of(&packed);
    let from = json!({ "from": "shop 1 of a repository", "digest": digest });
    let pulled = BTreeMap::from([(digest, Arc::from(packed))]);
    let declares =
        b"apiVersion: v2\nname: whole\nversion: 1.0.0\ndependencies: [{ name: shop, version: '1', repository: 'https://c.example' }]\n";
    let values = || bundle([("values.yaml", &b"a: 1\n"[..])]);
    for (settings, bundle) in [
        (json!({ "path": "x", "name": "web", "chart": from.clone() }), values()),
        (json!({ "path": "x", "name": "web", "dependencies": { "shop": from } }), bundle([("Chart.yaml", &declares[..])])),
    ] {
        let (ran, outcome) = template(settings, bundle, pulled.clone());
        if leads_out(bytes) {
            let said = format!("{outcome:?}");
            assert!(!ran && outcome.is_err(), "a program was given it: {said}");
        }
    }
}

/// Whether an archive has an entry that none of a chart has, as its reader gives them.
fn leads_out(bytes: &[u8]) -> bool {
    let mut archive = tar::Archive::new(bytes);
    let Ok(entries) = archive.entries() else { return false };
    entries.map_while(Result::ok).any(|entry| {
        let path = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        let plain = kind.is_file() || kind.is_dir() || kind.is_pax_global_extensions();
        !plain || path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|step| step == b"..")
    })
}

/// A chart's Chart.yaml and, after `%%`, its Chart.lock: what is said of them is said at a place in one of them.
pub fn chart(bytes: &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"%%").unwrap_or(bytes.len());
    let lock = bytes.get(end + 2..).unwrap_or_default();
    let files = bundle([("Chart.yaml", &bytes[..end]), ("Chart.lock", lock), ("base/Chart.yaml", b"name: base\nversion: 1.0.0\n")]);
    let (_, outcome) = template(json!({ "path": "x", "name": "web" }), files, BTreeMap::new());
    if let Err(findings) = outcome {
        assert!(!findings.is_empty(), "refused without a word");
        let placed = |finding: &Finding| finding.place.as_ref().is_some_and(|place| place.file.starts_with("x/Chart."));
        assert!(findings.iter().all(placed), "{findings:?}");
    }
}

fn template(settings: Value, bundle: Bundle, pulled: BTreeMap<Digest, Arc<[u8]>>) -> (bool, Result<usize, Vec<Finding>>) {
    let runner = Arc::new(Rooms::default());
    let input = RenderInput {
        bundle,
        settings,
        into: String::new(),
        vars: BTreeMap::new(),
        secrets: BTreeMap::new(),
        pulled,
        sensitive: Vec::new(),
        seal: Arc::new(NullSeal),
        known: Arc::default(),
        only: None,
        runner: runner.clone(),
        sandbox: SandboxRules::default(),
        repeat: false,
        elsewhere: false,
    };
    thread_local!(static HELM: RefCell<Option<Arc<dyn Renderer>>> = const { RefCell::new(None) });
    let helm = HELM.with(|known| {
        let make = || trued_render::kinds().into_iter().find(|kind| kind.describe().kind == "helm").expect("helm is rendered");
        known.borrow_mut().get_or_insert_with(make).clone()
    });
    let outcome = wait(helm.render(input)).map(|rendered| rendered.documents.len());
    let ran = runner.ran.lock().expect("one thread").contains(&"template".to_owned());
    (ran, outcome)
}

/// Has rooms for programs, and programs that make nothing; looks at what they find there.
#[derive(Default)]
struct Rooms {
    ran: Mutex<Vec<String>>,
}

impl Runner for Rooms {
    fn run(&self, _: Program) -> BoxFuture<'_, Answer<Exit>> {
        panic!("a program was started that is not confined");
    }

    fn confine(&self, program: Program, confines: Confines) -> BoxFuture<'_, Answer<Confined>> {
        let verb = program.argv.get(1).cloned().unwrap_or_default();
        if let Some(room) = &confines.room {
            let listed = |below: &str| -> Vec<String> {
                let entries = fs::read_dir(room.folder.join(below)).into_iter().flatten().flatten();
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            };
            let ours = ["trued-source", "values.json", "objects", "chart.tgz"];
            assert!(listed("").iter().all(|name| ours.contains(&name.as_str())), "{:?}", listed(""));
            let charts = listed("trued-source/charts");
            assert!(charts.len() <= 1 && charts.iter().all(|name| name.starts_with("shop-") && name.ends_with(".tgz")), "{charts:?}");
        }
        let said: &[u8] = match verb.as_str() {
            "dependency" => b"NAME\tVERSION\tREPOSITORY\tSTATUS\nshop\t1\thttps://c.example\tok\nbase\t>=1.2 <2\tfile://base\tok\n",
            _ => b"v4.0.0\n",
        };
        self.ran.lock().expect("one thread").push(verb);
        let exit = Exit { status: Some(0), output: said.to_vec(), error: Vec::new() };
        Box::pin(async { Ok(Confined { level: Level::Base, passed: None, exit }) })
    }

    fn level(&self) -> BoxFuture<'_, Level> {
        Box::pin(async { Level::Base })
    }

    fn workspace(&self) -> Answer<Workspace> {
        let made = tempfile::tempdir().expect("a folder");
        let (folder, scratch) = (made.path().join("room"), made.path().join("scratch"));
        fs::create_dir(&folder).expect("a folder");
        fs::create_dir(&scratch).expect("a folder");
        Ok(Workspace { room: Room { folder, scratch }, keep: Box::new(made) })
    }

    fn identify(&self, name: &str, _: &[PathBuf]) -> Answer<Digest> {
        Ok(Digest::of(name.as_bytes()))
    }
}

struct Files(BTreeMap<String, Vec<u8>>);

impl BundleReader for Files {
    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| Refusal::new(Code::Absent, "it is not there"))
    }
}

fn bundle<const N: usize>(files: [(&str, &[u8]); N]) -> Bundle {
    let files: BTreeMap<String, Vec<u8>> = files.into_iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    let shape = Shape::File { executable: false };
    let entry = |bytes: &Vec<u8>| BundleEntry { shape, bytes: bytes.len() as u64, id: Digest::of(bytes).hex().into(), content: None };
    Bundle {
        revision: Revision { source: "shop".parse().expect("a name"), id: "0123456789ab".to_owned() },
        folder: "x".to_owned(),
        digest: String::new(),
        entries: Arc::new(files.iter().map(|(path, bytes)| (path.as_str().into(), entry(bytes))).collect()),
        reader: Arc::new(Files(files)),
    }
}
