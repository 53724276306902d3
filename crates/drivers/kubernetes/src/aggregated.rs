//! Kinds that another server behind the API server has: why that one cannot be asked, in the API server's own words.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use trued_model::{Code, Refusal};

use crate::cluster::Cluster;
use crate::object::{at, text};

/// How long an answer about a server behind a group counts: everybody who has something there asks at once.
const TOLD_FOR: Duration = Duration::from_secs(2);

/// What was said last of each group's server; `None` where it has none, or is not away.
pub(crate) type Away = BTreeMap<String, (Instant, Option<Refusal>)>;

impl Cluster {
    /// Why the server behind a group does not answer; `None` where the API server serves the group itself, or finds it available.
    pub async fn away(&self, group: &str) -> Option<Refusal> {
        let told = self.away.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        if let Some((_, told)) = told.filter(|(at, _)| at.elapsed() < TOLD_FOR) {
            return told;
        }
        let silent = self.served_lately().await.ok().and_then(|served| served.silent.get(group).cloned()).unwrap_or_default();
        let refusal = match self.api.list_whole("/apis/apiregistration.k8s.io/v1/apiservices", |service| service).await {
            Ok(services) => {
                let of_it = |service: &&Value| text(service, &["spec", "group"]) == Some(group);
                services.items.iter().filter(of_it).find_map(|service| why(group, service))
            }
            // Whether it is away is known all the same, where discovery says so; only why is not.
            Err(_) => (!silent.is_empty()).then(|| self::silent(group)),
        };
        self.away.lock().unwrap_or_else(PoisonError::into_inner).insert(group.to_owned(), (Instant::now(), refusal.clone()));
        refusal
    }
}

/// That a group's server does not answer, where nothing more is known.
pub(crate) fn silent(group: &str) -> Refusal {
    refuse(format!("ask the cluster for what {group} serves: the server behind it does not answer"))
}

/// Why an APIService that another server stands behind is not available.
fn why(group: &str, service: &Value) -> Option<Refusal> {
    at(service, &["spec", "service"]).filter(|service| service.is_object())?;
    let name = text(service, &["metadata", "name"])?;
    let conditions = at(service, &["status", "conditions"]).and_then(Value::as_array);
    let available = conditions.into_iter().flatten().find(|condition| text(condition, &["type"]) == Some("Available"));
    let said = match available {
        Some(available) if text(available, &["status"]) == Some("True") => return None,
        Some(available) => {
            let of = |key| text(available, &[key]).unwrap_or_default();
            format!("{}: {}", of("reason"), of("message"))
        }
        None => "nothing is known of it yet".to_owned(),
    };
    Some(refuse(format!("ask the cluster for what {group} serves: its APIService {name} is not available: {said}")))
}

fn refuse(message: String) -> Refusal {
    Refusal::new(Code::Unreachable, message)
        .help("see why that server is away; nothing of its kinds is changed meanwhile, and all goes on when it is back")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fault_33_a_server_that_is_away_is_told_by_the_name_and_the_condition_of_its_service() {
        let service = |status: &str| {
            json!({ "metadata": { "name": "v1.w.example" }, "spec": { "group": "w.example", "service": { "name": "w", "namespace": "w" } },
                "status": { "conditions": [{ "type": "Available", "status": status, "reason": "FailedDiscoveryCheck", "message": "no route" }] } })
        };
        let said = why("w.example", &service("False")).expect("it is away").message;
        assert!(said.contains("APIService v1.w.example is not available: FailedDiscoveryCheck: no route"), "{said}");
        assert_eq!(why("w.example", &service("True")), None);
        let mut own = service("False");
        own["spec"]["service"] = Value::Null;
        assert_eq!(why("w.example", &own), None, "the API server's own");
    }
}
