//! Merkle-Patricia tries of the state, for networks whose roots are plain.
//!
//! Source: Yellow Paper, appendix D; every key is a Keccak-256, so all have 64 nibbles and no branch has
//! a value. Nodes lie in the state by their hash and are never deleted, so an old root still proves:
//! such a network keeps what an archive node keeps, and is meant for tests.
//!
//! ```text
//! META  "node" hash (32)   rlp(node)
//!       "root"             hash (32) of the account trie as it stands
//! ```

mod node;

use std::collections::{BTreeMap, BTreeSet};

use adapter::{Exec, Lost, View};
use alloy_consensus::TrieAccount;
use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Decodable;
use bytes::Bytes;

use crate::overlay::Changes;
use crate::settings::{Fork, Rules};
use crate::state::{META, account_record};
use node::{Link, Node, Path, below, decoded, encoded, nibbles};

const ROOT: &[u8] = b"root";

/// The nodes of a state, and those that were made on top of them.
pub(crate) struct Trie<'a> {
    view: &'a dyn View,
    fresh: BTreeMap<B256, Vec<u8>>,
    /// How many values were put or removed: what it costs.
    pub(crate) puts: u64,
}

/// The end of a slot's key, from its generation on, and the slot's value.
type Slot<'c> = (&'c [u8], Option<U256>);

/// The root of the account trie as it stands in this state.
pub(crate) fn root(view: &dyn View) -> Result<B256, Lost> {
    Ok(view
        .get(META, ROOT)?
        .map_or(EMPTY_ROOT_HASH, |bytes| B256::from_slice(&bytes)))
}

/// Brings the tries up to date with changes that are not written yet.
pub(crate) fn keep(changes: &Changes, rules: &Rules, exec: &mut dyn Exec) -> Result<(), Lost> {
    let before = root(exec.view())?;
    let (after, nodes) = {
        let mut trie = Trie::new(exec.view());
        let after = trie.apply(before, changes, rules)?;
        (after, trie.reachable(after)?)
    };
    for (hash, node) in nodes {
        let key = [b"node".as_slice(), hash.as_slice()].concat();
        exec.put(META, key.into(), node.into());
    }
    exec.put(META, ROOT.into(), Bytes::copy_from_slice(after.as_slice()));
    Ok(())
}

impl<'a> Trie<'a> {
    pub(crate) fn new(view: &'a dyn View) -> Self {
        Self {
            view,
            fresh: BTreeMap::new(),
            puts: 0,
        }
    }

    /// The root after these changes.
    pub(crate) fn apply(
        &mut self,
        mut root: B256,
        changes: &Changes,
        rules: &Rules,
    ) -> Result<B256, Lost> {
        let mut slots: BTreeMap<Address, Vec<Slot<'_>>> = BTreeMap::new();
        for ((key, length), value) in &changes.slots {
            let (address, rest) = key[..*length].split_at(20);
            let of = slots.entry(Address::from_slice(address)).or_default();
            of.push((rest, *value));
        }
        let touched: BTreeSet<&Address> = changes.accounts.keys().chain(slots.keys()).collect();
        for address in touched {
            let record = match changes.accounts.get(address) {
                Some(record) => *record,
                None => account_record(self.view, address)?,
            };
            let record = record.filter(|record| {
                // EIP-161: what is empty is not there.
                let is_empty = record.nonce == 0
                    && record.balance.is_zero()
                    && record.code_hash == revm::primitives::KECCAK_EMPTY;
                let is_kept = !is_empty || rules.fork < Fork::SpuriousDragon;
                is_kept && !record.destroyed
            });
            let key = keccak256(address);
            let Some(record) = record else {
                root = self.put(root, &key, None)?;
                continue;
            };
            let mut storage_root = match self.account(root, address)? {
                Some(known) if !changes.wiped.contains(address) => known.storage_root,
                _ => EMPTY_ROOT_HASH,
            };
            for (place, value) in slots.get(address).into_iter().flatten() {
                let (generation, slot) = place.split_at(place.len() - 32);
                let generation = generation
                    .first_chunk::<4>()
                    .map_or(0, |bytes| u32::from_be_bytes(*bytes));
                if generation == record.generation {
                    let value = value.map(alloy_rlp::encode);
                    storage_root = self.put(storage_root, &keccak256(slot), value)?;
                }
            }
            let account = TrieAccount {
                nonce: record.nonce,
                balance: record.balance,
                storage_root,
                code_hash: record.code_hash,
            };
            root = self.put(root, &key, Some(alloy_rlp::encode(account)))?;
        }
        Ok(root)
    }

    /// An account of the trie under this root.
    pub(crate) fn account(
        &self,
        root: B256,
        address: &Address,
    ) -> Result<Option<TrieAccount>, Lost> {
        let found = self.prove(root, &keccak256(address))?.1;
        found
            .map(|rlp| TrieAccount::decode(&mut rlp.as_slice()).map_err(|_| Lost))
            .transpose()
    }

    /// The nodes from the root to where the key is or would be, and the value that is there.
    pub(crate) fn prove(
        &self,
        root: B256,
        key: &B256,
    ) -> Result<(Vec<Bytes>, Option<Vec<u8>>), Lost> {
        let mut proof = Vec::new();
        if root == EMPTY_ROOT_HASH {
            return Ok((proof, None));
        }
        let path = nibbles(key);
        let mut rest = path.as_slice();
        let mut link = Link::Hash(root);
        loop {
            if let Link::Hash(hash) = &link {
                proof.push(self.bytes(hash)?);
            }
            match self.load(&link)? {
                None => return Ok((proof, None)),
                Some(Node::Leaf(own, value)) => {
                    return Ok((proof, (own == rest).then_some(value)));
                }
                Some(Node::Extension(own, child)) => match rest.strip_prefix(own.as_slice()) {
                    Some(further) => {
                        rest = further;
                        link = child;
                    }
                    None => return Ok((proof, None)),
                },
                Some(Node::Branch(links)) => {
                    let (first, further) = rest.split_first().expect("64 nibbles end in a leaf");
                    link = links[usize::from(*first)].clone();
                    rest = further;
                }
            }
        }
    }

    /// The root with this value under the key; `None` removes it.
    pub(crate) fn put(
        &mut self,
        root: B256,
        key: &B256,
        value: Option<Vec<u8>>,
    ) -> Result<B256, Lost> {
        self.puts += 1;
        let top = match root {
            EMPTY_ROOT_HASH => None,
            root => self.load(&Link::Hash(root))?,
        };
        let path = nibbles(key);
        let top = match value {
            Some(value) => Some(self.insert(top, &path, value)?),
            None => self.remove(top, &path)?,
        };
        Ok(match top {
            None => EMPTY_ROOT_HASH,
            Some(node) => self.hash(&node),
        })
    }

    fn insert(&mut self, node: Option<Node>, path: &[u8], value: Vec<u8>) -> Result<Node, Lost> {
        let (own, other) = match node {
            None => return Ok(Node::Leaf(path.to_vec(), value)),
            Some(Node::Branch(mut links)) => {
                let (first, rest) = path.split_first().expect("64 nibbles end in a leaf");
                let link = &mut links[usize::from(*first)];
                let child = self.load(link)?;
                let child = self.insert(child, rest, value)?;
                *link = self.link(child);
                return Ok(Node::Branch(links));
            }
            Some(Node::Leaf(own, _)) if own == path => return Ok(Node::Leaf(own, value)),
            Some(Node::Extension(own, child)) if path.starts_with(&own) => {
                let below = self.load(&child)?;
                let below = self.insert(below, &path[own.len()..], value)?;
                let child = self.link(below);
                return Ok(Node::Extension(own, child));
            }
            Some(Node::Leaf(own, other)) => (own, Ok(other)),
            Some(Node::Extension(own, child)) => (own, Err(child)),
        };
        // They part here.
        let common = own.iter().zip(path).take_while(|(a, b)| a == b).count();
        let mut links = Box::new([const { Link::Nothing }; 16]);
        let rest = own[common + 1..].to_vec();
        links[usize::from(own[common])] = match other {
            Ok(value) => self.link(Node::Leaf(rest, value)),
            Err(child) if rest.is_empty() => child,
            Err(child) => self.link(Node::Extension(rest, child)),
        };
        let leaf = Node::Leaf(path[common + 1..].to_vec(), value);
        links[usize::from(path[common])] = self.link(leaf);
        Ok(self.under(path[..common].to_vec(), Node::Branch(links)))
    }

    fn remove(&mut self, node: Option<Node>, path: &[u8]) -> Result<Option<Node>, Lost> {
        Ok(match node {
            None => None,
            Some(Node::Leaf(own, _)) if own == path => None,
            Some(Node::Extension(own, child)) if path.starts_with(&own) => {
                let below = self.load(&child)?;
                let below = self.remove(below, &path[own.len()..])?;
                below.map(|node| self.under(own, node))
            }
            Some(Node::Branch(mut links)) => {
                let (first, rest) = path.split_first().expect("64 nibbles end in a leaf");
                let link = &mut links[usize::from(*first)];
                let Some(below) = self.load(link)? else {
                    return Ok(Some(Node::Branch(links)));
                };
                *link = match self.remove(Some(below), rest)? {
                    None => Link::Nothing,
                    Some(node) => self.link(node),
                };
                let mut left = (0u8..)
                    .zip(links.iter())
                    .filter(|(_, link)| !matches!(link, Link::Nothing));
                match (left.next(), left.next()) {
                    (Some((nibble, link)), None) => {
                        let last = self.load(&link.clone())?.ok_or(Lost)?;
                        Some(self.under(vec![nibble], last))
                    }
                    _ => Some(Node::Branch(links)),
                }
            }
            other => other,
        })
    }

    /// The node with a path before it.
    fn under(&mut self, mut path: Path, node: Node) -> Node {
        if path.is_empty() {
            return node;
        }
        match node {
            Node::Leaf(own, value) => {
                path.extend(own);
                Node::Leaf(path, value)
            }
            Node::Extension(own, child) => {
                path.extend(own);
                Node::Extension(path, child)
            }
            branch @ Node::Branch(_) => {
                let link = self.link(branch);
                Node::Extension(path, link)
            }
        }
    }

    fn hash(&mut self, node: &Node) -> B256 {
        let rlp = encoded(node);
        let hash = keccak256(&rlp);
        self.fresh.insert(hash, rlp);
        hash
    }

    fn link(&mut self, node: Node) -> Link {
        let rlp = encoded(&node);
        if rlp.len() < 32 {
            return Link::Inside(Box::new(node));
        }
        let hash = keccak256(&rlp);
        self.fresh.insert(hash, rlp);
        Link::Hash(hash)
    }

    fn bytes(&self, hash: &B256) -> Result<Bytes, Lost> {
        if let Some(rlp) = self.fresh.get(hash) {
            return Ok(Bytes::copy_from_slice(rlp));
        }
        let key = [b"node".as_slice(), hash.as_slice()].concat();
        self.view.get(META, &key)?.ok_or(Lost)
    }

    fn load(&self, link: &Link) -> Result<Option<Node>, Lost> {
        match link {
            Link::Nothing => Ok(None),
            Link::Inside(node) => Ok(Some(Node::clone(node))),
            Link::Hash(hash) => {
                let bytes = self.bytes(hash)?;
                decoded(&mut bytes.as_ref()).map(Some).ok_or(Lost)
            }
        }
    }

    /// Nodes that were made and that this root of an account trie needs.
    fn reachable(mut self, root: B256) -> Result<Vec<(B256, Vec<u8>)>, Lost> {
        let mut found = Vec::new();
        let mut open = vec![root];
        while let Some(hash) = open.pop() {
            // What was there before is kept with all below it.
            let Some(rlp) = self.fresh.remove(&hash) else {
                continue;
            };
            let node = decoded(&mut rlp.as_slice()).ok_or(Lost)?;
            below(&node, &mut open);
            found.push((hash, rlp));
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use alloy_trie::root::storage_root_unhashed;
    use kv::Domain;
    use proptest::prelude::*;
    use types::Height;

    use super::*;

    /// A state in which there is nothing.
    struct Nothing;

    impl View for Nothing {
        fn height(&self) -> Height {
            Height(0)
        }

        fn get(&self, _: Domain, _: &[u8]) -> Result<Option<Bytes>, Lost> {
            Ok(None)
        }

        fn scan(
            &self,
            _: Domain,
            _: &[u8],
            _: &mut dyn FnMut(&[u8], &Bytes) -> bool,
        ) -> Result<(), Lost> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn roots_are_those_of_another_implementation(
            steps in prop::collection::vec((0u8..40, prop::option::of(1u64..u64::MAX)), 1..120),
        ) {
            let mut trie = Trie::new(&Nothing);
            let mut known = BTreeMap::new();
            let mut root = EMPTY_ROOT_HASH;
            for (slot, value) in steps {
                let slot = B256::with_last_byte(slot);
                let value = value.map(U256::from);
                match value {
                    Some(value) => known.insert(slot, value),
                    None => known.remove(&slot),
                };
                root = trie.put(root, &keccak256(slot), value.map(alloy_rlp::encode)).expect("all is here");
                prop_assert_eq!(root, storage_root_unhashed(known.clone()));
            }
            for (slot, value) in known {
                let found = trie.prove(root, &keccak256(slot)).expect("all is here").1;
                prop_assert_eq!(found, Some(alloy_rlp::encode(value)));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = decoded(&mut bytes.as_slice());
        }
    }
}
