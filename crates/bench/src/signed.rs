//! Many signed transactions, kept in files until they are sent.
//!
//! A load of minutes has millions of them: signed while it runs they would take the processor time that
//! is measured, and kept in memory they would take that of the machine. One file a connection, read
//! from its beginning to its end; the files vanish with this value.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};

use bytes::Bytes;

use crate::Problem;
use crate::ethereum::Senders;

/// Signed transactions of each connection, in order.
pub(crate) struct Signed {
    lanes: Vec<BufReader<File>>,
}

impl Signed {
    /// Signs `count` transactions for each connection, from those numbers on, with all cores.
    pub(crate) fn make(
        senders: &Senders<'_>,
        from: &[usize],
        count: usize,
    ) -> Result<Self, Problem> {
        let told = |error: std::io::Error| {
            Problem::Failed(format!(
                "keep signed transactions in a temporary file: {error}"
            ))
        };
        let one = |lane: usize, first: usize| -> std::io::Result<BufReader<File>> {
            let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
            for number in first..first + count {
                let raw = senders.transaction(lane, number);
                // A transfer has some 120 bytes.
                let length = u16::try_from(raw.len()).map_err(std::io::Error::other)?;
                out.write_all(&length.to_be_bytes())?;
                out.write_all(&raw)?;
            }
            let mut file = out.into_inner().map_err(std::io::Error::other)?;
            file.rewind()?;
            Ok(BufReader::with_capacity(1 << 20, file))
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut lanes: Vec<Option<std::io::Result<BufReader<File>>>> = Vec::new();
        lanes.resize_with(from.len(), || None);
        std::thread::scope(|scope| {
            let each = from.len().div_ceil(cores).max(1);
            for (share, places) in lanes.chunks_mut(each).enumerate() {
                let one = &one;
                scope.spawn(move || {
                    for (place, made) in places.iter_mut().enumerate() {
                        let lane = share * each + place;
                        *made = Some(one(lane, from[lane]));
                    }
                });
            }
        });
        let lanes: std::io::Result<Vec<_>> = lanes.into_iter().flatten().collect();
        Ok(Self {
            lanes: lanes.map_err(told)?,
        })
    }

    /// The next transaction of a connection, unless they have run out.
    pub(crate) fn next(&mut self, lane: usize) -> Option<Bytes> {
        let mut length = [0; 2];
        self.lanes[lane].read_exact(&mut length).ok()?;
        let mut raw = vec![0; usize::from(u16::from_be_bytes(length))];
        self.lanes[lane].read_exact(&mut raw).ok()?;
        Some(raw.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Workload};

    #[test]
    fn what_is_read_is_what_each_connection_signs_in_its_order() {
        let options = Options {
            connections: 3,
            senders: 6,
            ..Options::new(Workload::Transfer, 100)
        };
        let senders = Senders::new(&options, 100);
        let mut signed = Signed::make(&senders, &[0, 5, 9], 4).expect("signed");
        for (lane, first) in [(0, 0), (1, 5), (2, 9)] {
            for number in first..first + 4 {
                assert_eq!(signed.next(lane), Some(senders.transaction(lane, number)));
            }
            assert_eq!(signed.next(lane), None);
        }
    }
}
