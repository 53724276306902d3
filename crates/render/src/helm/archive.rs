//! The files of a chart's archive, within bounds, for a look at them. Nothing is unpacked to the disk.

use std::io::{self, Read as _};

use flate2::read::GzDecoder;

/// Bytes of a whole unpacked chart; helm itself takes no more.
const MAX_WHOLE: u64 = 100 << 20;

/// Reads the files of a `.tgz`; those larger than `largest` are left out.
pub fn files_of(bytes: &[u8], largest: u64) -> io::Result<Vec<(String, String)>> {
    let bounded = GzDecoder::new(bytes).take(MAX_WHOLE);
    let mut files = Vec::new();
    for entry in tar::Archive::new(bounded).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() && entry.size() <= largest {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut text = Vec::new();
            entry.read_to_end(&mut text)?;
            files.push((name, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    Ok(files)
}
