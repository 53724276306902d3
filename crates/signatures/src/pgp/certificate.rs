//! A whole OpenPGP key: the primary key, the names it claims, the subkeys it binds, and what it revokes. Only what the
//! primary key itself signed counts; what others say of it does not.

use super::key::PgpKey;
use super::packet::{PUBLIC_KEY, PUBLIC_SUBKEY, Packet, SIGNATURE, USER_ATTRIBUTE, USER_ID};
use super::signature::{
    CERTIFICATION_REVOCATION, CERTIFICATIONS, DIRECT_KEY, KEY_REVOCATION, PRIMARY_BINDING, SUBKEY_BINDING, SUBKEY_REVOCATION, Signature,
};

/// The flag of a key that may sign documents.
const MAY_SIGN: u8 = 0x02;

#[derive(Clone)]
pub(crate) struct Certificate {
    /// All of it, as it was given.
    pub(crate) bytes: Vec<u8>,
    /// The addresses in its user ids that hold, or the whole user id where there is none.
    pub(crate) names: Vec<String>,
    primary: PgpKey,
    /// Those that may sign, or might if they were not revoked.
    signing: Vec<PgpKey>,
}

/// Divides packets into keys: each begins with a primary one.
pub(super) fn split<'p, 'a>(packets: &'p [Packet<'a>]) -> Result<Vec<&'p [Packet<'a>]>, String> {
    if packets.first().is_some_and(|first| first.tag != PUBLIC_KEY) {
        return Err("it does not begin with a public key".to_owned());
    }
    let starts: Vec<usize> = packets.iter().enumerate().filter(|(_, packet)| packet.tag == PUBLIC_KEY).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([packets.len()]);
    Ok(starts.iter().zip(ends).filter_map(|(start, end)| packets.get(*start..end)).collect())
}

impl Certificate {
    /// Reads a key from its packets.
    pub(super) fn read(packets: &[Packet<'_>]) -> Result<Certificate, String> {
        let (first, mut rest) = packets.split_first().ok_or("there is no key in it")?;
        let mut primary = PgpKey::read(first.body)?;
        if let Some(why) = primary.unfit() {
            return Err(format!("the key {}: {why}", primary.fingerprint()));
        }
        let of_primary = primary.framed();
        let (signatures, after) = signatures(rest);
        primary.revoked = revokes(rest, after, KEY_REVOCATION);
        rest = after;
        let own = |signature: &&Signature| signature.kind == DIRECT_KEY && primary.made_it(signature, &of_primary);
        let mut said: Vec<Signature> = signatures.iter().filter(own).cloned().collect();
        let (mut names, mut subkeys) = (Vec::new(), Vec::new());
        while let Some((packet, after)) = rest.split_first() {
            let (signatures, next) = self::signatures(after);
            rest = next;
            match packet.tag {
                USER_ID => {
                    let signed = [of_primary.as_slice(), &framed_name(0xB4, packet.body)?].concat();
                    let own: Vec<&Signature> = signatures.iter().filter(|signature| primary.made_it(signature, &signed)).collect();
                    let revoked = own.iter().any(|signature| signature.kind == CERTIFICATION_REVOCATION);
                    let certified = own.into_iter().filter(|signature| CERTIFICATIONS.contains(&signature.kind)).cloned();
                    let certified: Vec<Signature> = certified.collect();
                    if !revoked && !certified.is_empty() {
                        names.push(name(packet.body));
                    }
                    said.extend(certified);
                }
                PUBLIC_SUBKEY => {
                    let bound = PgpKey::read(packet.body).ok().and_then(|key| bound(&primary, key, &signatures));
                    subkeys.extend(bound.map(|key| PgpKey { revoked: revokes(after, next, SUBKEY_REVOCATION), ..key }));
                }
                USER_ATTRIBUTE => {}
                _ => return Err(format!("something stands in it that belongs into no key (packet {})", packet.tag)),
            }
        }
        let newest = said.iter().max_by_key(|signature| signature.made).ok_or_else(|| {
            format!("the key {} has no signature of its own that holds; one made with SHA-1 does not count", primary.fingerprint())
        })?;
        primary.ends = primary.ends_by(newest);
        let may_sign = newest.flags.is_none_or(|flags| flags & MAY_SIGN != 0);
        // What ends the primary key ends its subkeys.
        for subkey in &mut subkeys {
            subkey.revoked |= primary.revoked;
            subkey.ends = [subkey.ends, primary.ends].into_iter().flatten().min();
        }
        let mut signing = subkeys;
        if may_sign {
            signing.push(primary.clone());
        }
        if signing.is_empty() {
            return Err(format!("the key {} has no key in it that may sign and is accepted", primary.fingerprint()));
        }
        names.dedup();
        let bytes = packets.iter().flat_map(|packet| packet.whole).copied().collect();
        Ok(Certificate { bytes, names, primary, signing })
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.primary.fingerprint()
    }

    /// The key of it that a signature says it is from.
    pub(crate) fn key_of(&self, signature: &Signature) -> Option<&PgpKey> {
        self.signing.iter().find(|key| key.is_named_by(signature))
    }
}

/// A subkey that the primary key bound for signing, and that agreed to it.
fn bound(primary: &PgpKey, mut subkey: PgpKey, signatures: &[Signature]) -> Option<PgpKey> {
    let signed = [primary.framed(), subkey.framed()].concat();
    let own = signatures.iter().filter(|signature| primary.made_it(signature, &signed));
    let bindings = own.filter(|signature| signature.kind == SUBKEY_BINDING);
    let binding = bindings.max_by_key(|signature| signature.made)?;
    let back = Signature::read(binding.embedded.as_deref()?).ok()?;
    let agreed = back.kind == PRIMARY_BINDING && subkey.made_it(&back, &signed);
    if !agreed || binding.flags.is_none_or(|flags| flags & MAY_SIGN == 0) || subkey.unfit().is_some() {
        return None;
    }
    subkey.ends = subkey.ends_by(binding);
    Some(subkey)
}

/// The signatures that stand next, as far as they can be read, and what stands after them.
fn signatures<'p, 'a>(packets: &'p [Packet<'a>]) -> (Vec<Signature>, &'p [Packet<'a>]) {
    let end = packets.iter().position(|packet| packet.tag != SIGNATURE).unwrap_or(packets.len());
    let (signatures, rest) = packets.split_at(end);
    (signatures.iter().filter_map(|packet| Signature::read(packet.body).ok()).collect(), rest)
}

/// Whether a revocation stands between here and there. Whoever made it, with whatever hash and whatever for: a key that
/// somebody wanted out of use is not used.
fn revokes(from: &[Packet<'_>], until: &[Packet<'_>], kind: u8) -> bool {
    from.iter().take(from.len() - until.len()).any(|packet| matches!(packet.body, [3, _, found, ..] | [4..=6, found, ..] if *found == kind))
}

fn framed_name(first: u8, body: &[u8]) -> Result<Vec<u8>, String> {
    let length = u32::try_from(body.len()).map_err(|_| "a user id is too long".to_owned())?;
    Ok([&[first], length.to_be_bytes().as_slice(), body].concat())
}

/// The address in a user id, or all of it.
fn name(user_id: &[u8]) -> String {
    let text = crate::wire::plain(user_id);
    let address = text.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(address, _)| address.trim().to_owned());
    address.filter(|address| !address.is_empty()).unwrap_or(text)
}
