//! Certificates that are not believed, in words that say what to do.

use std::error::Error;
use std::io;

use reqwest::Url;
use rustls::CertificateError;
use trued_model::{Code, Refusal};

use crate::road::causes;

/// What is wrong with the certificate that a server shows, if that is why it was not asked; `own` says whether an authority of the
/// operator's was given.
pub(super) fn of(url: &Url, own: bool, error: &reqwest::Error) -> Option<Refusal> {
    let host = url.host_str().unwrap_or_default();
    let wrong = certificate(error)?;
    use CertificateError as Wrong;
    let (what, help) = match wrong {
        Wrong::UnknownIssuer | Wrong::BadSignature if own => {
            let help = "write the authority that signed it into the file under `ca`, besides those that are there";
            ("of an authority that the operator's `ca` does not hold", help.to_owned())
        }
        Wrong::UnknownIssuer | Wrong::BadSignature => ("of an authority that is not trusted here", name_it(url)),
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
            ("for another name", "correct the address, or have a certificate made for this one".to_owned())
        }
        Wrong::Expired | Wrong::ExpiredContext { .. } | Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            ("that is not valid now", "have it renewed, or set this machine's clock".to_owned())
        }
        other => {
            let message = format!("{host} shows a certificate that is not believed: {other}");
            return Some(Refusal::new(Code::Denied, message).help("have another one made"));
        }
    };
    Some(Refusal::new(Code::Denied, format!("{host} shows a certificate {what}")).help(help))
}

/// A client could not be made: without a `ca` it asks the system for authorities, and there may be none.
pub(super) fn no_authorities(host: &str, error: &reqwest::Error) -> Refusal {
    let help = "install the system's certificates, or name an authority under `registries` in the operator's file";
    Refusal::new(Code::Invalid, format!("prepare a client for {host}: {}", causes(error))).help(help)
}

/// The line to write.
fn name_it(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let place = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    format!("if it is your own, the operator names it: `registries: {{ \"{place}\": {{ ca: FILE }} }}`")
}

/// The certificate's fault among the causes of an error.
fn certificate<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(wrong)) = error.downcast_ref::<rustls::Error>() {
        return Some(wrong);
    }
    // An error of input and output says what is behind the one inside it, and not that one itself.
    let inside = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
    match inside {
        Some(inside) => certificate(inside),
        None => certificate(error.source()?),
    }
}
