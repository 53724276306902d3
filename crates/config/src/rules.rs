//! A stack's rules: what stands at the stack goes before what stands at the app, and both inside what the operator set.

use serde_json::Value;
use trued_model::{Command, Deletes, Ignore, OnDelete, Policy};
use trued_yaml::step;

use crate::grants;
use crate::shape::Rules;
use crate::stack::{At, Scene};
use crate::suggest;
use crate::text::shown;

/// Reads a bound on deletes: a number, or a share in percent. More than it is held.
pub(crate) fn deletes(at_most: &Value) -> Option<Deletes> {
    match at_most {
        Value::Number(count) => Some(Deletes { count: u32::try_from(count.as_u64()?).ok()?, percent: 0 }),
        Value::String(share) => {
            let percent = share.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)?;
            Some(Deletes { count: 0, percent })
        }
        _ => None,
    }
}

/// Writes a bound as people would.
pub(crate) fn deletes_words(deletes: Deletes) -> String {
    match deletes {
        Deletes { count, percent: 0 } => count.to_string(),
        Deletes { count: 0, percent } => format!("{percent}%"),
        Deletes { count, percent } => format!("{count} or {percent}%, whichever is more"),
    }
}

/// Whether a bound holds everything that `base` holds.
pub(crate) fn holds_as_much(bound: Deletes, base: Deletes) -> bool {
    base.percent >= 100 || bound.count <= base.count && bound.percent <= base.percent
}

/// What is wrong with a program and its arguments, if anything is.
pub(crate) fn bad_program(argv: &[String]) -> Option<&'static str> {
    match argv.first() {
        None => Some("no program is named here"),
        Some(program) if program.is_empty() => Some("the program's name is empty"),
        Some(_) if argv.iter().any(|word| word.contains('\0')) => Some("an argument has a NUL character in it"),
        Some(_) => None,
    }
}

/// Resolves a stack's rules but its checks.
pub(crate) fn policy(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Policy {
    let rules = scene.environment();
    let base = rules.map_or_else(Deletes::default, |rules| rules.deletes);
    let explain = rules.is_some_and(|rules| rules.environment.explain);
    let environment = format!("/environments/{}", scene.id.environment);
    scene.remember_operators("/policy/explain", &format!("{environment}/explain"));
    scene.remember_operators("/policy/deletes", &format!("{environment}/gates/deletes/at_most"));
    Policy {
        drift: pick(scene, "drift", stack.drift, app.drift).unwrap_or_default(),
        on_existing: pick(scene, "on_existing", stack.on_existing, app.on_existing).unwrap_or_default(),
        on_immutable: pick(scene, "on_immutable", stack.on_immutable, app.on_immutable).unwrap_or_default(),
        deletes: bound(scene, app, stack, base),
        on_delete: on_delete(scene, app, stack),
        ignore: ignore(scene, app, stack),
        manage: manage(scene),
        sensitive: sensitive(scene, app, stack),
        explain,
        rollback: pick(scene, "rollback", stack.rollback, app.rollback).unwrap_or_default(),
        on_change: on_change(scene, app, stack),
    }
}

/// What the operator lets the stack manage: all, where the stack is the operator's own.
fn manage(scene: &mut Scene<'_>) -> Option<Vec<String>> {
    let allow = scene.target.allow.as_ref().filter(|_| !scene.is_operators())?;
    let manage = allow.manage(&scene.granted_folder())?;
    scene.remember_operators("/policy/manage", &format!("{}/allow", scene.target.pointer));
    Some(manage)
}

/// What the stack says, else what the app says; remembers which.
pub(crate) fn pick<T>(scene: &mut Scene<'_>, key: &str, stack: Option<T>, app: Option<T>) -> Option<T> {
    let at = if stack.is_some() { At::Stack } else { At::App };
    let picked = stack.or(app)?;
    scene.remember(&format!("/policy/{key}"), &scene.pointer(at, &step(key)));
    Some(picked)
}

fn bound(scene: &mut Scene<'_>, app: &Rules, stack: &Rules, base: Deletes) -> Deletes {
    let mut bound = base;
    for (at, entry) in [(At::App, &app.deletes), (At::Stack, &stack.deletes)] {
        let Some(written) = entry.as_ref().and_then(|entry| deletes(&entry.at_most)) else { continue };
        let pointer = scene.pointer(at, "/deletes/at_most");
        if !scene.is_operators() && !holds_as_much(written, base) {
            let message = format!(
                "`at_most: {}` lets more deletes run than the operator allows here: {}",
                deletes_words(written),
                deletes_words(base)
            );
            let help = "an app file may only tighten; the operator loosens, in the environment's `gates`";
            scene.fault(&pointer, message, help);
        }
        scene.remember("/policy/deletes", &pointer);
        bound = written;
    }
    bound
}

/// In the order it is written, because the first match holds.
fn on_delete(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Vec<(String, OnDelete)> {
    let at = if stack.on_delete.is_some() { At::Stack } else { At::App };
    let Some(words) = pick(scene, "on_delete", stack.on_delete.as_ref(), app.on_delete.as_ref()) else { return Vec::new() };
    let pointer = scene.pointer(at, "/on_delete");
    let globs: Vec<String> = scene.text.keys(&pointer).map(str::to_owned).collect();
    for glob in &globs {
        check_glob(scene, &format!("{pointer}{}", step(glob)), glob);
    }
    globs.into_iter().filter_map(|glob| words.get(&glob).copied().map(|word| (glob, word))).collect()
}

fn sensitive(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Vec<String> {
    let mut all = Vec::new();
    for (at, globs) in [(At::App, &app.sensitive), (At::Stack, &stack.sensitive)] {
        for (place, glob) in globs.iter().flatten().enumerate() {
            let pointer = scene.pointer(at, &format!("/sensitive/{place}"));
            check_glob(scene, &pointer, glob);
            if !all.contains(glob) {
                scene.remember(&format!("/policy/sensitive/{}", all.len()), &pointer);
                all.push(glob.clone());
            }
        }
    }
    all
}

/// What the app ignores, then what the stack does.
fn ignore(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Vec<Ignore> {
    let mut all = Vec::new();
    for (at, entries) in [(At::App, &app.ignore), (At::Stack, &stack.ignore)] {
        for (place, entry) in entries.iter().flatten().enumerate() {
            let pointer = scene.pointer(at, &format!("/ignore/{place}"));
            if let Some(glob) = &entry.name {
                check_glob(scene, &format!("{pointer}/name"), glob);
            }
            if let Some(kind) = entry.kind.as_ref().filter(|kind| !is_kind(kind)) {
                let message = format!("`{}` is no kind of object", shown(kind));
                scene.fault(&format!("{pointer}/kind"), message, "write `Deployment`, or with its group `apps/Deployment`");
            }
            if entry.fields.is_empty() {
                scene.fault(&format!("{pointer}/fields"), "no field is named here", "name some as JSON pointers: `[/spec/replicas]`");
            }
            for (nth, field) in entry.fields.iter().enumerate() {
                if let Some(why) = bad_field(field) {
                    let message = format!("`{}` cannot be ignored: {why}", shown(field));
                    scene.fault(
                        &format!("{pointer}/fields/{nth}"),
                        message,
                        "write a JSON pointer such as `/spec/replicas`; `/` in a key is `~1`",
                    );
                }
            }
            scene.remember(&format!("/policy/ignore/{}", all.len()), &pointer);
            all.push(Ignore { kind: entry.kind.clone(), name: entry.name.clone(), fields: entry.fields.clone() });
        }
    }
    all
}

fn is_kind(kind: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    kind.split('/').count() <= 2 && kind.split('/').all(word)
}

/// Why a pointer names nothing that can be ignored, if it does not.
fn bad_field(field: &str) -> Option<&'static str> {
    const IDENTITY: [&str; 4] = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];
    if field.is_empty() {
        return Some("it is the whole object");
    }
    if !field.starts_with('/') {
        return Some("it does not start with `/`");
    }
    if field.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        return Some("`~` is written `~0`");
    }
    let identity = IDENTITY.iter().any(|own| field == *own || own.starts_with(&format!("{field}/")));
    identity.then_some("it says which object this is")
}

fn check_glob(scene: &mut Scene<'_>, pointer: &str, glob: &str) {
    if let Err(why) = grants::path_glob(glob) {
        let fault = crate::operator::bad_glob(scene.text, pointer, glob, &why);
        scene.faults.push(fault);
    }
}

fn on_change(scene: &mut Scene<'_>, app: &Rules, stack: &Rules) -> Vec<Command> {
    let at = if stack.on_change.is_some() { At::Stack } else { At::App };
    let Some(programs) = pick(scene, "on_change", stack.on_change.as_ref(), app.on_change.as_ref()) else { return Vec::new() };
    let resolve = |(place, program)| command(scene, &scene.pointer(at, &format!("/on_change/{place}")), program);
    programs.iter().enumerate().filter_map(resolve).collect()
}

/// Resolves a program: a name the operator granted on this target, or, with one owner, a list of arguments.
pub(crate) fn command(scene: &mut Scene<'_>, pointer: &str, program: &Value) -> Option<Command> {
    let target = scene.target.target.name.clone();
    match program {
        Value::String(name) => {
            let Some(granted) = scene.target.commands.iter().find(|command| command.name == *name) else {
                let known: Vec<&str> = scene.target.commands.iter().map(|command| command.name.as_str()).collect();
                let help = match suggest::nearest(name, known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None if scene.one_owner() => "write the program and its arguments as a list: `[systemctl, reload, nginx]`".to_owned(),
                    None => format!("the operator grants it: `commands: {{ {}: [PROGRAM, ARGUMENT] }}`", shown(name)),
                };
                scene.fault(pointer, format!("no command is named `{}` on target `{target}`", shown(name)), help);
                return None;
            };
            let granted = granted.clone();
            let argv = granted.argv.iter().map(|word| crate::words::fill(word, Some(&scene.words())));
            match argv.collect::<Result<Vec<String>, _>>() {
                Ok(argv) => Some(Command { name: granted.name, argv }),
                Err(word) => {
                    let (message, help) = word.explain(true);
                    scene.fault(pointer, format!("command `{}` cannot be used: {message}", granted.name), help);
                    None
                }
            }
        }
        Value::Array(words) => {
            let argv: Vec<String> = words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
            if !scene.one_owner() {
                let help = "name a command that the operator granted on this target";
                scene.fault(pointer, "an app file may not bring a program of its own", help);
                return None;
            }
            if let Some(why) = bad_program(&argv) {
                scene.fault(pointer, why, "write the program, then each argument");
                return None;
            }
            Some(Command { name: argv[0].clone(), argv })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_on_deletes_are_compared() {
        let read = |value: Value| deletes(&value).expect("is a bound");
        let base = Deletes::default();
        assert!(holds_as_much(read(json!(5)), base) && holds_as_much(read(json!(0)), base) && holds_as_much(read(json!("20%")), base));
        assert!(!holds_as_much(read(json!(6)), base) && !holds_as_much(read(json!("21%")), base));
        assert!(!holds_as_much(read(json!(3)), read(json!("10%"))), "three of four");
        assert!(holds_as_much(read(json!(50)), read(json!("100%"))));
        assert_eq!(deletes(&json!("101%")), None);
        assert_eq!(deletes(&json!(-1)), None);
        assert_eq!(deletes_words(base), "5 or 20%, whichever is more");
    }
}
