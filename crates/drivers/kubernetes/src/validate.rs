//! Whether objects have the form that the cluster's own schemas ask for; every fault at once, each with its path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;
use trued_doors::{Answer, Contents, Misfit};
use trued_model::Resource;

use crate::address::{Kind, Spot};
use crate::cluster::{Cluster, Looked};
use crate::compare;
use crate::schema::{Form, of_definition, validator};
use crate::served::is_definition;
use crate::{ignore, object};

/// After how long it is asked again what kinds look like, where everything fits. What does not fit is told by a fresh answer only.
const CURRENT_FOR: Duration = Duration::from_secs(300);
/// Faults of one object at most; one wrong indentation can make hundreds.
const TOLD: usize = 20;

/// One object, and what it is an object of.
struct Checked<'a> {
    resource: &'a Resource,
    spot: Spot,
    form: Form,
    object: Value,
}

/// Finds what of these does not have the form that is asked for.
pub(crate) async fn validate(cluster: &Cluster, resources: &[Resource], contents: Arc<dyn Contents>) -> Answer<Vec<Misfit>> {
    let mut checked = Vec::new();
    for resource in resources {
        let (Some(spot), Some(content)) = (Spot::read(&resource.address), resource.content) else { continue };
        let object = compare::read(contents.as_ref(), &content, cluster.seal.as_ref())?;
        let Some(version) = compare::version_of(&object) else { continue };
        checked.push(Checked { resource, form: (spot.kind.clone(), version), spot, object });
    }
    // What is defined here is about to be so, whatever the cluster says of it now.
    let defined = definitions(&checked);
    let here: BTreeSet<&Kind> = defined.keys().map(|(kind, _)| kind).collect();
    let forms: BTreeSet<Form> = checked.iter().map(|one| one.form.clone()).filter(|form| !here.contains(&form.0)).collect();
    let mut validators = cluster.schemas.of(&cluster.api, &forms, CURRENT_FOR).await?;
    validators.extend(defined);
    let fits = |validators: &BTreeMap<Form, Arc<Validator>>, one: &Checked<'_>| {
        validators.get(&one.form).is_none_or(|validator| validator.is_valid(&one.object))
    };
    if checked.iter().all(|one| fits(&validators, one)) {
        return Ok(Vec::new());
    }
    validators.extend(cluster.schemas.of(&cluster.api, &forms, Duration::ZERO).await?);
    let mut misfits = Vec::new();
    for one in checked.iter().filter(|one| !fits(&validators, one)) {
        let Some(validator) = validators.get(&one.form) else { continue };
        misfits.extend(faults(cluster, one, validator).await);
    }
    Ok(misfits)
}

/// What checks the kinds that are defined among the objects.
fn definitions(checked: &[Checked<'_>]) -> BTreeMap<Form, Arc<Validator>> {
    let definitions = checked.iter().filter(|one| is_definition(&one.spot.kind));
    let forms = definitions.flat_map(|one| {
        let of = |path: &[&str]| object::text(&one.object, path).unwrap_or_default();
        let kind = Kind::new(of(&["spec", "group"]), of(&["spec", "names", "kind"]));
        let versions = object::at(&one.object, &["spec", "versions"]).and_then(Value::as_array);
        let names = versions.into_iter().flatten().filter_map(|version| object::text(version, &["name"]));
        names.map(move |version| (kind.clone(), version.to_owned())).map(|form| (form, &one.object)).collect::<Vec<_>>()
    });
    forms.filter_map(|(form, definition)| Some((form.clone(), validator(&form, &of_definition(definition, &form.1)?)?))).collect()
}

async fn faults(cluster: &Cluster, one: &Checked<'_>, validator: &Validator) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    let mut there = None;
    let ignored = ignore::of(&one.object);
    for error in validator.iter_errors(&one.object) {
        // Of what is there already, only a part may be ours to desire.
        if matches!(error.kind(), ValidationErrorKind::Required { .. }) {
            if there.is_none() {
                there = Some(matches!(cluster.look(&one.spot).await, Looked::Found(place) if place.entry.is_some()));
            }
            if there == Some(true) {
                continue;
            }
        }
        if let ValidationErrorKind::Required { property } = error.kind() {
            let field = format!("{}{}", error.instance_path(), trued_yaml::step(property.as_str().unwrap_or_default()));
            if ignored.iter().any(|pointer| *pointer == field || pointer.starts_with(&format!("{field}/"))) {
                continue;
            }
        }
        misfits.extend(told(&error).into_iter().map(|(pointer, message)| Misfit {
            address: one.resource.address.clone(),
            message: format!("{}: {message}", one.resource.address),
            pointer,
            help: "correct the manifest; the cluster's own schema says so".to_owned(),
        }));
        if misfits.len() >= TOLD {
            break;
        }
    }
    misfits.truncate(TOLD);
    misfits
}

/// What is wrong, and where, without any value: it may be secret.
fn told(error: &ValidationError<'_>) -> Vec<(String, String)> {
    let pointer = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let step = |field: &String| format!("{pointer}{}", trued_yaml::step(field));
            unexpected.iter().map(|field| (step(field), format!("there is no field {}", path(&step(field))))).collect()
        }
        ValidationErrorKind::Required { property } => {
            let field = property.as_str().unwrap_or_default();
            let message = format!("the field {} is missing", path(&format!("{pointer}{}", trued_yaml::step(field))));
            vec![(pointer, message)]
        }
        _ => {
            let message = format!("{}: {}", path(&pointer), error.masked_with("it"));
            vec![(pointer, message)]
        }
    }
}

/// A pointer as people write fields: `spec.containers[0].image`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for step in trued_yaml::pointer_steps(pointer) {
        match step.parse::<usize>() {
            Ok(place) => path.push_str(&format!("[{place}]")),
            Err(_) if path.is_empty() => path = step,
            Err(_) => path.push_str(&format!(".{step}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_as_people_write_them() {
        assert_eq!(path("/spec/containers/0/image"), "spec.containers[0].image");
        assert_eq!(path("/metadata/labels/a~1b"), "metadata.labels.a/b");
    }
}
