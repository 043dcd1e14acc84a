//! Filters and subscriptions: what a client wants to hear of later.
//!
//! A filter keeps only where it was last read; its changes are found when it is asked. So it costs
//! nothing while blocks are made, and a policy is applied when it is read. Names are made from a key
//! of this front: 128 bits that nobody can guess, and good for their own caller (filters) or
//! connection (subscriptions) only.

use std::collections::{BTreeMap, BTreeSet};

use adapter::{Batch, Push, StreamId};
use alloy_primitives::{Address, keccak256};
use serde_json::Value;
use types::{ActorId, Millis};

use super::json;
use super::logs::{Pattern, Range, matching};
use crate::block::Stored;
use crate::principal::Principal;
use crate::visibility::{Outcome, Sight};

/// Most filters of one actor.
const FILTERS_MAX: usize = 1000;
/// Most subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 100;
/// A filter that is not read for this long is gone, as in geth.
const FILTER_IDLE_MS: u64 = 5 * 60 * 1000;

/// Name of a filter or subscription.
pub(crate) type Name = [u8; 16];

/// What a filter reports.
#[derive(Debug, Clone)]
pub(crate) enum Interest {
    Blocks,
    Transactions,
    Logs(Pattern, Range),
}

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) interest: Interest,
    /// The first block not reported yet.
    pub(crate) next: u64,
    owner: Owner,
    read: Millis,
}

/// Whose filter it is: two accounts behind one actor are two principals.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    actor: ActorId,
    accounts: BTreeSet<Address>,
}

impl Owner {
    fn of(principal: &Principal) -> Self {
        Self {
            actor: principal.actor,
            accounts: principal.accounts.clone(),
        }
    }
}

#[derive(Debug)]
struct Subscription {
    interest: Interest,
    principal: Principal,
}

/// Has a principal see what it may see now.
pub(crate) type Look<'f, 'p> = dyn Fn(&'p Principal, &mut dyn FnMut(&Sight<'_>)) -> Outcome + 'f;

/// All filters and subscriptions of a front.
#[derive(Debug)]
pub(crate) struct Interests {
    key: [u8; 32],
    made: u64,
    filters: BTreeMap<Name, Filter>,
    subscriptions: BTreeMap<(StreamId, Name), Subscription>,
}

/// No more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) usize);

impl Interests {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            made: 0,
            filters: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
        }
    }

    /// A name that was never given before and that nobody can guess. To clients it is a number, so it has
    /// no leading zeros.
    pub(crate) fn name(&mut self) -> Name {
        self.made += 1;
        let digest = keccak256(
            [
                b"coco ethereum filter v1".as_slice(),
                &self.key,
                &self.made.to_be_bytes(),
            ]
            .concat(),
        );
        let mut name: Name = *digest.first_chunk().expect("32 bytes have a first half");
        name[0] |= 0x80;
        name
    }

    /// A new filter that reports from block `next` on.
    pub(crate) fn install(
        &mut self,
        principal: &Principal,
        now: Millis,
        interest: Interest,
        next: u64,
        most: usize,
    ) -> Result<Name, TooMany> {
        let most = most.min(FILTERS_MAX);
        let owner = Owner::of(principal);
        self.filters
            .retain(|_, filter| now.since(filter.read) < FILTER_IDLE_MS);
        if self
            .filters
            .values()
            .filter(|filter| filter.owner == owner)
            .count()
            >= most
        {
            return Err(TooMany(most));
        }
        let name = self.name();
        self.filters.insert(
            name,
            Filter {
                interest,
                next,
                owner,
                read: now,
            },
        );
        Ok(name)
    }

    /// The caller's own filter of this name.
    pub(crate) fn filter(
        &mut self,
        principal: &Principal,
        now: Millis,
        name: &Name,
    ) -> Option<&mut Filter> {
        let owner = Owner::of(principal);
        let filter = self
            .filters
            .get_mut(name)
            .filter(|filter| filter.owner == owner)?;
        if now.since(filter.read) >= FILTER_IDLE_MS {
            self.filters.remove(name);
            return None;
        }
        filter.read = now;
        self.filters.get_mut(name)
    }

    pub(crate) fn uninstall(&mut self, principal: &Principal, now: Millis, name: &Name) -> bool {
        self.filter(principal, now, name).is_some() && self.filters.remove(name).is_some()
    }

    pub(crate) fn subscribe(
        &mut self,
        stream: StreamId,
        principal: Principal,
        interest: Interest,
    ) -> Result<Name, TooMany> {
        if self.of_stream(stream).count() >= SUBSCRIPTIONS_MAX {
            return Err(TooMany(SUBSCRIPTIONS_MAX));
        }
        let name = self.name();
        self.subscriptions.insert(
            (stream, name),
            Subscription {
                interest,
                principal,
            },
        );
        Ok(name)
    }

    pub(crate) fn unsubscribe(&mut self, stream: StreamId, name: &Name) -> bool {
        self.subscriptions.remove(&(stream, *name)).is_some()
    }

    pub(crate) fn close(&mut self, stream: StreamId) {
        let gone: Vec<_> = self.of_stream(stream).collect();
        for key in gone {
            self.subscriptions.remove(&key);
        }
    }

    fn of_stream(&self, stream: StreamId) -> impl Iterator<Item = (StreamId, Name)> {
        self.subscriptions
            .range((stream, [0; 16])..=(stream, [255; 16]))
            .map(|(key, _)| *key)
    }

    /// Tells all subscribers of a block what `look` lets their principals see of it now.
    pub(crate) fn notify<'p>(
        &'p self,
        batch: &Batch,
        stored: &Stored,
        look: &Look<'_, 'p>,
        push: &mut Vec<Push>,
    ) {
        if self.subscriptions.is_empty() {
            return;
        }
        // Written once, however many listen.
        let head = Value::Object(json::header(stored)).to_string();
        for ((stream, name), subscription) in &self.subscriptions {
            let told = push.len();
            let mut tell = |result: &str| {
                let name = hex::encode(name);
                let message = format!(
                    r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"0x{name}","result":{result}}}}}"#
                );
                push.push(Push {
                    stream: *stream,
                    message: message.into(),
                });
            };
            let principal = &subscription.principal;
            if !principal.holds(batch.time) {
                continue;
            }
            let outcome = match &subscription.interest {
                Interest::Blocks => {
                    tell(&head);
                    Outcome::Whole
                }
                Interest::Transactions => look(principal, &mut |sight| {
                    json::own(batch, sight).for_each(|own| tell(&json::text(own.hash())));
                }),
                Interest::Logs(pattern, _) => look(principal, &mut |sight| {
                    let mut found = Vec::new();
                    matching(pattern, batch, stored, sight, &mut found);
                    found.iter().for_each(|log| tell(&log.to_string()));
                }),
            };
            if outcome != Outcome::Whole {
                // Half of a block's logs would pass for all of them.
                push.truncate(told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use adapter::{Caller, Role};

    use super::*;

    fn actor(byte: u8) -> Principal {
        Principal::of(&Caller {
            actor: ActorId([byte; 32]),
            name: "a".into(),
            role: Role::Member,
            auditor: false,
        })
    }

    #[test]
    fn filters_belong_to_their_caller_and_expire() {
        let mut interests = Interests::new([1; 32]);
        let (ada, eve) = (actor(1), actor(2));
        let name = interests
            .install(&ada, Millis(0), Interest::Blocks, 1, FILTERS_MAX)
            .expect("room");
        assert!(interests.filter(&eve, Millis(1), &name).is_none());
        assert!(!interests.uninstall(&eve, Millis(1), &name));
        assert!(
            interests
                .filter(&ada, Millis(FILTER_IDLE_MS - 1), &name)
                .is_some()
        );
        assert!(
            interests
                .filter(&ada, Millis(3 * FILTER_IDLE_MS), &name)
                .is_none()
        );
        let other = interests
            .install(&ada, Millis(0), Interest::Blocks, 1, FILTERS_MAX)
            .expect("room");
        assert_ne!(name, other);
        assert!(
            interests.uninstall(&ada, Millis(1), &other)
                && !interests.uninstall(&ada, Millis(1), &other)
        );
    }

    #[test]
    fn one_actor_cannot_take_all_filters() {
        let mut interests = Interests::new([1; 32]);
        for _ in 0..FILTERS_MAX {
            interests
                .install(&actor(1), Millis(0), Interest::Blocks, 1, FILTERS_MAX)
                .expect("room");
        }
        assert_eq!(
            interests.install(&actor(1), Millis(0), Interest::Blocks, 1, FILTERS_MAX),
            Err(TooMany(FILTERS_MAX))
        );
        assert!(
            interests
                .install(&actor(2), Millis(0), Interest::Blocks, 1, FILTERS_MAX)
                .is_ok()
        );
    }

    #[test]
    fn a_closed_connection_leaves_no_subscription() {
        let mut interests = Interests::new([1; 32]);
        let principal = actor(1);
        let name = interests
            .subscribe(StreamId(1), principal.clone(), Interest::Blocks)
            .expect("room");
        let kept = interests
            .subscribe(StreamId(2), principal, Interest::Blocks)
            .expect("room");
        assert!(!interests.unsubscribe(StreamId(2), &name));
        interests.close(StreamId(1));
        assert_eq!(interests.subscriptions.len(), 1);
        assert!(interests.unsubscribe(StreamId(2), &kept));
    }
}
