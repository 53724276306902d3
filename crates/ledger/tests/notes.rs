//! Notes and checkpoints against another implementation, and against bent ones.

use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use trued_doors::TreeHead;
use trued_ledger::checkpoint::{self, CheckpointError};
use trued_ledger::note::{NoteError, Signer, VerifierKey};
use trued_model::Digest;

fn signer(name: &str, seed: u8) -> Signer {
    Signer::new(name, &[seed; 32]).unwrap()
}

fn head() -> TreeHead {
    TreeHead { size: 42, root: Digest::of(b"root") }
}

#[test]
fn another_implementation_opens_our_notes() {
    let signer = signer("trued/0192c0de", 7);
    let note = checkpoint::sign(&head(), &signer);
    let theirs = StandardVerifier::new(&signer.verifier().to_string()).unwrap();
    let opened = Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, unverified) = opened.verify(&VerifierList::new(vec![Box::new(theirs)])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    assert_eq!(opened.text(), &note.as_bytes()[..note.find("\n\n").unwrap() + 1]);
}

#[test]
fn we_open_another_implementations_notes() {
    use base64::Engine as _;
    let ours = signer("trued/0192c0de", 7);
    let encoded = base64::engine::general_purpose::STANDARD.encode([&[1u8][..], &[7; 32]].concat());
    let id = ours.verifier().to_string().split('+').nth(1).unwrap().to_owned();
    let theirs = StandardSigner::new(&format!("PRIVATE+KEY+trued/0192c0de+{id}+{encoded}")).unwrap();
    let mut note = Note::new(b"a text\n\nof two parts\n", &[]).unwrap();
    note.add_sigs(&[&theirs]).unwrap();
    let note = String::from_utf8(note.to_bytes()).unwrap();
    assert_eq!(ours.verifier().open(&note), Ok("a text\n\nof two parts\n"));
}

#[test]
fn signatures_of_strangers_are_passed_over() {
    let (ours, stranger) = (signer("trued/ours", 7), signer("witness.example/w1", 8));
    let text = "trued/ours\n0\n\n";
    let (first, second) = (stranger.sign(text), ours.sign(text));
    let both = format!("{first}{}", &second[second.rfind("\n\n").unwrap() + 2..]);
    assert_eq!(ours.verifier().open(&both), Ok(text));
    assert_eq!(stranger.verifier().open(&both), Ok(text));
    assert_eq!(ours.verifier().open(&first), Err(NoteError::NotSigned));
}

#[test]
fn bent_notes_are_refused() {
    let signer = signer("trued/ours", 7);
    let key = signer.verifier();
    let note = signer.sign("one\ntwo\n");
    assert_eq!(key.open(&note), Ok("one\ntwo\n"));
    assert_eq!(key.open(&note.replace("two", "too")), Err(NoteError::WrongSignature));
    for bent in
        ["", "\n", "one\ntwo\n", "one\ntwo\n\n", &note[..note.len() - 1], &note.replace('\u{2014}', "-"), &note.replace("one", "o\re")]
    {
        assert_eq!(key.open(bent), Err(NoteError::Malformed), "{bent:?}");
    }
    let many = format!("{note}{}", note.lines().last().map(|line| format!("{line}\n")).unwrap().repeat(100));
    assert_eq!(key.open(&many), Err(NoteError::Malformed));
    assert!(Signer::new("two words", &[7; 32]).is_none());
}

#[test]
fn verifier_keys_read_back_and_bent_ones_do_not() {
    let key = signer("trued/ours", 7).verifier().clone();
    let text = key.to_string();
    assert_eq!(text.parse(), Ok(key));
    let (name, rest) = text.split_once('+').unwrap();
    for bent in
        ["", "trued/ours", &format!("other+{rest}"), &text.replace("+Aep", "+Aup"), &text[..text.len() - 4], &format!("{name}+{rest}AAAA")]
    {
        assert_eq!(bent.parse::<VerifierKey>(), Err(NoteError::MalformedKey), "{bent:?}");
    }
}

#[test]
fn a_checkpoint_names_its_log() {
    let signer = signer("trued/ours", 7);
    let note = checkpoint::sign(&head(), &signer);
    assert_eq!(checkpoint::open(&note, signer.verifier()), Ok(head()));
    let other_text = signer.sign("trued/theirs\n42\n2jmj7l5rSw0yVb/vlWAYkK/YBwkqnMGT6QEAOXTjL38=\n");
    assert_eq!(checkpoint::open(&other_text, signer.verifier()), Err(CheckpointError::OtherOrigin));
    for text in [
        "trued/ours\n",
        "trued/ours\n42\nshort\n",
        "trued/ours\n042\n2jmj7l5rSw0yVb/vlWAYkK/YBwkqnMGT6QEAOXTjL38=\n",
        "trued/ours\n+1\n2jmj7l5rSw0yVb/vlWAYkK/YBwkqnMGT6QEAOXTjL38=\n",
    ] {
        assert_eq!(checkpoint::open(&signer.sign(text), signer.verifier()), Err(CheckpointError::Malformed), "{text:?}");
    }
}
