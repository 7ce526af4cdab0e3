use super::super::{ClassLine, RatioLine};
use super::*;
use ratatui::{Terminal, backend::TestBackend};

fn screen(width: u16, height: u16, now: &Snapshot, timeline: &Timeline) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, now, timeline, true)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_string();
    (0..height).map(row).collect()
}

fn now() -> Snapshot {
    Snapshot {
        target: "http://127.0.0.1:8080/v1/events".into(),
        phase: "measuring".into(),
        open: true,
        elapsed_s: 75.0,
        duration_s: Some(120.0),
        offered_per_s: 50_000.0,
        completed_per_s: 49_900.0,
        in_flight: 12,
        queued: 3,
        sent: 3_742_512,
        completed: 3_742_500,
        unexpected: 7,
        percentiles: vec![("p50", Some(112_000)), ("p99.9", Some(1_200_000)), ("p99.99", None)],
        classes: vec![
            ClassLine { name: "valid".into(), completed: 3_000_000, unexpected: 0, p99_ns: Some(400_000) },
            ClassLine { name: "cut_json".into(), completed: 61_000, unexpected: 7, p99_ns: None },
        ],
        verdict: Some(("server", "requests pile up by 120/s".into())),
        notes: (1..=5).map(|n| format!("note {n}")).collect(),
        ..Snapshot::default()
    }
}

/// 200 quick seconds, one of them with a stall.
fn timeline() -> Timeline {
    let mut timeline = Timeline::new();
    for at_s in 0..200 {
        let mut bands = vec![0; BANDS];
        bands[8] = 50_000;
        bands[9] = 2_000;
        if at_s == 199 {
            bands[20] = 1;
        }
        timeline.push(Second { at_s, bands, ..Second::default() });
    }
    timeline
}

#[test]
fn everything_asked_for_is_on_a_usual_terminal() {
    let screen = screen(100, 30, &now(), &timeline());
    let whole = screen.join("\n");
    for part in [
        "http://127.0.0.1:8080/v1/events",
        "1:15 of 2:00, measuring, open loop",
        "49.9 k/s completed of 50.0 k/s offered",
        "in flight 12",
        "queued 3",
        "unexpected 7",
        "112 us",
        "cut_json",
        "server-limited: requests pile up by 120/s",
        "note 5",
        "q ends the run",
    ] {
        assert!(whole.contains(part), "{part} is missing in\n{whole}");
    }
    let refused: Vec<&String> = screen.iter().filter(|line| line.contains("p99.99")).collect();
    assert!(refused.len() == 1 && refused[0].contains("refused"), "{whole}");
    assert!(!whole.contains("note 2"), "only the newest notes are shown");
}

#[test]
fn one_slow_reply_among_many_is_seen_in_the_newest_column() {
    let screen = screen(100, 30, &now(), &timeline());
    let slow = screen.iter().find(|line| line.starts_with(" 100 ms")).expect("a row for 100 ms");
    assert_eq!(slow.chars().count(), 100, "{slow}");
    assert_eq!(slow.chars().skip(8).filter(|cell| *cell != ' ').count(), 1, "{slow}");
    let usual = screen.iter().find(|line| line.starts_with(" 100 us")).expect("a row for 100 us");
    assert_eq!(usual.chars().filter(|cell| *cell == '█').count(), 92, "{usual}");
}

#[test]
fn a_comparison_takes_the_place_of_the_classes() {
    let ratio = RatioLine { what: "p99".into(), ratio: 1.08, low: 1.02, high: 1.15, answer: "worse".into() };
    let whole = screen(100, 30, &Snapshot { ratios: vec![ratio], ..now() }, &timeline()).join("\n");
    assert!(
        whole.contains("x1.080") && whole.contains("[1.020 1.150]") && whole.contains("worse"),
        "{whole}"
    );
    assert!(!whole.contains("cut_json"));
}

#[test]
fn no_size_and_no_content_panics() {
    for (width, height) in [(1, 1), (10, 3), (24, 80), (40, 12), (79, 24), (300, 80)] {
        assert_eq!(screen(width, height, &now(), &timeline()).len(), usize::from(height));
        assert_eq!(screen(width, height, &Snapshot::default(), &Timeline::new()).len(), usize::from(height));
    }
}
