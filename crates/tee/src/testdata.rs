//! Real evidence for tests: shared data, never part of the repository.

use std::path::PathBuf;

/// Reads a file below `data/tee`; `None` prints how to get it, and the test passes without.
#[allow(
    clippy::disallowed_methods,
    reason = "a test reads shared data; the crate reads no file"
)]
pub(crate) fn read(path: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("COCO_TESTDATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let file = root.join("tee").join(path);
    match std::fs::read(&file) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            println!(
                "skipped: no {}; set COCO_TESTDATA to the directory of the shared data",
                file.display()
            );
            None
        }
    }
}

/// The certificates of a PEM file, in DER.
pub(crate) fn pem(path: &str) -> Option<Vec<Vec<u8>>> {
    let bytes = read(path)?;
    Some(
        x509_parser::pem::Pem::iter_from_buffer(&bytes)
            .map(|block| block.expect("the data has good PEM").contents)
            .collect(),
    )
}
