//! What a renderer needs from elsewhere: an address, a digest and who we are there, each at its place.

use serde_json::{Map, Value, json};
use trued_model::{Digest, Place, Pull, PullFrom};
use trued_yaml::{pointer_steps, step};

use crate::operator::registry::asked_at;
use crate::operator::without_credentials;
use crate::render::secret;
use crate::stack::Scene;
use crate::text::shown;

/// What pins a chart, in words.
const PIN: &str = "of the manifest in a registry (`helm push` says it), of the archive elsewhere (its index has it)";

/// Resolves the settings at these places, as far as they name something elsewhere; `None` when one is at fault. In the
/// renderer's settings stays only what each is: the digest, and words for people.
pub(crate) fn resolve_all(scene: &mut Scene<'_>, pointer: &str, patterns: &[&str], settings: &mut Value) -> Option<Vec<Pull>> {
    let (mut pulls, mut good) = (Vec::new(), true);
    for below in patterns.iter().flat_map(|pattern| places(settings, pattern)).collect::<Vec<_>>() {
        let Some(setting) = settings.pointer_mut(&below).filter(|setting| leads_elsewhere(setting)) else { continue };
        let written = std::mem::take(setting);
        let at = format!("{pointer}{below}");
        match resolve(scene, &at, &written) {
            Some(pull) => {
                *setting = json!({ "from": pull.from.words(), "digest": pull.digest });
                let resolved = format!("/render/pulls/{}", pulls.len());
                scene.remember(&resolved, &at);
                let said = scene.operator.registries.get(&asked_at(&pull.from.address(pull.plain_http)));
                if let Some(pointer) = said.map(|registry| registry.pointer.clone()) {
                    scene.remember_operators(&format!("{resolved}/road"), &pointer);
                }
                pulls.push(pull);
            }
            None => good = false,
        }
    }
    good.then_some(pulls)
}

/// The places that a pattern means in these settings.
fn places(settings: &Value, pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for one in pointer_steps(pattern) {
        let below = |at: String| -> Vec<String> {
            match (settings.pointer(&at), one.as_str()) {
                (Some(Value::Array(items)), "*") => (0..items.len()).map(|item| format!("{at}/{item}")).collect(),
                (Some(Value::Object(map)), "*") => map.keys().map(|key| format!("{at}{}", step(key))).collect(),
                (Some(Value::Object(map)), key) if map.contains_key(key) => vec![format!("{at}{}", step(key))],
                _ => Vec::new(),
            }
        };
        found = found.into_iter().flat_map(below).collect();
    }
    found
}

/// A path in the source has no scheme.
fn leads_elsewhere(setting: &Value) -> bool {
    setting.is_object() || setting.as_str().is_some_and(|text| text.contains("://"))
}

fn resolve(scene: &mut Scene<'_>, pointer: &str, setting: &Value) -> Option<Pull> {
    if let Some(text) = setting.as_str() {
        let (from, digest) = in_one(scene, pointer, text)?;
        return granted(scene, pointer, Pull::of(from, digest, here(scene, pointer)));
    }
    let written = setting.as_object()?;
    let text = |key: &str| written.get(key).and_then(Value::as_str);
    let from = place(scene, pointer, written)?;
    let Some(digest) = text("digest").and_then(|digest| digest.parse::<Digest>().ok()) else {
        scene.fault(pointer, "nothing pins what is fetched", format!("write `digest: sha256:…`: {PIN}"));
        return None;
    };
    let plain_http = written.get("plain_http").and_then(Value::as_bool).unwrap_or(false);
    if from.address(plain_http).starts_with("http:") && !plain_http {
        let help = "write `https://`, or `plain_http: true` where nobody can listen on the way";
        scene.fault(&format!("{pointer}/repository"), format!("`{}` is not encrypted", shown(&from.address(plain_http))), help);
        return None;
    }
    let user = text("user").map(str::to_owned);
    let password = match written.get("password").and_then(Value::as_object) {
        Some(map) => Some(secret(scene, &format!("{pointer}/password"), map)?),
        None => None,
    };
    if user.is_some() != password.is_some() {
        scene.fault(pointer, "`user` and `password` stand together", "write both, or none");
        return None;
    }
    let pull = Pull::of(from, digest, here(scene, pointer));
    granted(scene, pointer, Pull { user, password, plain_http, ..pull })
}

fn here(scene: &Scene<'_>, pointer: &str) -> Place {
    let mark = scene.text.root.key_mark_of(pointer);
    Place { file: scene.text.file.clone(), line: mark.line, column: mark.column }
}

/// Adds what the operator says of such a place, and lets pass what the operator named, or granted.
fn granted(scene: &mut Scene<'_>, pointer: &str, mut pull: Pull) -> Option<Pull> {
    let address = pull.from.address(pull.plain_http);
    if let Some(registry) = scene.operator.registries.get(&asked_at(&address)) {
        if pull.plain_http {
            let help = "remove `plain_http`, or what is said of that host under `registries`";
            scene.fault(&format!("{pointer}/plain_http"), "`registries` says how this is asked with encryption", help);
            return None;
        }
        pull.road = registry.road.clone();
    }
    if scene.one_owner() {
        return Some(pull);
    }
    let reach = &scene.target.reach;
    if !reach.iter().any(|reach| reach.reaches(&address)) {
        let message = format!("`{}` is not an address that target `{}` grants", shown(&address), scene.target.target.name);
        scene.fault(pointer, message, "the operator grants it: `reach: [\"https://HOST/*\"]`");
        return None;
    }
    Some(Pull { reach: Some(reach.iter().map(|reach| reach.written().to_owned()).collect()), ..pull })
}

/// Reads a chart that is written in one: `oci://REGISTRY/PATH/CHART@sha256:…`.
fn in_one(scene: &mut Scene<'_>, pointer: &str, text: &str) -> Option<(PullFrom, Digest)> {
    let Some(rest) = text.strip_prefix("oci://") else {
        let help = "write `{ repository: ADDRESS, name: …, version: …, digest: sha256:… }`, or the chart's path below `path`";
        scene.fault(pointer, format!("`{}` does not say which chart", shown(text)), help);
        return None;
    };
    let (place, digest) = rest.split_once('@').map_or((rest, None), |(place, digest)| (place, Some(digest)));
    // A tag stands behind the last name; a port behind the first.
    let (names, tag) = match place.rsplit_once(':') {
        Some((names, tag)) if names.contains('/') && !tag.contains('/') => (names, Some(tag)),
        _ => (place, None),
    };
    let help = format!("write `oci://{}@sha256:…`: the digest is that of the manifest (`helm push` says it)", shown(names));
    let why = match (PullFrom::oci(&format!("oci://{names}")), tag, digest.map(str::parse::<Digest>)) {
        (Some(from), None, Some(Ok(digest))) => return Some((from, digest)),
        (None, ..) => format!("`{}` is no place in a registry", shown(text)),
        (_, Some(tag), Some(_)) => format!("`{}` and a digest say the same twice, and may come to differ", shown(tag)),
        (_, _, None) => "nothing pins what is fetched".to_owned(),
        (_, None, Some(Err(_))) => format!("`{}` does not end in a digest", shown(text)),
    };
    scene.fault(pointer, why, help);
    None
}

fn place(scene: &mut Scene<'_>, pointer: &str, written: &Map<String, Value>) -> Option<PullFrom> {
    let text = |key: &str| written.get(key).and_then(Value::as_str);
    match (text("oci"), text("repository"), text("name"), text("version")) {
        (Some(oci), None, None, None) => {
            let from = PullFrom::oci(oci);
            if from.is_none() {
                let help = "write `oci://REGISTRY/PATH/CHART`; what is taken of it, `digest` says";
                scene.fault(&format!("{pointer}/oci"), format!("`{}` is no place in a registry", shown(oci)), help);
            }
            from
        }
        (None, Some(url), Some(_), Some(_)) if url.contains('@') || url.contains(['?', '#']) => {
            let (plain, help) = match without_credentials(url) {
                Some(_) => ("this address has a user or a password in it", "write `user`, and `password: { secret: NAME }`"),
                None => ("this address has more than a host and a path", "write `https://HOST/PATH`; a token belongs into a secret"),
            };
            scene.fault(&format!("{pointer}/repository"), plain, help);
            None
        }
        (None, Some(url), Some(name), Some(version)) => {
            Some(PullFrom::Repository { url: url.to_owned(), name: name.to_owned(), version: version.to_owned() })
        }
        _ => {
            let help = "write `oci: oci://REGISTRY/CHART`, or `repository: https://…` with `name` and `version`";
            scene.fault(pointer, "this does not say where the chart is", help);
            None
        }
    }
}
