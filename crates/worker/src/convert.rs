//! Between the words of the boundary and those of the adapter interface.

use adapter::{Caller, Kind, Reject, Role};
use bytes::Bytes;
use types::{ActorId, UnitId};

/// The actor that the manager names. `None` if it names none.
pub(crate) fn caller(identity: Option<&boundary::CallerIdentity>) -> Option<Caller> {
    let identity = identity?;
    Some(Caller {
        actor: ActorId::from_slice(&identity.actor)?,
        name: identity.name.as_str().into(),
        role: if identity.member {
            Role::Member
        } else {
            Role::Participant
        },
        auditor: identity.auditor,
    })
}

pub(crate) fn identity(caller: &Caller) -> boundary::CallerIdentity {
    boundary::CallerIdentity {
        actor: Bytes::copy_from_slice(&caller.actor.0),
        name: caller.name.to_string(),
        member: caller.role == Role::Member,
        auditor: caller.auditor,
    }
}

/// Numbers of [`Kind`] on the wire; part of the published protocol.
fn number(kind: Kind) -> u32 {
    match kind {
        Kind::Malformed => 1,
        Kind::Unauthorized => 2,
        Kind::Duplicate => 3,
        Kind::Later => 4,
        Kind::Invalid => 5,
        Kind::Fault => 6,
        Kind::Busy => 7,
    }
}

/// In the place of a kind: the leader has no room for the unit now.
pub(crate) const NO_ROOM: u32 = 8;

pub(crate) fn refused(id: &UnitId, reject: &Reject) -> boundary::RefusedUnit {
    boundary::RefusedUnit {
        id: Bytes::copy_from_slice(&id.0),
        kind: number(reject.kind),
        message: reject.message.clone(),
    }
}

/// The other VN's reason. A number that is not known here reads as a fault.
pub(crate) fn reject(unit: boundary::RefusedUnit) -> Option<(UnitId, Reject)> {
    let kind = match unit.kind {
        1 => Kind::Malformed,
        2 => Kind::Unauthorized,
        3 => Kind::Duplicate,
        4 => Kind::Later,
        5 => Kind::Invalid,
        7 | NO_ROOM => Kind::Busy,
        _ => Kind::Fault,
    };
    Some((
        UnitId::from_slice(&unit.id)?,
        Reject {
            kind,
            message: unit.message,
        },
    ))
}

pub(crate) fn log(level: u32, text: impl Into<String>) -> boundary::worker_to_manager::Message {
    boundary::worker_to_manager::Message::Log(boundary::Log {
        level,
        target: "worker".into(),
        text: text.into(),
    })
}
