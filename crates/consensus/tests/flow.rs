//! How much is sent at once: what a follower that is far behind gets, from memory and from disk.

use bytes::Bytes;
use consensus::{Configuration, Effect, Engine, LogEntry, Message, Raft, Start, Timing};
use types::{Index, Millis, NodeId};

const LEADER: NodeId = NodeId(1);
const FOLLOWER: NodeId = NodeId(2);

/// A leader that is alone, and has these entries.
fn leader(sizes: impl IntoIterator<Item = usize>, window: usize) -> (Raft, Vec<LogEntry>) {
    let mut raft = Raft::new(
        LEADER,
        Timing::default(),
        1,
        Configuration::of([LEADER]),
        Start::default(),
    )
    .with_window(window);
    let (mut out, mut disk) = (Vec::new(), Vec::new());
    raft.tick(Millis(1_000), &mut out);
    let join = Configuration::of([LEADER]).change([LEADER].into(), [FOLLOWER].into());
    let sizes: Vec<usize> = sizes.into_iter().collect();
    for (place, size) in sizes.iter().enumerate() {
        let (term, index) = raft.next().expect("it leads");
        let configuration = (place + 1 == sizes.len()).then(|| join.clone());
        let entry = LogEntry {
            term,
            index,
            payload: Bytes::from(vec![7; *size]),
            configuration,
        };
        disk.push(entry.clone());
        raft.propose(entry, &mut out).expect("it leads");
        raft.persisted(term, index, &mut out);
        raft.applied(index);
    }
    (raft, disk)
}

/// What the follower has in the end, the size of each message, and the most bytes that were under
/// way before the follower's disk had any of them.
fn catch_up(leader: &mut Raft, disk: &[LogEntry]) -> (Vec<LogEntry>, Vec<usize>, usize) {
    let mut follower = Raft::new(
        FOLLOWER,
        Timing::default(),
        2,
        Configuration::default(),
        Start::default(),
    );
    let (mut log, mut sizes, mut most) = (Vec::new(), Vec::new(), 0);
    let mut now = 1_000;
    while log.len() < disk.len() {
        now += 25;
        let mut out = Vec::new();
        leader.tick(Millis(now), &mut out);
        let (mut under_way, mut unsynced) = (0, None);
        while !out.is_empty() {
            for effect in std::mem::take(&mut out) {
                match effect {
                    Effect::Send { to, message } if to == FOLLOWER => {
                        let Message(bytes) = &message;
                        sizes.push(bytes.len());
                        under_way += bytes.len();
                        let mut answers = Vec::new();
                        follower.receive(Millis(now), LEADER, message, &mut answers);
                        for answer in answers {
                            match answer {
                                Effect::Send { message, .. } => {
                                    leader.receive(Millis(now), FOLLOWER, message, &mut out);
                                }
                                Effect::Append { entries } => {
                                    unsynced = entries.last().map(|last| (last.term, last.index));
                                    log.extend(entries);
                                }
                                _ => {}
                            }
                        }
                    }
                    Effect::Load { node, first, last } => {
                        let upto = last.0.min(first.0 + 49) as usize;
                        let bare = |entry: &LogEntry| LogEntry {
                            configuration: None,
                            ..entry.clone()
                        };
                        let entries = disk[first.0 as usize - 1..upto].iter().map(bare).collect();
                        leader.supply(node, entries, &mut out);
                    }
                    _ => {}
                }
            }
        }
        most = most.max(under_way);
        if let Some((term, upto)) = unsynced {
            let mut answers = Vec::new();
            follower.persisted(term, upto, &mut answers);
            for answer in answers {
                if let Effect::Send { message, .. } = answer {
                    leader.receive(Millis(now), FOLLOWER, message, &mut Vec::new());
                }
            }
        }
    }
    assert_eq!(leader.matched(FOLLOWER), Some(Index(log.len() as u64)));
    (log, sizes, most)
}

#[test]
fn messages_hold_a_mebibyte_or_one_larger_entry_and_the_window_is_bounded() {
    let (mut leader, disk) = leader(
        (0..1_500).map(|i| if i == 700 { 3 << 20 } else { 20_000 }),
        4_096,
    );
    let (log, sizes, most) = catch_up(&mut leader, &disk);
    assert!(log == disk);
    let large: Vec<usize> = sizes
        .iter()
        .copied()
        .filter(|size| *size > (1 << 20) + 4_096)
        .collect();
    assert_eq!(
        large.len(),
        1,
        "only the large entry travels in a larger message"
    );
    let full = sizes.iter().filter(|size| **size > 1_000_000).count();
    assert!(
        full >= 28,
        "30 MB of entries travel in full messages: {sizes:?}"
    );
    assert!(
        most <= (8 << 20) + (3 << 20) + (1 << 20),
        "{most} bytes were sent ahead of the follower's disk"
    );
}

#[test]
fn a_follower_gets_what_left_memory_from_the_leaders_disk_and_its_configuration() {
    let (mut leader, disk) = leader((0..400).map(|_| 20_000), 10);
    assert!(
        leader.entry(Index(1)).is_none(),
        "memory holds only the newest"
    );
    let (log, sizes, _) = catch_up(&mut leader, &disk);
    assert!(log == disk);
    assert!(sizes.iter().all(|size| *size <= (1 << 20) + 4_096));
}
