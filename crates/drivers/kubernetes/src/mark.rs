//! The mark that objects of ours carry: which ledger, which stack, which epoch. Reads and writes it; decides nothing.

use serde_json::{Value, json};
use trued_model::StackId;

use crate::object::text;

const LEDGER: &str = "trued.dev/ledger";
const STACK: &str = "trued.dev/stack";
const EPOCH: &str = "trued.dev/epoch";

/// All annotations of ours.
pub(crate) const ANNOTATIONS: [&str; 3] = [LEDGER, STACK, EPOCH];

/// Who made an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub ledger: String,
    /// The stack's key.
    pub stack: String,
    pub epoch: u64,
}

impl Mark {
    pub fn new(ledger: &str, stack: &StackId, epoch: u64) -> Mark {
        Mark { ledger: ledger.to_owned(), stack: stack.key(), epoch }
    }

    /// Reads the mark of an object; `None` where it carries none of ours or of another Trued.
    pub fn read(object: &Value) -> Option<Mark> {
        let of = |key| text(object, &["metadata", "annotations", key]);
        Some(Mark {
            ledger: of(LEDGER)?.to_owned(),
            stack: of(STACK)?.to_owned(),
            epoch: of(EPOCH).and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        })
    }

    /// Writes the mark into an object that is to be applied.
    pub fn write(&self, object: &mut Value) {
        let Some(whole) = object.as_object_mut() else { return };
        let metadata = whole.entry("metadata").or_insert_with(|| json!({}));
        let Some(metadata) = metadata.as_object_mut() else { return };
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        annotations[LEDGER] = self.ledger.as_str().into();
        annotations[STACK] = self.stack.as_str().into();
        annotations[EPOCH] = self.epoch.to_string().into();
    }

    /// Whether two marks name the same stack of the same ledger.
    pub fn same_stack(&self, other: &Mark) -> bool {
        (&self.ledger, &self.stack) == (&other.ledger, &other.stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_leaves_no_trace_in_the_body() {
        let stack = StackId::from_key("prod/site@web").unwrap();
        let mut object = json!({ "metadata": { "labels": { "app": "web" } } });
        let mark = Mark::new("trued/1", &stack, 7);
        mark.write(&mut object);
        assert_eq!(Mark::read(&object), Some(mark));
        crate::object::strip(&mut object);
        assert_eq!(object, json!({ "metadata": { "labels": { "app": "web" } } }));
    }
}
