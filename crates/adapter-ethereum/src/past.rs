//! States before the head: what each of the last blocks changed is kept and taken back.
//!
//! Only where the settings say so (`statesKept`). The record of a block lies in the state itself, so
//! every node has it, a new one included:
//!
//! ```text
//! META  "undo" number (8)   entry*
//! entry = domain (2) key length (2) key value length + 1 (4; 0: nothing was there) value
//! ```
//! Code is found by its hash and never deleted, so it needs no record; headers are kept that much longer.

use std::collections::BTreeMap;

use adapter::{Exec, Lost, View};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv::Domain;
use types::Height;

use crate::overlay::Changes;
use crate::settings::Rules;
use crate::state::{ACCOUNT, META, STORAGE};

fn place(number: u64) -> Bytes {
    [b"undo".as_slice(), &number.to_be_bytes()].concat().into()
}

/// Notes what these changes will replace, before they are written.
pub(crate) fn note(changes: &Changes, exec: &mut dyn Exec) -> Result<(), Lost> {
    if changes.accounts.is_empty() && changes.slots.is_empty() {
        return Ok(());
    }
    let accounts = changes
        .accounts
        .keys()
        .map(|address| (ACCOUNT, address.as_slice()));
    let slots = changes
        .slots
        .keys()
        .map(|(key, length)| (STORAGE, &key[..*length]));
    let number = exec.env().height.0;
    let mut out = BytesMut::new();
    if let Some(before) = exec.get(META, &place(number))? {
        out.put_slice(&before);
    }
    for (domain, key) in accounts.chain(slots) {
        let value = exec.get(domain, key)?;
        out.put_u16(domain.0);
        out.put_u16(u16::try_from(key.len()).expect("keys have at most 56 bytes"));
        out.put_slice(key);
        let length = value.as_ref().map_or(0, |value| value.len() + 1);
        out.put_u32(u32::try_from(length).expect("values have at most 100 bytes"));
        out.put_slice(&value.unwrap_or_default());
    }
    exec.put(META, place(number), out.freeze());
    Ok(())
}

/// Forgets the record that is too old once the present block is there.
pub(crate) fn forget(rules: &Rules, exec: &mut dyn Exec) {
    let number = exec.env().height.0;
    if rules.states_kept > 0
        && let Some(old) = number.checked_sub(rules.states_kept)
    {
        exec.delete(META, place(old));
    }
}

/// Most bytes of records that are read to go back once.
const RECORDS_BYTES_MAX: usize = 8 << 20;

/// An earlier state.
pub(crate) struct Past<'a> {
    head: &'a dyn View,
    height: Height,
    before: BTreeMap<(Domain, Bytes), Option<Bytes>>,
    /// Bytes of records that were read: what it cost.
    pub(crate) cost: usize,
}

/// Why an earlier state cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// It was never kept, or is not any more.
    Gone,
    /// Too much changed since.
    TooMuch,
}

impl<'a> Past<'a> {
    /// The state after the block of this number.
    pub(crate) fn of(
        head: &'a dyn View,
        rules: &Rules,
        number: u64,
    ) -> Result<Result<Self, Unkept>, Lost> {
        let newest = head.height().0;
        if number > newest || newest - number > rules.states_kept {
            return Ok(Err(Unkept::Gone));
        }
        let mut before = BTreeMap::new();
        let mut cost = 0;
        for taken_back in (number + 1..=newest).rev() {
            let Some(record) = head.get(META, &place(taken_back))? else {
                // A block that changed nothing, such as one that records readings.
                continue;
            };
            cost += record.len();
            if cost > RECORDS_BYTES_MAX {
                return Ok(Err(Unkept::TooMuch));
            }
            let entries = read(record).ok_or(Lost)?;
            // The first entry of a key is what was there before the block.
            for (key, value) in entries.into_iter().rev() {
                before.insert(key, value);
            }
        }
        Ok(Ok(Self {
            head,
            height: Height(number),
            before,
            cost,
        }))
    }
}

type Entry = ((Domain, Bytes), Option<Bytes>);

/// `None`: not written by [`note`].
fn read(mut record: Bytes) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while record.has_remaining() {
        let domain = Domain(record.try_get_u16().ok()?);
        let key = take(&mut record, |record| {
            record.try_get_u16().ok().map(usize::from)
        })?;
        let value = match record.try_get_u32().ok()? {
            0 => None,
            // u32 fits into usize on every machine that runs this.
            n => Some(take(&mut record, |_| Some(n as usize - 1))?),
        };
        entries.push(((domain, key), value));
    }
    Some(entries)
}

fn take(from: &mut Bytes, length: impl FnOnce(&mut Bytes) -> Option<usize>) -> Option<Bytes> {
    let length = length(from)?;
    (length <= from.len()).then(|| from.split_to(length))
}

impl View for Past<'_> {
    fn height(&self) -> Height {
        self.height
    }

    fn format(&self) -> u32 {
        self.head.format()
    }

    fn get(&self, domain: Domain, key: &[u8]) -> Result<Option<Bytes>, Lost> {
        if domain == ACCOUNT || domain == STORAGE {
            let key = Bytes::copy_from_slice(key);
            if let Some(value) = self.before.get(&(domain, key)) {
                return Ok(value.clone());
            }
        }
        self.head.get(domain, key)
    }

    fn scan(
        &self,
        domain: Domain,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), Lost> {
        self.head.scan(domain, prefix, visit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read(bytes.into());
        }
    }
}
