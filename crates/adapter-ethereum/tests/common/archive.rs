//! Archives of test data (`.tar.zst`), read file by file without unpacking them anywhere.

use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::Path;

/// Gives each `.json` file of the archive, in its order, with its path inside.
#[expect(clippy::disallowed_methods, reason = "tests read the shared data")]
pub fn each_json(archive: &Path, mut give: impl FnMut(String, Vec<u8>) -> ControlFlow<()>) {
    let packed = std::io::BufReader::new(std::fs::File::open(archive).expect("readable"));
    let unpacked = ruzstd::decoding::StreamingDecoder::new(packed).expect("zstd");
    let mut tar = tar::Archive::new(unpacked);
    for entry in tar.entries().expect("tar") {
        let mut entry = entry.expect("a whole archive");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() || !path.ends_with(".json") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a whole archive");
        if give(path, bytes).is_break() {
            return;
        }
    }
}
