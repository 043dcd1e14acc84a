//! Who is asking: from a certificate to the actor that the constitution lists.

use crypto::{BadCertificate, Certificate, verify_chain};
use types::{ActorId, Millis};

use crate::{AGENT_EXTENSION, Constitution, Refused, actor_id};

/// Whom a certificate stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub actor: ActorId,
    pub name: String,
    pub member: bool,
    pub participant: bool,
    pub auditor: bool,
}

impl Constitution {
    /// The actor that a chain of certificates (leaf first) stands for at ledger time `now`. If
    /// authorities of several actors are in the chain, the one nearest to the leaf counts.
    ///
    /// # Errors
    /// [`Refused::UnknownActor`], [`Refused::AgentOnly`].
    pub fn actor_of(&self, chain: &[Certificate], now: Millis) -> Result<Caller, Refused> {
        let listed: Vec<Certificate> = self
            .actors
            .iter()
            .flat_map(|a| &a.certificates)
            .map(|c| c.0.clone())
            .collect();
        let mut place = verify_chain(chain, &listed, now).map_err(Refused::UnknownActor)?;
        // Nor may an agent pass on more than it has.
        if chain.iter().any(|c| c.extension(AGENT_EXTENSION).is_some()) {
            return Err(Refused::AgentOnly);
        }
        for actor in &self.actors {
            match place.checked_sub(actor.certificates.len()) {
                Some(rest) => place = rest,
                None => {
                    return Ok(Caller {
                        actor: actor_id(&actor.name),
                        name: actor.name.clone(),
                        member: actor.is_member(),
                        participant: actor.roles.contains(&crate::Role::Participant),
                        auditor: actor.auditor,
                    });
                }
            }
        }
        Err(Refused::UnknownActor(BadCertificate::Unlisted))
    }
}
