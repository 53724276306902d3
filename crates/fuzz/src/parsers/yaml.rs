//! The front door for YAML.

use trued_yaml::{Budget, Node, Value, read_all, text_of};

pub fn parse(bytes: &[u8]) {
    let text = match text_of("x.yaml", bytes) {
        Ok(text) => text,
        Err(refused) => return assert!(!refused.findings.is_empty()),
    };
    let budget = Budget { nodes: 2_000, text: 1 << 16, ..Budget::default() };
    let lines = u32::try_from(text.split('\n').count()).expect("few lines") + 1;
    match read_all("x.yaml", text, &budget) {
        Ok(documents) => {
            let mut nodes = 0;
            documents.iter().for_each(|document| count(document, lines, &mut nodes));
            assert!(nodes <= budget.nodes, "{nodes} nodes were let through");
            assert_eq!(read_all("x.yaml", text, &budget).as_ref(), Ok(&documents), "reading again gives the same");
        }
        Err(refused) => {
            assert!(!refused.findings.is_empty(), "refused without a word");
            for finding in &refused.findings {
                let place = finding.place.as_ref().expect("a finding has a place");
                assert!((1..=lines).contains(&place.line), "{finding} in a text of {lines} lines");
            }
        }
    }
}

fn count(node: &Node, lines: u32, nodes: &mut usize) {
    *nodes += 1;
    assert!((1..=lines).contains(&node.mark.line), "a value in line {} of {lines}", node.mark.line);
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| count(item, lines, nodes)),
        Value::Map(entries) => entries.iter().for_each(|entry| count(&entry.node, lines, nodes)),
        _ => {}
    }
}
