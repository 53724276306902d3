//! OpenPGP's armour (RFC 9580, 6): text around bytes. Blocks of the wrong kind, text between them and sums that do not
//! fit are errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) fn is_armoured(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN PGP")
}

/// The bytes of every block; there is nothing else but blank lines between them.
pub(super) fn blocks(bytes: &[u8], kind: &str) -> Result<Vec<Vec<u8>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its armour is not text")?;
    let (begin, end) = (format!("-----BEGIN PGP {kind}-----"), format!("-----END PGP {kind}-----"));
    // What may stand at the end of a line, and nothing else that counts as white elsewhere.
    let mut lines = text.lines().map(|line| line.trim_end_matches([' ', '\t', '\r']));
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if line != begin {
            return Err(format!("there is something else than a PGP {}", kind.to_lowercase()));
        }
        // Headers, of which none means anything here, up to an empty line.
        for header in lines.by_ref() {
            if header.is_empty() {
                break;
            }
            if !header.contains(": ") {
                return Err("a header of its armour is malformed".to_owned());
            }
        }
        let (mut packed, mut sum, mut ended) = (String::new(), None, false);
        for line in lines.by_ref() {
            if line == end {
                ended = true;
                break;
            }
            match (line.strip_prefix('='), &sum) {
                (_, Some(_)) => return Err("its armour goes on after its sum".to_owned()),
                (Some(written), None) if written.len() == 4 => sum = Some(written.to_owned()),
                _ => packed.push_str(line),
            }
        }
        if !ended {
            return Err("its armour does not end".to_owned());
        }
        let bytes = STANDARD.decode(packed).map_err(|_| "its armour is not base64")?;
        if sum.is_some_and(|sum| sum != STANDARD.encode(&crc24(&bytes).to_be_bytes()[1..])) {
            return Err("the sum of its armour does not fit".to_owned());
        }
        blocks.push(bytes);
    }
    if blocks.is_empty() { Err("there is nothing in it".to_owned()) } else { Ok(blocks) }
}

/// The sum at the end of an armour (RFC 9580, 6.1.1).
fn crc24(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ (u32::from(*byte) << 16), |sum, _| {
            let next = sum << 1;
            if next & 0x100_0000 == 0 { next } else { next ^ 0x186_4CFB }
        })
    };
    bytes.iter().fold(0xB7_04CE, step) & 0xFF_FFFF
}
