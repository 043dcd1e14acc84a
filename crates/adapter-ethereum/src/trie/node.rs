//! One node of a trie: what it is, and its RLP.

use alloy_consensus::TrieAccount;
use alloy_primitives::B256;
use alloy_rlp::{Decodable, Encodable, Header};
use bytes::BufMut;

/// Nibbles of a key.
pub(super) type Path = Vec<u8>;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Leaf(Path, Vec<u8>),
    /// Never with an empty path, and always before a branch.
    Extension(Path, Link),
    Branch(Box<[Link; 16]>),
}

#[derive(Debug, Clone)]
pub(super) enum Link {
    Nothing,
    Hash(B256),
    /// A node whose RLP has less than 32 bytes.
    Inside(Box<Node>),
}

/// Hashes that a node names, storage roots of accounts included.
pub(super) fn below(node: &Node, into: &mut Vec<B256>) {
    let mut follow = |link: &Link| match link {
        Link::Nothing => {}
        Link::Hash(hash) => into.push(*hash),
        Link::Inside(node) => below(node, into),
    };
    match node {
        Node::Extension(_, link) => follow(link),
        Node::Branch(links) => links.iter().for_each(follow),
        Node::Leaf(_, value) => {
            if let Ok(account) = TrieAccount::decode(&mut value.as_slice()) {
                into.push(account.storage_root);
            }
        }
    }
}

pub(super) fn nibbles(key: &B256) -> Path {
    key.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect()
}

/// Yellow Paper, appendix C: hexadecimal prefix encoding.
fn packed(path: &[u8], is_leaf: bool) -> Vec<u8> {
    let flag = if is_leaf { 2 } else { 0 };
    let (first, rest) = if !path.len().is_multiple_of(2) {
        ((flag + 1) << 4 | path[0], &path[1..])
    } else {
        (flag << 4, path)
    };
    let pairs = rest
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[high, low]| high << 4 | low);
    std::iter::once(first).chain(pairs).collect()
}

fn unpacked(bytes: &[u8]) -> Option<(Path, bool)> {
    let (first, rest) = bytes.split_first()?;
    let mut path = Path::new();
    if first & 0x10 != 0 {
        path.push(first & 15);
    }
    path.extend(rest.iter().flat_map(|byte| [byte >> 4, byte & 15]));
    Some((path, first & 0x20 != 0))
}

pub(super) fn encoded(node: &Node) -> Vec<u8> {
    let mut payload = Vec::new();
    match node {
        Node::Leaf(path, value) => {
            packed(path, true).as_slice().encode(&mut payload);
            value.as_slice().encode(&mut payload);
        }
        Node::Extension(path, child) => {
            packed(path, false).as_slice().encode(&mut payload);
            encode_link(child, &mut payload);
        }
        Node::Branch(links) => {
            for link in links.iter() {
                encode_link(link, &mut payload);
            }
            payload.put_u8(alloy_rlp::EMPTY_STRING_CODE);
        }
    }
    let mut out = Vec::with_capacity(payload.len() + 3);
    let head = Header {
        list: true,
        payload_length: payload.len(),
    };
    head.encode(&mut out);
    out.extend(payload);
    out
}

fn encode_link(link: &Link, out: &mut Vec<u8>) {
    match link {
        Link::Nothing => out.put_u8(alloy_rlp::EMPTY_STRING_CODE),
        Link::Hash(hash) => hash.encode(out),
        Link::Inside(node) => out.extend(encoded(node)),
    }
}

pub(super) fn decoded(from: &mut &[u8]) -> Option<Node> {
    let head = Header::decode(from).ok().filter(|head| head.list)?;
    let (mut payload, rest) = from.split_at_checked(head.payload_length)?;
    *from = rest;
    let mut items = Vec::new();
    while !payload.is_empty() {
        let start = payload;
        let head = Header::decode(&mut payload).ok()?;
        let body = payload.get(..head.payload_length)?;
        payload = &payload[head.payload_length..];
        let whole = &start[..start.len() - payload.len()];
        items.push((head.list, body, whole));
    }
    let link = |(list, body, whole): &(bool, &[u8], &[u8])| -> Option<Link> {
        Some(if *list {
            Link::Inside(Box::new(decoded(&mut &**whole)?))
        } else if body.is_empty() {
            Link::Nothing
        } else {
            Link::Hash(B256::try_from(*body).ok()?)
        })
    };
    match items.as_slice() {
        [(false, path, _), second] => {
            let (path, is_leaf) = unpacked(path)?;
            Some(if is_leaf {
                Node::Leaf(path, second.1.to_vec())
            } else {
                Node::Extension(path, link(second)?)
            })
        }
        [links @ .., _] if links.len() == 16 => {
            let links: Vec<Link> = links.iter().map(link).collect::<Option<_>>()?;
            let links: Box<[Link; 16]> = links.into_boxed_slice().try_into().ok()?;
            Some(Node::Branch(links))
        }
        _ => None,
    }
}
