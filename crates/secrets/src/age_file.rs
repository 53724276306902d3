//! Files encrypted with age, binary or armored, to X25519 recipients.

use std::io::Read;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, x25519};
use trued_doors::Answer;
use trued_model::{Code, Refusal, Secret};

/// Opens a file; every byte of it is authenticated before any is given.
pub fn open(encrypted: &[u8], identities: &[x25519::Identity], most: usize) -> Answer<Secret> {
    // A text file may begin with white space before its armor.
    let start = encrypted.trim_ascii_start();
    if !start.starts_with(b"age-encryption.org/") && !start.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(not_age());
    }
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(encrypted)).map_err(|error| refusal(&error))?;
    if decryptor.is_scrypt() {
        let help = "encrypt it to a key: `age -r age1… -o FILE.age`";
        return Err(Refusal::new(Code::Unsupported, "is encrypted with a passphrase: not available yet").help(help));
    }
    let identities = identities.iter().map(|identity| identity as &dyn age::Identity);
    let reader = decryptor.decrypt(identities).map_err(|error| refusal(&error))?;
    // The plain bytes are never more than the encrypted ones.
    let mut plain = Vec::with_capacity(most.min(encrypted.len()) + 1);
    let taken = reader.take(most as u64 + 1).read_to_end(&mut plain);
    let plain = Secret::new(plain);
    match taken {
        Ok(length) if length > most => Err(Refusal::new(Code::TooLarge, format!("holds more than the {most} bytes a secret may have"))),
        Ok(_) => Ok(plain),
        Err(_) => Err(spoiled()),
    }
}

fn refusal(error: &DecryptError) -> Refusal {
    match error {
        DecryptError::NoMatchingKeys => Refusal::new(Code::Denied, "is not encrypted to the identity that is configured")
            .help("name the identity of one of its recipients, or encrypt it to this one as well"),
        DecryptError::UnknownFormat => Refusal::new(Code::Unsupported, "is in a newer form of age: not available yet"),
        DecryptError::InvalidHeader => Refusal::new(Code::Invalid, "is not an age file")
            .help("make it with `age -r age1… -o FILE.age`, and commit its bytes as they are"),
        _ => spoiled(),
    }
}

fn not_age() -> Refusal {
    let help = "make it with `age -r age1… -o FILE.age`, and commit its bytes as they are";
    Refusal::new(Code::Invalid, "is not an age file").help(help)
}

fn spoiled() -> Refusal {
    Refusal::new(Code::Invalid, "is not as age wrote it: it was cut off or changed")
        .help("encrypt it again, or bring back an earlier commit's")
}
