use super::*;
use hdrhistogram::serialization::{
    Deserializer,
    interval_log::{IntervalLogIterator, LogEntry},
};
use std::{cell::RefCell, rc::Rc};

fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).unwrap();
    values.into_iter().for_each(|value| histogram.record(value).unwrap());
    histogram
}

/// A file on a disk of `room` bytes. Like a real one it takes what fits of a write and fails with the next.
#[derive(Clone)]
struct Disk {
    bytes: Rc<RefCell<Vec<u8>>>,
    room: usize,
}

impl Disk {
    fn new(room: usize) -> Disk {
        Disk { bytes: Rc::default(), room }
    }
}

impl Write for Disk {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes.borrow_mut();
        let fits = data.len().min(self.room - bytes.len());
        if fits == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        bytes.extend_from_slice(&data[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile for Disk {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.bytes.borrow_mut().truncate(len as usize);
        Ok(())
    }
}

/// Start of the interval in ms, tag, histogram.
type Entry = (u128, String, Histogram<u64>);

fn read(log: &[u8]) -> (Vec<Entry>, f64) {
    let mut entries = Vec::new();
    let mut base = 0.0;
    for entry in IntervalLogIterator::new(log) {
        match entry.expect("the log is whole") {
            LogEntry::Interval(found) => {
                let payload = decode(found.encoded_histogram());
                let histogram = Deserializer::new().deserialize(&mut &payload[..]).unwrap();
                let tag = found.tag().map(|tag| tag.as_str().to_string()).unwrap_or_default();
                entries.push((found.start_timestamp().as_millis(), tag, histogram));
            }
            LogEntry::BaseTime(time) => base = time.as_secs_f64(),
            LogEntry::StartTime(_) => {}
        }
    }
    (entries, base)
}

/// Base64, written out again so that the test shares no coder with the writer.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(|byte| DIGITS.iter().position(|digit| *digit == byte).expect("a base64 digit") as u32)
        .collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

fn seconds(log: &mut IntervalLog<Disk>, from: u64, to: u64) -> Vec<Result<(), String>> {
    (from..to)
        .map(|second| {
            let latency = histogram((1..=100).map(|n| (second + 1) * n * 10_000));
            let lag = histogram([]);
            let at = Duration::from_secs(second);
            log.interval(at, Duration::from_secs(1), [("latency", &latency), ("send_lag", &lag)])
        })
        .collect()
}

#[test]
fn a_log_is_read_back_by_the_format_s_other_reader() {
    let disk = Disk::new(1 << 20);
    let start = UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
    let mut log = IntervalLog::begin(
        disk.clone(),
        Path::new("x.hlog"),
        start,
        &["ringmill load http://h --rate 1k\nseed 7"],
    )
    .unwrap();
    assert!(seconds(&mut log, 0, 3).iter().all(Result::is_ok));
    log.comment(Duration::from_millis(2_500), "fault: stop 12").unwrap();
    let bytes = disk.bytes.borrow();
    let (entries, base) = read(&bytes);
    assert!((base - 1_800_000_000.25).abs() < 1e-6, "{base}");
    assert_eq!(entries.len(), 6);
    let latency = histogram((1..=100).map(|n| 3 * n * 10_000));
    assert_eq!((entries[4].0, entries[4].1.as_str(), &entries[4].2), (2000, "latency", &latency));
    assert_eq!((entries[5].0, entries[5].1.as_str(), entries[5].2.len()), (2000, "send_lag", 0));
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.starts_with("#[Histogram log format version 1.3]\n#ringmill load http://h --rate 1k\n#seed 7\n"),
        "{text}"
    );
    assert!(text.ends_with("#2.500 fault: stop 12\n"));
}

#[test]
fn a_full_disk_is_told_once_and_every_second_before_stays_readable() {
    let whole = Disk::new(1 << 20);
    let mut log = IntervalLog::begin(whole.clone(), Path::new("x.hlog"), UNIX_EPOCH, &[]).unwrap();
    assert!(seconds(&mut log, 0, 10).iter().all(Result::is_ok));
    let size = whole.bytes.borrow().len();
    let head = 300;
    for room in (head..size).step_by(97) {
        let disk = Disk::new(room);
        let mut log = IntervalLog::begin(disk.clone(), Path::new("x.hlog"), UNIX_EPOCH, &[]).unwrap();
        let told: Vec<String> = seconds(&mut log, 0, 10).into_iter().filter_map(Result::err).collect();
        assert_eq!(told.len(), 1, "room {room}");
        assert!(told[0].contains("x.hlog") && told[0].contains("kept and whole"), "{}", told[0]);
        assert!(log.is_broken());
        let bytes = disk.bytes.borrow();
        assert!(whole.bytes.borrow().starts_with(&bytes) && bytes.ends_with(b"\n"), "room {room}");
        let (entries, _) = read(&bytes);
        assert_eq!(entries.len() % 2, 0, "a second is all or nothing, room {room}");
    }
}

#[test]
fn a_tag_that_would_break_the_line_is_mended() {
    let disk = Disk::new(1 << 20);
    let mut log = IntervalLog::begin(disk.clone(), Path::new("x.hlog"), UNIX_EPOCH, &[]).unwrap();
    let one = histogram([5_000]);
    log.interval(Duration::ZERO, Duration::from_secs(1), [("a, b\n", &one)]).unwrap();
    assert_eq!(read(&disk.bytes.borrow()).0[0].1, "a__b_");
}

#[test]
fn a_log_that_cannot_be_made_says_where_and_what_to_do() {
    let error = IntervalLog::create(Path::new("/proc/none/x.hlog"), UNIX_EPOCH, &[]).err().unwrap();
    assert!(error.contains("/proc/none/x.hlog") && error.contains("--hlog"), "{error}");
}

#[test]
fn percentile_text_is_as_the_plotter_reads_it() {
    let mut out = Vec::new();
    hgrm(&mut out, &histogram((1..=1000).map(|n| n * 1_000_000))).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
    let rows: Vec<Vec<f64>> = lines[2..]
        .iter()
        .take_while(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
        .collect();
    let median = rows.iter().find(|row| (row[1] - 0.5).abs() < 1e-9).expect("a row for the median");
    assert!((median[0] - 500.0).abs() < 0.5 && median[2] == 500.0 && median[3] == 2.0, "{median:?}");
    let last = rows.last().unwrap();
    assert!(
        (last[0] / 1000.0 - 1.0).abs() < 0.001 && last[1] == 1.0 && last[2] == 1000.0 && last.len() == 3,
        "{last:?}"
    );
    assert!(lines[lines.len() - 3].starts_with("#[Mean    =      500."), "{text}");
    assert!(lines[lines.len() - 2].contains("Total count    =         1000]"), "{text}");
    assert!(lines[lines.len() - 1].ends_with("SubBuckets     =         2048]"), "{text}");
}

#[test]
fn the_text_of_a_series_lies_beside_the_log() {
    assert_eq!(hgrm_beside(Path::new("/a/run.1.hlog"), "latency"), Path::new("/a/run.1.latency.hgrm"));
}
