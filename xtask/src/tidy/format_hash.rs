//! `FORMAT.md` carries a hash of the code it describes: who touches one looks at the other.

use std::path::{Path, PathBuf};

use super::{Finding, collect, read};

/// What describes the format.
const DOCUMENT: &str = "FORMAT.md";
/// The code that it describes: this module and all below it.
const MODULE: &str = "crates/quipu-engine/src/format";
/// What the hash follows in the document.
const MARK: &str = "format-hash: ";

/// Checks that the document's hash is the code's.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let files = format_files(root)?;
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut hash = Fnv::new();
    for path in &files {
        hash.add(path.to_string_lossy().as_bytes());
        hash.add(read(root, path)?.as_bytes());
    }
    let wanted = format!("{:016x}", hash.0);
    let document = read(root, Path::new(DOCUMENT)).unwrap_or_default();
    let found = document.split(MARK).nth(1).and_then(|rest| rest.get(..16));
    if found == Some(&*wanted) {
        return Ok(Vec::new());
    }
    let advice = format!(
        "the format's code changed: look whether this still describes it, then write \
         `{MARK}{wanted}`"
    );
    Ok(vec![Finding::new(Path::new(DOCUMENT), 0, advice)])
}

/// The format's files in the order of their paths; its tests describe nothing.
fn format_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let dir = root.join(MODULE);
    if dir.is_dir() {
        collect(&dir, "rs", &mut files)?;
    }
    let file = dir.with_extension("rs");
    if file.is_file() {
        files.push(file);
    }
    files.retain(|path| !path.ends_with("tests.rs"));
    files.sort();
    Ok(files.iter().filter_map(|path| Some(path.strip_prefix(root).ok()?.to_path_buf())).collect())
}

/// FNV-1a of 64 bits: it has to notice a change, not to resist an adversary.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        let mut hash = Fnv::new();
        hash.add(b"a");

        assert_eq!(hash.0, 0xaf63_dc4c_8601_ec8c);
    }
}
