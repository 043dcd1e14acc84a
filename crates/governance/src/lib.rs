//! Governance: a pure state machine fed with committed administrative entries.
//!
//! The [`Constitution`] is what the consortium agreed on. [`Command`]s are the administrative
//! transactions; each is one ledger entry with a public and a private part. [`State`] is what they
//! add up to, the same on every validating node and for every auditor who replays them. Who may do
//! what ([`State::actor_of`], [`State::admit`]) is asked here and nowhere else.
//!
//! Source: Coco 2017, "Network Creation and Governance". Deliberately absent: clocks (time is the
//! ledger's), randomness, files, appraisal of evidence (crate `tee`; the manager does it before it
//! proposes an admission).

mod constitution;
mod endpoint;
mod voting;

mod condition;
mod standing;

mod appended;
mod canonical;
mod certificate;
mod names;
mod settings;
mod share_key;
mod summary;
mod validate;

mod amend;
mod change;
mod diff;

mod message;
mod proposal;

mod command;
mod identity;
mod parts;
mod refused;
mod tuple;

mod dealt;
mod keys;

mod epoch_keys;
mod opening;
mod share;

mod audit;

mod event;
mod fact;
mod node;
mod replay;
mod state;

mod admission;
mod caller;
mod public;

pub use admission::Admission;
pub use amend::{BadChange, CHANGES_MAX};
pub use audit::{
    AUDIT_EPOCHS_MAX, AUDIT_RELEASE_EPOCHS_MAX, AUDIT_RELEASES_MAX, AUDITS_MAX, AuditGrant,
    AuditPart, AuditRelease, AuditTerms, BadAuditPart,
};
pub use caller::Caller;
pub use canonical::{BadConstitution, actor_id};
pub use certificate::Listed;
pub use change::{Change, Measured};
pub use command::{
    AdmitNode, Command, Departure, EpochCause, Genesis, NetworkRestart, Presented, Recorded,
};
pub use condition::{BadCondition, Condition};
pub use constitution::{
    Access, Actor, Constitution, NodeSlot, Protocol, Role, Settings, Succeeds, Visibility,
};
pub use dealt::{Dealt, Sealing};
pub use endpoint::{Asked, Disallowed, Endpoint, Method};
pub use epoch_keys::{EpochKeys, walk_back};
pub use event::Event;
pub use fact::{Fact, OrderedRestart};
pub use identity::NetworkIdentity;
pub use keys::{
    EpochKey, EpochOpening, EpochRecord, EpochSeal, GRANTS_MAX, GRANTS_WITHIN_MS, Generation,
    Granted, KeyRelease, KeyStep, Keys, RELEASE_REASON_BYTES_MAX, SharedKey, key_check,
    sign_key_message,
};
pub use message::{
    AuditConsent, BadDraft, Ballot, Choice, Draft, MESSAGE_BYTES_MAX, Proposed, RestartOrder,
    SignedBallot, SignedMessage, SignedProposal, SignedWithdrawal, TITLE_BYTES_MAX, WINDOW_MS_MAX,
    Window, Withdrawal, orders_from_cbor, orders_to_cbor,
};
pub use names::{valid_address, valid_name};
pub use node::{Configuration, Lease, Node, Status};
pub use opening::{Opened, Opening, Parts, ShareCache, open_session, verify_session};
pub use parts::BadCommand;
pub use proposal::{Cast, Moment, Proposal, ProposalStatus, ProposalView, Tally};
pub use public::{PublicFact, admission_from_public, facts_from_public, opening_from_public};
pub use refused::Refused;
pub use replay::{BadEntry, ReplayEntry, Replayed, replay};
pub use share::{ShareRefused, ShareRequest, ShareTerms};
pub use share_key::share_delivery_info;
pub use standing::{Automatic, LISTED_NODES_RETURN, Rule, Standing};
pub use state::{BadState, Ordered, State, Version};
pub use tuple::{AGENT_EXTENSION, NodeTuple, SignedTuple};
pub use validate::{Invalid, Problem};
pub use voting::{ChangeKind, NotAPolicy, Policy, Voting};
