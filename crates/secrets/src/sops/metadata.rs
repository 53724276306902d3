//! What SOPS wrote beside the values: to whom the data key is encrypted, and the MAC.

use super::tree::{Tree, What};

/// Kinds of recipients that SOPS knows and this build does not, by their key in the file.
const OTHERS: [(&str, &str); 6] = [
    ("pgp", "PGP"),
    ("kms", "AWS KMS"),
    ("gcp_kms", "GCP KMS"),
    ("azure_kv", "Azure Key Vault"),
    ("hc_vault", "Vault"),
    ("hckms", "HuaweiCloud KMS"),
];

/// The part of a file that is about the file.
#[derive(Default)]
pub struct Metadata {
    /// The data key as an armored age file, one for each recipient.
    pub age: Vec<String>,
    /// Other kinds of recipients, in words.
    pub others: Vec<&'static str>,
    /// Whether keys of several groups are needed together.
    pub groups: bool,
    pub mac: String,
    /// `lastmodified`, which the MAC is bound to.
    pub modified: String,
    /// Whether the MAC covers encrypted values only.
    pub only_encrypted: bool,
}

impl Metadata {
    /// Reads the `sops` part of a YAML or JSON file.
    pub fn of_tree(tree: &Tree) -> Metadata {
        let text = |key: &str| tree.get(key).and_then(Tree::text).unwrap_or_default().to_owned();
        let listed = |key: &str| match tree.get(key).map(|tree| &tree.what) {
            Some(What::List(items)) => items.as_slice(),
            _ => &[],
        };
        Metadata {
            age: listed("age").iter().filter_map(|one| one.get("enc").and_then(Tree::text)).map(str::to_owned).collect(),
            others: OTHERS.iter().filter(|(key, _)| !listed(key).is_empty()).map(|(_, words)| *words).collect(),
            groups: !listed("key_groups").is_empty(),
            mac: text("mac"),
            modified: text("lastmodified"),
            only_encrypted: matches!(tree.get("mac_only_encrypted").map(|tree| &tree.what), Some(What::Plain(said)) if said == "True"),
        }
    }

    /// Takes one `sops_` variable of an env file, where lists and maps are written out as `age__list_0__map_enc`.
    pub fn take_variable(&mut self, key: &str, value: &str) {
        match key {
            "mac" => value.clone_into(&mut self.mac),
            "lastmodified" => value.clone_into(&mut self.modified),
            "mac_only_encrypted" => self.only_encrypted = value == "true",
            _ if key.starts_with("age__list_") && key.ends_with("__map_enc") => self.age.push(value.to_owned()),
            _ if key.starts_with("key_groups__") => self.groups = true,
            _ => {
                let other = OTHERS.iter().find(|(kind, _)| key.strip_prefix(kind).is_some_and(|rest| rest.starts_with("__list_")));
                if let Some((_, words)) = other.filter(|(_, words)| !self.others.contains(words)) {
                    self.others.push(words);
                }
            }
        }
    }
}
