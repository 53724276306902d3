//! The driver's readers, as functions of bytes alone: for whoever tries them with what no cluster would say. Nothing is asked here.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::broadcast;
use trued_doors::{Answer, Happening};
use trued_model::{Address, StackId};

use crate::address::{Kind, Spot};
use crate::audit::Trail;
use crate::mark::Mark;
use crate::object;
use crate::page::Page;
use crate::schema;
use crate::served::Served;
use crate::table::Table;

/// Where the next page begins, and the objects of this one; `None` where the text is no list.
pub fn page(text: &[u8]) -> Option<(String, Vec<Value>)> {
    let mut objects = Vec::new();
    let page = Page::read(text, |object| objects.push(object))?;
    Some((page.next, objects))
}

/// What a list and the events of a watch after it, one a line, make known: version and uid by namespace and name. After each event
/// one view; they end where the watch would be given up.
pub fn watched(list: &[u8], events: &[u8]) -> Vec<BTreeMap<(String, String), (u64, String)>> {
    let table = Table::new(Kind::new("", "ConfigMap"), true, String::new(), broadcast::channel(1).0);
    let mut listed = Vec::new();
    let Some(page) = Page::read(list, |object| listed.push(object)) else { return Vec::new() };
    table.list(&listed, &page.version);
    let mut views = vec![table.view()];
    for line in events.split(|byte| *byte == b'\n') {
        let Ok(event) = serde_json::from_slice(line) else { break };
        if table.happened(event).is_err() {
            break;
        }
        views.push(table.view());
    }
    views
}

/// What is known after discovery said this, as it stands in facts.
pub fn discovered(answers: &[Value]) -> Value {
    Served::of_discovery(answers).terms()
}

/// The same, read from facts and written again.
pub fn terms_again(terms: &Value) -> Value {
    Served::of_terms(terms).terms()
}

/// What the schema of a kind in a document says of an object: how many misfits; `None` where there is no such schema, or it is not
/// one.
pub fn misfits(document: &[u8], (group, version, kind): (&str, &str, &str), object: &Value) -> Option<usize> {
    let form = (Kind::new(group, kind), version.to_owned());
    let validator = schema::validator(&form, &schema::of_document(document, &form)?)?;
    Some(validator.iter_errors(object).count())
}

/// The same for a definition that is to be applied.
pub fn misfits_of_definition(definition: &Value, version: &str, object: &Value) -> Option<usize> {
    let validator = schema::validator(&(Kind::new("", ""), version.to_owned()), &schema::of_definition(definition, version)?)?;
    Some(validator.iter_errors(object).count())
}

/// What an audit webhook told of.
pub fn heard(said: &[u8]) -> Answer<Vec<Happening>> {
    Trail::default().hear(said, &Served::everywhere(), "ours-")
}

/// Whether an address is one of an object.
pub fn is_address(address: &Address) -> bool {
    Spot::read(address).is_some_and(|spot| spot.address() == *address)
}

/// An object as it is sent, marked as a stack's, and whether the mark reads back and leaves no trace in what is compared.
pub fn marked(object: &Value, stack: &StackId) -> (Value, bool) {
    let (mut marked, mark) = (object.clone(), Mark::new("trued/1", stack, 7));
    mark.write(&mut marked);
    let same = Mark::read(&marked) == Some(mark) && object::desired(marked.clone()) == object::desired(object.clone());
    (marked, same)
}
