//! How a stack is rendered: one renderer, its settings from the source's root, its values and the secrets among them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use trued_model::{Name, RenderStep, encode_path};
use trued_yaml::step;

use crate::paths::{self, BadPath};
use crate::pull;
use crate::shape::Kinded;
use crate::stack::{At, Scene};
use crate::suggest;
use crate::text::shown;

/// Resolves the renderer: the stack's own, else the app's; values of the stack go over those of the renderer.
pub(crate) fn resolve(
    scene: &mut Scene<'_>,
    app: Option<Kinded>,
    stack: Option<Kinded>,
    vars: BTreeMap<String, Value>,
) -> Option<RenderStep> {
    let at = if stack.is_some() { At::Stack } else { At::App };
    let Some(Kinded(kinds)) = stack.or(app) else {
        let written = scene.text.has(&scene.pointer(At::App, "/render")) || scene.text.has(&scene.pointer(At::Stack, "/render"));
        if !written {
            let fault = scene.text.key_fault(
                scene.stack_pointer,
                format!("nothing says what app `{}` renders", scene.id.app),
                "write `render: { plain: { path: FOLDER } }`",
            );
            scene.faults.push(fault);
        }
        return None;
    };
    let (kind, settings) = kinds.into_iter().next()?;
    let descriptor = scene.input.kinds.renderers.get(kind.as_str())?;
    let pointer = scene.pointer(at, &format!("/render{}", step(&kind)));
    let mut settings = match settings {
        Value::Object(settings) => settings,
        _ => Map::new(),
    };
    let written = if scene.text.has(&pointer) { pointer.clone() } else { scene.pointer(at, "/path") };
    scene.remember("/render", &written);
    // The small form says `path` without a renderer; its place is there.
    let path_pointer = |below: &str| match scene.text.has(&pointer) {
        true => format!("{pointer}{below}"),
        false => scene.pointer(at, below),
    };
    let places: Vec<(&str, String)> = descriptor.paths.iter().map(|below| (*below, path_pointer(below))).collect();
    for (below, place) in places {
        let Some(key) = below.strip_prefix('/') else { continue };
        let Some(Value::String(path)) = settings.get(key) else { continue };
        let path = source_path(scene, &place, path)?;
        scene.remember(&format!("/render/settings{below}"), &place);
        settings.insert(key.to_owned(), path.into());
    }

    let mut settings = Value::Object(settings);
    let pulls = pull::resolve_all(scene, &pointer, descriptor.pulls, &mut settings);
    let takes_vars = descriptor.schema.pointer("/properties/vars").is_some();
    let mut all: BTreeMap<String, (String, Value)> = BTreeMap::new();
    if takes_vars && let Some(Value::Object(own)) = settings.as_object_mut().and_then(|settings| settings.remove("vars")) {
        all.extend(own.into_iter().map(|(name, value)| (name.clone(), (format!("{pointer}/vars{}", step(&name)), value))));
    }
    no_secrets(scene, &kind, &pointer, &settings);
    let stack_vars = scene.pointer(At::Stack, "/vars");
    if !takes_vars && !vars.is_empty() {
        let fault = scene.text.key_fault(&stack_vars, format!("the renderer `{kind}` takes no values"), "use `template`, or remove `vars`");
        scene.faults.push(fault);
    }
    all.extend(vars.into_iter().map(|(name, value)| (name.clone(), (format!("{stack_vars}{}", step(&name)), value))));

    let mut render = RenderStep { kind, settings, vars: BTreeMap::new(), secrets: BTreeMap::new(), limits: None, pulls: pulls? };
    for (name, (place, value)) in all {
        let part = if value.get("secret").is_some() { "secrets" } else { "vars" };
        scene.remember(&format!("/render/{part}{}", step(&name)), &place);
        match value.as_object().filter(|map| map.contains_key("secret")) {
            Some(map) => drop(secret(scene, &place, map).map(|secret| render.secrets.insert(name, secret))),
            None if has_secret(&value) => {
                scene.fault(
                    &place,
                    "a secret stands inside another value",
                    "give it a name of its own: `vars: { NAME: { secret: NAME } }`",
                );
            }
            None => drop(render.vars.insert(name, value)),
        }
    }
    Some(render)
}

/// A path from the file that names it, as a path from the source's root.
fn source_path(scene: &mut Scene<'_>, pointer: &str, path: &str) -> Option<String> {
    let joined = match paths::in_source(scene.folder, &encode_path(path.as_bytes())) {
        Ok(joined) => joined,
        Err(bad) => {
            let (message, help) = match bad {
                BadPath::Escapes => (format!("`{}` leads out of the source", shown(path)), "name a folder in the source"),
                BadPath::NotRelative => {
                    (format!("`{}` is no path in the source", shown(path)), "write it from this file's folder, with `/`")
                }
            };
            scene.fault(pointer, message, help);
            return None;
        }
    };
    let inside = |file: &&String| joined.is_empty() || file.strip_prefix(&joined).is_some_and(|rest| rest.starts_with('/'));
    if let Some(file) = scene.configuration.iter().find(inside) {
        let message = format!("`{}` holds the configuration file {}, which is never rendered", shown(path), shown(file));
        scene.fault(pointer, message, "move what is rendered into a folder of its own");
        return None;
    }
    Some(joined)
}

/// Refuses settings that name a secret as values do: what a renderer gets there is plain text. Other things are called
/// `secret` in charts too, so only those count that somebody has named.
fn no_secrets(scene: &mut Scene<'_>, kind: &str, pointer: &str, settings: &Value) {
    let named = |name: &str| scene.operator.text.as_ref().is_some_and(|text| text.has(&format!("/secrets{}", step(name))));
    match settings {
        Value::Object(map) => {
            if let (Some(Value::String(name)), 1) = (map.get("secret"), map.len())
                && named(name)
            {
                let message = format!("`{{ secret: {} }}` among the settings of `{kind}` would be plain text", shown(name));
                let help = "a program of others is given no secrets: render the object that holds it with `template`, or rename the key";
                return scene.fault(pointer, message, help);
            }
            map.iter().for_each(|(key, value)| no_secrets(scene, kind, &format!("{pointer}{}", step(key)), value));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| no_secrets(scene, kind, &format!("{pointer}/{at}"), value));
        }
        _ => {}
    }
}

/// A secret that exists and that this file may use.
pub(crate) fn secret(scene: &mut Scene<'_>, pointer: &str, map: &Map<String, Value>) -> Option<Name> {
    let operators = scene.operator.text.as_ref()?;
    let at = format!("{pointer}/secret");
    let (Some(Value::String(written)), 1) = (map.get("secret"), map.len()) else {
        scene.fault(pointer, "a secret is written as `{ secret: NAME }`, alone", "rename the key if it is no secret");
        return None;
    };
    let name: Option<Name> = written.parse().ok();
    let Some(name) = name.filter(|name| operators.has(&format!("/secrets/{name}"))) else {
        let help = match operators.has("/secrets") {
            true => suggest::help(written, operators.keys("/secrets")),
            false => "name it in the operator's file: `secrets: { NAME: { file: PATH } }`".to_owned(),
        };
        scene.fault(&at, format!("no secret is named `{}`", shown(written)), help);
        return None;
    };
    let granted = scene.operator.secrets.get(&name)?;
    let folder = scene.granted_folder();
    let allowed = match &granted.allow {
        Some(allow) => scene.is_operators() || allow.allows(&folder),
        None => scene.one_owner(),
    };
    if !allowed {
        let help = format!("the operator adds `allow: [\"{folder}\"]` to it");
        scene.fault(&at, format!("secret `{name}` is not granted to `{folder}`"), help);
        return None;
    }
    Some(name)
}

fn has_secret(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.contains_key("secret") || map.values().any(has_secret),
        Value::Array(items) => items.iter().any(has_secret),
        _ => false,
    }
}
