//! The report for people: one HTML file that needs nothing else and no network. The page is a fixed template; the
//! run is JSON inside it, and the template's script draws from that. Its content policy forbids every request.
use super::{
    Report, json,
    json::us,
    percentiles::{Percentiles, percentiles},
    timeline::{BANDS, band_floor_ns},
};
use serde::Serialize;

const PAGE: &str = include_str!("report.html");
const CSS: &str = include_str!("report.css");
const CHARTS: &str = include_str!("charts.js");
const SCRIPT: &str = include_str!("page.js");

#[derive(Serialize)]
struct Data<Document: Serialize> {
    run: Document,
    percentiles: Vec<Percentiles>,
    bands: Bands,
}

/// Latencies over time; columns are the run's seconds.
#[derive(Serialize)]
struct Bands {
    floor_us: Vec<f64>,
    counts: Vec<Vec<u64>>,
}

/// The whole file.
pub fn render(report: &Report) -> String {
    let data = Data { run: json::document(report), percentiles: curves(report), bands: bands(report) };
    let data = serde_json::to_string(&data).expect("plain data without foreign maps serialises");
    let title = format!("Load test of {}", report.target);
    fill(&[
        ("title", &text(&title)),
        ("css", CSS),
        ("charts", CHARTS),
        ("page", SCRIPT),
        ("data", &embedded(&data)),
    ])
}

fn curves(report: &Report) -> Vec<Percentiles> {
    let totals = &report.totals;
    let batches = report.intervals.as_ref();
    vec![
        percentiles("latency, from the plan", totals.latency(), batches.and_then(|all| all.class(0))),
        percentiles("service, from sending", totals.service(), batches.map(|all| all.service())),
        percentiles("first byte, from sending", totals.first_byte(), batches.map(|all| all.first_byte())),
        percentiles("send lag", totals.send_lag(), batches.map(|all| all.send_lag())),
    ]
}

fn bands(report: &Report) -> Bands {
    Bands {
        floor_us: (0..BANDS).map(|band| us(band_floor_ns(band))).collect(),
        counts: report.timeline.points().iter().map(|second| second.bands.clone()).collect(),
    }
}

/// Puts the parts where the template names them. One pass, so that a part which contains a name is left alone.
fn fill(parts: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(PAGE.len() + parts.iter().map(|(_, part)| part.len()).sum::<usize>());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the template closes its braces");
        let part = parts.iter().find(|(known, _)| *known == name).expect("the template names known parts").1;
        out.push_str(before);
        out.push_str(part);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// JSON that cannot end the script element it stands in.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::sample;

    #[test]
    fn one_file_without_a_network() {
        let page = render(&sample::report());
        for needs_network in
            ["src=", "@import", "url(", "fetch(", "XMLHttpRequest", "<link rel=\"stylesheet\""]
        {
            assert!(!page.contains(needs_network), "{needs_network}");
        }
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("{{"), "a part was not filled in");
    }

    #[test]
    fn what_comes_from_outside_cannot_end_the_script_or_the_title() {
        let mut report = sample::report();
        report.target = "http://h/</title><script>alert(1)</script>{{data}}".into();
        report.environment = serde_json::json!({"cpu": "</script><img src=x onerror=alert(2)>"});
        let page = render(&report);
        assert_eq!(page.matches("</script>").count(), 2, "only the template's own");
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</title>").count(), 1);
        assert!(!page.contains("<img"));
    }

    #[test]
    fn the_embedded_json_is_the_run() {
        let report = sample::report();
        let page = render(&report);
        let start = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
        let data: serde_json::Value =
            serde_json::from_str(&page[start..start + page[start..].find("</script>").unwrap()]).unwrap();
        assert_eq!(data["run"]["sent"], report.summary.counts.sent);
        assert_eq!(data["bands"]["counts"].as_array().unwrap().len(), report.timeline.points().len());
        assert_eq!(data["bands"]["floor_us"].as_array().unwrap().len(), BANDS);
        assert!(data["percentiles"][0]["points"].as_array().unwrap().len() > 10);
    }
}
