//! The configuration as it stands here, for verbs that show it: own files as they lie in the working tree, those of
//! other sources as far as they were fetched. Asks no remote.

use std::collections::BTreeMap;
use std::sync::Arc;

use trued_config::{Loaded, OperatorConfiguration};
use trued_doors::{Configuration, Source};
use trued_model::{Finding, Name, Revision, SourceSpec, Want};

use crate::wire;

/// Loads everything; the findings alone where not even the operator's file can be read.
pub async fn load(operator: &OperatorConfiguration) -> Result<Loaded, Vec<Finding>> {
    // A file that cannot be read names no sources; then loading says why.
    let specs = operator.sources().unwrap_or_default();
    let mut here: BTreeMap<Name, (Arc<dyn Source>, Revision)> = BTreeMap::new();
    let mut missing = Vec::new();
    for spec in specs.values() {
        match newest_here(spec, operator).await {
            Ok(found) => drop(here.insert(spec.name.clone(), found)),
            Err(refusal) => missing.push((spec.name.clone(), refusal)),
        }
    }
    let mut loaded = operator.loaded(&here).await?;
    for (name, refusal) in missing {
        let help = if refusal.help.is_empty() { "`trued plan` fetches it".to_owned() } else { refusal.help };
        loaded.findings.push(Finding::new(format!("source {name} is not here: {}", refusal.message), help));
    }
    Ok(loaded)
}

async fn newest_here(spec: &SourceSpec, operator: &OperatorConfiguration) -> trued_doors::Answer<(Arc<dyn Source>, Revision)> {
    let source = wire::source(spec, &operator.state)?;
    let own = spec.settings.get("own").and_then(serde_json::Value::as_bool) == Some(true);
    let revision = source.resolve(if own { Want::WorkTree } else { Want::Known }).await?;
    Ok((source, revision))
}
