//! What an owner reads before approving a constitution.

use core::fmt::Write;

use crate::Constitution;

impl Constitution {
    /// The constitution in words, with its digest: what an owner reads before approving it.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        self.write_summary(&mut text)
            .expect("a string takes every line");
        text
    }

    fn write_summary(&self, out: &mut String) -> core::fmt::Result {
        let s = &self.settings;
        writeln!(out, "Constitution of {}", self.network)?;
        writeln!(out, "  digest      {}", self.digest())?;
        writeln!(
            out,
            "  network     {} (if it is the first)",
            self.network_id()
        )?;
        if let Some(old) = &self.succeeds {
            writeln!(
                out,
                "  succeeds    {}, proven up to entry {}, root {}",
                old.network, old.index, old.root
            )?;
        }
        writeln!(out, "Actors")?;
        for actor in &self.actors {
            let mut words: Vec<_> = actor
                .roles
                .iter()
                .map(|r| format!("{r:?}").to_lowercase())
                .collect();
            if actor.auditor {
                words.push("auditor: reads everything".into());
            }
            writeln!(out, "  {:<20} {}", actor.name, words.join(", "))?;
            for listed in &actor.certificates {
                let kind = if listed.0.is_authority() {
                    "issuer"
                } else {
                    "leaf"
                };
                writeln!(
                    out,
                    "    {kind} {:?} {}",
                    listed.0.subject(),
                    listed.0.fingerprint()
                )?;
            }
        }
        self.write_keys(out)?;
        writeln!(out, "Validating nodes")?;
        for node in &self.nodes {
            writeln!(out, "  {:<20} {}", node.owner, node.address)?;
        }
        writeln!(out, "Protocols")?;
        for protocol in &self.protocols {
            writeln!(
                out,
                "  {:<20} version {}, {:?} access, settings {}",
                protocol.name, protocol.version, protocol.access, protocol.settings_digest
            )?;
            for endpoint in &protocol.endpoints {
                writeln!(out, "    calls {}: {}", endpoint.name, endpoint.line())?;
            }
        }
        writeln!(out, "Code")?;
        for image in &self.code.images {
            writeln!(
                out,
                "  {:<20} {} on {}, {:?}",
                image.name, image.version, image.platform, image.state
            )?;
            writeln!(out, "    {}", hex::encode(&image.measurement))?;
        }
        writeln!(
            out,
            "Platforms, {} or stronger",
            format!("{:?}", self.tee.strength_min).to_lowercase()
        )?;
        for accepted in &self.tee.accepted {
            writeln!(
                out,
                "  {:<20} certificates accepted: {}",
                accepted.platform.name(),
                accepted.roots.len()
            )?;
        }
        let members = self.members().count();
        writeln!(out, "Voting, {members} members")?;
        writeln!(
            out,
            "  {:<20} {}: {} in favour",
            "all changes",
            self.voting.policy,
            self.voting.policy.needs(members)
        )?;
        for (kind, policy) in &self.voting.policies {
            writeln!(
                out,
                "  {:<20} {policy}: {} in favour",
                format!("but {kind:?}").to_lowercase(),
                policy.needs(members)
            )?;
        }
        let standing = if self.standing.listed_nodes_return {
            "return without a ballot"
        } else {
            "need a ballot to return"
        };
        writeln!(out, "  {:<20} {standing}", "restarted nodes")?;
        for rule in &self.standing.rules {
            writeln!(
                out,
                "  {:<20} accepts {} when {}",
                rule.name, rule.accepts, rule.when
            )?;
        }
        for (name, value) in &self.policies {
            writeln!(out, "  {name:<20} {value}")?;
        }
        writeln!(out, "Settings")?;
        writeln!(out, "  {:<20} {}", "epoch", span(s.epoch_length_ms))?;
        writeln!(
            out,
            "  {:<20} {}",
            "session keys kept",
            span(s.session_key_ttl_ms)
        )?;
        writeln!(out, "  {:<20} {}", "lease", span(s.lease_length_ms))?;
        writeln!(
            out,
            "  {:<20} {} units, {} bytes, {} in flight",
            "batch", s.batch_units_max, s.batch_bytes_max, s.batches_in_flight_max
        )?;
        let or_minutes = match s.snapshot_minutes {
            0 => String::new(),
            minutes => format!(" or {}", span(minutes * 60_000)),
        };
        writeln!(
            out,
            "  {:<20} each {} entries{or_minutes}, {} kept",
            "snapshot", s.snapshot_entries, s.snapshots_kept
        )?;
        let restart = match self.restart_quorum(self.nodes.len()) {
            Some(present) => format!("when {present} of {} nodes are present", self.nodes.len()),
            None => "by an act of the actors only".into(),
        };
        writeln!(out, "  {:<20} {restart}", "restart")
    }

    /// Who can open what is on disk when all nodes are gone.
    fn write_keys(&self, out: &mut String) -> core::fmt::Result {
        writeln!(out, "Session keys")?;
        if !self.seals_session_keys() {
            writeln!(
                out,
                "  not sealed: no actor has a share key. They are in the memory of the nodes alone,"
            )?;
            return writeln!(
                out,
                "  so if all nodes are lost, everything in the ledger is lost for good"
            );
        }
        writeln!(
            out,
            "  sealed: any {} of these {} actors open them together, and fewer cannot",
            self.settings.key_threshold,
            self.key_holders().count()
        )?;
        for (name, key) in self.key_holders() {
            writeln!(out, "  {name:<20} share key {}", hex::encode(key.bytes()))?;
        }
        let holds = |name: &str| self.key_holders().any(|(holder, _)| holder == name);
        for actor in &self.actors {
            if let Some(key) = actor.share_key.filter(|_| !holds(&actor.name)) {
                writeln!(
                    out,
                    "  {:<20} share key {}, but no node, so it gets no share",
                    actor.name,
                    hex::encode(key.bytes())
                )?;
            }
        }
        Ok(())
    }
}

/// A length of time in its largest exact unit.
fn span(millis: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
        (1, "ms"),
    ];
    let (length, unit) = units
        .into_iter()
        .find(|(length, _)| millis.is_multiple_of(*length))
        .expect("one divides all");
    format!("{} {unit}", millis / length)
}
