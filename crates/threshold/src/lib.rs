//! Keys that no single actor holds: M of N actors open together, fewer cannot.
//!
//! A [`Session`] follows the published messages of one distributed key generation, round by round:
//! every actor deals ([`Deal`]), acknowledges or disputes ([`Ack`], [`Dispute`]), and reveals its
//! part of the public key ([`KeyPart`]). It ends with a [`ThresholdKey`] for all and a [`KeyShare`]
//! for each. [`ThresholdKey::encrypt`] seals 32 bytes under a label; [`KeyShare::decrypt`] opens them
//! in part; a [`Combiner`] checks M parts, names who sent a bad one, and opens.
//!
//! Source: Coco 2017, "Encrypting Persistent State", "Decrypting Persistent State". The published
//! parts are ETHDKG (IACR ePrint 2019/985), Neji, Blibech and Ben Rajeb 2016, TDH2 (Shoup and
//! Gennaro 2002), Chaum-Pedersen proofs and ristretto255 (RFC 9496); each file gives its equations.
//!
//! Deliberately absent: signatures (the ledger's), who may ask for a partial (the manager's), time
//! limits of rounds (the caller closes them at a ledger index), randomness of its own, and any
//! function that takes two private shares.
//!
//! Exponents are written as in the sources: g^a is `a * G`.

mod setup;

mod group;
mod proof;

mod deal;
mod dispute;
mod keypart;
mod session;

mod key;

mod encryption;
mod partial;

mod combine;

mod wire;

#[cfg(feature = "adversary")]
pub mod adversary;

pub use combine::{Combiner, TooFew};
pub use deal::{BadDeal, Deal, DealerSecret};
pub use dispute::{Ack, Dispute, Judgement};
pub use encryption::{BadCiphertext, Ciphertext, LABEL_BYTES_MAX, Verified};
pub use group::{ACTORS_MAX, Element, NotAnElement, Secret};
pub use key::{KeyShare, ThresholdKey};
pub use keypart::{KeyPart, KeyPartShare};
pub use partial::{BadPartial, Partial};
pub use session::{Awaiting, Fault, NoShare, NotYet, Phase, Refused, Session};
pub use setup::{ActorIndex, BadSetup, NotATransportKey, Scope, Setup, TransportKey};
pub use wire::{MESSAGE_BYTES_MAX, Malformed, Message, Wire};
