//! A frozen state, read while it is written over, is the state of the moment it was frozen.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::{Domain, Item, Layout, Store, Write, WriteSet};
use proptest::prelude::*;
use types::Height;

const ORDERED: Domain = Domain(3);
const HASHED: Domain = Domain(7);

type Model = BTreeMap<(Domain, Vec<u8>), Vec<u8>>;
type Seen = Vec<((Domain, Vec<u8>), Vec<u8>)>;

fn store() -> Store {
    Store::new([(HASHED, Layout::Hashed), (ORDERED, Layout::Ordered)])
}

#[derive(Debug, Clone)]
enum Step {
    Write(BTreeMap<(bool, u8), Option<u8>>),
    /// As a leader: on a layer, committed later.
    Push(BTreeMap<(bool, u8), Option<u8>>),
    Freeze,
    Read {
        work: usize,
        keys: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let writes = || {
        prop::collection::btree_map(
            (any::<bool>(), 0u8..40),
            prop::option::weighted(0.7, any::<u8>()),
            0..8,
        )
    };
    prop_oneof![
        4 => writes().prop_map(Step::Write),
        2 => writes().prop_map(Step::Push),
        1 => Just(Step::Freeze),
        4 => (1usize..3000, 1usize..12).prop_map(|(work, keys)| Step::Read { work, keys }),
    ]
}

fn write_set(writes: &BTreeMap<(bool, u8), Option<u8>>) -> WriteSet {
    let write = |((hashed, key), value): (&(bool, u8), &Option<u8>)| Write {
        domain: if *hashed { HASHED } else { ORDERED },
        key: vec![*key; usize::from(*key) % 3 + 1].into(),
        value: value.map(|value| vec![value].into()),
    };
    let mut writes: Vec<Write> = writes.iter().map(write).collect();
    writes.sort_by(|a, b| (a.domain, &a.key).cmp(&(b.domain, &b.key)));
    WriteSet(writes)
}

fn apply(model: &mut Model, writes: &WriteSet) {
    for write in &writes.0 {
        let key = (write.domain, write.key.to_vec());
        match &write.value {
            Some(value) => model.insert(key, value.to_vec()),
            None => model.remove(&key),
        };
    }
}

/// Reads on and gives whether anything may be left.
fn read(store: &mut Store, work: usize, keys: usize, seen: &mut Seen) -> bool {
    let mut left = keys;
    store.read_frozen(work, &mut |Item { domain, key, value }| {
        seen.push(((domain, key.to_vec()), value.to_vec()));
        left -= 1;
        left > 0
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_was_frozen_is_read_whatever_is_written_meanwhile(steps in prop::collection::vec(step(), 0..60)) {
        let mut store = store();
        let mut model = Model::new();
        let mut frozen: Option<Model> = None;
        let mut seen = Vec::new();
        for step in steps {
            match step {
                Step::Write(writes) | Step::Push(writes) if writes.is_empty() => {}
                Step::Write(writes) => {
                    let writes = write_set(&writes);
                    store.apply(store.committed_height().next(), &writes).expect("the next one");
                    apply(&mut model, &writes);
                }
                Step::Push(writes) => {
                    let height = store.committed_height().next();
                    let writes = write_set(&writes);
                    store.push(height, &writes).expect("the next one");
                    // What lies above the base is not part of it.
                    store.read_frozen(50, &mut |item| {
                        seen.push(((item.domain, item.key.to_vec()), item.value.to_vec()));
                        false
                    });
                    store.commit(height).expect("just pushed");
                    apply(&mut model, &writes);
                }
                Step::Freeze => {
                    store.freeze();
                    frozen = Some(model.clone());
                    seen.clear();
                    let mut counts: BTreeMap<Domain, u64> = BTreeMap::from([(ORDERED, 0), (HASHED, 0)]);
                    model.keys().for_each(|(domain, _)| *counts.entry(*domain).or_default() += 1);
                    prop_assert_eq!(store.frozen_keys().collect::<BTreeMap<_, _>>(), counts);
                    prop_assert_eq!(store.frozen_height(), Some(store.committed_height()));
                }
                Step::Read { work, keys } => {
                    read(&mut store, work, keys, &mut seen);
                }
            }
        }
        while read(&mut store, 100, 5, &mut seen) {}
        let expected: Vec<_> = frozen.unwrap_or_default().into_iter().collect();
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn a_turn_is_bounded_and_always_gets_on() {
    let mut store = store();
    let keys: BTreeMap<[u8; 4], ()> = (0..20_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761).to_be_bytes(), ()))
        .collect();
    let writes = keys.keys().map(|key| Write {
        domain: HASHED,
        key: Bytes::copy_from_slice(key),
        value: Some(Bytes::from_static(b"v")),
    });
    store
        .genesis(&WriteSet(writes.collect()))
        .expect("the first state");
    store.freeze();
    let (mut turns, mut seen) = (0, 0);
    loop {
        let before = seen;
        let more = store.read_frozen(1000, &mut |_| {
            seen += 1;
            true
        });
        turns += 1;
        assert!(seen - before <= 1000);
        if !more {
            break;
        }
    }
    assert_eq!(seen, 20_000);
    assert!(
        (40..60).contains(&turns),
        "each key is sorted once and given once: {turns}"
    );
}

#[test]
fn a_restored_state_is_the_state_that_was_frozen() {
    let mut from = store();
    let writes: BTreeMap<(bool, u8), Option<u8>> = (0..40)
        .map(|key| ((key % 2 == 0, key), Some(key)))
        .collect();
    from.apply(Height(1), &write_set(&writes))
        .expect("the first");
    from.freeze();
    let mut to = store();
    while from.read_frozen(7, &mut |Item { domain, key, value }| {
        to.restore_key(domain, key, value)
            .expect("an empty store with the same domains");
        true
    }) {}
    to.restored(Height(1)).expect("nothing was committed");
    assert_eq!(to.committed_height(), Height(1));
    for domain in [ORDERED, HASHED] {
        assert_eq!(from.entries(domain), to.entries(domain));
    }
    assert!(
        to.restore_key(HASHED, b"x", &Bytes::new()).is_err(),
        "it serves already"
    );
    assert!(to.apply(Height(2), &WriteSet::default()).is_ok());
}
