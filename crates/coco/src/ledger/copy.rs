//! A copy of a ledger on which offline tools rely: audited, with what governance comes to and how far a
//! signed root proves it.

use std::path::Path;

use governance::{Constitution, State};
use ledger::{Kind, SealKeyring, Verdict, chunk, inspect, verify_root};
use types::{Digest, Index, Millis, NodeId, Term};

use super::{Files, name, read_sound, verify, wrong};
use crate::failure::{Code, Failure};

/// An audited copy.
pub(crate) struct Copy {
    pub(crate) verdict: Verdict,
    pub(crate) state: State,
    /// The last root signature that was checked.
    pub(crate) signed: Option<SignedRoot>,
}

/// A root signature.
pub(crate) struct SignedRoot {
    /// The entry that holds it.
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) root: Digest,
    pub(crate) signer: NodeId,
    /// Ledger time of that entry.
    pub(crate) time: Millis,
}

impl Copy {
    /// Audits the files below `directory` under the constitution of the genesis.
    pub(crate) fn audit(
        directory: &Path,
        constitution: &Constitution,
        keys: Option<SealKeyring>,
        quiet: bool,
    ) -> Result<Self, Failure> {
        let files = Files::list(directory)?;
        let (verdict, rules) = verify::audit(&files, Some(constitution.clone()), keys, quiet)?;
        let state = rules.into_state().filter(|state| state.network().is_some());
        let state = state.ok_or_else(|| {
            Failure::new(
                Code::Incomplete,
                "not every administrative entry could be replayed (some are missing, or their text is sealed), so \
                 that the keys' records are not known; `coco ledger verify` says which: use a whole copy",
            )
        })?;
        let signed = signed(&files, &verdict, &state)?;
        Ok(Self {
            verdict,
            state,
            signed,
        })
    }
}

/// Finds the signature entry that covers what the audit found covered.
fn signed(files: &Files, verdict: &Verdict, state: &State) -> Result<Option<SignedRoot>, Failure> {
    if verdict.signed_upto == Index::ZERO {
        return Ok(None);
    }
    let index = verdict.signed_upto.next();
    for path in &files.chunks {
        let Some(named) = chunk::Name::parse(&name(path)) else {
            continue;
        };
        if named.first > index || named.last.is_some_and(|last| last < index) {
            continue;
        }
        let reader = chunk::Reader::new(read_sound(path)?).map_err(|bad| wrong(path, &bad))?;
        for item in reader {
            // A torn tail comes behind what is looked for.
            let Ok((_, bytes)) = item else { break };
            let Ok(entry) = inspect(&bytes) else { continue };
            if entry.header.index != index || entry.header.kind != Kind::Signature {
                continue;
            }
            let signer = state.node(entry.header.sealer);
            let checked = signer.map(|node| verify_root(&node.key, &entry.header, &entry.public));
            if let Some(Ok(signature)) = checked {
                return Ok(Some(SignedRoot {
                    index,
                    term: entry.header.term,
                    root: signature.frontier.root(),
                    signer: entry.header.sealer,
                    time: entry.header.time,
                }));
            }
        }
    }
    Ok(None)
}
