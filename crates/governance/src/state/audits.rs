//! Consents to audits, and the answers of nodes: checked where they are asked for, and again where they
//! are applied.

use types::{Index, Millis, NodeId};

use super::State;
use crate::{
    AUDIT_RELEASE_EPOCHS_MAX, AUDIT_RELEASES_MAX, AuditConsent, AuditGrant, AuditRelease, Command,
    Fact, Recorded, Refused, SignedMessage,
};

impl State {
    /// What auditors may be given at ledger time `now`, by number of the grant.
    pub fn audits(&self, now: Millis) -> impl Iterator<Item = &AuditGrant> {
        let open = self.audits.open();
        open.filter(move |grant| now < grant.terms.expires)
    }

    /// The grant of this number, if it is open at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused::NoSuchAudit`].
    pub fn audit(&self, number: u64, now: Millis) -> Result<&AuditGrant, Refused> {
        let grant = self.audits.grant_by(number);
        grant
            .filter(|grant| now < grant.terms.expires)
            .ok_or(Refused::NoSuchAudit { grant: number })
    }

    /// The command for a signed consent that arrived at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused`], for whoever handed it in.
    pub fn consent(&self, message: &SignedMessage, now: Millis) -> Result<Command, Refused> {
        self.check_consent(message, now)?;
        Ok(Command::ConsentAudit(self.record(message)?))
    }

    /// The command with which a node says that it answers an auditor, at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused`], for whoever asked.
    pub fn audit_release(&self, release: &AuditRelease, now: Millis) -> Result<Command, Refused> {
        self.check_audit_release(release, now)?;
        Ok(Command::AuditRelease(*release))
    }

    fn check_consent(&self, message: &SignedMessage, now: Millis) -> Result<AuditConsent, Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        let (consent, caller) = message.audit_consent(network.id, &network.constitution, now)?;
        let grant = self.audit(consent.grant, now)?;
        if consent.terms != grant.terms.digest() {
            return Err(Refused::OtherAudit {
                grant: consent.grant,
            });
        }
        let actor = network.constitution.actor(&caller.name);
        if actor.is_none_or(|actor| actor.share_key.is_none()) {
            return Err(Refused::HoldsNoShare { actor: caller.name });
        }
        if grant.consents.contains_key(&caller.name) {
            return Err(Refused::Repeated);
        }
        Ok(consent)
    }

    /// The owner of a node that may answer.
    fn check_audit_release(&self, release: &AuditRelease, now: Millis) -> Result<NodeId, Refused> {
        let node = self.present(release.node)?;
        let grant = self.audit(release.grant, now)?;
        let AuditRelease { from, to, .. } = *release;
        let covered = from <= to && grant.terms.covers(from) && grant.terms.covers(to);
        if !covered {
            return Err(Refused::AuditEpochs {
                grant: grant.number,
                from: grant.terms.from,
                to: grant.terms.to,
            });
        }
        if to.0 - from.0 >= AUDIT_RELEASE_EPOCHS_MAX
            || self.audits.answers(node.id, now) >= AUDIT_RELEASES_MAX
        {
            return Err(Refused::TooManyAuditParts);
        }
        if !grant.consents.contains_key(&node.owner) {
            return Err(Refused::NoAuditConsent {
                actor: node.owner.clone(),
                grant: grant.number,
            });
        }
        Ok(node.id)
    }

    pub(super) fn apply_consent(
        &mut self,
        index: Index,
        time: Millis,
        recorded: &Recorded,
    ) -> Result<Vec<Fact>, Refused> {
        let consent = self.check_consent(self.opened(recorded)?, time)?;
        let AuditConsent { grant, actor, .. } = consent;
        self.audits.consent(grant, actor.clone(), index);
        Ok(vec![Fact::AuditConsented { grant, actor }])
    }

    pub(super) fn apply_audit_release(
        &mut self,
        time: Millis,
        release: &AuditRelease,
    ) -> Result<Vec<Fact>, Refused> {
        let node = self.check_audit_release(release, time)?;
        self.audits.answered(node, time);
        Ok(vec![Fact::AuditReleased(*release)])
    }
}
