//! Text and canonical forms of a constitution, and the identities that follow from them.

use crypto::{Context, Hasher};
use types::{ActorId, Digest, NetworkId};

use crate::{Constitution, Invalid};

/// Largest constitution, in canonical form. 64 actors with eight certificates of 1 KiB each take
/// half of it.
pub const CONSTITUTION_BYTES_MAX: usize = 1 << 20;

/// The bytes or the text are no constitution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConstitution {
    #[error("a constitution has at most {CONSTITUTION_BYTES_MAX} bytes, found {found}")]
    TooLong { found: usize },
    #[error("read the constitution: {0}")]
    Text(String),
    #[error("the bytes are not a constitution in canonical CBOR")]
    Cbor,
    #[error("the constitution cannot be used:\n{0}")]
    Invalid(#[from] Invalid),
}

/// The identity of the actor of that name, the same in every network.
pub fn actor_id(name: &str) -> ActorId {
    ActorId(
        Hasher::with(Context::ActorId)
            .part(name.as_bytes())
            .finish()
            .0,
    )
}

/// The identity of the network that starts with the constitution of this digest.
pub(crate) fn network_id(genesis: Digest) -> NetworkId {
    let hasher = Hasher::with(Context::NetworkId);
    NetworkId(hasher.part(genesis.as_ref()).finish().0)
}

impl Constitution {
    /// Reads TOML, brings lists into canonical order, and validates.
    ///
    /// ```
    /// let text = include_str!("../../../docs/constitution.example.toml");
    /// let constitution = governance::Constitution::from_toml(text)?;
    /// assert_eq!(constitution.members().count(), 2);
    /// # Ok::<(), governance::BadConstitution>(())
    /// ```
    ///
    /// # Errors
    /// [`BadConstitution`], for whoever wrote the text; it names the key.
    pub fn from_toml(text: &str) -> Result<Self, BadConstitution> {
        // PEM and TOML take about half as much again as DER and CBOR.
        if text.len() > 2 * CONSTITUTION_BYTES_MAX {
            return Err(BadConstitution::TooLong { found: text.len() });
        }
        let mut constitution: Self = toml::from_str(text)
            .map_err(|e| BadConstitution::Text(e.to_string().trim_end().to_owned()))?;
        constitution.sort();
        constitution.validate()?;
        Ok(constitution)
    }

    /// The text form; [`Constitution::from_toml`] gives the same constitution back.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every field has a form in TOML")
    }

    /// Canonical CBOR: what is hashed, stored and sent.
    pub fn to_cbor(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes any length")
    }

    /// Reads canonical CBOR. Whatever it accepts, it would have written the same.
    ///
    /// # Errors
    /// [`BadConstitution`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, BadConstitution> {
        if bytes.len() > CONSTITUTION_BYTES_MAX {
            return Err(BadConstitution::TooLong { found: bytes.len() });
        }
        let constitution: Self = minicbor::decode(bytes).map_err(|_| BadConstitution::Cbor)?;
        if constitution.to_cbor() != bytes {
            return Err(BadConstitution::Cbor);
        }
        constitution.validate()?;
        Ok(constitution)
    }

    /// SHA-256 of the canonical form: what an owner approves and a node tuple names.
    pub fn digest(&self) -> Digest {
        crypto::sha256(&self.to_cbor())
    }

    /// The identity of the network that starts with this constitution.
    pub fn network_id(&self) -> NetworkId {
        network_id(self.digest())
    }

    /// Brings lists into canonical order.
    pub fn sort(&mut self) {
        self.actors.sort_by(|a, b| a.name.cmp(&b.name));
        self.nodes.sort();
        self.protocols.sort_by(|a, b| a.name.cmp(&b.name));
        for protocol in &mut self.protocols {
            protocol.endpoints.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.standing.rules.sort_by(|a, b| a.name.cmp(&b.name));
    }
}
