//! What the network's own rules say about the entries that an audit reads.
//!
//! Governance is replayed from the public parts: a node's key counts when the owner's tuple that names it leads to a
//! certificate that the constitution lists for that owner, its evidence satisfies the manifests at
//! the ledger time of the entry, and the slot was free for it. An entry that governance refuses has
//! no effect on any VN, and none here; that can happen to honest ones when the state changed between
//! proposal and commit, and is told. What an honest VN never proposes is a fault.

use governance::{
    AdmitNode, Constitution, Fact, PublicFact, Refused, State, admission_from_public,
    facts_from_public,
};
use ledger::{AuditFact, Before, Entry, Header, Kind};
use tee::Purpose;
use types::Digest;

/// The rules, and the history so far.
pub(super) struct Rules {
    /// The constitution of the genesis: what was given, or else what the entry says.
    first: Option<Constitution>,
    state: State,
    history: History,
    /// The restart count of the administrative entry before.
    restarts: Option<u32>,
}

enum History {
    /// Every administrative entry so far was replayed.
    Replayed,
    /// An entry is missing or its constitution is sealed: admissions are checked each on its own.
    Unknown,
}

impl Rules {
    pub(super) fn new(given: Option<Constitution>) -> Self {
        Self {
            first: given,
            state: State::new(),
            history: History::Replayed,
            restarts: Some(0),
        }
    }

    /// What governance comes to, if every administrative entry was replayed.
    pub(super) fn into_state(self) -> Option<State> {
        matches!(self.history, History::Replayed).then_some(self.state)
    }

    /// What was not checked.
    pub(super) fn unchecked(&self) -> Option<&'static str> {
        match (&self.history, &self.first) {
            (History::Replayed, _) => None,
            (History::Unknown, Some(_)) => Some(
                "the order of administrative entries behind missing ones; each admission was checked on its own",
            ),
            (History::Unknown, None) => Some(
                "whether the members admitted the nodes: the constitution is sealed or missing, give it with --constitution",
            ),
        }
    }

    /// The facts of an entry.
    pub(super) fn facts(&mut self, entry: &Entry, before: Before) -> Vec<AuditFact> {
        if before == Before::Missing {
            self.history = History::Unknown;
            self.restarts = None;
        }
        if entry.header.kind == Kind::TermOpened {
            return self.term(&entry.header);
        }
        match self.command(entry) {
            Ok(facts) => facts,
            Err(why) => vec![AuditFact::Refused { why }],
        }
    }

    /// Only who votes can be elected.
    fn term(&self, header: &Header) -> Vec<AuditFact> {
        let sealer = header.sealer;
        let votes = self.state.configuration().counts(sealer);
        if matches!(self.history, History::Unknown) || votes {
            return Vec::new();
        }
        let why = format!("a term of node {sealer}, which has no vote in the configuration");
        vec![AuditFact::Refused { why }]
    }

    fn command(&mut self, entry: &Entry) -> Result<Vec<AuditFact>, String> {
        let facts = facts_from_public(&entry.public).map_err(|bad| bad.to_string())?;
        self.count_restart(&facts, &entry.header)?;
        let admission = admission_from_public(&entry.public).map_err(|bad| bad.to_string())?;
        if entry.header.kind == Kind::Genesis {
            for fact in &facts {
                if let PublicFact::Constitution { digest, text } = fact {
                    self.begins(*digest, text.as_deref())?;
                }
            }
        }
        if matches!(self.history, History::Replayed) {
            // As it was when the admission was decided.
            let judged = self.judge(admission.as_ref(), &entry.header);
            let (index, time) = (entry.header.index, entry.header.time);
            let given = self.first.as_ref();
            let applied = self
                .state
                .apply_public_under(index, time, &entry.public, given);
            match applied {
                Ok(facts) => {
                    // A genesis brings the constitution that it is judged by.
                    let judged = match entry.header.kind {
                        Kind::Genesis => self.judge(admission.as_ref(), &entry.header),
                        _ => judged,
                    };
                    return judged.map(|()| self.replayed(facts));
                }
                Err(Refused::Sealed) => {
                    self.history = History::Unknown;
                    if entry.header.kind != Kind::Genesis {
                        // What is in force from here on cannot be read.
                        self.first = None;
                    }
                }
                Err(refused) if is_forged(&refused) => return Err(refused.to_string()),
                Err(refused) => {
                    let what = format!("has no effect: {refused}");
                    return Ok(vec![AuditFact::Noted { what }]);
                }
            }
        }
        self.judge(admission.as_ref(), &entry.header)?;
        let key = |fact| match fact {
            PublicFact::Node { id, key, .. } => Some(AuditFact::NodeKey { node: id, key }),
            _ => None,
        };
        Ok(facts.into_iter().filter_map(key).collect())
    }

    /// The restart count changes with the entry that restarts the network, by one.
    fn count_restart(&mut self, facts: &[PublicFact], header: &Header) -> Result<(), String> {
        let told = facts.iter().find_map(|fact| match fact {
            PublicFact::Restarted(restarts) => Some(*restarts),
            _ => None,
        });
        let before = self.restarts.replace(header.restarts);
        let expected = match (before, told) {
            (Some(before), Some(_)) => before.checked_add(1),
            (Some(before), None) => Some(before),
            // What came before is not known.
            (None, told) => told.or(Some(header.restarts)),
        };
        if expected == Some(header.restarts) && told.is_none_or(|told| told == header.restarts) {
            return Ok(());
        }
        Err(format!(
            "it has restart count {}, which no entry that restarts the network brought",
            header.restarts
        ))
    }

    fn replayed(&self, facts: Vec<Fact>) -> Vec<AuditFact> {
        let told = |fact| match fact {
            Fact::Admitted { node, .. } => {
                let key = self.state.node(node)?.key;
                Some(AuditFact::NodeKey { node, key })
            }
            Fact::Epoch(epoch) => Some(AuditFact::Epoch(epoch)),
            _ => None,
        };
        facts.into_iter().filter_map(told).collect()
    }

    /// Repeats the verdict on an admission, if the constitution in force is known.
    fn judge(&self, admission: Option<&AdmitNode>, header: &Header) -> Result<(), String> {
        match (self.in_force(), admission) {
            (Some(constitution), Some(admission)) => admitted(admission, constitution, header),
            _ => Ok(()),
        }
    }

    /// The constitution in force, as far as it is known.
    fn in_force(&self) -> Option<&Constitution> {
        match self.history {
            History::Replayed => self.state.constitution().or(self.first.as_ref()),
            History::Unknown => self.first.as_ref(),
        }
    }

    /// The genesis must be of the constitution that was given; if none was, its text counts.
    fn begins(&mut self, digest: Digest, text: Option<&Constitution>) -> Result<(), String> {
        match &self.first {
            Some(given) if given.digest() != digest => Err(format!(
                "it begins with the constitution {digest}, not with {}",
                given.digest()
            )),
            Some(_) => Ok(()),
            None => {
                self.first = text.cloned();
                Ok(())
            }
        }
    }
}

/// What no honest VN proposes, whatever happens between proposal and commit.
fn is_forged(refused: &Refused) -> bool {
    matches!(
        refused,
        Refused::Unreadable(_)
            | Refused::Constitution(_)
            | Refused::NotCreated
            | Refused::AlreadyCreated
            | Refused::Stale { .. }
            | Refused::TupleSignature(_)
            | Refused::TupleShape
            | Refused::TupleUnsigned
            | Refused::WrongNetwork
            | Refused::WrongIdentity
    )
}

/// Repeats the verdict on an admission at the ledger time at which it was given.
fn admitted(node: &AdmitNode, constitution: &Constitution, header: &Header) -> Result<(), String> {
    let tuple = node
        .verify_tuple(constitution, header.time)
        .map_err(|bad| bad.to_string())?;
    let purpose = if header.kind == Kind::Genesis {
        Purpose::Genesis
    } else {
        Purpose::Join
    };
    node.appraise(constitution, tuple.tuple(), purpose, header.time)
        .map(drop)
        .map_err(|bad| format!("the evidence of node {}: {bad}", node.id))
}
