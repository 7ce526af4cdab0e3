//! The picture of `top`, from a status alone. Made for 80 columns and 24 lines; a smaller terminal shows what fits, a
//! larger one more requests. Colour only repeats what a word says already.
use crate::load::report::format::{clock, count, rate, share, time};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table},
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
/// Shards that have a line before the requests get theirs.
const SHARDS_MAX: usize = 16;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, seen: &Seen<'_>, colour: bool) {
    let paint = Paint { colour };
    let shards = seen.status.map_or(&[][..], shards_of).len().min(SHARDS_MAX) as u16;
    let [head, shard_rows, middle, slow, keys] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(shards + 1),
        Constraint::Length(STAGES.len() as u16 + 1),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(seen, paint)), head);
    frame.render_widget(Paragraph::new(KEYS).style(paint.dim()), keys);
    let Some(status) = seen.status else { return };
    frame.render_widget(shard_table(status, paint), shard_rows);
    let [stages, facts] = Layout::horizontal([Constraint::Length(46), Constraint::Min(0)]).areas(middle);
    frame.render_widget(stage_table(status, paint), stages);
    frame.render_widget(Paragraph::new(sink_lines(status, paint)), facts);
    draw_slow(frame, slow, status, paint);
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn fg(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn bad(self, is_bad: bool) -> Style {
        if is_bad { self.fg(Color::Red).add_modifier(Modifier::BOLD) } else { Style::new() }
    }

    /// The heads of a table.
    fn heads<const N: usize>(self, names: [&str; N]) -> Row<'static> {
        Row::new(names.map(str::to_owned)).style(self.dim().add_modifier(Modifier::UNDERLINED))
    }
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

fn header<'a>(seen: &Seen<'a>, paint: Paint) -> Vec<Line<'a>> {
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
    first.push(match (seen.trouble, status["ready"].as_bool()) {
        (Some(why), _) => Span::styled(format!("AWAY: {why}; what is shown is old"), paint.bad(true)),
        (None, Some(true)) => Span::styled("takes events", paint.fg(Color::Green)),
        (None, _) => {
            let reasons = status["reasons"].as_array().map_or(&[][..], Vec::as_slice);
            let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
            Span::styled(format!("NOT READY: {}", reasons.join("; ")), paint.bad(true))
        }
    });
    vec![Line::from(first), flow(status, paint), memory(status, paint), books(status, paint)]
}

fn flow(status: &Value, paint: Paint) -> Line<'static> {
    let (recent, total) = (&status["recent"], &status["total"]);
    let bytes = recent["bytes_per_s"].as_f64().map_or_else(|| "-".into(), |b| format!("{:.1} MB/s", b / 1e6));
    let shed = number(&total["counters"]["events_shed"]);
    Line::from(vec![
        Span::styled(per_s(recent, "events_per_s"), paint.bold()),
        Span::raw(format!(" events  {} requests  {bytes}  ", per_s(recent, "requests_per_s"))),
        Span::raw(format!(
            "{} connections{}  ",
            count(number(&total["gauges"]["connections"])),
            given(total)
        )),
        Span::raw(format!("{} in flight  ", count(number(&total["gauges"]["events_in_flight"])))),
        Span::styled(format!("{} shed", count(shed)), paint.bad(shed > 0)),
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

fn books(status: &Value, paint: Paint) -> Line<'static> {
    let counters = &status["total"]["counters"];
    let part = |name: &str| count(number(&counters[name]));
    let sound = status["total"]["books"]["balanced"] == true;
    let shown = if sound { "books balance" } else { "BOOKS DO NOT BALANCE" };
    Line::from(vec![
        Span::styled(shown, if sound { paint.dim() } else { paint.bad(true) }),
        Span::raw(format!(
            ": {} in = {} stored + {} quarantined + {} rejected + {} shed",
            part("events_received"),
            part("events_stored"),
            part("events_quarantined"),
            part("events_rejected"),
            part("events_shed")
        )),
    ])
}

fn shard_table(status: &Value, paint: Paint) -> Table<'static> {
    let rows = shards_of(status).iter().take(SHARDS_MAX).map(|shard| {
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
    let widths = [5, 4, 10, 11, 9, 7, 9, 9].map(Constraint::Length).into_iter().chain([Constraint::Min(5)]);
    let heads = [
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
    Table::new(rows, widths).column_spacing(1).header(paint.heads(heads))
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
    let heads = [first.as_str(), "     p50", "     p99", "   p99.9", "     max"];
    Table::new(rows, widths).column_spacing(1).header(paint.heads(heads))
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

fn draw_slow(frame: &mut Frame<'_>, area: Rect, status: &Value, paint: Paint) {
    let slow = status["total"]["slowest"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = slow.iter().map(|request| {
        let waited_us =
            request["total_us"].as_f64().unwrap_or(0.0) + request["unseen_us"].as_f64().unwrap_or(0.0);
        let cause = match request["stall"].as_str().filter(|_| request["cause"] == "stall") {
            Some(stall) => format!("stall: {stall}"),
            None => text(&request["cause"]).replace('_', " "),
        };
        Row::new([
            right(time((waited_us * 1_000.0) as u64), 8),
            cause,
            longest(request),
            right(count(number(&request["bytes"])), 10),
            right(count(number(&request["status"])), 3),
            format!("{} {}", text(&request["peer"]), text(&request["stream"])),
        ])
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(16),
        Constraint::Length(17),
        Constraint::Length(10),
        Constraint::Length(3),
        Constraint::Fill(1),
    ];
    let heads = [" slowest", "why", "longest part", "     bytes", "", "peer and stream"];
    frame.render_widget(Table::new(rows, widths).column_spacing(1).header(paint.heads(heads)), area);
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
