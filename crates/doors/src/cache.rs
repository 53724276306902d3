//! What may be forgotten: derived bytes under `cache/`. Losing them costs time, never truth.

/// Bytes by key. Keys are words of `[a-z0-9/-]`. Only successes are put; what is read is checked by the reader.
pub trait Cache: Send + Sync {
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    /// Stores, or does not: a full disk here is no failure.
    fn put(&self, key: &str, bytes: &[u8]);
}
