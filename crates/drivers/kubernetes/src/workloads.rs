//! What others do to workloads: another number of replicas, other images, a restart. Our own writes are no news: they are
//! on record already.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use trued_doors::{Clock, Happening, Told};

use crate::address::{Kind, Spot};
use crate::compare;
use crate::fields;
use crate::happen::Hearing;
use crate::object::{at, text};

const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// What is kept of each workload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    uid: String,
    replicas: Option<u64>,
    images: BTreeMap<String, String>,
    restarted: Option<String>,
}

impl Shape {
    fn read(object: &Value) -> Shape {
        let template = at(object, &["spec", "template"]);
        let containers = template.and_then(|template| at(template, &["spec", "containers"])).and_then(Value::as_array);
        let image = |one: &Value| Some((text(one, &["name"])?.to_owned(), text(one, &["image"])?.to_owned()));
        Shape {
            uid: text(object, &["metadata", "uid"]).unwrap_or_default().to_owned(),
            replicas: at(object, &["spec", "replicas"]).and_then(Value::as_u64),
            images: containers.into_iter().flatten().filter_map(image).collect(),
            restarted: template.and_then(|template| text(template, &["metadata", "annotations", RESTARTED])).map(str::to_owned),
        }
    }

    /// What it is now that it was not before: a word and a line each.
    fn differences(&self, before: &Shape) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if let (Some(was), Some(is)) = (before.replicas, self.replicas)
            && was != is
        {
            found.push(("scaled", format!("{was} → {is} replicas")));
        }
        if self.images != before.images {
            let other = |(name, image): (&String, &String)| {
                let was = before.images.get(name);
                (was != Some(image)).then(|| format!("{name}: {} → {image}", was.map_or("nothing", String::as_str)))
            };
            let lines: Vec<String> = self.images.iter().filter_map(other).collect();
            found.push(("rolled out", lines.join(", ")));
        }
        if self.restarted != before.restarted && self.restarted.is_some() {
            found.push(("restarted", "every pod anew, by annotation".to_owned()));
        }
        found
    }
}

/// All workloads of one kind.
pub(crate) struct Workloads {
    kind: Kind,
    clock: Arc<dyn Clock>,
    known: HashMap<(String, String), Shape>,
    /// What a list in hand has named so far.
    there: HashSet<(String, String)>,
}

impl Workloads {
    pub fn new(kind: &str, clock: Arc<dyn Clock>) -> Workloads {
        Workloads { kind: Kind::new("apps", kind), clock, known: HashMap::new(), there: HashSet::new() }
    }

    fn take(&mut self, object: &Value, tell: &mut dyn FnMut(Told)) {
        let (namespace, name) = key_of(object);
        let shape = Shape::read(object);
        let before = self.known.insert((namespace.clone(), name.clone()), shape.clone());
        let Some(before) = before.filter(|before| before.uid == shape.uid) else { return };
        let differences = shape.differences(&before);
        if differences.is_empty() || ours_is_newest(object) {
            return;
        }
        let evidence = compare::evidence(object);
        let at = evidence.changed_at.unwrap_or_else(|| self.clock.now());
        let address = Spot { kind: self.kind.clone(), namespace: Some(namespace), name }.address();
        for (what, said) in differences {
            let (what, address, evidence) = (what.to_owned(), address.clone(), evidence.clone());
            tell(Told::Happened(Box::new(Happening { at, address, what, said, count: 1, evidence, only_managed: false, mark: None })));
        }
    }
}

/// Namespace and name.
fn key_of(object: &Value) -> (String, String) {
    let of = |key| text(object, &["metadata", key]).unwrap_or_default().to_owned();
    (of("namespace"), of("name"))
}

/// Whether the newest change is one that we applied.
fn ours_is_newest(object: &Value) -> bool {
    let other = fields::last_other(object).and_then(|owner| owner.time.map(str::to_owned));
    fields::ours(object).and_then(|owner| owner.time.map(str::to_owned)).is_some_and(|ours| other.is_none_or(|other| ours >= other))
}

impl Hearing for Workloads {
    fn listing(&mut self) {
        self.there.clear();
    }

    fn listed(&mut self, object: &Value, tell: &mut dyn FnMut(Told)) {
        self.there.insert(key_of(object));
        self.take(object, tell);
    }

    fn all_listed(&mut self, _: &mut dyn FnMut(Told)) {
        let there = std::mem::take(&mut self.there);
        self.known.retain(|key, _| there.contains(key));
    }

    fn changed(&mut self, object: &Value, gone: bool, tell: &mut dyn FnMut(Told)) {
        match gone {
            true => drop(self.known.remove(&key_of(object))),
            false => self.take(object, tell),
        }
    }
}
