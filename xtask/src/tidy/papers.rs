//! Documents: numbered, linked, and complete as far as a program can tell.

use std::path::Path;

use anyhow::Context;

use super::Remark;
use super::tree::Tree;

/// `docs/decisions/NNNN-title.md`, from 0001 without a gap, each with a heading.
pub fn decisions(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let folder = tree.root.join("docs/decisions");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).context("failed to list docs/decisions")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut remarks = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let expected = format!("{:04}-", at + 1);
        if !name.starts_with(&expected) || !name.ends_with(".md") {
            remarks.push(Remark::fault(format!("docs/decisions/{name}"), format!("expected a name like {expected}title.md")));
        } else if !std::fs::read_to_string(folder.join(name))?.starts_with("# ") {
            remarks.push(Remark::fault(format!("docs/decisions/{name}"), "does not open with its title"));
        }
    }
    Ok(remarks)
}

/// The changelog opens with what is not released yet.
pub fn changelog(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let text = std::fs::read_to_string(tree.root.join("CHANGELOG.md")).context("failed to read CHANGELOG.md")?;
    let first = text.lines().find(|line| line.starts_with("## "));
    Ok(if first == Some("## Unreleased") {
        Vec::new()
    } else {
        vec![Remark::fault("CHANGELOG.md", "its first section is not `## Unreleased`")]
    })
}

/// Relative links lead to files that are there.
pub fn links(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    for paper in tree.papers()? {
        let text = std::fs::read_to_string(tree.root.join(&paper))?;
        let folder = Path::new(&paper).parent().unwrap_or(Path::new(""));
        for (at, line) in text.lines().enumerate() {
            for target in link_targets(line) {
                let file = target.split('#').next().unwrap_or_default();
                let outside = target.contains("://") || target.starts_with("mailto:");
                if !outside && !file.is_empty() && !tree.root.join(folder).join(file).exists() {
                    remarks.push(Remark::fault(format!("{paper}:{}", at + 1), format!("leads nowhere: {target}")));
                }
            }
        }
    }
    Ok(remarks)
}

/// Every crate's folder stands in ARCHITECTURE.md.
pub fn map(tree: &Tree) -> anyhow::Result<Vec<Remark>> {
    let map = std::fs::read_to_string(tree.root.join("ARCHITECTURE.md")).context("failed to read ARCHITECTURE.md")?;
    let absent = tree
        .packages
        .iter()
        .filter(|package| !package.is_driver() && !map.contains(&format!("`{}/`", package.folder.trim_start_matches("crates/"))));
    Ok(absent.map(|package| Remark::fault(&package.folder, "is not in ARCHITECTURE.md")).collect())
}

/// The targets of `[text](target)` in a line.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.split_whitespace().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::link_targets;

    #[test]
    fn links_of_a_line() {
        let line = "see [a](b.md#c), [d](https://e.example) and [f](g/h.md \"title\")";
        assert_eq!(link_targets(line).collect::<Vec<_>>(), ["b.md#c", "https://e.example", "g/h.md"]);
    }
}
