//! A snapshot file is read as its framing says and each chunk is opened: one changed byte anywhere,
//! and the file is refused before anything of it is used.

use crypto::{Entropy, SigningKey, Zeroizing};
use ledger::SealKeyring;
use ledger::snapshot::{BEGIN_BYTES, Framing, Part, Sealing, begin, open_chunk, seal_chunk};
use types::limits::SNAPSHOT_CHUNK_BYTES;
use types::{Epoch, Index};

const TRIES: u64 = 1000;
const INDEX: Index = Index(77);

fn keyring() -> SealKeyring {
    let mut keyring = SealKeyring::new();
    keyring.insert(Epoch(1), Zeroizing::new([1; 32]));
    keyring
}

fn file() -> Vec<u8> {
    let key = SigningKey::generate(&mut Entropy::new(&[2; 32]));
    let mut sealing =
        Sealing::new(&keyring(), Epoch(1), key.public(), INDEX).expect("the key is held");
    let mut file = begin(INDEX).to_vec();
    let full = vec![7; SNAPSHOT_CHUNK_BYTES];
    for (part, plaintext) in [(Part::Inner, &full[..]), (Part::Last, &full[..100_000])] {
        let chunk = seal_chunk(&mut sealing, part, plaintext);
        let length = u32::try_from(chunk.len()).expect("a chunk is short");
        file.extend_from_slice(&length.to_be_bytes());
        file.extend_from_slice(&chunk);
    }
    file
}

/// The plaintext, if every check passes.
fn read(file: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = file.split_first_chunk::<BEGIN_BYTES>()?;
    let mut framing = Framing::new(INDEX, head).ok()?;
    let mut plaintext = Vec::new();
    let mut sequence = 0;
    while let Some((four, tail)) = rest.split_first_chunk::<4>() {
        let length = framing.length(*four).ok()?;
        let (chunk, tail) = tail.split_at_checked(length)?;
        framing.chunk(chunk).ok()?;
        let (_, opened) = open_chunk(&keyring(), INDEX, sequence, chunk).ok()?;
        plaintext.extend_from_slice(&opened);
        sequence += 1;
        rest = tail;
    }
    framing.finish().ok()?;
    rest.is_empty().then_some(plaintext)
}

#[test]
fn a_thousand_changed_bytes_of_a_snapshot_file_are_all_found() {
    let whole = file();
    assert_eq!(
        read(&whole).expect("as it was written").len(),
        SNAPSHOT_CHUNK_BYTES + 100_000
    );
    let mut entropy = Entropy::new(&[3; 32]);
    let mut changed = whole.clone();
    for _ in 0..TRIES {
        let at = usize::try_from(entropy.number() % whole.len() as u64).expect("within the file");
        let by = u8::try_from(entropy.number() % 255 + 1).expect("one byte");
        changed[at] ^= by;
        assert!(read(&changed).is_none(), "byte {at} changed by {by:#04x}");
        changed[at] = whole[at];
    }
    println!("corruptions tried: {TRIES} in a snapshot file, all detected");
}
