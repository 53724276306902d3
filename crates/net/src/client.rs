//! The parts of an HTTP client that hold to a scope: names are filtered after they were resolved, which is when they are
//! connected to, and a redirection stays with scheme, host and port and with what was granted.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use crate::{Nature, Scope, Trust, nature};

/// Redirections followed on the same host.
const REDIRECTIONS: usize = 5;

/// Why an address is not asked, in words that continue its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Denied {}

/// Decides whether a URL may be asked, and how far its name may lead. An IP address in it is judged here, in whatever
/// way it is written; a name when it is resolved: by [`Filtered`].
pub fn admit(url: &Url, trust: &Trust) -> Result<Scope, Denied> {
    let scope = trust.scope(url.as_str()).ok_or_else(|| Denied("is not an address that the operator granted".to_owned()))?;
    judged(url, scope).map(|()| scope)
}

/// Whether a URL with an IP address in it leads no further than a scope. A name is judged when it is resolved.
pub fn judged(url: &Url, scope: Scope) -> Result<(), Denied> {
    // `Url` knows every spelling of an address: 0x7f.1 and 2130706433 are 127.0.0.1 to it.
    let host = url.host_str().unwrap_or_default();
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => judge(address, scope),
        Err(_) => Ok(()),
    }
}

fn judge(address: IpAddr, scope: Scope) -> Result<(), Denied> {
    match nature(address) {
        nature if scope.covers(nature) => Ok(()),
        Nature::Inside(what) | Nature::Never(what) => Err(Denied(format!("is {address}, {what}, which was not granted by name"))),
        Nature::Public => Ok(()),
    }
}

/// Whether two URLs have scheme, host and port in common.
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && one.host_str() == other.host_str() && one.port_or_known_default() == other.port_or_known_default()
}

/// Follows a few redirections within scheme, host and port of the first URL, and within what was granted. Where one leads
/// elsewhere the answer is what the first server said.
pub fn staying(first: Url, trust: Trust) -> Policy {
    Policy::custom(move |attempt| {
        let stays = same_origin(&first, attempt.url()) && attempt.previous().len() <= REDIRECTIONS;
        match stays && admit(attempt.url(), &trust).is_ok() {
            true => attempt.follow(),
            false => attempt.stop(),
        }
    })
}

/// How names become addresses.
pub trait Lookup: Send + Sync {
    fn lookup(&self, name: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
}

struct System;

impl Lookup for System {
    fn lookup(&self, name: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// A resolver that gives only what a scope covers. The client connects to what it gives and to nothing else, so a name
/// that means another address the next time is judged again.
pub struct Filtered {
    scope: Scope,
    lookup: Arc<dyn Lookup>,
}

impl Filtered {
    /// Resolves as this machine does.
    pub fn new(scope: Scope) -> Filtered {
        Filtered::looking_up(scope, Arc::new(System))
    }

    pub fn looking_up(scope: Scope, lookup: Arc<dyn Lookup>) -> Filtered {
        Filtered { scope, lookup }
    }
}

impl Resolve for Filtered {
    fn resolve(&self, name: Name) -> Resolving {
        let (scope, lookup) = (self.scope, self.lookup.clone());
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            let mut denied = None;
            let mut covered = Vec::new();
            for address in found {
                match judge(address.ip(), scope) {
                    Ok(()) => covered.push(address),
                    Err(why) => denied = Some(why),
                }
            }
            match (covered.is_empty(), denied) {
                (true, Some(Denied(why))) => Err(Denied(format!("{} {why}", name.as_str())).into()),
                _ => Ok(Box::new(covered.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Reach;

    #[tokio::main(flavor = "current_thread")]
    async fn block_on<T>(future: impl Future<Output = T>) -> T {
        future.await
    }

    fn granted(pattern: &str) -> Trust {
        Trust::Granted(vec![Reach::read(pattern).expect("is a pattern")])
    }

    #[test]
    fn fault_09_an_address_is_judged_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://0xa9fea9fe/",
            "http://[fd00:ec2::254]/",
            "http://10.0.0.1/",
            "http://0/",
        ] {
            let url = Url::parse(url).expect("a URL");
            let denied = admit(&url, &granted("http://*/*")).expect_err(url.as_str());
            assert!(denied.to_string().contains("not granted by name"), "{denied}");
            assert_eq!(admit(&url, &Trust::Operator), Ok(Scope::Anywhere), "the operator's own is trusted");
        }
        let url = Url::parse("http://127.0.0.1/healthz").expect("a URL");
        assert_eq!(admit(&url, &granted("http://127.0.0.1/*")), Ok(Scope::Anywhere));
        assert!(admit(&url, &granted("http://127.0.0.1/other/*")).is_err());
    }

    /// Says something else each time it is asked.
    struct Rebinding(Mutex<Vec<&'static str>>);

    impl Lookup for Rebinding {
        fn lookup(&self, _name: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
            let next = self.0.lock().expect("not poisoned").remove(0);
            Box::pin(async move { Ok(next.split(' ').map(|address| SocketAddr::new(address.parse().expect("an address"), 0)).collect()) })
        }
    }

    #[test]
    fn fault_09_a_name_is_judged_by_what_it_means_when_it_is_connected_to() {
        let answers = vec!["1.1.1.1", "127.0.0.1", "10.0.0.1 1.1.1.1", "::ffff:10.0.0.1 fe80::1"];
        let resolver = Filtered::looking_up(Scope::Public, Arc::new(Rebinding(Mutex::new(answers))));
        let ask = || {
            block_on(resolver.resolve("app.example".parse().expect("a name")))
                .map(|found| found.map(|at| at.ip().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(ask().expect("public"), ["1.1.1.1"]);
        let denied = ask().expect_err("rebound").to_string();
        assert!(denied.contains("app.example is 127.0.0.1, a loopback address"), "{denied}");
        assert_eq!(ask().expect("one of two"), ["1.1.1.1"]);
        assert!(ask().is_err());
        let inside = Filtered::looking_up(Scope::Inside, Arc::new(Rebinding(Mutex::new(vec!["10.0.0.1", "169.254.169.254"]))));
        let ask = || block_on(inside.resolve("app.example".parse().expect("a name"))).map(Iterator::count);
        assert_eq!(ask().expect("private"), 1);
        assert!(ask().is_err(), "a granted name leads to no metadata service");
    }
}
