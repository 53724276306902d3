//! From settings to a client: which cluster, who we are there, and what a kubeconfig must not bring along.

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use trued_doors::Answer;
use trued_model::{Code, Refusal};

use crate::settings::Settings;

/// What we say we are, in every request.
const WE: &str = concat!("trued/", env!("CARGO_PKG_VERSION"));

/// Makes a client. Talks to nobody yet.
pub(crate) async fn connect(settings: &Settings) -> Answer<Client> {
    let mut config = match &settings.kubeconfig {
        Some(path) => {
            let unread = |error: &dyn std::fmt::Display| {
                let help = "name a kubeconfig that can be read, and a context that is in it";
                Refusal::new(Code::Invalid, format!("read the kubeconfig {}: {error}", path.display())).help(help)
            };
            let read = path.clone();
            let kubeconfig = tokio::task::spawn_blocking(move || Kubeconfig::read_from(read)).await;
            let kubeconfig = kubeconfig.map_err(|error| unread(&error))?.map_err(|error| unread(&error))?;
            let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unread(&error))?
        }
        None => Config::incluster().map_err(|error| {
            let help = "name a `kubeconfig`, or run Trued in a pod with a service account";
            Refusal::new(Code::Invalid, format!("find the cluster that Trued runs in: {error}")).help(help)
        })?,
    };
    if config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some() {
        let message = "use the kubeconfig: its user is found out by a program, and programs for credentials are not available yet";
        return Err(Refusal::new(Code::Unsupported, message).help("use a token, a token file or a client certificate"));
    }
    if config.accept_invalid_certs {
        let message = "use the kubeconfig: it says `insecure-skip-tls-verify`, so anybody could stand in for the cluster";
        return Err(Refusal::new(Code::Denied, message).help("name the cluster's certificate authority instead"));
    }
    if let Some(user) = settings.acts_as() {
        config.auth_info.impersonate = Some(user);
        config.auth_info.impersonate_groups = None;
    }
    config.headers.push((USER_AGENT, HeaderValue::from_static(WE)));
    Client::try_from(config).map_err(|error| Refusal::new(Code::Invalid, format!("open a line to the cluster: {error}")))
}
