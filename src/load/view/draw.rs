//! The picture of the live view, from a snapshot alone. Every size of terminal gets what fits; colour only repeats
//! what a word or a character says already.
use super::{Snapshot, paint::Paint};
use crate::load::report::{
    format::{clock, count, rate, share, time},
    timeline::{BANDS, Second, Timeline, band_floor_ns},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph, Row, Table},
};

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, now: &Snapshot, timeline: &Timeline, colour: bool) {
    let paint = Paint { colour };
    let notes = now.notes.len().min(3) as u16;
    let table = 2 + now.percentiles.len().max(side_rows(now)) as u16;
    let [head, state, tables, heat, told, verdict, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(2),
        Constraint::Length(table),
        Constraint::Min(3),
        Constraint::Length(notes),
        Constraint::Length(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(header(now, paint), head);
    frame.render_widget(Paragraph::new(figures(now, paint)), state);
    draw_tables(frame, tables, now, paint);
    draw_heat(frame, heat, timeline, paint);
    let newest = now.notes.len() - usize::from(notes);
    let lines: Vec<Line<'_>> = now.notes[newest..].iter().map(|note| Line::from(note.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).style(paint.fg(Color::Yellow)), told);
    frame.render_widget(limit(now, paint), verdict);
    frame.render_widget(Paragraph::new("q ends the run and keeps its results").style(paint.dim()), keys);
}

fn header(now: &Snapshot, paint: Paint) -> Paragraph<'_> {
    let of = now.duration_s.map_or_else(String::new, |whole| format!(" of {}", clock(whole)));
    let loop_kind = if now.open { "open loop" } else { "closed loop" };
    Paragraph::new(vec![
        Line::from(Span::styled(now.target.as_str(), paint.bold())),
        Line::from(Span::styled(
            format!("{}{of}, {}, {loop_kind}", clock(now.elapsed_s), now.phase),
            paint.dim(),
        )),
    ])
}

fn figures(now: &Snapshot, paint: Paint) -> Vec<Line<'static>> {
    let bold = paint.bold();
    let mut first = vec![Span::styled(rate(now.completed_per_s), bold), Span::raw(" completed")];
    if now.open {
        first.push(Span::raw(format!(" of {} offered", rate(now.offered_per_s))));
    }
    first.extend([Span::raw("   in flight "), Span::styled(count(now.in_flight), bold)]);
    first.extend([Span::raw("   queued "), Span::styled(count(now.queued), bold)]);
    let ended = (now.completed + now.errors).max(1);
    let second = vec![
        Span::raw(format!("sent {}   completed {}   ", count(now.sent), count(now.completed))),
        Span::styled(
            format!("errors {} ({})", count(now.errors), share(now.errors as f64 / ended as f64)),
            paint.trouble(now.errors),
        ),
        Span::raw("   "),
        Span::styled(format!("unexpected {}", count(now.unexpected)), paint.trouble(now.unexpected)),
    ];
    vec![Line::from(first), Line::from(second)]
}

fn side_rows(now: &Snapshot) -> usize {
    if now.ratios.is_empty() { now.classes.len().min(16) } else { now.ratios.len() }
}

fn draw_tables(frame: &mut Frame<'_>, area: Rect, now: &Snapshot, paint: Paint) {
    let [left, right] = Layout::horizontal([Constraint::Length(24), Constraint::Min(0)]).areas(area);
    let rows = now.percentiles.iter().map(|(name, value)| {
        let shown = value.map_or_else(|| "refused".into(), time);
        Row::new([(*name).to_string(), format!("{shown:>10}")])
    });
    let table = Table::new(rows, [Constraint::Length(7), Constraint::Length(11)])
        .header(Row::new(["", "   latency"]).style(paint.dim()))
        .block(Block::new().borders(Borders::TOP).border_style(paint.dim()));
    frame.render_widget(table, left);
    frame.render_widget(if now.ratios.is_empty() { classes(now, paint) } else { ratios(now, paint) }, right);
}

fn classes(now: &Snapshot, paint: Paint) -> Table<'_> {
    let rows = now.classes.iter().map(|class| {
        let p99 = class.p99_ns.map_or_else(|| "refused".into(), time);
        let cells = [
            class.name.clone(),
            format!("{:>13}", count(class.completed)),
            format!("{:>11}", count(class.unexpected)),
            format!("{p99:>9}"),
        ];
        let style = if class.unexpected > 0 { paint.trouble(class.unexpected) } else { Style::new() };
        Row::new(cells).style(style)
    });
    let widths = [Constraint::Max(26), Constraint::Length(13), Constraint::Length(11), Constraint::Length(9)];
    let heads = Row::new(["class", "    completed", " unexpected", "      p99"]).style(paint.dim());
    framed(Table::new(rows, widths).header(heads), paint)
}

fn ratios(now: &Snapshot, paint: Paint) -> Table<'_> {
    let rows = now.ratios.iter().map(|ratio| {
        let style = match ratio.answer.as_str() {
            "better" => paint.fg(Color::Green),
            "worse" => paint.fg(Color::Red),
            _ => Style::new(),
        };
        let interval = format!("[{:.3} {:.3}]", ratio.low, ratio.high);
        Row::new([ratio.what.clone(), format!("x{:.3}", ratio.ratio), interval, ratio.answer.clone()])
            .style(style)
    });
    let widths = [Constraint::Length(11), Constraint::Length(8), Constraint::Length(16), Constraint::Min(14)];
    framed(
        Table::new(rows, widths)
            .header(Row::new(["", "ratio", "95 %", "second to first"]).style(paint.dim())),
        paint,
    )
}

fn framed(table: Table<'_>, paint: Paint) -> Table<'_> {
    table.block(Block::new().borders(Borders::TOP).border_style(paint.dim()))
}

fn limit(now: &Snapshot, paint: Paint) -> Paragraph<'_> {
    let Some((limit, why)) = &now.verdict else { return Paragraph::new("") };
    let colour = if *limit == "none" { Color::Green } else { Color::Yellow };
    let words = if *limit == "none" { "no limit".to_string() } else { format!("{limit}-limited") };
    Paragraph::new(Line::from(vec![
        Span::styled(format!("{words}: "), paint.fg(colour).add_modifier(Modifier::BOLD)),
        Span::raw(why.as_str()),
    ]))
    .wrap(ratatui::widgets::Wrap { trim: true })
}

/// Width of the strip's axis: `100 us `.
const AXIS: u16 = 8;
/// From little to much. The characters alone tell the picture where there is no colour.
const SHADES: [&str; 5] = ["·", "░", "▒", "▓", "█"];
/// The same as colours of the 256-colour palette, dark blue to white.
const COLOURS: [u8; 5] = [24, 31, 44, 115, 229];

/// The last seconds, newest right: latency upwards, denser where more requests ended so.
fn draw_heat(frame: &mut Frame<'_>, area: Rect, timeline: &Timeline, paint: Paint) {
    let title = " latency of each reply, newest right ";
    let block = Block::new().borders(Borders::TOP).border_style(paint.dim()).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let columns = usize::from(inner.width.saturating_sub(AXIS));
    let points = timeline.points();
    let shown = &points[points.len().saturating_sub(columns)..];
    let rows = usize::from(inner.height);
    let Some((low, high)) = used_bands(shown).filter(|_| rows > 0 && columns > 0) else { return };
    let bands_a_row = (high - low + 1).div_ceil(rows);
    let most = shown.iter().flat_map(|second| &second.bands).copied().max().unwrap_or(1).max(1) as f64;
    let lines: Vec<Line<'_>> = (0..(high - low + 1).div_ceil(bands_a_row))
        .rev()
        .map(|row| heat_line(shown, low + row * bands_a_row, bands_a_row, most, paint))
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn heat_line(shown: &[Second], low: usize, bands: usize, most: f64, paint: Paint) -> Line<'static> {
    let axis = format!("{:>width$} ", time(band_floor_ns(low)), width = usize::from(AXIS) - 1);
    let mut spans = vec![Span::styled(axis, paint.dim())];
    for second in shown {
        let high = (low + bands).min(BANDS);
        let n: u64 = second.bands.get(low..high).unwrap_or_default().iter().sum();
        if n == 0 {
            spans.push(Span::raw(" "));
            continue;
        }
        // By the logarithm: one slow reply is to be seen beside a million quick ones.
        let level = ((n as f64).ln_1p() / most.ln_1p() * SHADES.len() as f64) as usize;
        let level = level.min(SHADES.len() - 1);
        spans.push(Span::styled(SHADES[level], paint.fg(Color::Indexed(COLOURS[level]))));
    }
    Line::from(spans)
}

fn used_bands(shown: &[Second]) -> Option<(usize, usize)> {
    let used = |band: &usize| shown.iter().any(|second| second.bands.get(*band).is_some_and(|n| *n > 0));
    Some(((0..BANDS).find(used)?, (0..BANDS).rev().find(used)?))
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
