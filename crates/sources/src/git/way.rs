//! The way to a remote: over https or over ssh, with credentials as they are now. The one place that knows both.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use gix_transport::Protocol;
use gix_transport::client::blocking_io::Transport;
use gix_transport::client::blocking_io::http;
use tokio::runtime::Handle;
use trued_doors::{Answer, Runner, Secrets};
use trued_model::{Code, Name, Refusal};

use super::http::{Course, Identity, Wire};
use super::limits::Limits;
use super::settings::{Credentials, Hosts, Settings};
use super::ssh::{self, Acquaintance, Spoken};
use super::ssh_url::SshUrl;
use super::url::WebUrl;
use super::watch::Bounds;
use crate::road::{ProxyTo, Road};

/// A way, and what is needed to go it.
pub(super) struct Way {
    to: To,
    credentials: Credentials,
    secrets: Arc<dyn Secrets>,
}

enum To {
    Web { url: WebUrl, road: Road },
    Ssh { url: SshUrl, hosts: Hosts, runner: Arc<dyn Runner>, executor: OnceLock<Handle> },
}

impl Way {
    pub(super) fn over_web(url: WebUrl, settings: &Settings, secrets: Arc<dyn Secrets>) -> Way {
        let to = To::Web { url, road: settings.road.clone() };
        Way { to, credentials: settings.credentials.clone(), secrets }
    }

    pub(super) fn over_ssh(url: SshUrl, settings: &Settings, secrets: Arc<dyn Secrets>, runner: Arc<dyn Runner>) -> Way {
        // Settings without hosts were refused; with no keys, no server is the right one.
        let hosts = settings.hosts.clone().unwrap_or(Hosts::Keys(Vec::new()));
        let to = To::Ssh { url, hosts, runner, executor: OnceLock::new() };
        Way { to, credentials: settings.credentials.clone(), secrets }
    }

    /// What gix calls the other side.
    pub(super) fn name(&self) -> String {
        match &self.to {
            To::Web { url, .. } => url.to_string(),
            To::Ssh { .. } => ssh::NAME.to_owned(),
        }
    }

    /// The address, which holds no secret.
    pub(super) fn url(&self) -> String {
        match &self.to {
            To::Web { url, .. } => url.to_string(),
            To::Ssh { url, .. } => url.to_string(),
        }
    }

    /// Host and port, for people.
    pub(super) fn host(&self) -> String {
        match &self.to {
            To::Web { url, .. } => url.host(),
            To::Ssh { url, .. } => url.host(),
        }
    }

    /// Remembers the executor that programs are attended on; readers without one of their own use it too.
    pub(super) fn attended_by(&self, handle: Handle) {
        if let To::Ssh { executor, .. } = &self.to {
            let _ = executor.set(handle);
        }
    }

    /// Prepares to go it, with secrets as they are now. `folder` belongs to the one fetch that runs.
    pub(super) fn open(&self, folder: &Path, bounds: &Bounds, limits: &Limits) -> Answer<(Box<dyn Transport + Send>, Option<Spoken>)> {
        match &self.to {
            To::Web { url, road } => {
                let identity = match &self.credentials {
                    Credentials::None | Credentials::Key { .. } => None,
                    Credentials::Token { user, secret } | Credentials::Basic { user, secret } => Some(self.identity(user, secret)?),
                };
                let proxy = match &road.proxy {
                    None => None,
                    Some(ProxyTo { url, identity: None }) => Some((url, None)),
                    Some(ProxyTo { url, identity: Some((user, secret)) }) => Some((url, Some(self.identity(user, secret)?))),
                };
                let wire = Wire::new(Course { url, identity, ca: road.ca.as_deref(), proxy }, bounds.clone())?;
                let parsed = gix::url::parse(url.as_str())
                    .map_err(|_| Refusal::new(Code::Invalid, format!("fetch from {}: its address is not one", url.host())))?;
                Ok((Box::new(http::Transport::new_http(wire, parsed, Protocol::V2, false)), None))
            }
            To::Ssh { url, hosts, runner, executor } => {
                let Credentials::Key { secret } = &self.credentials else {
                    return Err(Refusal::new(Code::Invalid, format!("fetch from {}: it needs a key", url.host())));
                };
                let key = self.secrets.get(secret)?;
                let hosts = match hosts {
                    Hosts::File(file) => ssh::known_hosts(file)?,
                    Hosts::Keys(keys) => keys.iter().map(|key| format!("{} {key}\n", url.host())).collect::<String>().into_bytes(),
                };
                let executor = executor.get().ok_or_else(|| Refusal::new(Code::Broken, "start `ssh`: nobody would attend to it"))?;
                let with = Acquaintance { hosts, key: &key };
                let (transport, spoken) = ssh::start(url, with, folder, (runner.as_ref(), executor), bounds, limits.fetch_time)?;
                Ok((transport, Some(spoken)))
            }
        }
    }

    fn identity(&self, user: &str, secret: &Name) -> Answer<Identity> {
        Ok(Identity { user: user.to_owned(), password: self.secrets.get(secret)? })
    }
}
