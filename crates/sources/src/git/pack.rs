//! What a server says about a pack before it sends it: how many objects come.

/// Reads along in a fetch's answer (packet lines, side band 1) up to the pack's header, which says how many objects come.
pub(super) struct PackCount {
    allowed: Option<u64>,
    /// The length of a packet line, as far as it was read.
    digits: Vec<u8>,
    /// Bytes of the packet line that are still to come.
    left: usize,
    band: Option<u8>,
    /// The pack's first twelve bytes, as far as they were read; a server may spread them over many lines.
    header: Vec<u8>,
}

impl PackCount {
    pub(super) fn new(allowed: Option<u64>) -> PackCount {
        PackCount { allowed, digits: Vec::new(), left: 0, band: None, header: Vec::new() }
    }

    /// Looks at the next bytes; an error is the number of objects that are too many.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Result<(), u64> {
        while let (Some(allowed), Some((first, rest))) = (self.allowed, bytes.split_first()) {
            if self.left == 0 {
                self.digits.push(*first);
                bytes = rest;
                self.start_line();
                continue;
            }
            let Some(band) = self.band else {
                self.band = Some(*first);
                self.left -= 1;
                bytes = rest;
                continue;
            };
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= part.len();
            bytes = rest;
            if band == 1 {
                self.header.extend(part.iter().take(12 - self.header.len()));
            }
            if let [b'P', b'A', b'C', b'K', _, _, _, _, count @ ..] = self.header.as_slice()
                && let Ok(count) = <[u8; 4]>::try_from(count)
            {
                self.allowed = None;
                let count = u64::from(u32::from_be_bytes(count));
                return if count > allowed { Err(count) } else { Ok(()) };
            }
        }
        Ok(())
    }

    fn start_line(&mut self) {
        if self.digits.len() < 4 {
            return;
        }
        let length = std::str::from_utf8(&self.digits).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        match length {
            // A pack without side bands: what follows is the rest of its header.
            None if self.digits == b"PACK" => (self.left, self.band, self.header) = (usize::MAX, Some(1), self.digits.clone()),
            // Neither: whoever parses it will say so.
            None => self.allowed = None,
            Some(length) => (self.left, self.band) = (length.saturating_sub(4), None),
        }
        self.digits.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(payload: &[u8]) -> Vec<u8> {
        [format!("{:04x}", payload.len() + 4).as_bytes(), payload].concat()
    }

    fn pack(objects: u32) -> Vec<u8> {
        [b"\x01PACK\0\0\0\x02", objects.to_be_bytes().as_slice(), b"and so on"].concat()
    }

    /// A server that counts first in words, and puts a false header where people look.
    fn answer(objects: u32) -> Vec<u8> {
        let words = [b"\x02".as_slice(), &pack(1)].concat();
        [line(b"packfile\n"), b"0001".to_vec(), line(&words), line(&pack(objects)), line(b"\x01more"), b"0000".to_vec()].concat()
    }

    /// One that spreads the header over many lines.
    fn spread(objects: u32) -> Vec<u8> {
        pack(objects)[1..].iter().flat_map(|byte| line(&[1, *byte])).collect()
    }

    /// One that knows no side bands.
    fn plain(objects: u32) -> Vec<u8> {
        [line(b"NAK\n"), pack(objects)[1..].to_vec()].concat()
    }

    #[test]
    fn fault_10_a_pack_of_too_many_objects_is_refused_at_its_header() {
        for (step, kind) in [1, 2, 3, 7, 64, 4096].into_iter().flat_map(|step| [answer, spread, plain].map(|kind| (step, kind))) {
            let see = |allowed: u64| {
                let mut count = PackCount::new(Some(allowed));
                kind(70_000).chunks(step).try_for_each(|bytes| count.see(bytes))
            };
            assert_eq!(see(1000), Err(70_000), "in steps of {step}");
            assert_eq!(see(70_000), Ok(()), "in steps of {step}");
        }
    }
}
