//! Reading bytes that strangers wrote: every length is checked against what is there, nothing is copied before.

/// What is left to read. `None` from any method means: cut short or not of this form.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A string of SSH's: its length in four bytes, then that many.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A positive integer of SSH's, without the zero that only says that it is positive.
    pub(crate) fn integer(&mut self) -> Option<&'a [u8]> {
        match self.string()? {
            [first, ..] if *first >= 0x80 => None,
            [0, rest @ ..] => Some(rest),
            bytes => Some(bytes),
        }
    }

    /// An integer of OpenPGP's: its length in bits, then its bytes (RFC 9580, 3.2).
    pub(crate) fn mpi(&mut self) -> Option<&'a [u8]> {
        let bits = usize::from(self.u16()?);
        self.take(bits.div_ceil(8))
    }

    /// Gives what was read only if nothing is left.
    pub(crate) fn end<T>(self, read: T) -> Option<T> {
        self.0.is_empty().then_some(read)
    }
}

/// Fills an integer up with zeros at its front; `None` when it is longer.
pub(crate) fn padded<const N: usize>(integer: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(N.checked_sub(integer.len())?..)?.copy_from_slice(integer);
    Some(whole)
}

/// Text that strangers wrote, short and without what moves a terminal's cursor.
pub(crate) fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(100).collect()
}
