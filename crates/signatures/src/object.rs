//! What of a Git object is signed, and with what: commits and annotated tags, taken apart as `git` does it. Decides
//! nothing about the signature itself.

use crate::Unproven;

/// Largest signature that is looked at, in bytes; real ones have less than four thousand.
const LARGEST_SIGNATURE: usize = 64 << 10;

const SSH: &[u8] = b"-----BEGIN SSH SIGNATURE-----";
const PGP: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const OLD_PGP: &[u8] = b"-----BEGIN PGP MESSAGE-----";
const X509: &[u8] = b"-----BEGIN SIGNED MESSAGE-----";

/// What was signed, and the signature, both as they stand in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
    pub scheme: Scheme,
}

/// Which kind of signature it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Ssh,
    OpenPgp,
}

/// An annotated tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The object it points to, in hexadecimal digits.
    pub target: String,
    /// `commit`, `tag`, …
    pub kind: String,
    /// The name it was made under. It is signed, the reference's name is not.
    pub name: String,
    /// Nothing when nobody signed it.
    pub signed: Option<Signed>,
}

/// Takes a commit apart (the object's bytes, without Git's header); nothing when it bears no signature.
pub fn commit(bytes: &[u8]) -> Result<Option<Signed>, Unproven> {
    let mut payload = Vec::with_capacity(bytes.len());
    let mut signature: Option<Vec<u8>> = None;
    let mut inside = false;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (line, after) = cut_line(rest);
        if line == b"\n" {
            payload.extend_from_slice(rest);
            break;
        }
        rest = after;
        if let (true, [b' ', more @ ..], Some(signature)) = (inside, line, signature.as_mut()) {
            signature.extend_from_slice(more);
            continue;
        }
        inside = false;
        if let Some(first) = line.strip_prefix(b"gpgsig ") {
            if signature.replace(first.to_vec()).is_some() {
                return Err(Unproven::new("it bears two signatures, and only one can be meant"));
            }
            inside = true;
        } else if line.starts_with(b"gpgsig") {
            return Err(Unproven::new("it bears a signature for another kind of repository"));
        } else {
            payload.extend_from_slice(line);
        }
    }
    let Some(signature) = signature else { return Ok(None) };
    scheme_of(&signature).map(|scheme| Some(Signed { payload, signature, scheme }))
}

/// Takes an annotated tag apart (the object's bytes, without Git's header).
pub fn tag(bytes: &[u8]) -> Result<Tag, Unproven> {
    let malformed = || Unproven::new("it is malformed");
    let mut rest = bytes;
    let mut header = |word: &str| {
        let (line, after) = cut_line(rest);
        rest = after;
        let value = line.strip_prefix(word.as_bytes())?.strip_prefix(b" ")?.strip_suffix(b"\n")?;
        String::from_utf8(value.to_vec()).ok()
    };
    let target = header("object").ok_or_else(malformed)?;
    let kind = header("type").ok_or_else(malformed)?;
    let name = header("tag").ok_or_else(malformed)?;
    let signed = match signature_start(bytes) {
        None => None,
        Some(start) => {
            let (payload, signature) = bytes.split_at(start);
            Some(Signed { payload: payload.to_vec(), scheme: scheme_of(signature)?, signature: signature.to_vec() })
        }
    };
    Ok(Tag { target, kind, name, signed })
}

/// Where a tag's signature starts: at the last line that begins one, as `git` has it. What stands before is signed.
fn signature_start(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut found = None;
    while at < bytes.len() {
        let line = &bytes[at..];
        if [SSH, PGP, OLD_PGP, X509].iter().any(|begin| line.starts_with(begin)) {
            found = Some(at);
        }
        at += cut_line(line).0.len();
    }
    found
}

fn scheme_of(signature: &[u8]) -> Result<Scheme, Unproven> {
    if signature.len() > LARGEST_SIGNATURE {
        return Err(Unproven::new(format!("its signature has more than {LARGEST_SIGNATURE} bytes")));
    }
    if signature.starts_with(SSH) {
        Ok(Scheme::Ssh)
    } else if signature.starts_with(PGP) {
        Ok(Scheme::OpenPgp)
    } else if signature.starts_with(X509) {
        Err(Unproven::new("it is signed with an X.509 certificate, which is not supported"))
    } else {
        Err(Unproven::new("its signature is of no kind that is known here"))
    }
}

/// Cuts after the first line's end; the line keeps it.
fn cut_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
    bytes.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "tree 1\nparent 2\nauthor a\ncommitter c\n";
    const SIGNATURE: &str = "gpgsig -----BEGIN SSH SIGNATURE-----\n AAAA\n -----END SSH SIGNATURE-----\n";

    #[test]
    fn a_commit_comes_apart_into_what_is_signed_and_the_signature() {
        let signed = commit(format!("{BODY}{SIGNATURE}encoding x\n\nwords\ngpgsig none\n").as_bytes()).unwrap().unwrap();
        assert_eq!(String::from_utf8(signed.payload).unwrap(), format!("{BODY}encoding x\n\nwords\ngpgsig none\n"));
        assert_eq!(signed.signature, b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n");
        assert_eq!(signed.scheme, Scheme::Ssh);
    }

    #[test]
    fn what_only_looks_like_a_signature_is_none() {
        assert_eq!(commit(format!("{BODY}\n{SIGNATURE}").as_bytes()), Ok(None), "it stands in the message");
        assert_eq!(commit(format!("{BODY}mergetag object 3\n {SIGNATURE}\nwords").as_bytes()), Ok(None), "it is another object's");
        assert_eq!(commit(b""), Ok(None));
    }

    #[test]
    fn two_signatures_and_unknown_ones_are_refused() {
        let refused = |header: &str| commit(format!("{BODY}{SIGNATURE}{header}\nwords").as_bytes()).unwrap_err().to_string();
        assert!(refused(SIGNATURE).contains("two signatures"));
        assert!(refused("gpgsig-sha256 -----BEGIN SSH SIGNATURE-----\n AAAA\n").contains("another kind"));
        let x509 = commit(format!("{BODY}gpgsig -----BEGIN SIGNED MESSAGE-----\n AA\n\nwords").as_bytes());
        assert!(x509.unwrap_err().to_string().contains("X.509"));
    }

    #[test]
    fn a_tag_is_signed_up_to_its_last_signature() {
        let text = "object 12\ntype commit\ntag v1\ntagger t\n\nwords\n-----BEGIN SSH SIGNATURE-----\nold\n";
        let whole = format!("{text}-----BEGIN PGP SIGNATURE-----\nnew\n");
        let tag = tag(whole.as_bytes()).unwrap();
        assert_eq!((tag.target.as_str(), tag.kind.as_str(), tag.name.as_str()), ("12", "commit", "v1"));
        let signed = tag.signed.unwrap();
        assert_eq!((signed.payload.as_slice(), signed.scheme), (text.as_bytes(), Scheme::OpenPgp));
        assert!(super::tag(b"type commit\nobject 12\n").is_err(), "its lines are not in Git's order");
        assert_eq!(super::tag(b"object 1\ntype commit\ntag v1\n\nwords\n").unwrap().signed, None);
    }
}
