//! What all kinds of check read from their settings.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trued_model::Duration;
use trued_model::body::Checked;

/// The longest a check may wait for what it checks.
const MAX_WITHIN: Duration = Duration::from_secs(3600);

/// Reads a check's settings; what is wrong with them is the check's result.
pub fn read<T: DeserializeOwned>(kind: &str, settings: &Value) -> Result<T, Checked> {
    serde_json::from_value(settings.clone()).map_err(|error| failed(kind, format!("its settings cannot be used: {error}")))
}

/// Refuses a wait beyond the bound.
pub fn bounded(kind: &str, within: Duration) -> Result<(), Checked> {
    if within > MAX_WITHIN {
        return Err(failed(kind, format!("its settings cannot be used: `within` is {within}, more than {MAX_WITHIN}")));
    }
    Ok(())
}

pub fn failed(check: &str, why: String) -> Checked {
    Checked { check: check.to_owned(), passed: false, why }
}

/// The schema of a span of time.
pub fn span(description: &str) -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": description })
}
