//! The charts that a chart of the source depends on: those in its `charts/`, those that the configuration pins, and those beside it
//! in the source. Nothing else is looked for, and helm looks for none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use trued_doors::{Bundle, RenderInput};
use trued_model::{Finding, Shape, encode_path};
use trued_yaml::{Budget, Mark, Node, Value};

use super::archive::files_of;
use super::lock::{FILE as LOCK, Lock};
use super::{Elsewhere, fit};
use crate::copy::in_source;
use crate::objects::{Below, below_bundle, within};
use crate::program::not_written;

/// Larger ones are no description of a chart.
const LARGEST: u64 = 1 << 20;

/// Columns of `helm dependency list`: name, version, repository, status.
const COLUMNS: usize = 4;

/// What stands in the last one where all is well; where two aliases have two versions of a chart it does not tell them apart.
const FITS: [&str; 3] = ["ok", "unpacked", "too many matches"];

/// Where a chart keeps those that it depends on.
const CHARTS: &str = "charts";

/// A dependency as Chart.yaml declares it.
pub struct Declared {
    /// What values, and our configuration, call it.
    pub key: String,
    pub name: String,
    pub version: String,
    pub repository: String,
    pub mark: Mark,
    pub node: Node,
}

/// What has to be put into `charts/` before helm renders.
#[derive(Default)]
pub struct Settled {
    /// Archives, by their files' names.
    pub archives: BTreeMap<String, Arc<[u8]>>,
    /// Folders of the source that are packed first.
    pub siblings: Vec<Below>,
    /// What helm is asked about: whether each fits what is declared.
    pub judged: Vec<Declared>,
}

/// Finds every chart that a chart in the source depends on, or says what to write.
pub fn settle(input: &RenderInput, chart: &str, pins: &BTreeMap<String, Elsewhere>) -> Result<Settled, Vec<Finding>> {
    let bundle = &input.bundle;
    let described = within(chart, "Chart.yaml");
    let at = |finding: Finding, mark: Mark| finding.at(in_source(bundle, &described), mark.line, mark.column);
    // What cannot be read, helm cannot read either, and says why.
    let Some(root) = read(bundle, &described) else { return Ok(Settled::default()) };
    let Some(declared) = declared(&root) else { return Ok(Settled::default()) };
    let lock = Lock::of(bundle, chart).filter(|_| root.get("apiVersion").and_then(Node::text) == Some("v2"));
    let mut findings = lock.as_ref().map_or_else(Vec::new, |lock| lock.disagrees(bundle, chart, &declared));
    let lock = lock.filter(|_| findings.is_empty());
    for key in pins.keys().filter(|key| !declared.iter().any(|one| one.key == **key)) {
        let keys: Vec<_> = declared.iter().map(|one| format!("`{}`", one.key)).collect();
        let help = if keys.is_empty() { "remove it".to_owned() } else { format!("write {}, or remove it", keys.join(" or ")) };
        let finding = Finding::new(format!("`dependencies` pins `{key}`, and this chart declares no such dependency"), help);
        findings.push(at(finding, root.key_mark_of("/dependencies")));
    }
    let lying = in_charts(bundle, chart);
    let linked = has_links(bundle, chart);
    let mut settled = Settled::default();
    for one in declared {
        let settled_by = match (pins.get(&one.key), lying.contains(&one.name)) {
            (Some(_), true) => {
                let message = format!("`{}` lies in `{CHARTS}/`, and `dependencies` pins it too", one.name);
                Err(vec![at(Finding::new(message, format!("remove it from `{CHARTS}/`, or from `dependencies`")), one.mark)])
            }
            (None, true) => continue,
            // Helm follows links that stay in its room, and says what it does not find there.
            (None, false) if linked => continue,
            (Some(pin), false) => pinned(input, &one, pin).map(|(file, bytes)| drop(settled.archives.insert(file, bytes))),
            (None, false) if one.repository.starts_with("file://") => {
                sibling(bundle, chart, &one).map(|folder| settled.siblings.push(folder))
            }
            (None, false) => Err(vec![missing(&one, lock.as_ref())]),
        };
        match settled_by {
            Ok(()) => settled.judged.push(one),
            Err(wrong) => {
                findings.extend(wrong.into_iter().map(|finding| if finding.place.is_some() { finding } else { at(finding, one.mark) }))
            }
        }
    }
    if findings.is_empty() { Ok(settled) } else { Err(findings) }
}

/// Puts archives into `charts/` of the copy. What is there already is not written through.
pub fn lay(archives: &BTreeMap<String, Arc<[u8]>>, chart: &Path) -> Result<(), Vec<Finding>> {
    if archives.is_empty() {
        return Ok(());
    }
    let folder = chart.join(CHARTS);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(not_written(error)),
        _ => {}
    }
    // A link of the source could lead anywhere.
    if !fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
        return Err(vec![Finding::new(format!("`{CHARTS}` of the chart is no folder, so nothing can be put there"), "commit a folder")]);
    }
    for (name, bytes) in archives {
        let file = fs::File::options().write(true).create_new(true).open(folder.join(name));
        file.and_then(|mut file| file.write_all(bytes)).map_err(not_written)?;
    }
    Ok(())
}

/// What `helm dependency list` says against those that it was asked about: a version that is not in the range that the chart declares
/// would be left out, or taken without its conditions, and nobody told.
pub fn judge(bundle: &Bundle, chart: &str, judged: &[Declared], said: &str) -> Vec<Finding> {
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split('\t').map(str::trim).collect()).collect();
    let against = |one: &Declared| {
        let of_name = rows.iter().filter(|row| row.len() == COLUMNS && row[0] == one.name);
        let (exact, others): (Vec<_>, Vec<_>) = of_name.partition(|row| row[1] == one.version);
        // A long version is cut short.
        let row = exact.first().or(others.first());
        let message = match row.map(|row| row[COLUMNS - 1]) {
            Some(status) if FITS.contains(&status) => return None,
            Some("wrong version") => format!("`{}` is here in a version that is not `{}`", one.name, one.version),
            Some(status) => format!("`helm dependency list` says of `{}`: {status}", one.name),
            None => format!("`helm dependency list` does not say whether `{}` fits `{}`", one.name, one.version),
        };
        let finding = Finding::new(message, "pin one that fits, or correct what is declared here");
        Some(finding.at(in_source(bundle, &within(chart, "Chart.yaml")), one.mark.line, one.mark.column))
    };
    judged.iter().filter_map(against).collect()
}

/// Reads a small file of a bundle as YAML.
pub fn read(bundle: &Bundle, path: &str) -> Option<Node> {
    bundle.entries.get(path).filter(|entry| entry.bytes <= LARGEST && matches!(entry.shape, Shape::File { .. }))?;
    parsed(&bundle.reader.read(path).ok()?)
}

fn parsed(bytes: &[u8]) -> Option<Node> {
    let text = trued_yaml::text_of("Chart.yaml", bytes).ok()?;
    trued_yaml::read("Chart.yaml", text, &Budget::default()).ok()
}

/// What a chart declares; `None` where that is not as helm takes it.
fn declared(root: &Node) -> Option<Vec<Declared>> {
    let items: &[Node] = match root.get("dependencies").map(|list| &list.value) {
        None | Some(Value::Null) => &[],
        Some(Value::List(items)) => items,
        Some(_) => return None,
    };
    let one = |node: &Node| {
        let text = |key: &str| match node.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Some(String::new()),
            Some(Value::Text(text)) => Some(text.clone()),
            Some(_) => None,
        };
        let (name, alias) = (text("name")?, text("alias")?);
        let key = if alias.is_empty() { name.clone() } else { alias };
        Some(Declared { key, name, version: text("version")?, repository: text("repository")?, mark: node.mark, node: node.clone() })
    };
    items.iter().map(one).collect()
}

/// The names of the charts that lie in a chart's `charts/`.
fn in_charts(bundle: &Bundle, chart: &str) -> BTreeSet<String> {
    let folder = format!("{}/", within(chart, CHARTS));
    let mut names = BTreeSet::new();
    for path in bundle.entries.keys() {
        let Some(below) = path.strip_prefix(&folder).filter(|below| !below.starts_with(['_', '.'])) else { continue };
        let node = match below.split_once('/') {
            Some((_, "Chart.yaml")) => read(bundle, path),
            None if below.ends_with(".tgz") => bundle.reader.read(path).ok().and_then(|bytes| description(&bytes)),
            _ => continue,
        };
        names.extend(node.as_ref().and_then(|node| node.get("name")?.text()).map(str::to_owned));
    }
    names
}

/// Whether `charts/` is a link, or has one.
fn has_links(bundle: &Bundle, chart: &str) -> bool {
    let folder = within(chart, CHARTS);
    let inside = |path: &str| path.strip_prefix(&folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    bundle.entries.iter().any(|(path, entry)| entry.shape == Shape::Link && inside(path))
}

/// The Chart.yaml of an archive.
fn description(archive: &[u8]) -> Option<Node> {
    let files = files_of(archive, LARGEST).ok()?;
    let (_, text) = files.iter().find(|(name, _)| name.split_once('/').is_some_and(|(_, below)| below == "Chart.yaml"))?;
    parsed(text.as_bytes())
}

/// A pinned chart that is what is declared, with its file's name in `charts/`.
fn pinned(input: &RenderInput, one: &Declared, pin: &Elsewhere) -> Result<(String, Arc<[u8]>), Vec<Finding>> {
    let bytes = fit(input, pin)?;
    let node = description(&bytes);
    let text = |key: &str| node.as_ref().and_then(|node| node.get(key)?.text()).unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    // Both become a file's name.
    let plain =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+'));
    if !plain(&name) || !plain(&version) {
        let message = format!("{} says no name and version of a chart", pin.from);
        return Err(vec![Finding::new(message, "look at what is there, and build it with `helm package`")]);
    }
    if name != one.name {
        let message = format!("`{}` is declared here, and {} is the chart `{name}`", one.name, pin.from);
        return Err(vec![Finding::new(message, format!("pin `{}` under `dependencies: {{ {}: … }}`", one.name, one.key))]);
    }
    Ok((format!("{name}-{version}.tgz"), bytes))
}

/// A chart beside this one in the source: `file://../base`.
fn sibling(bundle: &Bundle, chart: &str, one: &Declared) -> Result<Below, Vec<Finding>> {
    let written = one.repository.strip_prefix("file://").unwrap_or_default();
    let mut steps: Vec<String> = chart.split('/').filter(|step| !step.is_empty()).map(str::to_owned).collect();
    let mut inside = !written.starts_with('/');
    for step in written.split('/') {
        match step {
            "" | "." => {}
            ".." => inside &= steps.pop().is_some(),
            step => steps.push(encode_path(step.as_bytes())),
        }
    }
    let path = steps.join("/");
    if inside && bundle.entries.contains_key(within(&path, "Chart.yaml").as_str()) {
        let raw = trued_model::decode_path(&path).and_then(|raw| String::from_utf8(raw).ok());
        if let Some(raw) = raw {
            return below_bundle(bundle, "repository", &raw);
        }
    }
    let message = format!("`{}` is declared at `{}`, and no chart is there below `{}`", one.name, one.repository, bundle.folder);
    Err(vec![Finding::new(message, "let `path` name the folder that holds both charts, and `chart` this one below it")])
}

/// What to write for a dependency that is nowhere.
fn missing(one: &Declared, lock: Option<&Lock>) -> Finding {
    let Declared { key, name, version, repository, .. } = one;
    let exact = |version: &&str| version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains([' ', '|', ',', 'x', '*']);
    let version = lock.and_then(|lock| lock.version_of(one)).or(Some(version.as_str()).filter(exact)).unwrap_or("VERSION");
    let vendor = format!("commit what `helm dependency build` writes into `{CHARTS}/`");
    let help = match repository.trim_end_matches('/') {
        "" => format!("commit it into `{CHARTS}/`: without a `repository` it is nowhere else"),
        at if at.starts_with("oci://") => {
            format!(
                "write `dependencies: {{ {key}: \"{at}/{name}@sha256:…\" }}` beside `name`, with the digest that `helm pull {at}/{name} --version {version}` says; or {vendor}"
            )
        }
        at => {
            let at = if at.starts_with("http") { at } else { "https://…" };
            format!(
                "write `dependencies: {{ {key}: {{ repository: \"{at}\", name: {name}, version: {version}, digest: sha256:… }} }}` beside `name`, with the digest of that repository's index; or {vendor}"
            )
        }
    };
    let locked = if lock.is_some() { format!("; {LOCK} pins its version and not its bytes") } else { String::new() };
    Finding::new(format!("`{name}` is declared here, and lies neither in `{CHARTS}/` nor is pinned under `dependencies`{locked}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_says_of_a_dependency_is_believed_only_where_it_says_that_it_fits() {
        let root = parsed(b"dependencies:\n- { name: cache, version: ~1.4 }\n").unwrap();
        let judged = declared(&root).unwrap();
        let bundle = Bundle {
            revision: trued_model::Revision { source: "shop".parse().unwrap(), id: "0".to_owned() },
            folder: "x".to_owned(),
            digest: String::new(),
            entries: Arc::default(),
            reader: Arc::new(Nothing),
        };
        let said = |text: &str| judge(&bundle, "shop", &judged, text).first().map(ToString::to_string).unwrap_or_default();
        let head = "NAME \tVERSION\tREPOSITORY\tSTATUS\n";
        assert_eq!(said(&format!("{head}cache\t~1.4   \thttps://c \tok    \n")), "");
        assert_eq!(said(&format!("{head}cache\t~1.3\t\twrong version\ncache\t~1.4\t\tunpacked\n")), "");
        let wrong = said(&format!("{head}cache\t~1.4\thttps://c\twrong version\n"));
        assert!(wrong.starts_with("x/shop/Chart.yaml:2:3: ") && wrong.contains("a version that is not `~1.4`"), "{wrong}");
        assert!(said(&format!("{head}cache\t~1.4\thttps://c\tcorrupt chart archive\n")).contains("says of `cache`: corrupt chart archive"));
        assert!(said("WARNING: no dependencies\n").contains("does not say whether `cache` fits"));
    }

    struct Nothing;

    impl trued_doors::BundleReader for Nothing {
        fn read(&self, _: &str) -> trued_doors::Answer<Vec<u8>> {
            Ok(Vec::new())
        }
    }
}
