//! The traps of DESIGN section 5, each as the smallest exchange that shows it. Every test runs twice:
//! right, and with the mistake put back, when the outcome must be the wrong one.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use types::{Index, Millis, NodeId, Term};

use crate::message::{self, Head};
use crate::wire;
use crate::{Configuration, Effect, Engine, LogEntry, Mutation, Raft, Start, Timing};

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn entry(term: u64, index: u64, configuration: Option<Configuration>) -> LogEntry {
    LogEntry {
        term: Term(term),
        index: Index(index),
        payload: Bytes::from_static(b"entry"),
        configuration,
    }
}

/// One node, and a test that plays everyone else.
struct Subject {
    raft: Raft,
    now: u64,
    out: Vec<Effect>,
}

impl Subject {
    fn new(id: u64, voters: &[u64], disk: &[LogEntry], mutation: Mutation) -> Self {
        let mut start = Start::default();
        disk.iter().for_each(|entry| start.push(entry.clone()));
        let voters = Configuration::of(nodes(voters));
        let mut raft = Raft::new(NodeId(id), Timing::default(), 1, voters, start);
        raft.mutation = mutation;
        let mut subject = Self {
            raft,
            now: 0,
            out: Vec::new(),
        };
        subject.pass(0);
        subject
    }

    /// Leads; nobody has answered its entries yet.
    fn leader(voters: &[u64], disk: &[LogEntry], mutation: Mutation) -> Self {
        let mut subject = Self::new(1, voters, disk, mutation);
        subject.pass(700);
        let term = subject.raft.term.next();
        for voter in &voters[1..] {
            subject.hear(
                *voter,
                Head::WouldVote {
                    term,
                    granted: true,
                },
            );
        }
        for voter in &voters[1..] {
            subject.hear(
                *voter,
                Head::Voted {
                    term,
                    granted: true,
                },
            );
        }
        assert!(subject.out.contains(&Effect::OpenTerm { term }));
        subject
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..=millis / 20 {
            self.raft.tick(Millis(self.now), &mut self.out);
            self.now += 20;
        }
    }

    fn hear(&mut self, from: u64, head: Head) {
        self.hear_entries(from, head, &[]);
    }

    fn hear_entries(&mut self, from: u64, head: Head, entries: &[LogEntry]) {
        let message = wire::encode(&head, entries.iter().map(|entry| &entry.payload));
        self.raft
            .receive(Millis(self.now), NodeId(from), message, &mut self.out);
    }

    /// A follower's acknowledgement of everything up to an index.
    fn acknowledged(&mut self, from: u64, upto: u64) {
        let (term, round) = (self.raft.term, 0);
        self.hear(
            from,
            Head::Accepted {
                term,
                matched: Index(upto),
                received: Index(upto),
                round,
            },
        );
    }

    fn append(&mut self, term: u64, after: (u64, u64), commit: u64, entries: &[LogEntry]) {
        let head = Head::Append {
            term: Term(term),
            previous_term: Term(after.1),
            previous_index: Index(after.0),
            commit: Index(commit),
            round: 0,
            answer: true,
            entries: message::heads(entries),
        };
        self.hear_entries(2, head, entries);
    }

    /// Proposes, and has it on its own disk.
    fn propose(&mut self, configuration: Option<Configuration>) {
        let (term, index) = self.raft.next().expect("it leads");
        let entry = entry(term.0, index.0, configuration);
        self.raft.propose(entry, &mut self.out).expect("it leads");
        self.raft.persisted(term, index, &mut self.out);
    }

    fn commit(&self) -> u64 {
        self.raft.committed().0
    }

    /// What it sent last, in words.
    fn last_sent(&self) -> String {
        let sent = |effect: &Effect| match effect {
            Effect::Send { message, .. } => Some(format!("{message:?}")),
            _ => None,
        };
        self.out.iter().rev().find_map(sent).unwrap_or_default()
    }
}

/// A leader in the middle of the change from {1,2,3} to {1,4,5}.
fn joint(mutation: Mutation) -> Subject {
    let mut leader = Subject::leader(&[1, 2, 3], &[], mutation);
    leader.propose(None);
    leader.acknowledged(2, 1);
    assert_eq!(leader.commit(), 1);
    let change = leader
        .raft
        .configuration()
        .change(nodes(&[1, 4, 5]), nodes(&[]));
    leader.propose(Some(change));
    leader
}

#[test]
fn a_joint_quorum_is_not_one_of_the_union() {
    let commit = |mutation| {
        let mut leader = joint(mutation);
        leader.acknowledged(4, 2);
        leader.acknowledged(5, 2);
        leader.commit()
    };
    assert_eq!(commit(Mutation::None), 1);
    assert_eq!(commit(Mutation::UnionQuorum), 2);
}

#[test]
fn check_quorum_asks_each_configuration() {
    let leads_on = |mutation| {
        let mut leader = joint(mutation);
        for _ in 0..20 {
            leader.pass(40);
            leader.acknowledged(4, 0);
            leader.acknowledged(5, 0);
        }
        leader.raft.next().is_some()
    };
    assert!(!leads_on(Mutation::None));
    assert!(leads_on(Mutation::CheckQuorumUnion));
}

/// Thesis figure 3.7.
#[test]
fn an_entry_of_an_earlier_term_commits_only_below_one_of_this_term() {
    let commits = |mutation| {
        let mut leader = Subject::leader(
            &[1, 2, 3],
            &[entry(1, 1, None), entry(1, 2, None)],
            mutation,
        );
        leader.acknowledged(2, 2);
        let before = leader.commit();
        leader.propose(None);
        leader.acknowledged(2, 3);
        (before, leader.commit())
    };
    assert_eq!(commits(Mutation::None), (0, 3));
    assert_eq!(commits(Mutation::CommitEarlierTerm).0, 2);
}

#[test]
fn a_negative_acknowledgement_acknowledges_nothing() {
    let commit = |mutation| {
        let mut leader = Subject::leader(&[1, 2, 3], &[], mutation);
        leader.propose(None);
        let (term, rejected) = (Term(1), Index(1));
        leader.hear(
            2,
            Head::Rejected {
                term,
                rejected,
                hint_term: Term(1),
                hint: Index(1),
                round: 0,
            },
        );
        leader.commit()
    };
    assert_eq!(commit(Mutation::None), 0);
    assert_eq!(commit(Mutation::NackAdvancesMatch), 1);
}

#[test]
fn a_stale_negative_acknowledgement_takes_nothing_back() {
    let after = |mutation| {
        let mut leader = Subject::leader(&[1, 2, 3], &[], mutation);
        (0..5).for_each(|_| leader.propose(None));
        leader.acknowledged(2, 5);
        leader.hear(
            2,
            Head::Rejected {
                term: Term(1),
                rejected: Index(3),
                hint_term: Term(0),
                hint: Index(0),
                round: 0,
            },
        );
        (leader.raft.matched(NodeId(2)), leader.last_sent())
    };
    let (matched, sent) = after(Mutation::None);
    assert_eq!(matched, Some(Index(5)));
    let (matched, resent) = after(Mutation::NackLowersMatch);
    assert_eq!(matched, Some(Index(0)));
    assert_ne!(
        sent, resent,
        "it starts over with entries that the follower has"
    );
}

#[test]
fn a_late_append_truncates_nothing() {
    let truncates = |mutation| {
        let log: Vec<LogEntry> = (1..=5).map(|index| entry(1, index, None)).collect();
        let mut follower = Subject::new(1, &[1, 2, 3], &[], mutation);
        follower.append(1, (0, 0), 0, &log);
        follower
            .raft
            .persisted(Term(1), Index(5), &mut follower.out);
        follower.append(1, (0, 0), 0, &log[..2]);
        follower.append(1, (1, 1), 0, &[]);
        follower.raft.last().1 != Index(5)
    };
    assert!(!truncates(Mutation::None));
    assert!(truncates(Mutation::TruncateOnAppend));
}

#[test]
fn a_follower_acknowledges_only_what_the_leader_sent() {
    let acknowledges = |mutation| {
        let disk: Vec<LogEntry> = (1..=5).map(|index| entry(1, index, None)).collect();
        let mut follower = Subject::new(1, &[1, 2, 3], &disk, mutation);
        follower.append(2, (2, 1), 5, &[]);
        (follower.last_sent(), follower.commit())
    };
    let right = ("accepted t2 received 2 on disk 2".to_owned(), 2);
    assert_eq!(acknowledges(Mutation::None), right);
    assert_eq!(
        acknowledges(Mutation::AcknowledgeUnreceived).0,
        "accepted t2 received 5 on disk 5"
    );
}

#[test]
fn a_follower_acknowledges_only_what_is_on_its_disk() {
    let acknowledges = |mutation| {
        let mut follower = Subject::new(1, &[1, 2, 3], &[], mutation);
        follower.append(1, (0, 0), 0, &[entry(1, 1, None), entry(1, 2, None)]);
        follower
            .raft
            .persisted(Term(1), Index(1), &mut follower.out);
        follower.last_sent()
    };
    assert_eq!(
        acknowledges(Mutation::None),
        "accepted t1 received 2 on disk 1"
    );
    assert_eq!(
        acknowledges(Mutation::AcknowledgeUnpersisted),
        "accepted t1 received 2 on disk 2"
    );
}

#[test]
fn news_of_a_write_that_was_replaced_acknowledge_nothing() {
    let mut follower = Subject::new(1, &[1, 2, 3], &[], Mutation::None);
    follower.append(1, (0, 0), 0, &[entry(1, 1, None), entry(1, 2, None)]);
    follower.append(2, (1, 1), 0, &[entry(2, 2, None)]);
    follower
        .raft
        .persisted(Term(1), Index(2), &mut follower.out);
    assert_eq!(follower.raft.log.persisted, Index(0));
    follower
        .raft
        .persisted(Term(2), Index(2), &mut follower.out);
    assert_eq!(follower.last_sent(), "accepted t2 received 2 on disk 2");
}

#[test]
fn a_node_retires_only_when_the_configuration_without_it_is_committed() {
    let campaigns = |mutation, commit| {
        let joint = Configuration::of(nodes(&[1, 2, 3])).change(nodes(&[2, 3]), nodes(&[]));
        let left = joint.leave().expect("joint");
        let mut follower = Subject::new(1, &[1, 2, 3], &[], mutation);
        follower.append(
            1,
            (0, 0),
            commit,
            &[entry(1, 1, Some(joint)), entry(1, 2, Some(left))],
        );
        follower.out.clear();
        follower.pass(1_500);
        follower.last_sent().starts_with("ask-vote")
    };
    assert!(campaigns(Mutation::None, 1));
    assert!(!campaigns(Mutation::None, 2));
    assert!(!campaigns(Mutation::RetireEarly, 1));
}

/// A broken or stale peer cannot talk a node out of what is committed.
#[test]
fn what_contradicts_a_commit_is_ignored() {
    let mut follower = Subject::new(1, &[1, 2, 3], &[], Mutation::None);
    follower.append(1, (0, 0), 2, &[entry(1, 1, None), entry(1, 2, None)]);
    follower.append(3, (1, 1), 2, &[entry(2, 2, None)]);
    assert_eq!(
        (follower.raft.last(), follower.commit()),
        ((Term(1), Index(2)), 2)
    );
    assert!(
        !follower
            .out
            .iter()
            .any(|effect| matches!(effect, Effect::Truncate { .. }))
    );
}

fn any_head() -> impl Strategy<Value = (u8, [u64; 5], bool, Vec<u64>)> {
    let number = prop_oneof![0..6u64, Just(u64::MAX >> 2), any::<u64>()];
    (
        0..10u8,
        prop::array::uniform5(number),
        any::<bool>(),
        prop::collection::vec(0..4u64, 0..4),
    )
}

proptest! {
    /// Whatever a broken peer says, this node goes on, and takes nothing committed back.
    #[test]
    fn no_sequence_of_messages_stops_a_node(
        heard in prop::collection::vec((2..4u64, any_head()), 0..60), leads in any::<bool>(),
    ) {
        let mut node = if leads {
            Subject::leader(&[1, 2, 3], &[entry(1, 1, None)], Mutation::None)
        } else {
            Subject::new(1, &[1, 2, 3], &[entry(1, 1, None)], Mutation::None)
        };
        if leads {
            (0..3).for_each(|_| node.propose(None));
        }
        for (from, (kind, [a, b, c, d, round], flag, terms)) in heard {
            let (term, last_term, last_index) = (Term(a), Term(b), Index(c));
            let entries: Vec<LogEntry> = (c.wrapping_add(1)..).zip(terms).map(|(i, term)| entry(term, i, None)).collect();
            let head = match kind {
                0 => Head::AskVote { term, last_term, last_index },
                1 => Head::WouldVote { term, granted: flag },
                2 => Head::RequestVote { term, last_term, last_index, transfer: flag },
                3 => Head::Voted { term, granted: flag },
                4 => Head::Accepted { term, matched: Index(b), received: Index(c), round },
                5 => Head::Rejected { term, rejected: Index(b), hint_term: Term(c), hint: Index(d), round },
                6 => Head::TimeoutNow { term },
                7 => Head::ReadAt { ticket: a, index: flag.then_some(Index(b)) },
                _ => Head::Append {
                    term,
                    previous_term: last_term,
                    previous_index: last_index,
                    commit: Index(d),
                    round,
                    answer: flag,
                    entries: message::heads(&entries),
                },
            };
            let before = node.commit();
            node.hear_entries(from, head, if kind > 7 { &entries } else { &[] });
            prop_assert!(node.commit() >= before);
            node.pass(40);
        }
    }
}
