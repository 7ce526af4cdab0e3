//! What is asked of a sealed arena when some of it failed: which events, and their bytes.
use super::{RecordArena, Slot};
use crate::kafka::varint;
use crate::memory::Memory;
use core::ops::Range;

impl<M: Memory> RecordArena<M> {
    /// Indexes in the commit of a batch's events, in order, run by run.
    pub fn events_of(&self, slot: Slot) -> impl Iterator<Item = Range<u32>> + '_ {
        let runs = self.runs_of(slot.0 as usize);
        runs.map(|run| run.first_event..run.first_event + run.records)
    }

    /// The events of a batch as they were appended: index in the commit and value.
    pub fn values_of(&self, slot: Slot) -> impl Iterator<Item = (u32, &[u8])> + '_ {
        let block = self.first.bytes();
        self.runs_of(slot.0 as usize).flat_map(move |run| {
            let mut rest = &block[run.at as usize..(run.at + run.bytes) as usize];
            (run.first_event..run.first_event + run.records).map_while(move |event| {
                let (len, at) = varint::get(rest)?;
                let (record, behind) = rest[at..].split_at_checked(usize::try_from(len).ok()?)?;
                rest = behind;
                Some((event, value(record)?))
            })
        })
    }
}

/// The value of a record, given without its length.
fn value(record: &[u8]) -> Option<&[u8]> {
    let mut rest = record.get(1..)?;
    let mut next = || {
        let (n, at) = varint::get(rest)?;
        rest = &rest[at..];
        Some(n)
    };
    // Time and number.
    next()?;
    next()?;
    let key = usize::try_from(next()?.max(0)).ok()?;
    rest = rest.get(key..)?;
    let (len, at) = varint::get(rest)?;
    rest.get(at..at + usize::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::{ArenaLimits, RecordArena};
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn values_come_back_whatever_lies_around_them() {
        let limits = ArenaLimits { partitions: 4, batches: 8, splits: 8, runs: 64, batch_bytes: 4096 };
        let mut arena = RecordArena::new(vec![0; 8192], vec![0; 8192], limits);
        let long = [b'x'; 300];
        let values: [&[u8]; 5] = [b"{}", &long, b"{\"a\":1}", b"", &long[..127]];
        for (n, value) in values.iter().enumerate() {
            let key: Option<&[u8]> = [None, Some(&b"key"[..]), Some(&b""[..])][n % 3];
            let headers: &[(&[u8], &[u8])] = &[(b"name", b"value")];
            let headers = &headers[..n % 2];
            arena.append([0, 1][n % 2], key, headers, 1_000_000 * n as i64, value, false).unwrap();
        }
        arena.seal(None);
        let mut found: Vec<_> = arena.slots().flat_map(|slot| arena.values_of(slot)).collect();
        found.sort_unstable();
        assert!(found.iter().map(|(event, _)| *event).eq(0..5));
        assert!(found.iter().map(|(_, value)| *value).eq(values));
        for slot in arena.slots() {
            let events = arena.values_of(slot).map(|(event, _)| event);
            assert!(events.eq(arena.events_of(slot).flatten()));
        }
    }
}
