//! The state of one protocol: a committed base and the batches above it that are not committed yet.

use std::collections::VecDeque;

use bytes::Bytes;
use types::Height;

use crate::base::Base;
use crate::frozen::{Frozen, Item};
use crate::layer::{self, Map, Overlay};
use crate::{Domain, WriteSet};

/// How a domain is held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Point access only.
    Hashed,
    /// Also scans in byte order.
    Ordered,
}

/// A batch that does not belong here: what was attempted does not fit the heights or domains held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    #[error("height {found} given, {expected} expected")]
    Height { expected: Height, found: Height },
    #[error("batches that are not committed lie above the base: roll them back first")]
    Speculating,
    #[error("write set names domain {}, which the adapter does not declare", .0.0)]
    UnknownDomain(Domain),
}

/// The state of one protocol.
#[derive(Debug)]
pub struct Store {
    domains: Vec<(Domain, Layout)>,
    base: Vec<Base>,
    committed: Height,
    layers: VecDeque<Layer>,
    frozen: Option<Frozen>,
}

/// What one batch wrote, by position of the domain in `Store::domains`.
#[derive(Debug)]
struct Layer {
    overlays: Vec<Overlay>,
}

impl Store {
    /// An empty state at height 0.
    ///
    /// # Panics
    /// If a domain is declared twice.
    pub fn new(domains: impl IntoIterator<Item = (Domain, Layout)>) -> Self {
        let mut domains: Vec<_> = domains.into_iter().collect();
        domains.sort_unstable_by_key(|(domain, _)| *domain);
        assert!(
            domains.windows(2).all(|pair| pair[0].0 != pair[1].0),
            "an adapter declares each domain once"
        );
        let base = domains
            .iter()
            .map(|(_, layout)| Base::new(*layout))
            .collect();
        Self {
            domains,
            base,
            committed: Height::ZERO,
            layers: VecDeque::new(),
            frozen: None,
        }
    }

    /// Height of the committed state.
    pub fn committed_height(&self) -> Height {
        self.committed
    }

    /// Height of the highest layer; the committed height if there is none.
    pub fn top_height(&self) -> Height {
        Height(self.committed.0 + self.layers.len() as u64) // usize is at most 64 bits
    }

    /// Committed state.
    pub fn committed(&self) -> Reader<'_> {
        Reader {
            store: self,
            layers: 0,
        }
    }

    /// The state after the highest layer.
    pub fn top(&self) -> Reader<'_> {
        Reader {
            store: self,
            layers: self.layers.len(),
        }
    }

    /// How many keys the committed state holds.
    pub fn keys(&self) -> usize {
        self.base.iter().map(Base::len).sum()
    }

    /// Puts a batch that is not committed on top.
    ///
    /// # Errors
    /// [`OutOfOrder`] if `height` is not the next one or a domain is unknown; nothing has changed then.
    pub fn push(&mut self, height: Height, writes: &WriteSet) -> Result<(), OutOfOrder> {
        let expected = self.top_height().next();
        if height != expected {
            return Err(OutOfOrder::Height {
                expected,
                found: height,
            });
        }
        self.check_domains(writes)?;
        // Writes of one domain follow one another, so each map is built from its run at once.
        let overlays = self.domains.iter().map(|(domain, layout)| {
            let from = writes.0.partition_point(|write| write.domain < *domain);
            let run = writes.0[from..].iter();
            let run = run.take_while(|write| write.domain == *domain);
            let pairs = run.map(|write| (write.key.clone(), write.value.clone()));
            match layout {
                Layout::Hashed => Map::Hashed(pairs.collect()),
                Layout::Ordered => Map::Ordered(pairs.collect()),
            }
        });
        let overlays: Vec<Overlay> = overlays.collect();
        self.layers.push_back(Layer { overlays });
        Ok(())
    }

    /// Commits the lowest layer, which must be of `height`.
    ///
    /// # Errors
    /// [`OutOfOrder`] if it is not; nothing has changed then.
    pub fn commit(&mut self, height: Height) -> Result<(), OutOfOrder> {
        let expected = self.committed.next();
        if height != expected || self.layers.is_empty() {
            return Err(OutOfOrder::Height {
                expected,
                found: height,
            });
        }
        let layer = self.layers.pop_front().expect("seen above");
        for (at, overlay) in layer.overlays.into_iter().enumerate() {
            match overlay {
                Map::Hashed(map) => map
                    .into_iter()
                    .for_each(|(key, value)| self.merge(at, &key, value.as_ref())),
                Map::Ordered(map) => map
                    .into_iter()
                    .for_each(|(key, value)| self.merge(at, &key, value.as_ref())),
            }
        }
        self.committed = height;
        Ok(())
    }

    /// Drops every layer above `to`. Layers at or below it, and the base, stay.
    pub fn rollback(&mut self, to: Height) {
        let keep = to.0.saturating_sub(self.committed.0);
        self.layers
            .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Commits a batch that was executed elsewhere.
    ///
    /// # Errors
    /// [`OutOfOrder`] if it is not the next one, layers lie above, or a domain is unknown; nothing has
    /// changed then.
    pub fn apply(&mut self, height: Height, writes: &WriteSet) -> Result<(), OutOfOrder> {
        let expected = self.committed.next();
        if height != expected {
            return Err(OutOfOrder::Height {
                expected,
                found: height,
            });
        }
        self.write_base(writes)?;
        self.committed = height;
        Ok(())
    }

    /// Writes the first state, at height 0.
    ///
    /// # Errors
    /// [`OutOfOrder`] if batches were committed already or a domain is unknown.
    pub fn genesis(&mut self, writes: &WriteSet) -> Result<(), OutOfOrder> {
        if self.committed != Height::ZERO {
            return Err(OutOfOrder::Height {
                expected: self.committed.next(),
                found: Height::ZERO,
            });
        }
        self.write_base(writes)
    }

    /// Every key and value of one domain's committed state, in byte order: for comparisons in tests and
    /// tools. It sorts everything at once; a worker that serves reads [`Store::read_frozen`] instead.
    pub fn entries(&self, domain: Domain) -> Vec<(&Bytes, &Bytes)> {
        self.position(domain)
            .map(|at| self.base[at].sorted())
            .unwrap_or_default()
    }

    /// Keeps the committed state as it is now, to be read by [`Store::read_frozen`] while batches go on.
    /// Costs nothing now; from here on the old value of each key that is written is kept until it was
    /// read. A state that was frozen before is forgotten.
    pub fn freeze(&mut self) {
        self.frozen = Some(Frozen::new(self.committed, &self.base));
    }

    /// Height of the frozen state, if there is one.
    pub fn frozen_height(&self) -> Option<Height> {
        self.frozen.as_ref().map(Frozen::height)
    }

    /// Keys of each domain in the frozen state, domains ascending; empty if there is none.
    pub fn frozen_keys(&self) -> impl Iterator<Item = (Domain, u64)> {
        let keys = self.frozen.iter().flat_map(Frozen::keys);
        self.domains.iter().map(|(domain, _)| *domain).zip(keys)
    }

    /// Forgets the frozen state.
    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Gives the next keys of the frozen state: domains ascending, keys in byte order, each once. Goes
    /// on until `visit` returns false, about `work_max` keys were looked at, or nothing is left: then it
    /// returns false.
    pub fn read_frozen(
        &mut self,
        work_max: usize,
        visit: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> bool {
        match &mut self.frozen {
            Some(frozen) => {
                let domains = &self.domains;
                frozen.read(&self.base, work_max, &mut |at, key, value| {
                    visit(Item {
                        domain: domains[at].0,
                        key,
                        value,
                    })
                })
            }
            None => false,
        }
    }

    /// Puts a key of a snapshot into the base.
    ///
    /// # Errors
    /// [`OutOfOrder`] if batches were committed already or the domain is unknown.
    pub fn restore_key(
        &mut self,
        domain: Domain,
        key: &[u8],
        value: &Bytes,
    ) -> Result<(), OutOfOrder> {
        if self.committed != Height::ZERO || !self.layers.is_empty() {
            return Err(OutOfOrder::Speculating);
        }
        let at = self
            .position(domain)
            .ok_or(OutOfOrder::UnknownDomain(domain))?;
        self.base[at].write(key, Some(value));
        Ok(())
    }

    /// All keys of a snapshot of this height are there.
    ///
    /// # Errors
    /// [`OutOfOrder`] if batches were committed already.
    pub fn restored(&mut self, height: Height) -> Result<(), OutOfOrder> {
        if self.committed != Height::ZERO || !self.layers.is_empty() {
            return Err(OutOfOrder::Speculating);
        }
        self.committed = height;
        Ok(())
    }

    /// The declared domains in ascending order.
    pub fn domains(&self) -> &[(Domain, Layout)] {
        &self.domains
    }

    fn write_base(&mut self, writes: &WriteSet) -> Result<(), OutOfOrder> {
        if !self.layers.is_empty() {
            return Err(OutOfOrder::Speculating);
        }
        self.check_domains(writes)?;
        for write in &writes.0 {
            let at = self.position(write.domain).expect("checked above");
            self.merge(at, &write.key, write.value.as_ref());
        }
        Ok(())
    }

    fn merge(&mut self, at: usize, key: &[u8], value: Option<&Bytes>) {
        let before = self.base[at].write(key, value);
        if let Some(frozen) = &mut self.frozen {
            frozen.written(at, key, before);
        }
    }

    fn check_domains(&self, writes: &WriteSet) -> Result<(), OutOfOrder> {
        match writes
            .0
            .iter()
            .find(|write| self.position(write.domain).is_none())
        {
            Some(write) => Err(OutOfOrder::UnknownDomain(write.domain)),
            None => Ok(()),
        }
    }

    /// Domains are few (under twenty), so a linear search beats hashing.
    pub(crate) fn position(&self, domain: Domain) -> Option<usize> {
        self.domains.iter().position(|(d, _)| *d == domain)
    }
}

/// Read access to the state at one height.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    store: &'a Store,
    layers: usize,
}

impl<'a> Reader<'a> {
    /// The height whose state this is.
    pub fn height(&self) -> Height {
        Height(self.store.committed.0 + self.layers as u64) // usize is at most 64 bits
    }

    /// The value of `key`. No allocation: one look-up for each layer and one in the base.
    ///
    /// # Panics
    /// If the domain was not declared.
    pub fn get(&self, domain: Domain, key: &[u8]) -> Option<&'a Bytes> {
        let at = self.at(domain);
        let above = self.store.layers.iter().take(self.layers).rev();
        for layer in above {
            if let Some(written) = layer.overlays[at].get(key) {
                return written.as_ref();
            }
        }
        self.store.base[at].get(key)
    }

    /// Visits the keys that start with `prefix` and are greater than `after`, in byte order, until
    /// `visit` returns false.
    ///
    /// # Panics
    /// If the domain was not declared, or not as ordered.
    pub fn scan(
        &self,
        domain: Domain,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) {
        self.scan_below(domain, None, prefix, after, visit);
    }

    /// As [`Reader::scan`], with one more overlay on top.
    pub(crate) fn scan_below(
        &self,
        domain: Domain,
        top: Option<&Overlay>,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) {
        let at = self.at(domain);
        let layers = self
            .store
            .layers
            .iter()
            .take(self.layers)
            .map(|layer| &layer.overlays[at]);
        let overlays: Vec<&Overlay> = layers
            .chain(top)
            .filter(|overlay| overlay.len() > 0)
            .collect();
        layer::scan(&self.store.base[at], &overlays, prefix, after, visit);
    }

    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    fn at(&self, domain: Domain) -> usize {
        self.store
            .position(domain)
            .expect("an adapter reads domains that it declared")
    }
}
