// The live page: asks /status once a second and draws it, with the charts above. Every text that comes from outside
// becomes a text node.
const STAGES = ["read", "frame", "parse", "append", "seal_wait", "sink", "reply"];
const COLORS = { read: "--c4", frame: "--faint", parse: "--c3", append: "--warn", seal_wait: "--fault", sink: "--c2", reply: "--c1" };
const SHARD_COLORS = ["--c2", "--c3", "--c4", "--fault", "--warn", "--good"];
const OUTCOMES = ["stored", "quarantined", "rejected", "shed"];
// Ten minutes of seconds.
const POINTS_MAX = 600;
const ASK_EVERY_MS = 1000, ANSWER_MAX_MS = 4000, SAMPLES_EVERY_MS = 5000;

const page = document.getElementById("page");
const mib = (bytes) => bytes === null || bytes === undefined ? "–" : bytes >= 1 << 30 ? digits3(bytes / (1 << 30)) + " GiB" : digits3(bytes / (1 << 20)) + " MiB";
const bytesRate = (perS) => perS < 999.5 ? Math.round(perS) + " B/s" : perS < 999500 ? digits3(perS / 1e3) + " kB/s" : perS < 999.5e6 ? digits3(perS / 1e6) + " MB/s" : digits3(perS / 1e9) + " GB/s";
const sum = (values) => values.reduce((a, b) => a + b, 0);
const marked = (text, kind) => el("span", { class: kind }, text);

let before = null, history = [], refused = null;

// The first of the slow requests, or all.
const SLOW_SHOWN = 10;
let allSlow = false;
const moreSlow = el("button", { type: "button", hidden: "" });
moreSlow.addEventListener("click", () => { allSlow = !allSlow; if (before) parts.slow.replaceChildren(slow(before)); });

function card(title, words, ...content) {
  return el("section", {}, el("h2", {}, title), words ? el("p", {}, words) : null, ...content.flat());
}

function legend(items) {
  return el("div", { class: "legend" }, items.map(([name, color]) => el("span", {}, el("i", { style: `color:var(${color})` }), name)));
}

function table(heads, rows, kinds) {
  const cell = (tag, value, at) => el(tag, { class: (kinds || [])[at] }, value instanceof Node ? value : document.createTextNode(value === null || value === undefined ? "–" : String(value)));
  return el("div", { class: "wide" }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head, at) => cell("th", head, at)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, at) => cell("td", value, at)))))));
}

function tile(name, shown, more, bad) {
  return el("div", { class: bad ? "tile bad" : "tile" }, el("div", { class: "name" }, name), el("div", { class: "value" }, shown), more ? el("div", { class: "more" }, more) : null);
}

// Parts that are made once and filled again and again.
const parts = {};
for (const name of ["title", "banner", "tiles", "rateLegend", "shards", "stages", "books", "sink", "slow", "refused", "settings"]) parts[name] = el("div");

const charts = [];
function live(spec) {
  const box = lineChart(spec);
  charts.push({ box, again: drawn[drawn.length - 1] });
  return box;
}

const mouse = matchMedia("(hover: hover)");
function redraw() {
  // Not under somebody's pointer: it would take the figures away that are being read.
  for (const chart of charts) if (!(mouse.matches && chart.box.matches(":hover"))) chart.again();
}

function span() {
  const last = history.length ? history[history.length - 1].at : 1;
  return [Math.min(history.length ? history[0].at : 0, last - 60), last];
}

// Seconds before now, so that the axis does not run.
function timeAxis(width) {
  const [first, last] = span();
  const axis = linearScale(first - last, 0, (s) => s === 0 ? "now" : "−" + clock(-s), Math.max(2, width / 110), CLOCK_STEPS);
  return axis;
}

function series(pick) {
  const last = span()[1], points = [];
  history.forEach((point, at) => {
    // A gap between two looks is a gap, not a line.
    if (at > 0 && point.at - history[at - 1].at > 5) points.push([(point.at + history[at - 1].at) / 2 - last, null]);
    points.push([point.at - last, pick(point)]);
  });
  return points;
}

function rateLines() {
  const lines = [{ name: "all", color: "--c1", points: series((point) => point.rate), format: rate, top: true }];
  const shards = history.length ? history[history.length - 1].shards.length : 0;
  if (shards > 1 && shards <= SHARD_COLORS.length) {
    for (let n = 0; n < shards; n++) lines.push({ name: `shard ${n}`, color: SHARD_COLORS[n], width: 1.25, points: series((point) => point.shards[n] ?? null), format: rate });
  } else if (shards > 1) {
    const known = (point) => point.shards.filter((value) => value !== null);
    lines.push({ name: "busiest shard", color: "--c2", width: 1.25, points: series((point) => known(point).length ? Math.max(...known(point)) : null), format: rate });
    lines.push({ name: "idlest shard", color: "--c3", width: 1.25, points: series((point) => known(point).length ? Math.min(...known(point)) : null), format: rate });
  }
  return lines;
}

const tipX = (s) => s > -0.5 ? "now" : clock(-s) + " ago";

const rateChart = live((width) => {
  const lines = rateLines();
  const most = Math.max(10, ...lines[0].points.map((point) => point[1] || 0)) * 1.1;
  return { height: width < 520 ? 170 : 200, x: timeAxis(width), y: linearScale(0, most, axisRate, 4), lines, label: "events a second", tipX };
});

const stageChart = live((width) => {
  const lines = STAGES.map((name) => ({ name, color: COLORS[name], points: series((point) => point.stages[name] || null), format: time }));
  const all = lines.flatMap((line) => line.points.map((point) => point[1])).filter((value) => value > 0);
  const [low, high] = all.length ? [Math.min(...all) * 0.8, Math.max(...all) * 1.25] : [1, 1000];
  return { height: width < 520 ? 220 : 260, x: timeAxis(width), y: logScale(low, high, axisTime), lines, label: "p99 of each stage", tipX };
});

function note(now) {
  if (before && before.start_ms !== now.start_ms) { before = null; history = []; }
  const seconds = before ? (now.uptime_ms - before.uptime_ms) / 1000 : 0;
  if (seconds > 0) {
    const shards = now.shards.map((shard) => {
      const old = before.shards.find((other) => other.shard === shard.shard);
      return shard.counters && old && old.counters ? (shard.counters.events_received - old.counters.events_received) / seconds : null;
    });
    const stages = {};
    for (const name of STAGES) {
      const times = now.recent && now.recent.stages_us && now.recent.stages_us[name];
      stages[name] = times ? (times.p99 ?? times.max) : null;
    }
    const known = shards.filter((value) => value !== null);
    history.push({ at: now.uptime_ms / 1000, rate: known.length ? sum(known) : null, shards, stages });
    if (history.length > POINTS_MAX) history.shift();
  }
  before = now;
}

function banner(now) {
  const kind = now.ready ? "none" : "bad";
  return el("div", { class: `verdict ${kind}`, role: "status" }, el("strong", {}, now.ready ? "Takes events" : "Not ready"), now.ready ? `${now.shards.length === 1 ? "one shard" : now.shards.length + " shards"}, up ${clock(now.uptime_ms / 1000)}` : now.reasons.join("; "));
}

function tiles(now) {
  const total = now.total, recent = now.recent, gauges = total.gauges;
  const full = now.rss_bytes !== null && now.rss_bytes > now.memory_plan_bytes;
  const batch = gauges.batch_max_bytes ? share(gauges.batch_bytes / gauges.batch_max_bytes) : "–";
  return [
    tile("events", recent ? rate(recent.events_per_s) : "–", recent ? `${rate(recent.requests_per_s)} requests` : "from the second look on"),
    tile("received", recent ? bytesRate(recent.bytes_per_s) : "–", `${mib(total.counters.bytes_stored)} stored since start`),
    tile("connections", count(gauges.connections), `${count(gauges.buffers_used)} of ${count(gauges.buffers_max)} carries in use`),
    tile("in flight", count(gauges.events_in_flight), `open batch ${batch} full`),
    tile("memory", mib(now.rss_bytes), `of ${mib(now.memory_plan_bytes)} planned`, full),
    tile("turned away", count(total.counters.events_shed), "events shed since start", false),
  ];
}

function unevenness(shards) {
  const known = shards.filter((shard) => shard.gauges), connections = known.map((shard) => shard.gauges.connections);
  const mean = sum(connections) / Math.max(connections.length, 1), most = Math.max(0, ...connections);
  if (known.length < 2 || most < mean * 1.5 || most - mean < 8) return "";
  const worst = known[connections.indexOf(most)];
  return `Connections are uneven: shard ${worst.shard} has ${count(most)}, ${digits3(most / mean)} times the mean. `;
}

// Why a shard's new connections go to others, in words.
const MENDED = { connections: "more connections that send", busy: "a busier core", closed: "no room or a sink that takes nothing" };

function mending(shards) {
  const now = shards.filter((shard) => shard.balance && shard.balance.repairing);
  return now.map((shard) => `New connections of shard ${shard.shard} go to others, for it has ${MENDED[shard.balance.why] || shard.balance.why}. `).join("");
}

// How many of its connections others got, and it of theirs.
function handed(shard) {
  if (!shard.balance) return "–";
  return `${count(sum(Object.values(shard.balance.handed_over)))} / ${count(shard.balance.adopted)}`;
}

function shards(now) {
  const most = Math.max(1, ...now.shards.map((shard) => shard.gauges ? shard.gauges.connections : 0));
  const mean = sum(now.shards.map((shard) => shard.gauges ? shard.gauges.connections : 0)) / Math.max(now.shards.length, 1);
  const rows = now.shards.map((shard) => {
    const first = [String(shard.shard), shard.core, shard.ready ? marked("yes", "good") : marked(shard.reason, "bad")];
    if (!shard.counters) return first.concat(Array(9).fill("–"));
    const held = shard.gauges.connections, uneven = held > mean * 1.5 && held - mean >= 8;
    const bar = el("span", {}, count(held), el("span", { class: uneven ? "meter uneven" : "meter" }, el("i", { style: `width:${held / most * 100}%` })));
    const batch = shard.gauges.batch_max_bytes ? share(shard.gauges.batch_bytes / shard.gauges.batch_max_bytes) : "–";
    return first.concat([shard.recent ? rate(shard.recent.events_per_s) : "–", bar, handed(shard), shard.balance ? share(shard.balance.busy) : "–", count(shard.gauges.events_in_flight), batch,
      time(shard.stages_us.sink.p99), count(shard.counters.events_shed), shard.counters.commit_failures > 0 ? marked(count(shard.counters.commit_failures), "bad") : "0"]);
  });
  return [el("p", {}, unevenness(now.shards), mending(now.shards), "Rates are of the last seconds, the commit's p99 since start."),
    table(["shard", "core", "takes events", "events", "connections", "given / taken", "busy", "in flight", "batch", "commit p99", "shed", "failed commits"], rows, ["", "", "text long"])];
}

function stages(now) {
  const fresh = now.recent && now.recent.stages_us;
  const shown = (times, key) => times ? time(times[key]) : "–";
  const rows = STAGES.map((name) => {
    const recent = fresh ? fresh[name] : null, all = now.total.stages_us[name];
    return [el("span", {}, el("i", { class: "dot", style: `color:var(${COLORS[name]})` }), name), shown(recent, "p50"), shown(recent, "p99"), shown(recent, "p999"), shown(recent, "max"), shown(all, "p99"), shown(all, "p999"), shown(all, "max")];
  });
  return table(["stage", "p50 now", "p99 now", "p99.9 now", "max now", "p99 ever", "p99.9 ever", "max ever"], rows);
}

function books(now) {
  const counters = now.total.counters, gauges = now.total.gauges;
  const box = (name, value, bad) => el("div", { class: bad ? "bad" : "" }, el("b", {}, count(value)), el("span", {}, name));
  const terms = OUTCOMES.map((name) => box(name, counters["events_" + name], name === "shed" && counters.events_shed > 0)).concat(box("in flight", gauges.events_in_flight));
  const sound = now.total.books.balanced;
  return [el("div", { class: "equation" }, box("received", counters.events_received), el("span", {}, "="), terms.flatMap((term, at) => at ? [el("span", {}, "+"), term] : [term])),
    sound ? marked("✓ they balance", "good") : marked(`✗ off by ${count(Math.abs(now.total.books.received - now.total.books.accounted))}: please report it`, "bad")];
}

function sinkOf(now) {
  const rows = [];
  const add = (name, values) => { for (const [key, value] of Object.entries(values || {})) rows.push([`${name} ${key.replace(/_/g, " ")}`, typeof value === "number" ? count(value) : value]); };
  add("kafka", now.total.kafka);
  add("http", now.total.http);
  const spill = now.total.spill;
  if (spill) {
    rows.push(["spill", spill.mode === "direct" ? marked("direct", "good") : marked(`${spill.mode}${spill.reason ? ": " + spill.reason : ""}`, "warn")]);
    rows.push(["spill waiting", `${count(spill.waiting_events)} events, ${mib(spill.waiting_bytes)}`]);
    rows.push(["spill replayed", `${count(spill.replayed_events)} events`]);
  }
  for (const [code, n] of Object.entries(now.total.requests)) rows.push([`replies ${code}`, count(n)]);
  return el("dl", {}, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function largest(request) {
  const all = Object.entries(request.stages_us).filter(([, us]) => us !== null).concat([["room", request.room_us], ["before it was seen", request.unseen_us]]);
  const [name, us] = all.reduce((a, b) => b[1] > a[1] ? b : a);
  return us > 0 ? `${name} ${time(us)}` : "–";
}

function why(request) {
  const more = [];
  if (request.cause === "stall") more.push(`${time(request.stalled_us)} of it`);
  if (request.cause === "neighbour") more.push(`${time(request.neighbour_us)} for ${count(request.neighbour_bytes)} bytes`);
  return el("span", {}, request.why, more.length ? el("small", {}, more.join(", ")) : null);
}

function from(request) {
  return el("span", {}, request.stream || "–", request.peer ? el("small", {}, request.peer) : null);
}

function slow(now) {
  const rows = now.total.slowest.map((request) => [
    time(request.total_us + request.unseen_us), why(request), largest(request), from(request), count(request.events), count(request.bytes),
    request.status >= 400 ? marked(String(request.status), "bad") : String(request.status), String(request.shard), new Date(request.time_ms).toISOString().slice(11, 19)]);
  moreSlow.hidden = rows.length <= SLOW_SHOWN;
  moreSlow.textContent = allSlow ? "fewer" : `all ${rows.length}`;
  if (rows.length === 0) return el("p", { class: "quiet" }, "No request in the last minute.");
  return table(["time", "why", "longest part", "stream and peer", "events", "bytes", "status", "shard", "UTC"], allSlow ? rows : rows.slice(0, SLOW_SHOWN), ["", "text why", "text", "text"]);
}

function samples() {
  if (!refused) return el("p", { class: "quiet" }, "Not asked for yet.");
  if (refused.samples.length === 0) return el("p", { class: "quiet" }, "None were kept since the start.");
  return refused.samples.map((sample) => el("div", { class: "sample" }, el("b", {}, sample.reason), " ",
    el("span", {}, `event ${sample.index}, byte ${count(sample.offset)} of its body; ${count(sample.length)} bytes, shard ${sample.shard}, ${new Date(sample.time_ms).toISOString().slice(0, 19).replace("T", " ")} UTC`),
    el("pre", {}, sample.start + (sample.length > 200 ? " …" : ""))));
}

function show(now) {
  note(now);
  const put = (name, ...content) => parts[name].replaceChildren(...content.flat(Infinity).filter((node) => node));
  document.title = `${now.ready ? "" : "✗ "}ringmill`;
  page.classList.remove("away");
  put("title", el("h1", {}, "ringmill ", el("span", { class: "quiet" }, now.version)), el("p", { class: "sub" }, `${now.config.sink || ""} · ack ${now.config.ack || ""} · ${now.config.driver || ""} · ${now.config.listen || ""}`));
  put("banner", banner(now));
  parts.tiles.className = "tiles";
  put("tiles", tiles(now));
  put("rateLegend", legend(rateLines().map((line) => [line.name, line.color])));
  put("shards", shards(now));
  put("stages", stages(now));
  put("books", books(now));
  put("sink", sinkOf(now));
  put("slow", slow(now));
  put("settings", el("dl", {}, Object.entries(now.config).map(([key, value]) => [el("dt", {}, key), el("dd", {}, value)])));
  redraw();
}

function away(why) {
  page.classList.add("away");
  document.title = "✗ ringmill";
  const since = before ? " What stands below is old." : "";
  parts.banner.replaceChildren(el("div", { class: "verdict bad", role: "status" }, el("strong", {}, "The server does not answer"), `${why}; asked again every second.${since}`));
}

async function ask(what) {
  const reply = await fetch(what, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MAX_MS) });
  if (!reply.ok) throw new Error(`it said ${reply.status}`);
  return reply.json();
}

async function turn() {
  try {
    show(await ask("status"));
  } catch (error) {
    away(error.name === "TimeoutError" ? "no answer in time" : error.message);
  }
  setTimeout(turn, ASK_EVERY_MS);
}

async function turnSamples() {
  try {
    refused = await ask("quarantine");
    parts.refused.replaceChildren(...[samples()].flat());
  } catch (error) { /* the other question says it */ }
  setTimeout(turnSamples, SAMPLES_EVERY_MS);
}

const theme = el("button", { type: "button", title: "dark or light" }, "◐");
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  drawn.forEach((again) => again());
});

page.append(
  el("header", {}, parts.title, theme), parts.banner,
  el("div", { id: "figures" }, parts.tiles,
    card("Events a second", "", parts.rateLegend, rateChart),
    card("Where the time goes", "p99 of each stage of a request by itself, over the last five seconds. One request of sixteen is timed in the short stages.", legend(STAGES.map((name) => [name, COLORS[name]])), stageChart, parts.stages),
    card("Slowest requests of the last minute", "From the first byte seen to the reply taken by the kernel, with what it may have waited unseen before; slow peers fill at most a quarter of the list.", parts.slow, moreSlow),
    card("Shards", "", parts.shards),
    card("Books", "Every event received is accounted for.", parts.books),
    card("Sink and replies", "", parts.sink),
    card("Refused events", el("span", {}, "The start of a few of late. All of them, in full: ", el("code", {}, "ringmill segments cat --quarantine DIR")), parts.refused),
    card("Settings", el("span", {}, "The same figures as ", el("a", { href: "status" }, "JSON"), " and for ", el("a", { href: "metrics" }, "Prometheus"), "."), parts.settings)));
turn();
turnSamples();
