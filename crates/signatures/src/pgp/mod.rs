//! The part of OpenPGP (RFC 9580) that signatures of Git need: version 4 signatures and keys, read strictly. Encryption,
//! compression, older and newer versions, and hashes that can be forged are not here at all.

mod armor;
mod certificate;
mod key;
mod packet;
mod signature;

pub(crate) use certificate::Certificate;
pub(crate) use signature::Signature;

use crate::Unproven;
use packet::{Packet, packets};

/// Reads public keys, armoured (one block or many) or not; each by itself, so that one that cannot be used stops no other.
pub(crate) fn read_certificates(bytes: &[u8]) -> Result<Vec<Result<Certificate, String>>, String> {
    let blocks = match armor::is_armoured(bytes) {
        true => armor::blocks(bytes, "PUBLIC KEY BLOCK")?,
        false => vec![bytes.to_vec()],
    };
    let mut all = Vec::new();
    for block in &blocks {
        let packets = packets(block).ok_or("its packets are malformed or cut short")?;
        all.extend(certificate::split(&packets)?.into_iter().map(Certificate::read));
    }
    if all.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(all) }
}

/// Reads an armoured signature: one, over a document.
pub(crate) fn read_signature(armoured: &[u8]) -> Result<Signature, Unproven> {
    let malformed = || Unproven::new("its signature is malformed or cut short");
    let blocks = armor::blocks(armoured, "SIGNATURE").map_err(|why| Unproven::new(format!("its signature is malformed: {why}")))?;
    let [block] = blocks.as_slice() else {
        return Err(Unproven::new("it bears more than one signature, and only one can be meant"));
    };
    let packets = packets(block).ok_or_else(malformed)?;
    match packets.as_slice() {
        [Packet { tag: packet::SIGNATURE, body, .. }] => Signature::read(body).map_err(Unproven::new),
        [_, _, ..] => Err(Unproven::new("it bears more than one signature, and only one can be meant")),
        _ => Err(malformed()),
    }
}
