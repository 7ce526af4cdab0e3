//! What must hold of any bytes: one function a fuzz target, and `tests/corpus.rs` feeds them the kept corpora.
use super::{agreed, blank, in_pieces, is_event, scanners_of_all_kernels};
use ringmill_scan::{Format, Scanner, Verdict};
use std::cell::RefCell;

/// Longest input: several windows, and quick enough for a fuzzer.
const BYTES_MAX: usize = 64 << 10;

thread_local! {
    static SCANNERS: RefCell<Vec<Box<Scanner>>> = RefCell::new(scanners_of_all_kernels());
}

fn agreed_by_all(data: &[u8], format: Format) -> Vec<Verdict> {
    let data = &data[..data.len().min(BYTES_MAX)];
    SCANNERS.with_borrow_mut(|scanners| agreed(scanners, data, format))
}

/// Every line gets one verdict, the same from all kernels, and the one that others have.
pub fn lines(data: &[u8]) {
    let data = &data[..data.len().min(BYTES_MAX)];
    let mut verdicts = agreed_by_all(data, Format::Lines).into_iter();
    for line in data.split(|byte| *byte == b'\n') {
        if line.iter().all(|byte| blank(*byte)) {
            continue;
        }
        let line = line.trim_ascii();
        match verdicts.next().expect("a verdict for each line") {
            Verdict::Good { span, .. } => assert!(is_event(&data[span]), "{}", line.escape_ascii()),
            Verdict::Bad { span, kind, .. } => {
                assert!(!is_event(&data[span]), "{kind:?}: {}", line.escape_ascii());
            }
        }
    }
    assert_eq!(verdicts.next(), None);
}

/// Good elements are events by all accounts.
pub fn json(data: &[u8]) {
    good_ones_are_events(data, Format::Json);
}

/// The same of a body of no named format.
pub fn sniff(data: &[u8]) {
    good_ones_are_events(data, Format::Sniff);
}

fn good_ones_are_events(data: &[u8], format: Format) {
    for verdict in agreed_by_all(data, format) {
        if let Verdict::Good { span, .. } = verdict {
            assert!(is_event(&data[span.clone()]), "{}", data[span].escape_ascii());
        }
    }
}

/// The exact judge takes for one event what others take for one.
pub fn exact(data: &[u8]) {
    let mut end = data.len().min(BYTES_MAX);
    while end > 0 && blank(data[end - 1]) {
        end -= 1;
    }
    let event = &data[..end];
    let start = event.iter().take_while(|byte| blank(**byte)).count();
    if event[start..].is_empty() || event[start] == b'[' {
        return;
    }
    let verdicts = super::exact(event, Format::Json);
    assert_eq!(verdicts.len(), 1);
    let good = matches!(verdicts[0], Verdict::Good { .. });
    assert_eq!(good, is_event(&event[start..]), "{verdicts:?}: {}", event.escape_ascii());
}

/// In pieces as in one. The first byte is the format; the next seven are the lengths of the first pieces, which
/// are then gone through again and again.
pub fn chunked(data: &[u8]) {
    let Some((&[format, ref steps @ ..], body)) = data.split_first_chunk::<8>() else { return };
    let format = [Format::Lines, Format::Json, Format::Sniff][usize::from(format) % 3];
    let body = &body[..body.len().min(BYTES_MAX)];
    let (mut cuts, mut at) = (Vec::new(), 0);
    for step in steps.iter().cycle().take(64) {
        // Up to some windows; also none at all.
        at += usize::from(*step) * usize::from(*step >> 3) / 4;
        if at > body.len() {
            break;
        }
        cuts.push(at);
    }
    let want = super::exact(body, format);
    SCANNERS.with_borrow_mut(|scanners| {
        for scanner in scanners {
            let got = in_pieces(scanner, body, format, &cuts);
            assert_eq!(got, want, "{:?} {format:?} cut at {cuts:?}", scanner.kernel());
        }
    });
}
