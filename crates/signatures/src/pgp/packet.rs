//! OpenPGP's packets (RFC 9580, 4): what they are and where they end. Lengths that are told piece by piece are refused:
//! no signature and no key has them.

use crate::wire::Bytes;

pub(super) const SIGNATURE: u8 = 2;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const USER_ID: u8 = 13;
pub(super) const PUBLIC_SUBKEY: u8 = 14;
pub(super) const USER_ATTRIBUTE: u8 = 17;

/// Most packets that are read; a key that half the world has signed has some thousands.
const MOST: usize = 100_000;

#[derive(Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
    /// With its header.
    pub(super) whole: &'a [u8],
}

/// All packets; `None` when they are malformed, cut short or too many.
pub(super) fn packets(all: &[u8]) -> Option<Vec<Packet<'_>>> {
    let mut bytes = Bytes(all);
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let start = bytes.0;
        let first = bytes.byte()?;
        let (tag, length) = match first {
            0xC0.. => (first & 0x3F, new_length(&mut bytes)?),
            0x80.. => {
                let length = match first & 3 {
                    0 => u32::from(bytes.byte()?),
                    1 => u32::from(bytes.u16()?),
                    2 => bytes.u32()?,
                    _ => return None,
                };
                ((first & 0x3F) >> 2, length)
            }
            _ => return None,
        };
        let body = bytes.take(usize::try_from(length).ok()?)?;
        let whole = start.get(..start.len() - bytes.0.len())?;
        packets.push(Packet { tag, body, whole });
        if packets.len() > MOST {
            return None;
        }
    }
    Some(packets)
}

/// A length as packets and subpackets tell it.
fn new_length(bytes: &mut Bytes<'_>) -> Option<u32> {
    match bytes.byte()? {
        short @ 0..192 => Some(u32::from(short)),
        middle @ 192..224 => Some(((u32::from(middle) - 192) << 8) + u32::from(bytes.byte()?) + 192),
        255 => bytes.u32(),
        _ => None,
    }
}

/// The subpackets of one area of a signature: kind, whether it must be understood, and content.
pub(super) fn subpackets(area: &[u8]) -> Option<Vec<(u8, bool, &[u8])>> {
    let mut bytes = Bytes(area);
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = match bytes.byte()? {
            short @ 0..192 => u32::from(short),
            255 => bytes.u32()?,
            middle => ((u32::from(middle) - 192) << 8) + u32::from(bytes.byte()?) + 192,
        };
        let (kind, content) = bytes.take(usize::try_from(length).ok()?)?.split_first()?;
        all.push((kind & 0x7F, kind & 0x80 != 0, content));
    }
    Some(all)
}
