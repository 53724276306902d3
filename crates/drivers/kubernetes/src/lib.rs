//! The driver `kubernetes`: keeps objects of a cluster as a stack desires them, by server-side apply.
//!
//! It looks, applies and answers. It decides nothing, starts no program, and touches no field that is not its own.

use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::{Value, json};
use trued_doors::{Answer, BoxFuture, Connection, Descriptor, Driver, Found, Link, Parsed, Reading, Sourced, TargetSettings as _};
use trued_model::{Address, Finding, HealthRule, Place};

mod address;
mod aggregated;
mod api;
mod apply;
mod audit;
mod clean;
mod cluster;
mod compare;
mod connect;
mod entry;
mod events;
mod expect;
mod fields;
mod follow;
mod former;
mod happen;
mod health;
mod hooks;
mod ignore;
mod keep;
mod link;
mod mark;
mod object;
mod observe;
pub mod outside;
mod page;
mod parse;
#[cfg(test)]
mod parse_tests;
mod preview;
mod ranks;
mod remove;
mod schema;
mod served;
mod settings;
mod survey;
mod table;
mod validate;
mod workloads;
mod write;

use cluster::Cluster;
use settings::Settings;

/// The driver for objects of a cluster.
pub fn driver() -> Arc<dyn Driver> {
    Arc::new(Kubernetes)
}

struct Kubernetes;

impl Driver for Kubernetes {
    fn describe(&self) -> Descriptor {
        Descriptor {
            kind: "kubernetes",
            summary: "objects of a Kubernetes cluster, by server-side apply",
            schema: Settings::schema(),
            example: json!({ "kubeconfig": "/etc/trued/kubeconfig", "context": "prod" }),
            paths: &["/kubeconfig"],
            pulls: &[],
        }
    }

    fn reads_text(&self) -> bool {
        true
    }

    fn parse(&self, reading: &Reading<'_>) -> Parsed {
        parse::parse(reading)
    }

    fn sourced(&self, found: &Found<'_>) -> Answer<Vec<Sourced>> {
        clean::sourced(found)
    }

    fn locate(&self, reading: &Reading<'_>, address: &Address, pointer: &str) -> Option<Place> {
        parse::locate(reading, address, pointer)
    }

    fn objects(&self) -> bool {
        true
    }

    fn check(&self, settings: &Value) -> Vec<Finding> {
        Settings::check(settings)
    }

    fn apart(&self) -> &'static [&'static str] {
        &["/context", "/impersonate"]
    }

    fn tells_health(&self) -> bool {
        true
    }

    fn check_health(&self, rule: &HealthRule) -> Option<(&'static str, Finding)> {
        health::check(rule)
    }

    fn connect(&self, at: Connection) -> BoxFuture<'_, Answer<Arc<dyn Link>>> {
        async move {
            let settings = Settings::read(&at.target.settings)?;
            let client = connect::connect(&settings).await?;
            let api = api::Api::new(client, at.clock.clone());
            let cluster = Cluster::new(api, at.ledger, at.blobs, at.seal, at.clock);
            let reports = settings.audit.map(|audit| (audit.token.secret, at.secrets));
            Ok(Arc::new(link::ClusterLink::new(cluster, settings.events, reports)) as Arc<dyn Link>)
        }
        .boxed()
    }
}
