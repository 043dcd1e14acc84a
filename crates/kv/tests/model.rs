//! The store against the simplest thing that could be right: a stack of whole maps.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::{Domain, Layout, Store, Transaction, WriteSet};
use proptest::prelude::*;
use types::Height;

const HASHED: Domain = Domain(7);
const ORDERED: Domain = Domain(3);

type Model = BTreeMap<(Domain, Vec<u8>), Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Set {
        ordered: bool,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    },
    Savepoint,
    Undo,
    Push,
    Commit,
    Rollback(u64),
    Apply,
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::collection::vec(prop::sample::select(&b"abc"[..]), 0..4);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..3));
    prop_oneof![
        12 => (any::<bool>(), key, value).prop_map(|(ordered, key, value)| Step::Set { ordered, key, value }),
        2 => Just(Step::Savepoint),
        2 => Just(Step::Undo),
        3 => Just(Step::Push),
        2 => Just(Step::Commit),
        1 => (0..5_u64).prop_map(Step::Rollback),
        1 => Just(Step::Apply),
    ]
}

fn check_reader(reader: kv::Reader<'_>, model: &Model) {
    for (key, value) in model {
        assert_eq!(
            reader.get(key.0, &key.1).map(|v| v.to_vec()),
            Some(value.clone())
        );
    }
    for (prefix, after) in [
        ("", None),
        ("a", None),
        ("ab", None),
        ("", Some("b")),
        ("b", Some("ba")),
        ("b", Some("a")),
    ] {
        let mut seen = Vec::new();
        reader.scan(
            ORDERED,
            prefix.as_bytes(),
            after.map(str::as_bytes),
            &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()));
                true
            },
        );
        let expected: Vec<_> = model
            .iter()
            .filter(|((domain, key), _)| *domain == ORDERED && key.starts_with(prefix.as_bytes()))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after.as_bytes()))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(seen, expected, "prefix {prefix:?} after {after:?}");
    }
}

/// Applies writes to both; the encoding is crossed on the way, as it is between two VNs.
fn wire(writes: &WriteSet) -> WriteSet {
    let mut out = Vec::new();
    writes.encode(&mut out);
    WriteSet::decode(out.into()).expect("what was encoded decodes")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_store_equals_a_stack_of_maps(steps in prop::collection::vec(step(), 0..60)) {
        let mut store = Store::new([(HASHED, Layout::Hashed), (ORDERED, Layout::Ordered)]);
        // states[i] is the state at height committed + i.
        let mut states: Vec<Model> = vec![Model::new()];
        let mut committed = 0;
        // Writes of the batch under way, the model's state after each, and its savepoints.
        let mut writes: Vec<(Domain, Bytes, Option<Bytes>)> = Vec::new();
        let mut saved: Vec<usize> = Vec::new();
        for step in steps {
            match step {
                Step::Set { ordered, key, value } => {
                    writes.push((if ordered { ORDERED } else { HASHED }, key.into(), value.map(Into::into)));
                }
                Step::Savepoint => saved.push(writes.len()),
                Step::Undo => {
                    if let Some(to) = saved.pop() {
                        // The undone writes are made and rolled back by the store's transaction below.
                        let undone = writes.split_off(to);
                        let mut transaction = Transaction::new(store.top());
                        for (domain, key, value) in &writes {
                            transaction.set(*domain, key.clone(), value.clone());
                        }
                        let mark = transaction.savepoint();
                        for (domain, key, value) in undone {
                            transaction.set(domain, key, value);
                        }
                        transaction.rollback(mark);
                        let mut plain = Transaction::new(store.top());
                        for (domain, key, value) in &writes {
                            plain.set(*domain, key.clone(), value.clone());
                        }
                        prop_assert_eq!(transaction.finish(), plain.finish());
                    }
                }
                Step::Push | Step::Apply => {
                    let speculating = states.len() > 1;
                    let mut model = states.last().expect("never empty").clone();
                    let mut transaction = Transaction::new(store.top());
                    for (domain, key, value) in writes.drain(..) {
                        transaction.set(domain, key.clone(), value.clone());
                        match value {
                            Some(value) => model.insert((domain, key.to_vec()), value.to_vec()),
                            None => model.remove(&(domain, key.to_vec())),
                        };
                    }
                    saved.clear();
                    let set = wire(&transaction.finish());
                    if matches!(step, Step::Push) {
                        let height = store.top_height().next();
                        prop_assert_eq!(store.push(height, &set), Ok(()));
                        states.push(model);
                    } else {
                        let height = store.committed_height().next();
                        prop_assert_eq!(store.apply(height, &set).is_err(), speculating);
                        if !speculating {
                            states = vec![model];
                            committed += 1;
                        }
                    }
                }
                Step::Commit => {
                    let pending = states.len() > 1;
                    prop_assert_eq!(store.commit(Height(committed + 1)).is_ok(), pending);
                    if pending {
                        states.remove(0);
                        committed += 1;
                    }
                }
                Step::Rollback(above) => {
                    store.rollback(Height(committed + above));
                    states.truncate(above as usize + 1);
                    writes.clear();
                    saved.clear();
                }
            }
            prop_assert_eq!(store.committed_height(), Height(committed));
            prop_assert_eq!(store.top_height(), Height(committed + states.len() as u64 - 1));
            check_reader(store.committed(), &states[0]);
            check_reader(store.top(), states.last().expect("never empty"));
            let base: Model = [HASHED, ORDERED].iter()
                .flat_map(|domain| store.entries(*domain).into_iter().map(|(k, v)| ((*domain, k.to_vec()), v.to_vec())))
                .collect();
            prop_assert_eq!(&base, &states[0]);
        }
    }
}
