//! What a renderer needs from elsewhere: an address, a digest and who we are there, each at its place.

use serde_json::{Map, Value, json};
use trued_model::{Digest, Origin, Pull, PullFrom};

use crate::render::secret;
use crate::stack::Scene;
use crate::text::shown;

/// Resolves the setting at `pointer`. In the renderer's settings stays only what it is: the digest, and words for people.
pub(crate) fn resolve(scene: &mut Scene<'_>, pointer: &str, setting: &mut Value) -> Option<Pull> {
    let written = setting.as_object()?.clone();
    let text = |key: &str| written.get(key).and_then(Value::as_str);
    let from = place(scene, pointer, &written)?;
    let Some(digest) = text("digest").and_then(|digest| digest.parse::<Digest>().ok()) else {
        scene.fault(
            pointer,
            "nothing pins what is fetched",
            "write `digest: sha256:…`: of the manifest in a registry (`helm push` says it), of the archive elsewhere (its index has it)",
        );
        return None;
    };
    let plain_http = written.get("plain_http").and_then(Value::as_bool).unwrap_or(false);
    let address = from.address(plain_http);
    if address.starts_with("http:") && !plain_http {
        let help = "write `https://`, or `plain_http: true` where nobody can listen on the way";
        scene.fault(&format!("{pointer}/repository"), format!("`{}` is not encrypted", shown(&address)), help);
        return None;
    }
    if !scene.one_owner() && !scene.target.reach.iter().any(|reach| reach.reaches(&address)) {
        let message = format!("`{}` is not an address that target `{}` grants", shown(&address), scene.target.target.name);
        scene.fault(pointer, message, "the operator grants it: `reach: [\"https://HOST/*\"]`");
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
    let reach = (!scene.one_owner()).then(|| scene.target.reach.iter().map(|reach| reach.written().to_owned()).collect());
    scene.remember("/render/pull", pointer);
    let origin: Origin = scene.text.origin(pointer);
    *setting = json!({ "from": from.words(), "digest": digest });
    Some(Pull { from, digest, user, password, plain_http, reach, origin })
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
