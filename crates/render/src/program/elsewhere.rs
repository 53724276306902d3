//! Another place than the one that programs are promised: another zone, another locale where the machine has one, other dates of
//! files. What a program makes there shows what of its place is in it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};

/// A zone that nobody lives in, which needs no file of the machine: POSIX.1-2017, 8.3.
const ZONE: &str = "ELS+11:30";
/// Where the C library keeps locales: one folder for each, and an archive of more.
const LOCALES: &str = "/usr/lib/locale";
const ARCHIVE: &str = "/usr/lib/locale/locale-archive";
/// What the archive begins with, in the machine's own order of bytes (glibc, locale/locarchive.h).
const MAGIC: u32 = 0xde02_0109;
/// Most bytes of the archive's names.
const NAMES: u32 = 1 << 20;

/// What programs are told of their place.
pub struct Elsewhere {
    pub zone: &'static str,
    pub locale: String,
}

/// A zone and a locale other than those that are promised. Where the machine has no other locale that writes UTF-8 it stays
/// the promised one: a program that reads what people write cannot do without.
pub fn elsewhere() -> Elsewhere {
    let folders = fs::read_dir(LOCALES).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.extend(archived().unwrap_or_default());
    names.retain(|name| is_another(name));
    names.sort();
    // Estonian has letters behind z that others have before: `z` is sorted after `s`.
    let estonian = names.iter().position(|name| name.starts_with("et_"));
    let locale = if names.is_empty() { "C.UTF-8".to_owned() } else { names.swap_remove(estonian.unwrap_or(0)) };
    Elsewhere { zone: ZONE, locale }
}

fn is_another(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
    let (language, encoding) = name.split_once('.').unwrap_or((name, ""));
    let writes_utf8 = encoding.split('@').next().is_some_and(|encoding| matches!(encoding.to_ascii_lowercase().as_str(), "utf8" | "utf-8"));
    writes_utf8 && language.contains('_') && name.chars().all(plain)
}

/// The names in the archive of locales: the header says where they stand, each ends with a zero.
fn archived() -> Option<Vec<String>> {
    let mut file = File::open(ARCHIVE).ok()?;
    let mut header = [0; 28];
    file.read_exact(&mut header).ok()?;
    let (numbers, _) = header.as_chunks::<4>();
    let number = |place: usize| numbers.get(place).map(|bytes| u32::from_ne_bytes(*bytes));
    // magic, serial, and of the hash: offset, used, size; of the names: offset, used.
    let (magic, offset, used) = (number(0)?, number(5)?, number(6)?);
    if magic != MAGIC || used > NAMES {
        return None;
    }
    file.seek(SeekFrom::Start(offset.into())).ok()?;
    let mut names = vec![0; usize::try_from(used).ok()?];
    file.read_exact(&mut names).ok()?;
    Some(names.split(|byte| *byte == 0).filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_locale_writes_utf8_and_is_no_language_of_machines() {
        for name in ["et_EE.utf8", "de_DE.UTF-8", "sr_RS.utf8@latin"] {
            assert!(is_another(name), "{name}");
        }
        for name in ["C.utf8", "POSIX", "C", "et_EE", "et_EE.iso885915", "et_EE.utf8;x", "locale-archive"] {
            assert!(!is_another(name), "{name}");
        }
    }
}
