//! The consortium's side: what is proposed, and the members' ballots, by the administrative channel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::{Admin, Identity, Problem, Signer, Trust};
use crypto::Context;
use governance::{
    Actor, Ballot, Change, Choice, Constitution, Listed, Proposed, Role, SignedMessage, Window,
};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Digest, NetworkId};

use crate::failure::Failure;
use crate::keys::{self, Kit};
use crate::sandbox::{Plan, Up};

/// The supplier that is proposed.
const NEWCOMER: &str = "alpineski";

/// A signed object is good for this long.
const HOUR_MS: u64 = 3_600_000;

/// A member's vote from the page.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vote {
    member: String,
    proposal: u64,
    in_favour: bool,
}

/// What is needed to speak for the members.
pub(crate) struct Votes(Arc<Inner>);

struct Inner {
    members: Vec<(String, PathBuf)>,
    addresses: Vec<String>,
    trust: Trust,
    network: NetworkId,
    actors: PathBuf,
}

impl Votes {
    pub(crate) fn new(plan: &Plan, up: &Up, directory: &Path) -> Result<Self, Failure> {
        let members = plan.nodes.iter();
        Ok(Self(Arc::new(Inner {
            members: members
                .map(|node| (node.owner.clone(), node.files.identity.clone()))
                .collect(),
            addresses: plan.nodes.iter().map(|node| node.admin_address()).collect(),
            trust: Trust::pinned(up.certificate.clone()),
            network: plan.constitution.network_id(),
            actors: directory.join("actors"),
        })))
    }

    /// All proposals with their ballots, as the first member is told.
    pub(crate) async fn list(&self) -> Result<Value, Failure> {
        self.run(|inner| {
            let mut admin = inner.admin(0)?;
            let answer = admin.json("/v1/proposals")?;
            let mut proposals = Vec::new();
            for proposal in answer["proposals"].as_array().into_iter().flatten() {
                let number = proposal["number"].as_u64().unwrap_or_default();
                let mut proposal = admin.json(&format!("/v1/proposals/{number}"))?;
                proposal["effect"] = json!(effect(&mut admin, &proposal)?);
                proposals.push(proposal);
            }
            let members: Vec<&str> = inner
                .members
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            Ok(json!({ "members": members, "proposals": proposals }))
        })
        .await
    }

    /// The first member proposes to take a fourth supplier in, and votes for it; the others have not yet.
    pub(crate) async fn propose(&self) -> Result<(), Failure> {
        self.run(|inner| {
            let kit = Kit::make(NEWCOMER, &mut keys::entropy()?, keys::now());
            let share = client::share_key_to_pem(&kit.share);
            kit.write(&inner.actors, NEWCOMER, &share, &mut |identity| {
                identity.to_pem()
            })?;
            let mut admin = inner.admin(0)?;
            let constitution = admin.constitution()?["version"]
                .as_u64()
                .unwrap_or_default();
            let proposed = Proposed {
                network: inner.network,
                constitution,
                proposer: inner.members[0].0.clone(),
                window: window(),
                nonce: keys::entropy()?.bytes(),
                title: "Alpine Ski House joins as a supplier".into(),
                changes: vec![Change::AddActor(Actor {
                    name: NEWCOMER.into(),
                    roles: BTreeSet::from([Role::Participant]),
                    auditor: false,
                    certificates: vec![Listed(kit.issuer.chain[0].clone())],
                    share_key: None,
                })],
            };
            let id = proposed.id();
            inner.submit(
                &mut admin,
                0,
                "/v1/proposals",
                Context::Proposal,
                &proposed.to_cbor(),
            )?;
            inner.ballot(&mut admin, 0, id, Choice::For)
        })
        .await
    }

    /// A member votes.
    pub(crate) async fn vote(&self, vote: Vote) -> Result<(), Failure> {
        self.run(move |inner| {
            let mut members = inner.members.iter();
            let place = members
                .position(|(name, _)| *name == vote.member)
                .ok_or_else(|| Failure::input("there is no such member"))?;
            let mut admin = inner.admin(place)?;
            let proposal = admin.json(&format!("/v1/proposals/{}", vote.proposal))?;
            let id = proposal["id"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Failure::failed("the node gave no digest of the proposal"))?;
            let choice = if vote.in_favour {
                Choice::For
            } else {
                Choice::Against
            };
            inner.ballot(&mut admin, place, id, choice)
        })
        .await
    }

    /// The administrative client waits on its socket, so it has a thread.
    async fn run<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Inner) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || what(&inner))
            .await
            .map_err(|error| Failure::failed(error.to_string()))?
    }
}

impl Inner {
    fn admin(&self, member: usize) -> Result<Admin, Failure> {
        let identity = Identity::read(&self.members[member].1)?;
        Ok(Admin::open(
            &identity,
            self.trust.clone(),
            self.addresses.clone(),
        )?)
    }

    fn ballot(
        &self,
        admin: &mut Admin,
        member: usize,
        proposal: Digest,
        choice: Choice,
    ) -> Result<(), Failure> {
        let ballot = Ballot {
            network: self.network,
            proposal,
            voter: self.members[member].0.clone(),
            choice,
            window: window(),
            number: keys::now().0,
        };
        self.submit(
            admin,
            member,
            "/v1/ballots",
            Context::Ballot,
            &ballot.to_cbor(),
        )
    }

    fn submit(
        &self,
        admin: &mut Admin,
        member: usize,
        target: &str,
        context: Context,
        payload: &[u8],
    ) -> Result<(), Failure> {
        let signer = Signer::open(
            &self.members[member].1.display().to_string(),
            None,
            &mut || {
                Err(Problem::Identity(
                    "the example's keys have no passphrase".into(),
                ))
            },
        )?;
        let object = signer.sign1(context, payload)?;
        admin.submit(
            target,
            &SignedMessage::new(object, signer.chain()).to_cbor(),
        )?;
        Ok(())
    }
}

/// What an open proposal would change, a line each.
fn effect(admin: &mut Admin, proposal: &Value) -> Result<Vec<String>, Failure> {
    if proposal["status"] != "open" {
        return Ok(Vec::new());
    }
    let told = |error: String| Failure::failed(format!("read the proposal: {error}"));
    let answer = admin.constitution()?;
    let bytes = answer["cbor"]
        .as_str()
        .and_then(|text| hex::decode(text).ok());
    let now =
        Constitution::from_cbor(&bytes.unwrap_or_default()).map_err(|e| told(e.to_string()))?;
    let changes: Vec<Change> =
        serde_json::from_value(proposal["changes"].clone()).map_err(|e| told(e.to_string()))?;
    let then = now.amended(&changes).map_err(|e| told(e.to_string()))?;
    Ok(now.diff(&then))
}

fn window() -> Window {
    let now = keys::now();
    Window {
        from: types::Millis(now.0.saturating_sub(HOUR_MS)),
        until: now.plus(24 * HOUR_MS),
    }
}
