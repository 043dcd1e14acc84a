//! The rules of the protocol.

use adapter::{
    Access, Action, Caller, Claim, Descriptor, Event, Exec, Kind, Lost, Machine, Memo, Outcome,
    Reject, Role, Settings, Ticket, Unit, View,
};
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use types::{ActorId, Digest, Height, UnitId};

use crate::command::{Condition, Op, Submission, Version};
use crate::state::{self, Change, DELETED, Record, SETTINGS, VALUES};

const PARTICIPANTS_MAY_WRITE: &[u8] = b"participants_may_write";
/// The rules of the protocol.
pub(crate) struct KeyValue;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GenesisSettings {
    participants_may_write: bool,
}

impl Default for GenesisSettings {
    fn default() -> Self {
        Self {
            participants_may_write: true,
        }
    }
}

impl Machine for KeyValue {
    fn describe(&self) -> Descriptor {
        Descriptor {
            protocol: "kv",
            state_format: 2,
            domains: state::domains(),
        }
    }

    fn genesis(&self, settings: &Settings, exec: &mut dyn Exec) -> Result<(), Reject> {
        let settings: GenesisSettings = if settings.bytes.is_empty() {
            GenesisSettings::default()
        } else {
            serde_json::from_slice(&settings.bytes)
                .map_err(|error| Reject::new(Kind::Malformed, format!("settings of kv: {error}")))?
        };
        let may_write = Bytes::copy_from_slice(&[u8::from(settings.participants_may_write)]);
        exec.put(
            SETTINGS,
            Bytes::from_static(PARTICIPANTS_MAY_WRITE),
            may_write,
        );
        Ok(())
    }

    fn migrate(&self, from: u32, _exec: &mut dyn Exec) -> Result<(), Reject> {
        Err(Reject::new(
            Kind::Invalid,
            format!("state format {from} is not known; 2 is"),
        ))
    }

    fn admit(&self, _view: &dyn View, caller: &Caller, raw: &Bytes) -> Result<Ticket, Reject> {
        let submission = Submission::decode(raw)
            .map_err(|malformed| Reject::new(Kind::Malformed, malformed.0))?;
        // The identity of a unit is its client's name for it, so whatever is sent under that name
        // again is the same unit.
        Ok(Ticket {
            id: unit_id(caller.actor, &submission.request_id),
            lane: Bytes::new(),
            lane_seq: 0,
            lane_next: 0,
            after: Vec::new(),
            established: Bytes::new(),
            memo: Memo::default(),
        })
    }

    fn execute(&self, unit: &Unit, exec: &mut dyn Exec) -> Result<Outcome, Lost> {
        let submission = match Submission::decode(&unit.raw) {
            Ok(submission) => submission,
            Err(malformed) => return Ok(rejected(Kind::Malformed, malformed.0)),
        };
        let version = Version::from(unit.id);
        let height = exec.env().height;
        let mut receipt = Vec::with_capacity(submission.commands.len());
        for command in &submission.commands {
            let before = state::record(exec.view(), &command.key)?;
            if let Some(reject) = unmet(&command.condition, before.as_ref()) {
                return Ok(Outcome::Rejected(reject));
            }
            receipt.push(u8::from(before.is_some()));
            let previous = state::last_change(exec.view(), &command.key, before.as_ref())?;
            match &command.op {
                Op::Put(value) => {
                    let record = Record {
                        version,
                        writer: unit.caller,
                        height,
                        value: value.clone(),
                    };
                    exec.put(VALUES, command.key.clone(), record.encode());
                    if before.is_none() && previous != Height::ZERO {
                        exec.delete(DELETED, command.key.clone());
                    }
                }
                Op::Delete if before.is_some() => {
                    exec.delete(VALUES, command.key.clone());
                    let at = Bytes::copy_from_slice(&height.0.to_be_bytes());
                    exec.put(DELETED, command.key.clone(), at);
                }
                Op::Delete => continue,
            }
            exec.emit(Event {
                topic: command.key.clone(),
                data: Change { version, previous }.encode(),
            });
        }
        let receipt = Bytes::from(receipt);
        Ok(Outcome::Applied { receipt })
    }

    fn seal(
        &self,
        _units: &[Unit],
        _outcomes: &[Outcome],
        _exec: &mut dyn Exec,
    ) -> Result<Claim, Lost> {
        // A block header would go here; this protocol has none.
        Ok(Claim::default())
    }

    fn claim_digest(&self, unit: &Unit, receipt: &Bytes) -> Digest {
        let digest = Sha256::new()
            .chain_update(b"coco/kv/claim/1")
            .chain_update(unit.id.0)
            .chain_update(digest(&unit.raw))
            .chain_update(digest(receipt));
        Digest(digest.finalize().into())
    }

    fn authorize(
        &self,
        view: &dyn View,
        caller: &Caller,
        action: Action<'_>,
    ) -> Result<Access, Lost> {
        match action {
            Action::Submit { .. } if caller.role == Role::Participant => {
                let may_write = view.get(SETTINGS, PARTICIPANTS_MAY_WRITE)?;
                Ok(if may_write.as_deref() == Some(&[1]) {
                    Access::Allow
                } else {
                    Access::Deny
                })
            }
            Action::Submit { .. } | Action::Query { .. } | Action::ReadReceipt { .. } => {
                Ok(Access::Allow)
            }
        }
    }
}

fn unmet(condition: &Condition, before: Option<&Record>) -> Option<Reject> {
    let message = match (condition, before) {
        (Condition::Always, _) | (Condition::Absent, None) => return None,
        (Condition::Version(version), Some(record)) if record.version == *version => return None,
        (Condition::Value(value), Some(record)) if record.value == *value => return None,
        (Condition::Absent, Some(_)) => "the key exists already",
        (Condition::Version(_) | Condition::Value(_), None) => "the key does not exist",
        (Condition::Version(_), Some(_)) => "the key has another version: read it again",
        (Condition::Value(_), Some(_)) => "the key has another value: read it again",
    };
    Some(Reject::new(Kind::Invalid, message))
}

/// The identity of the unit that an actor names so.
pub(crate) fn unit_id(actor: ActorId, request_id: &[u8]) -> UnitId {
    let id = Sha256::new()
        .chain_update(b"coco/kv/request/1")
        .chain_update(actor.0)
        .chain_update(request_id)
        .finalize();
    UnitId(id.into())
}

pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn another_request() -> Reject {
    Reject::new(
        Kind::Duplicate,
        "this request id was used for another request: choose a new one",
    )
}

fn rejected(kind: Kind, message: &str) -> Outcome {
    Outcome::Rejected(Reject::new(kind, message))
}
