//! Whether a place still is where it was: a chain may have been replaced since.
use super::{Finding, Reader};
use crate::command::segments::directory::{Segment, Source, following};
use crate::core::segment::{Chain, Depth, Header, Step, Walker};
use crate::replay::cursor::Place;

impl Reader {
    /// A segment that begins before the place where the chain stands replaces what stood there.
    pub(super) fn go_back(&mut self, segment: &Segment, header: &Header) {
        // Before the first segment nothing is known but how far a replay came that was stopped in its first chunk.
        let behind = self.place.segment != 0 && header.seq < self.place.next;
        if behind || self.place.chain.is_some_and(|chain| header.seq < chain.seq) {
            let line = format!("{} begins at event {}", segment.name, header.seq);
            let was = self.place.next;
            self.findings.push(Finding::Replaced(format!(
                "{line}, though events up to {} were replayed: they were replaced since, and what is there now is \
                 replayed",
                was.saturating_sub(1)
            )));
            self.place.chain = None;
            self.place.next = header.seq;
        }
    }

    /// Whether the file still holds the commits that were replayed; goes back to what it holds if not.
    pub(super) fn find_place(&mut self) {
        if self.place.offset == 0 {
            return;
        }
        let Some(file) = self.files.front() else { return };
        let next = following(&self.files.iter().skip(1).cloned().collect::<Vec<_>>());
        let Ok(source) = Source::open(&file.path) else { return };
        let mut walker = Walker::new(source, self.shard, None, next, Depth::Headers);
        let mut last: Option<Chain> = None;
        while let Ok(Some(step)) = walker.step() {
            last = walker.chain();
            if !matches!(step, Step::Superseded(_))
                && walker.position() == self.place.offset
                && last == self.place.chain
            {
                return;
            }
        }
        let sound = last.or(next.map(|next| Chain::before(&next))).map_or(self.place.next, |chain| chain.seq);
        self.findings.push(Finding::Replaced(format!(
            "{} is not what was replayed up to event {}: its end was replaced since; it is gone through again",
            file.name,
            self.place.next.saturating_sub(1)
        )));
        let next = self.place.next.min(sound);
        self.place = Place { segment: file.number, offset: 0, chain: None, next };
    }
}
