//! The bounded front door for YAML from outside: text in, one tree with places out, or findings. It reads no files
//! and knows no configuration.
//!
//! serde-saphyr's parser gives the events. The tree is composed here and not by its deserializer, because places,
//! quoting and every duplicate key must survive, and because plain values must mean what they mean to Kubernetes.

mod compose;
mod scalar;
mod tree;
mod write;

use trued_model::Finding;

pub use tree::{Entry, Mark, Node, Value, pointer_steps, step};
pub use write::write;

/// What one text may cost. A text over any bound is refused as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of input.
    pub bytes: usize,
    /// Sequences and mappings inside each other, aliases expanded.
    pub depth: usize,
    /// Values, keys and containers, aliases expanded.
    pub nodes: usize,
    /// Uses of aliases.
    pub aliases: usize,
    /// Bytes of all values and keys, aliases expanded.
    pub text: usize,
    /// Documents in one text.
    pub documents: usize,
}

impl Default for Budget {
    /// Far above any configuration a person writes, far below what hurts.
    fn default() -> Budget {
        Budget { bytes: 1 << 20, depth: 64, nodes: 50_000, aliases: 1_000, text: 4 << 20, documents: 100 }
    }
}

/// A text that was not accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// At least one; with places.
    pub findings: Vec<Finding>,
    /// What could be read apart from the faults, only good for finding more of them. `None` when the text broke off.
    pub rest: Option<Node>,
}

/// Reads a text with exactly one document; an empty text is `null`. `file` names it in findings.
pub fn read(file: &str, text: &str, budget: &Budget) -> Result<Node, Refused> {
    let mut documents = compose::compose(file, text, &Budget { documents: 1, ..*budget })?;
    Ok(documents.pop().unwrap_or_else(|| Node::null(Mark { line: 1, column: 1 })))
}

/// Reads a text with any number of documents up to the budget.
pub fn read_all(file: &str, text: &str, budget: &Budget) -> Result<Vec<Node>, Refused> {
    compose::compose(file, text, budget)
}

/// Takes bytes as UTF-8 text; otherwise says where the first byte stands that is not.
pub fn text_of<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Refused> {
    std::str::from_utf8(bytes).map_err(|fault| {
        let good = String::from_utf8_lossy(&bytes[..fault.valid_up_to()]);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let finding = Finding::new("this is not UTF-8 text", "save the file as UTF-8").at(file, count(line), count(column));
        Refused { findings: vec![finding], rest: None }
    })
}
