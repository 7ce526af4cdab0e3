//! The picture of `top`, from a status alone. Made for 80 columns and 24 lines; a smaller terminal shows what fits, a
//! larger one more requests. Colour only repeats what a word says already.
use crate::load::{
    report::format::{clock, count, rate, share, time},
    view::paint::Paint,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table, Wrap},
};
use serde_json::Value;

/// What is to be shown.
pub struct Seen<'a> {
    /// Who was asked.
    pub server: &'a str,
    /// The last answer.
    pub status: Option<&'a Value>,
    /// Why there is no newer one.
    pub trouble: Option<&'a str>,
}

/// The last line.
pub const KEYS: &str = "q quits";
const STAGES: [&str; 7] = ["read", "frame", "parse", "append", "seal_wait", "sink", "reply"];
/// Lines that slow requests get before shards get more than [`SHARDS_FEW`].
const SLOW_FEW: usize = 5;
/// Shards that have a line however small the terminal is.
const SHARDS_FEW: usize = 4;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, seen: &Seen<'_>, colour: bool) {
    let paint = Paint { colour };
    let area = frame.area();
    let top = header(seen, paint, area.width);
    let others = top.len() + 1 + STAGES.len() + 1 + 1 + SLOW_FEW + 1;
    let room = usize::from(area.height).saturating_sub(others).max(SHARDS_FEW);
    let shards = seen.status.map_or(&[][..], shards_of).len().min(room) as u16;
    let [head, shard_rows, middle, slow, keys] = Layout::vertical([
        Constraint::Length(top.len() as u16),
        Constraint::Length(shards + 1),
        Constraint::Length(STAGES.len() as u16 + 1),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(top), head);
    frame.render_widget(Paragraph::new(KEYS).style(paint.dim()), keys);
    let Some(status) = seen.status else { return };
    frame.render_widget(shard_table(status, room, paint), shard_rows);
    let [stages, facts] = Layout::horizontal([Constraint::Length(46), Constraint::Min(0)]).areas(middle);
    frame.render_widget(stage_table(status, paint), stages);
    frame.render_widget(Paragraph::new(sink_lines(status, paint)).wrap(Wrap { trim: true }), facts);
    draw_slow(frame, slow, status, paint);
}

/// The heads of a table.
fn heads<const N: usize>(paint: Paint, names: [&str; N]) -> Row<'static> {
    Row::new(names.map(str::to_owned)).style(paint.dim().add_modifier(Modifier::UNDERLINED))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Microseconds as the status has them.
fn us(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |us| time((us * 1_000.0) as u64))
}

fn per_s(recent: &Value, name: &str) -> String {
    recent[name].as_f64().map_or_else(|| "-".into(), rate)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", count(bytes >> 20))
}

fn shards_of(status: &Value) -> &[Value] {
    status["shards"].as_array().map_or(&[], Vec::as_slice)
}

fn right(text: String, width: usize) -> String {
    format!("{text:>width$}")
}

fn header<'a>(seen: &Seen<'a>, paint: Paint, columns: u16) -> Vec<Line<'a>> {
    let mut first = vec![Span::styled("ringmill ", paint.bold())];
    let Some(status) = seen.status else {
        first.push(Span::raw(seen.server));
        let (what, style) = match seen.trouble {
            Some(why) => (format!("away: {why}; trying again"), paint.bad(true)),
            None => ("asking …".into(), paint.dim()),
        };
        return vec![Line::from(first), Line::from(Span::styled(what, style))];
    };
    let up_s = number(&status["uptime_ms"]) as f64 / 1_000.0;
    first.push(Span::raw(format!("{}  {}  up {}  ", text(&status["version"]), seen.server, clock(up_s))));
    // What is wrong is long, and has a line of its own.
    let wrong = match (seen.trouble, status["ready"].as_bool()) {
        (Some(why), _) => Some(format!("AWAY: {why}; what is shown is old")),
        (None, Some(true)) => None,
        (None, _) => {
            let reasons = status["reasons"].as_array().map_or(&[][..], Vec::as_slice);
            let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
            Some(format!("NOT READY: {}", reasons.join("; ")))
        }
    };
    if wrong.is_none() {
        first.push(Span::styled("takes events", paint.fg(Color::Green)));
    }
    let wrong = wrong.map(|wrong| Line::from(Span::styled(wrong, paint.bad(true))));
    let figures = [flow(status, paint), memory(status, paint), books(status, paint, columns)];
    std::iter::once(Line::from(first)).chain(wrong).chain(figures).collect()
}

fn flow(status: &Value, paint: Paint) -> Line<'static> {
    let (recent, total) = (&status["recent"], &status["total"]);
    let bytes = recent["bytes_per_s"].as_f64().map_or_else(|| "-".into(), |b| format!("{:.1} MB/s", b / 1e6));
    let shed = number(&total["counters"]["events_shed"]);
    Line::from(vec![
        Span::styled(per_s(recent, "events_per_s"), paint.bold()),
        Span::raw(format!(" events  {} requests  {bytes}  ", per_s(recent, "requests_per_s"))),
        Span::styled(format!("{} shed", count(shed)), paint.bad(shed > 0)),
        Span::raw(format!(
            "  {} connections{}",
            count(number(&total["gauges"]["connections"])),
            given(total)
        )),
    ])
}

/// How many connections other shards got than accepted them.
fn given(figures: &Value) -> String {
    let given = figures["balance"]["handed_over"].as_object().into_iter().flatten();
    match given.map(|(_, count)| number(count)).sum() {
        0 => String::new(),
        given => format!(" ({} given on)", count(given)),
    }
}

/// A bar of so many cells.
fn bar(part: f64, cells: usize) -> String {
    let full = (part.clamp(0.0, 1.0) * cells as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(cells - full))
}

fn memory(status: &Value, paint: Paint) -> Line<'static> {
    let (used, planned) = (status["rss_bytes"].as_u64(), number(&status["memory_plan_bytes"]));
    let gauges = &status["total"]["gauges"];
    let part = |used: u64, of: u64| used as f64 / of.max(1) as f64;
    let batch = part(number(&gauges["batch_bytes"]), number(&gauges["batch_max_bytes"]));
    let used_text = used.map_or_else(|| "-".into(), mib);
    let over = used.is_some_and(|used| used > planned);
    Line::from(vec![
        Span::raw("memory "),
        Span::styled(bar(part(used.unwrap_or(0), planned), 10), paint.bad(over)),
        Span::raw(format!(" {used_text} of {}  batch {} {}  ", mib(planned), bar(batch, 5), share(batch))),
        Span::raw(format!(
            "carries {} of {}",
            count(number(&gauges["buffers_used"])),
            count(number(&gauges["buffers_max"]))
        )),
    ])
}

/// The equation, without what is 0; in round numbers where it would not fit.
fn books(status: &Value, paint: Paint, columns: u16) -> Line<'static> {
    let total = &status["total"];
    let sound = total["books"]["balanced"] == true;
    let shown = if sound { "books balance" } else { "BOOKS DO NOT BALANCE" };
    let equation = |told: fn(u64) -> String| {
        let part = |name: &str| number(&total["counters"][format!("events_{name}")]);
        let others = ["quarantined", "rejected", "shed"].map(|name| (name, part(name)));
        let flying = ("in flight", number(&total["gauges"]["events_in_flight"]));
        let others = others.into_iter().chain([flying]).filter(|(_, n)| *n > 0);
        let others: String = others.map(|(name, n)| format!(" + {} {name}", told(n))).collect();
        format!(": {} in = {} stored{others}", told(part("received")), told(part("stored")))
    };
    let exact = equation(count);
    let fits = shown.len() + exact.chars().count() <= usize::from(columns);
    Line::from(vec![
        Span::styled(shown, if sound { paint.dim() } else { paint.bad(true) }),
        Span::raw(if fits { exact } else { equation(round) }),
    ])
}

/// Three digits of a large number.
fn round(n: u64) -> String {
    let (value, unit) = match n {
        0..10_000 => return count(n),
        10_000..1_000_000_000 => (n as f64, ""),
        _ => (n as f64 / 1e9, " G"),
    };
    format!("{}{unit}", rate(value).trim_end_matches("/s"))
}

/// As many shards as there is room for: where that is not all, those that take no events and the busiest, and how many
/// there are besides.
fn told_shards(shards: &[Value], room: usize) -> (Vec<&Value>, usize) {
    let mut told: Vec<&Value> = shards.iter().collect();
    if told.len() > room {
        let rate = |shard: &Value| shard["recent"]["events_per_s"].as_f64().unwrap_or(0.0);
        told.sort_by(|a, b| {
            let troubled = |shard: &Value| shard["ready"] != true;
            troubled(b).cmp(&troubled(a)).then(rate(b).total_cmp(&rate(a)))
        });
        told.truncate(room.saturating_sub(1));
        told.sort_by_key(|shard| number(&shard["shard"]));
    }
    let others = shards.len() - told.len();
    (told, others)
}

fn shard_table(status: &Value, room: usize, paint: Paint) -> Table<'static> {
    let (told, others) = told_shards(shards_of(status), room);
    let rest = ["".to_owned(), "".to_owned(), right(format!("and {others}"), 10), "quieter".to_owned()];
    let rest = (others > 0).then(|| Row::new(rest).style(paint.dim()));
    let rows = told.into_iter().map(|shard| {
        let name = format!("{:>5}", number(&shard["shard"]));
        let core = shard["core"].as_u64().map_or_else(|| "-".into(), |core| core.to_string());
        if !shard["counters"].is_object() {
            return Row::new([name, right(core, 4), right("silent".into(), 10)]).style(paint.bad(true));
        }
        let gauges = &shard["gauges"];
        let batch = number(&gauges["batch_bytes"]) as f64 / number(&gauges["batch_max_bytes"]).max(1) as f64;
        let state = match shard["ready"].as_bool() {
            Some(true) if number(&shard["balance"]["repairing"]) > 0 => "yes, →".to_owned(),
            Some(true) => "yes".to_owned(),
            // Why stands in the first line.
            _ => "NO".to_owned(),
        };
        let row = Row::new([
            name,
            right(core, 4),
            right(per_s(&shard["recent"], "events_per_s"), 10),
            right(count(number(&gauges["connections"])), 11),
            right(count(number(&gauges["events_in_flight"])), 9),
            right(share(batch), 7),
            right(us(&shard["stages_us"]["sink"]["p99"]), 9),
            right(count(number(&shard["counters"]["events_shed"])), 9),
            state,
        ]);
        row.style(paint.bad(shard["ready"] != true))
    });
    let rows = rows.chain(rest);
    let widths = [5, 4, 10, 11, 9, 7, 9, 9].map(Constraint::Length).into_iter().chain([Constraint::Min(5)]);
    let names = [
        "shard",
        "core",
        "  events/s",
        "connections",
        "in flight",
        "  batch",
        " sink p99",
        "     shed",
        "ready",
    ];
    Table::new(rows, widths).column_spacing(1).header(heads(paint, names))
}

fn stage_table(status: &Value, paint: Paint) -> Table<'static> {
    let recent = &status["recent"]["stages_us"];
    let (times, when) =
        if recent.is_object() { (recent, "of late") } else { (&status["total"]["stages_us"], "ever") };
    let rows = STAGES.map(|stage| {
        let row = |name: &str| right(us(&times[stage][name]), 8);
        Row::new([stage.to_owned(), row("p50"), row("p99"), row("p999"), row("max")])
    });
    let widths = [9, 8, 8, 8, 8].map(Constraint::Length);
    let first = format!("{:<9}", when);
    let names = [first.as_str(), "     p50", "     p99", "   p99.9", "     max"];
    Table::new(rows, widths).column_spacing(1).header(heads(paint, names))
}

/// The sink, its Kafka or HTTP side or its spill, and the replies.
fn sink_lines(status: &Value, paint: Paint) -> Vec<Line<'static>> {
    let (config, total) = (&status["config"], &status["total"]);
    let mut lines = vec![
        Line::from(Span::styled(text(&config["sink"]).to_owned(), paint.bold())),
        Line::from(format!("ack {}, driver {}", text(&config["ack"]), text(&config["driver"]))),
    ];
    let failed = number(&total["counters"]["commit_failures"]);
    let commits = count(number(&total["counters"]["commits"]));
    lines.push(Line::from(vec![
        Span::raw(format!("{commits} commits, ")),
        Span::styled(format!("{} failed", count(failed)), paint.bad(failed > 0)),
    ]));
    if let Some(kafka) = total["kafka"].as_object() {
        let of = |name: &str| kafka.get(name).map_or(0, number);
        let lost = of("batches_not_written") + of("batches_possibly_written");
        lines.push(Line::from(vec![
            Span::raw(format!("batches {}, {} retries, ", count(of("batches")), count(of("retries")))),
            Span::styled(format!("{} not sure", count(lost)), paint.bad(lost > 0)),
        ]));
    }
    if let Some(http) = total["http"].as_object() {
        lines.extend(
            http.iter().take(3).map(|(name, value)| {
                Line::from(format!("{} {}", name.replace('_', " "), count(number(value))))
            }),
        );
    }
    if total["spill"].is_object() {
        let spill = &total["spill"];
        let waiting =
            format!("spill {}: {} wait", text(&spill["mode"]), count(number(&spill["waiting_events"])));
        lines.push(Line::from(Span::styled(waiting, paint.bad(spill["mode"] != "direct"))));
    }
    let replies = total["requests"].as_object().into_iter().flatten();
    let replies: Vec<String> = replies.map(|(code, n)| format!("{code}: {}", count(number(n)))).collect();
    lines.push(Line::from(format!("replies {}", replies.join("  "))));
    lines
}

/// Requests that one thing held up together, as the slowest of them and how many they are: of the same shard, with the
/// same reason, ended within a tenth of a second, not a tenth quicker.
fn folded(slow: &[Value]) -> Vec<(&Value, usize)> {
    let mut told: Vec<(&Value, usize)> = Vec::new();
    let alike = |a: &Value, b: &Value| {
        ["shard", "cause", "stall"].iter().all(|key| a[key] == b[key])
            && number(&a["time_ms"]).abs_diff(number(&b["time_ms"])) <= 100
            && waited_us(b) >= waited_us(a) * 0.9
    };
    for request in slow {
        match told.iter_mut().find(|(first, _)| alike(first, request)) {
            Some((_, alike)) => *alike += 1,
            None => told.push((request, 1)),
        }
    }
    told
}

fn waited_us(request: &Value) -> f64 {
    request["total_us"].as_f64().unwrap_or(0.0) + request["unseen_us"].as_f64().unwrap_or(0.0)
}

fn draw_slow(frame: &mut Frame<'_>, area: Rect, status: &Value, paint: Paint) {
    let slow = status["total"]["slowest"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = folded(slow).into_iter().map(|(request, alike)| {
        let cause = match request["stall"].as_str().filter(|_| request["cause"] == "stall") {
            Some(stall) => format!("stall: {stall}"),
            None => text(&request["cause"]).replace('_', " "),
        };
        Row::new([
            right(time((waited_us(request) * 1_000.0) as u64), 8),
            if alike > 1 { format!("x{alike}") } else { String::new() },
            cause,
            longest(request),
            right(round(number(&request["bytes"])), 6),
            right(count(number(&request["status"])), 3),
            format!("{} {}", text(&request["peer"]), text(&request["stream"])),
        ])
    });
    let widths = [8, 3, 16, 17, 6, 3].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let names = [" slowest", "", "why", "longest part", " bytes", "", "peer and stream"];
    frame.render_widget(Table::new(rows, widths).column_spacing(1).header(heads(paint, names)), area);
}

/// The part that took longest, and how long.
fn longest(request: &Value) -> String {
    let stages = request["stages_us"].as_object().into_iter().flatten();
    let stages = stages.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)));
    let others = [("room", "room_us"), ("unseen", "unseen_us")];
    let others = others.into_iter().filter_map(|(name, key)| Some((name, request[key].as_f64()?)));
    match stages.chain(others).max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((name, us)) if us > 0.0 => format!("{} {}", name.replace('_', " "), time((us * 1_000.0) as u64)),
        _ => "-".into(),
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
