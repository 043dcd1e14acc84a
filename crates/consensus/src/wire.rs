//! Messages between engines, as bytes.
//!
//! ```text
//! u32 length of head | head: minicbor | for each entry of an Append: u32 length | payload
//! ```
//! Numbers are big-endian. Payloads are not copied when read: they are slices of the message.
//! Whoever calls this has authenticated the sender; even so, nothing here trusts a length.

use bytes::{BufMut, Bytes, BytesMut};
use types::{Index, Term, limits};

use crate::message::Head;
use crate::{LogEntry, Message};

/// Most entries in one message: the head stays far below [`HEAD_BYTES_MAX`].
pub(crate) const ENTRIES_MAX: usize = 1024;
/// Most bytes of entries in one message, or one larger entry: 1 ms on a 10 Gbit/s link, so that a
/// heartbeat never waits long behind entries.
pub(crate) const ENTRIES_BYTES_MAX: usize = 1 << 20;
/// 1,024 heads of some 12 bytes, and configurations of 64 nodes in a few of them.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// Terms, indices and rounds count events; a larger number can only be an attack on the counter.
const NUMBER_MAX: u64 = 1 << 62;

/// Makes a message; `payloads` only with [`Head::Append`], as many as it has heads.
pub(crate) fn encode<'a>(
    head: &Head,
    payloads: impl Iterator<Item = &'a Bytes> + Clone,
) -> Message {
    let head = minicbor::to_vec(head).expect("writing to memory does not fail");
    let size: usize = payloads.clone().map(|payload| 4 + payload.len()).sum();
    let mut bytes = BytesMut::with_capacity(4 + head.len() + size);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("entries are below 64 MiB");
    bytes.put_u32(length(&head));
    bytes.put_slice(&head);
    for payload in payloads {
        bytes.put_u32(length(payload));
        bytes.put_slice(payload);
    }
    Message(bytes.freeze())
}

/// Takes a block with its length in front off the beginning.
fn block(bytes: &mut Bytes, max: usize) -> Option<Bytes> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= max && *length <= bytes.len() - 4)?;
    let mut block = bytes.split_to(4 + length);
    Some(block.split_off(4))
}

/// Reads a message: its head and, of an append, its entries. `None` if it is none of ours.
pub(crate) fn decode(message: &Message) -> Option<(Head, Vec<LogEntry>)> {
    let mut bytes = message.0.clone();
    if bytes.len() > limits::PEER_MESSAGE_BYTES_MAX {
        return None;
    }
    let head = block(&mut bytes, HEAD_BYTES_MAX)?;
    let mut decoder = minicbor::Decoder::new(&head);
    let mut head: Head = decoder.decode().ok()?;
    if decoder.position() != decoder.input().len()
        || !head.numbers().iter().all(|number| *number <= NUMBER_MAX)
    {
        return None;
    }
    let mut entries = Vec::new();
    if let Head::Append {
        term,
        previous_term,
        previous_index,
        entries: heads,
        ..
    } = &mut head
    {
        if heads.len() > ENTRIES_MAX
            || (*previous_index == Index::ZERO) != (*previous_term == Term::ZERO)
        {
            return None;
        }
        let (mut before, mut index) = (*previous_term, *previous_index);
        for head in heads.drain(..) {
            index = index.next();
            if head.term < before || head.term == Term::ZERO || head.term > *term {
                return None;
            }
            before = head.term;
            let payload = block(&mut bytes, limits::ENTRY_BYTES_MAX)?;
            entries.push(head.open(index, payload)?);
        }
    }
    bytes.is_empty().then_some((head, entries))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use types::NodeId;

    use super::*;
    use crate::Configuration;
    use crate::message::heads;

    fn append(payloads: &[&[u8]]) -> Message {
        let entries: Vec<LogEntry> = (5..)
            .zip(payloads)
            .map(|(index, payload)| LogEntry {
                term: Term(3),
                index: Index(index),
                payload: Bytes::copy_from_slice(payload),
                configuration: (index == 6).then(|| Configuration::of([NodeId(1), NodeId(9)])),
            })
            .collect();
        let head = Head::Append {
            term: Term(3),
            previous_term: Term(2),
            previous_index: Index(4),
            commit: Index(4),
            round: 1,
            answer: true,
            entries: heads(&entries),
        };
        encode(&head, entries.iter().map(|entry| &entry.payload))
    }

    #[test]
    fn payloads_are_slices_of_the_message() {
        let message = append(&[b"one", b"", b"three"]);
        let (_, entries) = decode(&message).expect("our own message");
        assert_eq!(entries[2].payload, "three");
        assert_eq!(
            entries[1].configuration,
            Some(Configuration::of([NodeId(1), NodeId(9)]))
        );
        let range = message.0.as_ptr_range();
        assert!(range.contains(&entries[2].payload.as_ptr()));
    }

    proptest! {
        #[test]
        fn damaged_messages_do_no_harm(
            cut in 0..200usize, at in 0..200usize, with in any::<u8>(), random in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let whole = append(&[b"payload one", b"payload two"]).0;
            let cut = cut.min(whole.len());
            prop_assert!(cut == whole.len() || decode(&Message(whole.slice(..cut))).is_none());
            let mut damaged = whole.to_vec();
            let at = at % damaged.len();
            damaged[at] = with;
            let _ = decode(&Message(damaged.into()));
            let _ = decode(&Message(random.into()));
        }
    }
}
