// The page of a run, from top to bottom: what came out, when, how sure, against what, on which machine.
const { run, percentiles, bands } = JSON.parse(document.getElementById("data").textContent);
const seconds = run.seconds;
const page = document.getElementById("page");
const start = seconds.length ? seconds[0].at_s : 0;
const end = seconds.length ? seconds[seconds.length - 1].at_s + seconds[seconds.length - 1].span_s : 1;

const LIMITS = {
  none: "Nothing stood in the way of this run",
  server: "The server was the limit",
  generator: "The load generator was the limit: these figures are its own",
  platform: "The machine was the limit: these figures are not the server's alone",
};

const PERCENTILES = [["p50", "p50"], ["p90", "p90"], ["p99", "p99"], ["p999", "p99.9"], ["p9999", "p99.99"]];

// p999 as people write it: p99.9.
function label(name) { return name.replace(/^p(\d\d)(\d+)$/, "p$1.$2"); }

function interval(quantile, found) {
  if (quantile === null || !found) return "";
  const upper = found.high === null ? "no upper end" : time(found.high);
  return `${time(found.low)} – ${upper}`;
}

function value(series, name) {
  const us = run[series][name], found = run.intervals[series][name];
  return us === null ? null : (found && found.at_least ? "≥ " : "") + time(us);
}

function top() {
  const when = new Date(run.started_unix_ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";
  const loop = run.mode === "open" ? `open loop, ${rate(run.offered_per_s)} offered` : "closed loop: latency counts from sending and hides stalls";
  return el("header", {}, el("div", {}, el("h1", {}, run.target), el("p", { class: "sub" }, `${when} · ${clock(run.elapsed_s)} · ${loop}`)), themeButton());
}

function verdict() {
  return el("div", { class: `verdict ${run.verdict.limit}` }, el("strong", {}, LIMITS[run.verdict.limit] || run.verdict.limit), run.verdict.why);
}

function tiles() {
  const percentile = (name, label) => {
    const shown = value("latency_us", name);
    return tile(label, shown || "refused", shown ? interval(run.latency_us[name], run.intervals.latency_us[name]) : "too few samples");
  };
  const ended = run.completed + run.errors + run.censored;
  const wrong = run.unexpected + run.errors;
  return el("div", { class: "tiles" },
    tile("completed", rate(run.completed_per_s), run.offered_per_s ? `of ${rate(run.offered_per_s)} offered` : "as fast as replies came"),
    percentile("p50", "p50 latency"), percentile("p99", "p99 latency"), percentile("p999", "p99.9 latency"),
    tile("longest", time(run.latency_us.max), ""),
    tile("failures", wrong === 0 ? "none" : share(wrong / Math.max(ended, 1)), wrong === 0 ? `of ${count(ended)} requests` : `${count(run.errors)} failed, ${count(run.unexpected)} unexpected`, wrong > 0),
    run.censored > 0 ? tile("never ended", count(run.censored), "counted as at least their age") : null);
}

function notices() {
  return run.notes.map((note) => el("div", { class: "notice" }, note));
}

function expectations() {
  if (run.expect.length === 0) return null;
  return card("Expectations", "", table(["expected", "measured", ""], run.expect.map((e) => [e.what, e.measured, e.met ? marked("✓ met", "good") : marked("✗ not met", "bad")]), ["text", "text", "text"]));
}

const column = (field) => seconds.map((s) => [s.at_s + s.span_s / 2, s[field] === undefined ? null : s[field]]);
const positive = (points) => points.map((p) => [p[0], p[1] > 0 ? p[1] : null]);

function bounds(lines) {
  const all = lines.flatMap((line) => line.points.flatMap((p) => [p[1], p[2], p[3]])).filter((v) => v !== null && v !== undefined && v > 0 && isFinite(v));
  return all.length ? [Math.min(...reduced(all, Math.min)) * 0.8, Math.max(...reduced(all, Math.max)) * 1.25] : [1, 1000];
}

// Spreading a long array into a call overflows the stack; blocks of it do not.
function reduced(values, pick) {
  const out = [];
  for (let i = 0; i < values.length; i += 1000) out.push(pick(...values.slice(i, i + 1000)));
  return out;
}

function overTime() {
  if (seconds.length === 0) return null;
  const lines = [
    { name: "max", color: "--c2", points: column("max_us"), width: 1.25, format: time },
    { name: "p99", color: "--c1", points: column("p99_us"), top: true, format: time },
    { name: "p50", color: "--c3", points: column("p50_us"), format: time },
  ];
  const [low, high] = bounds(lines);
  const marks = run.faults || [];
  const latency = lineChart((width) => ({ height: width < 520 ? 240 : 290, x: timeScale(start, end, width), y: logScale(low, high, axisTime), lines, faults: marks, nameFaults: true, title: "latency" }));
  const perSecond = (field) => seconds.map((s) => [s.at_s + s.span_s / 2, s[field] / s.span_s]);
  const rates = [{ name: "completed", color: "--c1", points: perSecond("completed"), format: rate }];
  if (run.mode === "open") rates.unshift({ name: "offered", color: "--c4", points: perSecond("offered"), dash: "4 4", format: rate });
  if (seconds.some((s) => s.errors > 0)) rates.push({ name: "failed", color: "--c2", points: perSecond("errors"), format: rate });
  const [, most] = bounds(rates);
  const rateChart = lineChart((width) => ({ height: 130, x: timeScale(start, end, width), y: linearScale(0, most, axisRate, 3), lines: rates, faults: marks, title: "requests a second" }));
  const wide = seconds[0].span_s > 1 ? ` Each point is the worst of ${seconds[0].span_s} s.` : "";
  return card("Over time", (run.mode === "open" ? "Latency of valid requests second by second, counted from the time when each should have left." : "Latency of valid requests second by second, counted from sending.") + wide,
    legend([["max", "--c2"], ["p99", "--c1"], ["p50", "--c3"]].concat(marks.length ? [["fault", "--fault", "box"]] : [])), latency,
    legend(rates.map((line) => [line.name, line.color])), rateChart, heatStrip(bands, seconds, start, end));
}

function percentilePlot() {
  const colors = ["--c1", "--c2", "--c3", "--c4"];
  const lines = percentiles.map((p, i) => ({
    name: p.name, color: colors[i], band: i === 0, top: i === 0, format: time, dash: i === 3 ? "2 4" : null,
    points: p.points.map((q) => [1 / q.above, q.us, q.low_us, q.high_us]),
  })).filter((line) => line.points.length > 1);
  if (lines.length === 0) return null;
  const [low, high] = bounds(lines.map((line) => line.band ? line : { points: line.points.map((p) => [p[0], p[1]]) }));
  const borne = Math.max(...lines[0].points.map((p) => p[0]));
  const decades = Math.max(3, Math.ceil(Math.log10(Math.max(...lines.map((line) => line.points[line.points.length - 1][0]))) - 0.05));
  const name = (inverse) => inverse < 1.5 ? "0" : String(parseFloat((100 - 100 / inverse).toPrecision(8)));
  const chart = lineChart((width) => {
    const x = logScale(1, Math.pow(10, decades), (v) => name(v) + " %");
    x.ticks = [1, 2].concat(Array.from({ length: decades }, (_, i) => Math.pow(10, i + 1))).filter((t) => t !== 2 || width > 420);
    return { height: width < 520 ? 260 : 320, x, y: logScale(low, high, axisTime), lines, refused: borne, title: "time", tipX: (v) => `${parseFloat((100 - 100 / v).toPrecision(6))} %` };
  });
  return card("Percentiles", "The band is the 95 % interval of the latency. In the grey part too few samples lie above a percentile of the latency for it to be told.", legend(lines.map((line) => [line.name, line.color])), chart, percentileTable());
}

function percentileTable() {
  const series = ["latency_us", "service_us", "first_byte_us", "send_lag_us"];
  const cell = (name, key) => {
    const shown = value(key, name);
    if (!shown) return marked("refused", "quiet");
    return el("span", {}, shown, el("small", {}, interval(run[key][name], run.intervals[key][name])));
  };
  const rows = PERCENTILES.map(([name, label]) => {
    const found = run.intervals.latency_us[name];
    return [label, ...series.map((key) => cell(name, key)), found ? count(found.effective_samples) : "–"];
  });
  rows.push(["max", ...series.map((key) => time(run[key].max)), ""]);
  return table(["", "latency", "service", "first byte", "send lag", "effective samples"], rows);
}

function curve() {
  const found = run.find_rate;
  if (!found || found.points.length === 0) return null;
  const direction = (phase, name, color) => ({
    name, color, dots: true, errors: true, format: time,
    points: found.points.filter((p) => (p.phase === "down") === (phase === "down")).map((p) => [p.offered_per_s, us(p.goal_ns), us(p.low_ns), us(p.high_ns), p.holds]).sort((a, b) => a[0] - b[0]),
  });
  const lines = [direction("up", "going up", "--c1"), direction("down", "going down", "--c2")].filter((line) => line.points.length);
  const [low, high] = bounds(lines.concat([{ points: [[0, found.below_ns / 1000]] }]));
  const rates = found.points.map((p) => p.offered_per_s);
  const chart = lineChart((width) => ({
    height: width < 520 ? 240 : 280, x: linearScale(Math.min(...rates) * 0.9, Math.max(...rates) * 1.05, axisRate, width / 110), y: logScale(low, high, axisTime),
    lines, goal: { at: found.below_ns / 1000, name: found.goal }, title: found.goal.split("<")[0], xTitle: "requests a second offered", tipX: rate,
  }));
  const rows = found.points.map((p) => [rate(p.offered_per_s), rate(p.completed_per_s), p.phase, time(us(p.p50_ns)), time(us(p.p99_ns)), p.goal_ns === null ? marked("refused", "quiet") : time(us(p.goal_ns)), p.low_ns === null ? "" : `${time(us(p.low_ns))} – ${p.high_ns === null ? "no upper end" : time(us(p.high_ns))}`, p.holds ? marked("✓ holds", "good") : marked("✗ " + (p.why || "does not"), "bad")]);
  const best = found.highest_up_per_s === null ? `No rate held ${found.goal}.` : `${found.goal} held up to ${rate(found.highest_up_per_s)}${found.highest_down_per_s === null ? "" : `, and coming from above up to ${rate(found.highest_down_per_s)}`}.`;
  return card("Latency against rate", `${best} ${found.why} Filled points held it; bars are 95 % intervals.`, legend(lines.map((line) => [line.name, line.color])), chart,
    table(["offered", "completed", "phase", "p50", "p99", found.goal.split("<")[0], "interval", ""], rows, ["", "", "text", "", "", "", "", "text long"]));
}

function us(ns) { return ns === null || ns === undefined ? null : ns / 1000; }

function comparison() {
  const found = run.against;
  if (!found) return null;
  const kinds = { better: "good", worse: "bad" };
  const known = found.ratios.filter((r) => r.ratio !== null && r.low !== null && r.high !== null);
  const show = (r, v) => v === null ? "–" : r.what === "throughput" ? rate(v) : time(v / 1000);
  const chart = known.length === 0 ? null : responsive((box, width) => forest(box, width, known));
  const rows = found.ratios.map((r) => [label(r.what), show(r, r.first), show(r, r.second), r.ratio === null ? marked("refused", "quiet") : r.ratio.toFixed(3), r.low === null || r.high === null ? "–" : `${r.low.toFixed(3)} – ${r.high.toFixed(3)}`, count(r.pairs), marked(r.answer, kinds[r.answer] || "")]);
  return card("Side by side", `Second (${found.second}) to first (${found.first}), interleaved in time with coin-flipped order. Bars are 95 % intervals.`, chart,
    table(["", "first", "second", "ratio", "interval", "pairs", ""], rows, ["text", "", "", "", "", "", "text"]));
}

function forest(box, width, ratios) {
  const low = Math.min(0.9, ...ratios.map((r) => r.low)) * 0.97, high = Math.max(1.1, ...ratios.map((r) => r.high)) * 1.03;
  const left = 90, right = 14, row = 26, height = ratios.length * row + 30;
  const X = (v) => left + (Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low)) * (width - left - right);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "Ratios with their intervals" });
  const ticks = linearScale(low, high, null, Math.max(3, width / 150)).ticks.filter((t) => t > 0);
  for (const tick of ticks) {
    root.append(svg("line", { class: "gridline", x1: X(tick), x2: X(tick), y1: 4, y2: height - 22 }));
    root.append(svg("text", { x: X(tick), y: height - 6, "text-anchor": "middle" }, String(parseFloat(tick.toPrecision(3)))));
  }
  root.append(svg("line", { class: "goal", x1: X(1), x2: X(1), y1: 0, y2: height - 22 }));
  ratios.forEach((r, i) => {
    const y = 4 + i * row + row / 2, color = r.answer === "better" ? "var(--good)" : r.answer === "worse" ? "var(--bad)" : "var(--faint)";
    root.append(svg("text", { x: 0, y: y + 4 }, label(r.what)));
    root.append(svg("path", { d: `M${X(r.low)},${y}H${X(r.high)}M${X(r.low)},${y - 5}v10M${X(r.high)},${y - 5}v10`, stroke: color, "stroke-width": 2, fill: "none" }));
    root.append(svg("circle", { cx: X(r.ratio), cy: y, r: 4.5, fill: color }));
  });
  box.append(root);
}

function classes() {
  const names = Object.keys(run.classes);
  if (names.length < 2) return null;
  const rows = names.map((name) => {
    const c = run.classes[name], shown = (p) => c.latency_us[p] === null ? marked("refused", "quiet") : time(c.latency_us[p]);
    const wrong = (n) => n > 0 ? marked(count(n), "bad") : marked("0", "quiet");
    return [name, count(c.sent), count(c.completed), wrong(c.unexpected), wrong(c.errors), c.censored > 0 ? count(c.censored) : marked("0", "quiet"), shown("p50"), shown("p99"), shown("p999"), time(c.latency_us.max)];
  });
  return card("Classes of requests", "Each class has an expected answer and a histogram of its own: a quick refusal of a malformed request does not flatter the latency of the valid ones.",
    table(["class", "sent", "completed", "unexpected", "failed", "never ended", "p50", "p99", "p99.9", "max"], rows));
}

function faultTable() {
  if (!run.faults || run.faults.length === 0) return null;
  const recovery = (f) => f.failed ? marked(`not done: ${f.failed}`, "bad") : f.recovery.after === 0 ? marked("not felt", "good") : f.recovery.after !== undefined ? `within ${f.recovery.after.toFixed(0)} s of its beginning` : f.recovery === "not_seen" ? marked("not seen", "warn") : marked("unknown", "quiet");
  const rows = run.faults.map((f, i) => [String(i + 1), clock(f.at_s), f.what, f.for_s > 0 ? time(f.for_s * 1e6) : "at once", recovery(f)]);
  return card("Faults", "Recovered: three seconds in succession with p99 and throughput as before the first fault, to the second.", table(["", "at", "fault", "lasting", "recovered"], rows, ["", "", "text long", "", "text"]));
}

function verification() {
  if (!run.verify) return null;
  const bad = new Set(["lost", "duplicated", "altered", "unknown"]);
  const rows = Object.entries(run.verify).map(([name, n]) => [name, bad.has(name) && n > 0 ? marked(count(n), "bad") : count(n)]);
  return card("Acknowledged and stored", "Every acknowledged event, looked up in what the server stored.", pairs(rows));
}

function platform() {
  const p = run.platform;
  const lines = [
    { name: "send lag p99", color: "--c1", points: positive(column("send_lag_p99_us")), format: time },
    { name: "longest hiccup", color: "--c2", points: positive(column("hiccup_max_us")), format: time },
  ].filter((line) => line.points.some((point) => point[1] !== null));
  const [low, high] = bounds(lines);
  const chart = lines.length === 0 ? null : lineChart((width) => ({ height: 170, x: timeScale(start, end, width), y: logScale(low, high, axisTime), lines, faults: run.faults, title: "disturbance" }));
  const facts = [
    ["idle probe", p.probe_samples > 0 ? `p99 ${time(p.hiccup_p99_us)}, max ${time(p.hiccup_max_us)}, ${share(p.hiccup_share)} of its time lost` : "did not run"],
    ["stolen by the hypervisor", share(p.steal_share)],
    ["throttled by the control group", p.throttled_ms > 0 ? time(p.throttled_ms * 1000) : "never"],
    ["generator waited for a core", share(p.run_queue_share)],
    ["generator's send lag", `p50 ${time(p.send_lag_p50_us)}, p99 ${time(p.send_lag_p99_us)}`],
    ["generator busy", share(p.generator_busy_share)],
    ["sent of the plan", share(p.achieved_share)],
    ["most requests waiting for a connection", count(p.queued_max)],
    ["growth of requests in flight", rate(Math.max(0, p.in_flight_growth_per_s))],
  ];
  return card("Platform and generator", "What the machine and the generator did to the figures, over the same time.", lines.length ? legend(lines.map((line) => [line.name, line.color])) : null, chart, pairs(facts));
}

function pairs(entries) {
  return el("dl", {}, entries.map(([name, shown]) => [el("dt", {}, name), el("dd", {}, shown instanceof Node ? shown : shown === null || shown === "" ? "–" : String(shown))]));
}

// Any JSON as lists: plain values first, objects below as parts that open.
function tree(value) {
  const plain = [], nested = [];
  for (const [name, part] of Object.entries(value)) {
    const label = name.replaceAll("_", " ");
    if (part !== null && typeof part === "object" && !(Array.isArray(part) && part.every((item) => item === null || typeof item !== "object"))) {
      if (Object.keys(part).length) nested.push(el("details", {}, el("summary", {}, label), tree(part)));
    } else plain.push([label, Array.isArray(part) ? part.join(", ") : part]);
  }
  return el("div", {}, plain.length ? pairs(plain) : null, ...nested);
}

function environment() {
  const known = run.environment !== null && typeof run.environment === "object" && Object.keys(run.environment).length > 0;
  return known ? card("Environment", "", tree(run.environment)) : null;
}

function replay() {
  const button = el("button", { type: "button" }, "Copy");
  const code = el("pre", {}, run.command);
  button.addEventListener("click", () => {
    // The clipboard is closed to pages opened from a file in some browsers: then the command is selected.
    const select = () => getSelection().selectAllChildren(code);
    if (navigator.clipboard) navigator.clipboard.writeText(run.command).then(() => { button.textContent = "Copied"; }, select);
    else select();
  });
  const settings = Object.entries(run.settings);
  return card("Do it again", "", code, button, settings.length ? pairs(settings) : null);
}

const parts = [top(), verdict(), ...notices(), tiles(), expectations(), overTime(), percentilePlot(), curve(), comparison(), classes(), faultTable(), verification(), platform(), replay(), environment()];
page.append(...parts.filter((part) => part));
