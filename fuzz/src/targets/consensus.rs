//! What another node's consensus engine says.

use bytes::Bytes;
use consensus::{Configuration, Effect, Engine, LogEntry, Message, Raft, Start, Timing};
use types::{Index, Millis, NodeId};

use crate::{Pieces, pieces};

fn nodes() -> Configuration {
    Configuration {
        voters: [1, 2, 3].map(NodeId).into(),
        ..Configuration::default()
    }
}

fn node(id: u64) -> Raft {
    Raft::new(NodeId(id), Timing::default(), 7, nodes(), Start::default())
}

/// Messages of two others to a node that has nothing and knows nothing: it reads each within its
/// limits, and its log stays whole.
pub fn message(data: &[u8]) {
    let mut pieces = Pieces(data);
    let mut raft = node(1);
    let mut now = Millis(1);
    let mut last = Index::ZERO;
    while !pieces.is_empty() {
        let from = NodeId(2 + u64::from(pieces.byte() & 1));
        let message = Message(Bytes::copy_from_slice(pieces.piece()));
        let _ = format!("{message:?}");
        let mut out = Vec::new();
        raft.receive(now, from, message, &mut out);
        for effect in out {
            match effect {
                Effect::Append { entries } => {
                    for entry in entries {
                        assert_eq!(entry.index, last.next(), "a gap in the log");
                        last = entry.index;
                    }
                }
                Effect::Truncate { from } => {
                    assert!(from > raft.committed(), "a committed entry goes");
                    last = Index(from.0 - 1);
                }
                _ => {}
            }
        }
        assert!(
            raft.committed() <= raft.last().1,
            "committed what is not there"
        );
        let mut out = Vec::new();
        raft.tick(now, &mut out);
        now = now.plus(1);
    }
}

/// An election and a replicated entry, as node 1 hears them.
pub fn messages() -> Vec<Vec<u8>> {
    let mut engines = [node(1), node(2), node(3)];
    let mut heard: Vec<(u64, Bytes)> = Vec::new();
    let mut proposed = 0;
    for step in 0..200 {
        let now = Millis(1 + step * 10);
        let mut waiting: Vec<(NodeId, Effect)> = Vec::new();
        for (id, engine) in (1..).map(NodeId).zip(&mut engines) {
            let mut out = Vec::new();
            // Only node 2 hears the clock, so that it is elected.
            if id == NodeId(2) {
                engine.tick(now, &mut out);
                if proposed < 3
                    && let Some((term, index)) = engine.next()
                {
                    proposed += 1;
                    let entry = LogEntry {
                        term,
                        index,
                        payload: Bytes::from_static(b"payload"),
                        configuration: None,
                    };
                    let _ = engine.propose(entry, &mut out);
                }
            }
            waiting.extend(out.into_iter().map(|effect| (id, effect)));
        }
        while let Some((at, effect)) = waiting.pop() {
            let mut out = Vec::new();
            let place = |id: NodeId| usize::try_from(id.0 - 1).expect("one of three");
            let to = match effect {
                Effect::Send { to, message } => {
                    if to == NodeId(1) && heard.len() < 12 {
                        heard.push((at.0, message.0.clone()));
                    }
                    engines[place(to)].receive(now, at, message, &mut out);
                    to
                }
                Effect::Append { entries } => {
                    if let Some(last) = entries.last() {
                        engines[place(at)].persisted(last.term, last.index, &mut out);
                    }
                    at
                }
                _ => at,
            };
            waiting.extend(out.into_iter().map(|effect| (to, effect)));
        }
    }
    let one = |(from, bytes): &(u64, Bytes)| {
        [
            &[u8::try_from(from - 2).expect("2 or 3")][..],
            &pieces(&[bytes]),
        ]
        .concat()
    };
    let all: Vec<u8> = heard.iter().flat_map(one).collect();
    let mut seeds: Vec<_> = heard.iter().take(4).map(one).collect();
    seeds.push(all);
    seeds
}
