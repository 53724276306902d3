//! The files of a chart's archive, within bounds, for a look at them. Nothing is unpacked to the disk by us.

use std::io::{self, Read as _};

use flate2::read::GzDecoder;

/// Bytes of a whole unpacked chart; helm itself takes no more.
const MAX_WHOLE: u64 = 100 << 20;

/// Entries of an archive.
const MAX_ENTRIES: usize = 10_000;

/// What an archive from elsewhere has that none of a chart has: links, devices, paths that lead out, more than a chart is.
pub fn unfit(bytes: &[u8]) -> io::Result<Option<String>> {
    let mut bounded = GzDecoder::new(bytes).take(MAX_WHOLE + 1);
    for (count, entry) in tar::Archive::new(&mut bounded).entries()?.enumerate() {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        let inside = !name.starts_with('/') && !name.contains(['\\', '\0']) && name.split('/').all(|step| step != "..");
        if count >= MAX_ENTRIES {
            return Ok(Some(format!("it has more than {MAX_ENTRIES} entries")));
        }
        if !inside {
            return Ok(Some(format!("`{}` leads out of it", name.escape_debug())));
        }
        if !(kind.is_file() || kind.is_dir() || kind.is_pax_global_extensions()) {
            return Ok(Some(format!("`{}` is a link or a device", name.escape_debug())));
        }
    }
    io::copy(&mut bounded, &mut io::sink())?;
    Ok((bounded.limit() == 0).then(|| format!("it has more than {MAX_WHOLE} bytes unpacked")))
}

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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn archive(entries: &[(&str, tar::EntryType)]) -> Vec<u8> {
        let mut plain = Vec::new();
        for (name, kind) in entries {
            let mut header = tar::Header::new_gnu();
            // Written by hand: the library makes no path that leads out.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            plain.extend_from_slice(header.as_bytes());
        }
        plain.extend_from_slice(&[0; 1024]);
        zipped(&plain)
    }

    fn zipped(plain: &[u8]) -> Vec<u8> {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(plain).unwrap();
        zip.finish().unwrap()
    }

    #[test]
    fn an_archive_from_elsewhere_has_files_below_itself_and_nothing_else() {
        use tar::EntryType::{Char, Directory, Link, Regular, Symlink};
        assert_eq!(unfit(&archive(&[("shop/", Directory), ("shop/Chart.yaml", Regular)])).unwrap(), None);
        for (name, kind) in [
            ("/etc/passwd", Regular),
            ("shop/../../up", Regular),
            ("shop\\..\\up", Regular),
            ("shop/link", Symlink),
            ("shop/hard", Link),
            ("shop/device", Char),
        ] {
            let why = unfit(&archive(&[("shop/Chart.yaml", Regular), (name, kind)])).unwrap();
            assert!(why.is_some(), "{name}");
        }
        let many = vec![("shop/a", Regular); MAX_ENTRIES + 1];
        assert!(unfit(&archive(&many)).unwrap().unwrap().contains("entries"));
        let bomb = zipped(&vec![0; usize::try_from(MAX_WHOLE).unwrap() + 1]);
        assert!(unfit(&bomb).map_or(true, |why| why.is_some()), "{} bytes", bomb.len());
        assert!(unfit(b"<html>").is_err());
    }
}
