//! Waiting for kinds that a cluster does not serve yet: whoever brings one, what waits for it is woken.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use trued_model::Address;

use crate::address::{Kind, Spot};
use crate::cluster::Cluster;

/// What tells of new kinds when it changes.
const TELLING: [(&str, &str); 2] = [("apiextensions.k8s.io", "CustomResourceDefinition"), ("apiregistration.k8s.io", "APIService")];
/// A kind is served a moment after its definition stands: after these pauses it is asked whether it is.
const ASKED_AFTER: [u64; 6] = [0, 100, 300, 700, 1_500, 3_000];
/// How often it is looked, where nothing tells: we may not list definitions, or what brings the kind is none.
const LOOKED_AFTER: Duration = Duration::from_secs(300);

impl Cluster {
    /// Remembers that these wait for their kinds; a hint tells when one is served.
    pub fn expect(self: &Arc<Self>, addresses: &BTreeSet<Address>) {
        let mut expected = self.expected();
        let begun = !expected.is_empty();
        expected.extend(addresses.iter().cloned());
        if !begun && !expected.is_empty() {
            tokio::spawn(until_served(Arc::downgrade(self)));
        }
    }

    /// Tells of those whose kind is served by now; whether somebody still waits.
    async fn tell_expected(&self) -> bool {
        if let Ok(served) = self.served(Duration::ZERO).await {
            let is_served = |address: &Address| Spot::read(address).is_some_and(|spot| served.get(&spot.kind).is_some());
            let told: Vec<Address> = self.expected().iter().filter(|address| is_served(address)).cloned().collect();
            for address in told {
                self.expected().remove(&address);
                // Nobody may be listening.
                let _ = self.hints.send(address);
            }
        }
        !self.expected().is_empty()
    }
}

async fn until_served(cluster: Weak<Cluster>) {
    let changed = Arc::new(Notify::new());
    let mut pauses = &ASKED_AFTER[..1];
    loop {
        for pause in pauses {
            tokio::time::sleep(Duration::from_millis(*pause)).await;
            let Some(cluster) = cluster.upgrade() else { return };
            if !cluster.tell_expected().await {
                return;
            }
        }
        {
            let Some(cluster) = cluster.upgrade() else { return };
            for (group, kind) in TELLING {
                cluster.look_on(&Kind::new(group, kind), &changed).await;
            }
        }
        let told = tokio::time::timeout(LOOKED_AFTER, changed.notified()).await.is_ok();
        pauses = if told { &ASKED_AFTER } else { &ASKED_AFTER[..1] };
    }
}
