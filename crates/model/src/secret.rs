//! A secret value: usable, not printable.

use zeroize::Zeroize as _;

/// Bytes that have no `Debug`, no `Display` and no serializer, and are wiped when dropped.
///
/// Nothing prints it, not even by mistake:
///
/// ```compile_fail
/// let secret = trued_model::Secret::new(b"hunter2".to_vec());
/// println!("{secret:?}");
/// ```
///
/// ```compile_fail
/// let secret = trued_model::Secret::new(b"hunter2".to_vec());
/// println!("{secret}");
/// ```
///
/// ```compile_fail
/// let secret = trued_model::Secret::new(b"hunter2".to_vec());
/// serde_json::to_string(&secret);
/// ```
///
/// ```compile_fail
/// let secret = trued_model::Secret::new(b"hunter2".to_vec());
/// let copy = secret.clone();
/// ```
///
/// What compiles is to ask for the bytes by name:
///
/// ```
/// let secret = trued_model::Secret::new(b"hunter2".to_vec());
/// assert_eq!(secret.reveal(), b"hunter2");
/// ```
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes bytes over. A vector that grew while it was filled has left copies: give it its room first.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }

    /// The plain bytes. Every call is a place to look at in a review.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
