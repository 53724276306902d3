//! The record's own forms, as a stranger's copy may hold them: notes, checkpoints, entries, manifests.

use trued_ledger::{checkpoint, note};
use trued_model::{BadManifest, BlobRef, Entry, Manifest, canonical};

/// A signed note and, after `%%`, a verifier key.
pub fn note(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (note, key) = text.split_once("%%").unwrap_or((&text, ""));
    let ours = note::Signer::new("trued/ours", &[7; 32]).expect("a signer");
    for key in key.trim().parse::<note::VerifierKey>().ok().iter().chain([ours.verifier()]) {
        assert_eq!(key.to_string().parse().as_ref(), Ok(key), "a key reads back");
        if let Ok(head) = checkpoint::open(note, key) {
            let (origin, read) = checkpoint::read(note).expect("what opens can be read");
            assert_eq!((origin, read), (key.name(), head));
        }
        if let Ok(text) = key.open(note) {
            assert!(note.starts_with(text), "what was signed stands in the note");
        }
    }
    if let Some((_, head)) = checkpoint::read(note) {
        let signed = checkpoint::sign(&head, &ours);
        assert_eq!(checkpoint::open(&signed, ours.verifier()), Ok(head), "what is signed opens");
    }
}

/// A stored entry: read and written again, it is the same bytes from then on.
pub fn entry(bytes: &[u8]) {
    let Ok(entry) = serde_json::from_slice::<Entry>(bytes) else { return };
    let leaf = entry.leaf();
    assert!(entry.has_leaf(&leaf) && !entry.has_leaf(&leaf[1..]) && !entry.has_leaf(&[&leaf[..], b" "].concat()));
    assert_eq!(leaf, canonical(&entry), "there is one canonical form");
    let again: Entry = serde_json::from_slice(&leaf).expect("what was written can be read");
    assert_eq!(again.leaf(), leaf, "and is stable");
    let _ =
        (entry.body::<trued_model::body::Incident>(), entry.body::<trued_model::body::Verdict>(), entry.body::<trued_model::body::Drift>());
}

/// A stored manifest: the root, and after `%%` the chunk that every name in it gives.
pub fn manifest(bytes: &[u8]) {
    let split = bytes.windows(2).position(|pair| pair == b"%%");
    let (root, chunk) = split.map_or((bytes, &b"{}"[..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let at = BlobRef::of(root);
    let read = |asked: &BlobRef| Ok(if *asked == at { root.to_vec() } else { chunk.to_vec() });
    let Ok(manifest) = Manifest::unpack::<BadManifest>(&at, read) else { return };
    let packed = manifest.pack();
    let stored = |asked: &BlobRef| -> Result<Vec<u8>, BadManifest> {
        Ok(packed.blobs.iter().find(|(at, _)| at == asked).expect("every blob was packed").1.clone())
    };
    assert_eq!(Manifest::unpack(&packed.root, stored).ok(), Some(manifest), "what was packed unpacks");
}
