//! The small words: names, paths, instants, spans, digests, addresses of stacks and of what may be reached.

use trued_model::{Digest, Duration, Name, StackId, Timestamp, decode_path, encode_path};

pub fn parse(bytes: &[u8]) {
    let encoded = encode_path(bytes);
    assert_eq!(decode_path(&encoded).as_deref(), Some(bytes), "a path reads back");
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(path) = decode_path(text) {
        assert_eq!(decode_path(&encode_path(&path)), Some(path), "a path reads back");
    }
    if let Ok(name) = text.parse::<Name>() {
        assert!(name.as_str() == text && text.len() <= 63, "{text:?} is a name");
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        assert_eq!(at.to_string().parse().ok(), Some(at), "an instant reads back");
    }
    if let Ok(span) = text.parse::<Duration>() {
        assert_eq!(span.to_string().parse().ok(), Some(span), "a span reads back");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse().ok(), Some(digest), "a digest reads back");
    }
    if let Some(stack) = StackId::from_key(text) {
        assert_eq!(StackId::from_key(&stack.key()), Some(stack), "a stack's key reads back");
    }
}
