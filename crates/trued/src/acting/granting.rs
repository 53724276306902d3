//! The configuration, with one thing added: what it grants as secrets is what may be read as secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use trued_config::{Alone, OperatorConfiguration};
use trued_doors::{BoxFuture, Configuration, Configured, Source};
use trued_model::{Estate, Finding, Name, Revision, SourceSpec};
use trued_secrets::Granted;

pub struct Granting {
    pub operator: OperatorConfiguration,
    pub granted: Arc<Granted>,
}

impl Configuration for Granting {
    fn sources(&self) -> Result<BTreeMap<Name, SourceSpec>, Vec<Finding>> {
        // Sources may need secrets before anything else is known.
        let Alone { sources, secrets } = self.operator.alone()?;
        self.granted.grant(secrets);
        Ok(sources)
    }

    fn load<'a>(&'a self, at: &'a BTreeMap<Name, (Arc<dyn Source>, Revision)>) -> BoxFuture<'a, Configured> {
        Box::pin(async move {
            let configured = self.operator.load(at).await;
            if let Some(estate) = &configured.estate {
                self.granted.grant(estate.secrets.clone());
            }
            configured
        })
    }

    fn differences(&self, old: &Estate, new: &Estate) -> Vec<String> {
        self.operator.differences(old, new)
    }

    fn loosened(&self, old: &Estate, new: &Estate) -> Vec<String> {
        self.operator.loosened(old, new)
    }
}
