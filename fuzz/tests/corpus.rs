//! The corpus again, without libFuzzer: every kept input of every target does no harm.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

fn files(directory: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(directory)
        .unwrap_or_else(|e| panic!("{}: {e}; run fuzz/run --seed", directory.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn every_input_of_the_corpus_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        (target.run)(&[]);
        for seed in (target.seeds)() {
            let (name, bytes) = (target.name, seed.len());
            assert!(bytes <= target.bytes_max, "{name}: a seed of {bytes} bytes");
            (target.run)(&seed);
        }
        for file in files(&corpus.join(target.name)) {
            println!("{}", file.display()); // the last one printed is to blame
            (target.run)(&std::fs::read(&file).expect("a file of the corpus"));
        }
    }
    let named = TARGETS.iter().map(|target| corpus.join(target.name));
    assert_eq!(
        files(&corpus),
        named.collect(),
        "a directory for each target and no other"
    );
}
