//! What the own files say without any key: the chain of digests, the signed roots, and all that is
//! public about nodes, configurations and keys.
//!
//! None of it decides anything by itself. It tells whom to look for and which keys to ask for; the
//! files count once their contents were opened with those (`recovery`).

use bytes::Bytes;
use consensus::Runs;
use governance::{Constitution, Refused, State};
use ledger::{Frontier, Header, Kind, inspect};
use types::{Digest, Index, NetworkId};

use super::choice::{Held, Reach};
use super::era::{Era, halves};

/// The public side of a ledger, from the first entry on.
pub struct Copy {
    network: NetworkId,
    approved: Constitution,
    pub state: State,
    pub era: Era,
    pub runs: Runs,
    pub restarts: u32,
    pub last: Index,
    digest: Digest,
    tree: Frontier,
    /// Administrative entries that say nothing without a key.
    pub sealed: u64,
}

impl Copy {
    /// Nothing read yet. The constitution is the one that this node's owner approved: a network may
    /// seal its own.
    pub fn new(network: NetworkId, approved: &Constitution) -> Self {
        Self {
            network,
            approved: approved.clone(),
            state: State::new(),
            era: Era::default(),
            runs: Runs::default(),
            restarts: 0,
            last: Index::ZERO,
            digest: Digest::ZERO,
            tree: Frontier::default(),
            sealed: 0,
        }
    }

    /// Whom to look for, and what they have to prove: by the ledger, or by what this node's owner approved
    /// where the ledger's is sealed and has changed.
    pub fn constitution(&self) -> Option<&Constitution> {
        if self.state.is_unread() {
            Some(&self.approved)
        } else {
            self.state.constitution()
        }
    }

    pub fn held(&self) -> Held {
        Held {
            reach: Reach {
                restarts: self.restarts,
                established: self.era.is_established(),
                term: self.runs.last(),
                index: self.last,
            },
            digest: self.digest,
        }
    }

    /// The next entry of the files.
    ///
    /// # Errors
    /// Why it is not the next one; nothing was changed.
    pub fn read(&mut self, bytes: &Bytes) -> Result<(), String> {
        let entry = inspect(bytes).map_err(|e| e.to_string())?;
        let header = &entry.header;
        if header.index != self.last.next()
            || header.previous != self.digest
            || header.term < self.runs.last()
        {
            return Err("it does not continue the ledger".into());
        }
        match header.kind {
            Kind::Signature => self.signature(header, &entry.public)?,
            Kind::Genesis | Kind::Administrative => self.administrative(header, &entry.public)?,
            Kind::Application { .. } => self.era.proven(),
            Kind::TermOpened | Kind::Snapshot | Kind::SnapshotDigest => {}
        }
        if header.restarts != self.restarts {
            return Err("its restart count is not that of the ledger".into());
        }
        entry.leaves.iter().for_each(|leaf| self.tree.append(leaf));
        self.runs.push(header.index, header.term);
        self.last = header.index;
        self.digest = entry.digest;
        Ok(())
    }

    fn signature(&self, header: &Header, public: &[u8]) -> Result<(), String> {
        let signer = self.state.node(header.sealer);
        let Some(signer) = signer else {
            // Admitted by an entry that is sealed to this reader.
            return if self.sealed > 0 {
                Ok(())
            } else {
                Err("its signer was never admitted".into())
            };
        };
        let root = ledger::verify_root(&signer.key, header, public).map_err(|e| e.to_string())?;
        if root.frontier != self.tree || root.statement.network != self.network {
            return Err("its signed root is not the root of these files".into());
        }
        Ok(())
    }

    fn administrative(&mut self, header: &Header, public: &[u8]) -> Result<(), String> {
        let before = halves(&self.state);
        let done =
            self.state
                .apply_public_partly(header.index, header.time, public, &self.approved);
        match done {
            Ok(facts) => {
                self.era.entered(header.index, before, &facts);
                self.restarts = self.state.restarts();
                Ok(())
            }
            Err(refused) if header.kind == Kind::Genesis => {
                Err(format!("its constitution cannot be read: {refused}"))
            }
            Err(Refused::Sealed) => {
                self.sealed += 1;
                Ok(())
            }
            Err(Refused::Unreadable(reason)) => Err(reason.to_string()),
            // It has no effect, as it had none for whoever could open it.
            Err(_) => Ok(()),
        }
    }
}
