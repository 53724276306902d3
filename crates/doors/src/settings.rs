//! How settings of a kind of target are typed: read, checked and described from one type.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;
use trued_model::{Code, Finding, Refusal};

use crate::Answer;

/// Settings of one kind of target, as configuration gives them.
pub trait TargetSettings: DeserializeOwned + JsonSchema {
    /// The word of the kind.
    const KIND: &'static str;

    /// Tells what is wrong with them beyond their form.
    fn findings(&self) -> Vec<Finding>;

    /// Reads settings that can be used; `Code::Invalid` says the first thing that is wrong with them.
    fn read(settings: &Value) -> Answer<Self> {
        let settings = Self::deserialize(settings).map_err(|error| Refusal::new(Code::Invalid, format!("read the settings: {error}")))?;
        match settings.findings().into_iter().next() {
            Some(finding) => Err(Refusal::new(Code::Invalid, finding.message).help(finding.help)),
            None => Ok(settings),
        }
    }

    /// Findings about settings; empty when they can be used.
    fn check(settings: &Value) -> Vec<Finding> {
        match Self::deserialize(settings) {
            Ok(settings) => settings.findings(),
            Err(error) => vec![Finding::new(format!("settings of a {} target: {error}", Self::KIND), "see `trued schema`")],
        }
    }

    /// The schema of the settings, without references.
    fn schema() -> Value {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        settings.into_generator().into_root_schema_for::<Self>().to_value()
    }
}
