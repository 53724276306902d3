//! How registries and repositories of charts are asked: the operator's word alone, since it names files and proxies.

use serde_json::Value;
use trued_yaml::step;

use super::{Operator, Reader};
use crate::shape::OperatorFile;
use crate::text::{Fault, Text, shown};

/// How one place of charts is asked.
pub(crate) struct Registry {
    pub road: Value,
    /// Where that stands in the operator's file.
    pub pointer: String,
}

impl Reader<'_> {
    pub(super) fn registries(&mut self, text: &Text, file: &OperatorFile, operator: &mut Operator) {
        let kinds = self.input.kinds;
        let (descriptor, puller) = &kinds.puller;
        for (place, road) in &file.registries {
            let pointer = format!("/registries{}", step(place));
            let mut road = road.clone();
            self.host_paths(&mut road, descriptor.paths);
            self.secrets_exist(text, &pointer, &road);
            self.refuse_credentials(text, &pointer, &mut road);
            // What was refused is not looked at again.
            if !self.faults.iter().any(|fault| fault.pointer.starts_with(&pointer)) {
                let wrong = puller.check(&road).into_iter();
                self.faults.extend(wrong.map(|(below, finding)| text.fault(&format!("{pointer}{below}"), finding.message, finding.help)));
            }
            let registry = Registry { road, pointer: pointer.clone() };
            if operator.registries.insert(host_and_port(place, 443), registry).is_some() {
                let fault =
                    text.key_fault(&pointer, format!("`{}` is named twice", shown(place)), "keep one; the port 443 is that of https");
                self.faults.push(Fault { pointer, ..fault });
            }
        }
    }
}

/// A host with its port, in small letters.
pub(crate) fn host_and_port(place: &str, otherwise: u16) -> String {
    let place = place.to_ascii_lowercase();
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let in_brackets = place.ends_with(']');
    if has_port && !in_brackets { place } else { format!("{}:{otherwise}", place.trim_end_matches(':')) }
}

/// Host and port of an address over http or https.
pub(crate) fn asked_at(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let place = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    host_and_port(place, if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_with_and_without_the_port_that_its_scheme_has() {
        for (address, place) in [
            ("https://Charts.example/stable", "charts.example:443"),
            ("https://charts.example:443", "charts.example:443"),
            ("https://charts.example:8443/a:b", "charts.example:8443"),
            ("https://[::1]/x", "[::1]:443"),
            ("https://[::1]:5000/x", "[::1]:5000"),
            ("http://charts.example/x", "charts.example:80"),
        ] {
            assert_eq!(asked_at(address), place, "{address}");
        }
        assert_eq!(host_and_port("[::1]", 443), "[::1]:443");
    }
}
