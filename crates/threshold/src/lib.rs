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
//! Until a session has ended, a [`Dealing`] takes its place: one dealer, who knows what will be sealed anyway,
//! makes a key for the same actors at once.
//!
//! Deliberately absent: signatures (the ledger's), who may ask for a partial (the manager's), time
//! limits of rounds (the caller closes them at a ledger index), randomness of its own, and any
//! function that takes two private shares.
//!
//! Exponents are written as in the sources: g^a is `a * G`.
//!
//! ```
//! use crypto::Entropy;
//! use threshold::{Combiner, Deal, Message, Session, Setup, TransportKey};
//! use types::NetworkId;
//!
//! // Two of three actors. Each has its own key and its own entropy; here they share one.
//! let entropy = &mut Entropy::new(&[1; 32]);
//! let actors: Vec<_> = (0..3).map(|_| TransportKey::generate(entropy)).collect();
//! let public = actors.iter().map(TransportKey::public).collect();
//! let mut session = Session::new(Setup::new(NetworkId::ZERO, 1, 2, public)?);
//!
//! // Round 1. On a ledger, each message is an entry, and its signature says whose it is.
//! let mut secrets = Vec::new();
//! for i in session.setup().actors() {
//!     let (deal, secret) = Deal::make(session.setup(), i, entropy);
//!     session.apply(i, &Message::Deal(deal))?;
//!     secrets.push(secret);
//! }
//! session.close_dealing()?;
//! // Round 2.
//! for actor in &actors {
//!     for answer in session.answer(actor, entropy)? {
//!         session.apply(answer.sender(), &answer)?;
//!     }
//! }
//! session.close_answers()?;
//! // Round 3.
//! for secret in &secrets {
//!     let part = session.key_part(secret, entropy)?;
//!     session.apply(part.sender(), &part)?;
//! }
//!
//! // Anybody encrypts; the first and the third actor open.
//! let key = session.key().expect("all parts are there");
//! let ciphertext = key.encrypt(&[42; 32], b"epoch 1", entropy);
//! let verified = ciphertext.verify(key, b"epoch 1")?;
//! let mut combiner = Combiner::new(verified);
//! for actor in [&actors[0], &actors[2]] {
//!     combiner.add(&session.share(actor)?.decrypt(&verified, entropy))?;
//! }
//! assert_eq!(combiner.open()?.expose(), &[42; 32]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod setup;

mod group;
mod proof;

mod deal;
mod dispute;
mod keypart;
mod session;

mod key;

mod dealing;

mod encryption;
mod partial;

mod combine;

mod wire;

#[cfg(feature = "adversary")]
pub mod adversary;

pub use combine::{Combiner, TooFew};
pub use deal::{BadDeal, Deal, DealerSecret};
pub use dealing::{BadDealing, Dealing};
pub use dispute::{Ack, Dispute, Judgement};
pub use encryption::{BadCiphertext, Ciphertext, LABEL_BYTES_MAX, Verified};
pub use group::{ACTORS_MAX, Element, NotAnElement, Secret};
pub use key::{KeyShare, ThresholdKey};
pub use keypart::{KeyPart, KeyPartShare};
pub use partial::{BadPartial, Partial};
pub use session::{Awaiting, Fault, NoShare, NotYet, Phase, Refused, Session};
pub use setup::{ActorIndex, BadSetup, NotATransportKey, Scope, Setup, TransportKey};
pub use wire::{MESSAGE_BYTES_MAX, Malformed, Message, Wire};
