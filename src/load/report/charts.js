"use strict";
// What the report and the live page draw with: cards, tables, and charts as plain SVG (one function for axes and lines,
// one for the heat strip). Nothing is fetched, and every text that comes from outside goes through textContent.
const SVG = "http://www.w3.org/2000/svg";

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== "") node.append(child);
  }
  return node;
}

function digits3(value) {
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

// Microseconds for people.
function time(us) {
  if (us === null || us === undefined) return "–";
  if (us < 0.9995) return (us * 1000).toFixed(0) + " ns";
  if (us < 999.5) return digits3(us) + " µs";
  if (us < 999500) return digits3(us / 1e3) + " ms";
  return digits3(us / 1e6) + " s";
}

// The same for an axis: 1 ms, not 1.00 ms.
function axisTime(us) {
  const [value, unit] = us < 1 ? [us * 1e3, "ns"] : us < 1e3 ? [us, "µs"] : us < 1e6 ? [us / 1e3, "ms"] : [us / 1e6, "s"];
  return parseFloat(value.toPrecision(3)) + " " + unit;
}

function count(n) {
  return Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function rate(perS) {
  if (perS === null || perS === undefined) return "–";
  if (perS < 9.995) return perS.toFixed(2) + "/s";
  if (perS < 999.5) return perS.toFixed(0) + "/s";
  if (perS < 999500) return digits3(perS / 1e3) + " k/s";
  return digits3(perS / 1e6) + " M/s";
}

function axisRate(perS) {
  const [value, unit] = perS < 1e3 ? [perS, ""] : perS < 1e6 ? [perS / 1e3, "k"] : [perS / 1e6, "M"];
  return parseFloat(value.toPrecision(3)) + unit;
}

function share(part) {
  const percent = part * 100;
  return percent <= 0 ? "0 %" : percent < 0.01 ? "<0.01 %" : percent < 1 ? percent.toFixed(2) + " %" : percent.toFixed(1) + " %";
}

function clock(s) {
  s = Math.round(s);
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return s + " s";
  return s < 3600 ? Math.floor(s / 60) + ":" + two(s % 60) : Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
}

// The pieces of a page. A card without content is none.
function card(title, words, ...content) {
  const shown = content.flat().filter((node) => node);
  if (shown.length === 0) return null;
  return el("section", {}, el("h2", {}, title), words ? el("p", {}, words) : null, ...shown);
}

function legend(items) {
  return el("div", { class: "legend" }, items.map(([name, color, kind]) =>
    el("span", {}, el("i", { class: kind || "", style: `color:var(${color})` }), name)));
}

function table(heads, rows, kinds) {
  const cell = (tag, value, at) => {
    const node = value instanceof Node ? value : document.createTextNode(value === null || value === undefined ? "–" : String(value));
    return el(tag, { class: (kinds || [])[at] }, node);
  };
  return el("div", { class: "wide" }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head, at) => cell("th", head, at)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, at) => cell("td", value, at)))))));
}

function marked(text, kind) { return el("span", { class: kind }, text); }

function tile(name, shown, more, bad) {
  return el("div", { class: bad ? "tile bad" : "tile" }, el("div", { class: "name" }, name), el("div", { class: "value" }, shown), more ? el("div", { class: "more" }, more) : null);
}

function themeButton() {
  const button = el("button", { type: "button", title: "dark or light" }, "◐");
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    drawn.forEach((again) => again());
  });
  return button;
}

// Scales: a function from value to 0..1, with the ticks to draw.
function logScale(min, max, format) {
  const low = Math.log10(min), high = Math.max(Math.log10(max), low + 0.3);
  const ticks = [];
  const steps = high - low > 3.4 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  for (let decade = Math.floor(low); decade <= Math.ceil(high); decade++) {
    for (const step of steps) {
      const value = step * Math.pow(10, decade);
      if (Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9) ticks.push(value);
    }
  }
  const at = (value) => (Math.log10(Math.max(value, Math.pow(10, low))) - low) / (high - low);
  return { at, back: (t) => Math.pow(10, low + t * (high - low)), ticks, format };
}

function linearScale(min, max, format, wanted, steps) {
  const span = Math.max(max - min, 1e-9), rough = span / (wanted || 5);
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = steps ? steps.find((s) => s >= rough) || steps[steps.length - 1] : [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough - 1e-9);
  const ticks = [];
  for (let value = Math.ceil(min / step - 1e-9) * step; value <= max + span * 1e-6; value += step) ticks.push(value);
  return { at: (value) => (value - min) / span, back: (t) => min + t * span, ticks, format };
}

const CLOCK_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
const timeScale = (min, max, width) => linearScale(min, max, clock, Math.max(2, width / 110), CLOCK_STEPS);

// Keeps every chart as wide as its place.
const drawn = [];
function responsive(draw) {
  const box = el("div", { class: "chart" });
  let width = 0;
  const again = () => {
    if (box.clientWidth > 0) {
      width = box.clientWidth;
      box.replaceChildren();
      draw(box, width);
    }
  };
  drawn.push(again);
  // Drawing within the notification could change sizes again, which browsers report as an error.
  new ResizeObserver(() => box.clientWidth !== width && requestAnimationFrame(again)).observe(box);
  return box;
}

const MARGIN = { left: 58, right: 14, top: 18, bottom: 26 };

// A chart of lines. `spec(width)` gives {height, x, y, lines, faults, goal, refused, title, xTitle}; a line is
// {name, color, points: [[x, y, low, high]…], dots, band, format}. A null y is a gap, not a zero.
function lineChart(spec) {
  return responsive((box, width) => {
    const s = spec(width), inner = { w: width - MARGIN.left - MARGIN.right, h: s.height - MARGIN.top - MARGIN.bottom };
    const X = (value) => MARGIN.left + s.x.at(value) * inner.w;
    const Y = (value) => MARGIN.top + (1 - s.y.at(value)) * inner.h;
    const root = svg("svg", { viewBox: `0 0 ${width} ${s.height}`, height: s.height, role: "img", "aria-label": s.label || s.title });
    axes(root, s, X, Y, inner);
    faults(root, s, X, inner, width);
    if (s.refused !== undefined && s.refused !== null && s.x.at(s.refused) < 0.999) {
      root.append(svg("rect", { class: "refused", x: X(s.refused), y: MARGIN.top, width: MARGIN.left + inner.w - X(s.refused), height: inner.h }));
    }
    if (s.goal) {
      root.append(svg("line", { class: "goal", x1: MARGIN.left, x2: MARGIN.left + inner.w, y1: Y(s.goal.at), y2: Y(s.goal.at) }));
      root.append(svg("text", { x: MARGIN.left + 6, y: Y(s.goal.at) - 5 }, s.goal.name));
    }
    for (const line of s.lines.filter((l) => !l.top).concat(s.lines.filter((l) => l.top))) drawLine(root, line, X, Y);
    box.append(root);
    if (s.tip !== false) tooltip(box, root, s, X, inner);
  });
}

function axes(root, s, X, Y, inner) {
  for (const tick of s.y.ticks) {
    root.append(svg("line", { class: "gridline", x1: MARGIN.left, x2: MARGIN.left + inner.w, y1: Y(tick), y2: Y(tick) }));
    root.append(svg("text", { x: MARGIN.left - 8, y: Y(tick) + 4, "text-anchor": "end" }, s.y.format(tick)));
  }
  const bottom = MARGIN.top + inner.h;
  root.append(svg("line", { class: "axis", x1: MARGIN.left, x2: MARGIN.left + inner.w, y1: bottom, y2: bottom }));
  let taken = -Infinity;
  for (const tick of s.x.ticks) {
    root.append(svg("line", { class: "axis", x1: X(tick), x2: X(tick), y1: bottom, y2: bottom + 4 }));
    const end = s.x.at(tick) > 0.97, name = s.x.format(tick), wide = name.length * 7;
    const left = end ? X(tick) + 6 - wide : X(tick) - wide / 2;
    if (left < taken) continue;
    taken = left + wide + 6;
    root.append(svg("text", { x: X(tick) + (end ? 6 : 0), y: bottom + 17, "text-anchor": end ? "end" : "middle" }, name));
  }
  if (s.title) root.append(svg("text", { class: "title", x: 0, y: 10 }, s.title));
  if (s.xTitle) root.append(svg("text", { class: "title", x: MARGIN.left + inner.w, y: 10, "text-anchor": "end" }, s.xTitle));
}

function faults(root, s, X, inner, width) {
  (s.faults || []).forEach((fault, index) => {
    if (fault.failed) return;
    const from = X(fault.at_s), to = X(fault.at_s + fault.for_s);
    root.append(svg("rect", { class: "fault", x: from, y: MARGIN.top, width: Math.max(to - from, 0), height: inner.h }));
    root.append(svg("line", { class: "faultline", x1: from, x2: from, y1: MARGIN.top - 2, y2: MARGIN.top + inner.h }));
    if (s.nameFaults) {
      const left = from > width * 0.75;
      root.append(svg("text", { class: "faultname", x: from + (left ? -4 : 4), y: MARGIN.top + 9 + (index % 3) * 13, "text-anchor": left ? "end" : "start" }, width < 520 ? String(index + 1) : fault.what));
    }
  });
}

function drawLine(root, line, X, Y) {
  const known = line.points.filter((p) => p[1] !== null && p[1] !== undefined);
  if (line.band) {
    const banded = known.filter((p) => p[2] !== null && p[3] !== null && p[2] !== undefined);
    if (banded.length > 1) {
      const up = banded.map((p) => `${X(p[0]).toFixed(1)},${Y(p[3]).toFixed(1)}`);
      const down = banded.map((p) => `${X(p[0]).toFixed(1)},${Y(p[2]).toFixed(1)}`).reverse();
      root.append(svg("polygon", { points: up.concat(down).join(" "), fill: `var(${line.color})`, opacity: 0.18 }));
    }
  }
  if (line.errors) {
    for (const p of known) {
      if (p[2] === null || p[3] === null) continue;
      root.append(svg("path", { d: `M${X(p[0])},${Y(p[2])}V${Y(p[3])}M${X(p[0]) - 3},${Y(p[2])}h6M${X(p[0]) - 3},${Y(p[3])}h6`, stroke: `var(${line.color})`, fill: "none" }));
    }
  }
  let path = "", pen = false;
  for (const p of line.points) {
    if (p[1] === null || p[1] === undefined) { pen = false; continue; }
    path += `${pen ? "L" : "M"}${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`;
    pen = true;
  }
  root.append(svg("path", { d: path || "M0,0", fill: "none", stroke: `var(${line.color})`, "stroke-width": line.width || 1.75, "stroke-linejoin": "round", "stroke-linecap": "round", "stroke-dasharray": line.dash }));
  if (line.dots || known.length === 1) {
    for (const p of known) {
      root.append(svg("circle", { cx: X(p[0]), cy: Y(p[1]), r: 3.5, fill: p[4] === false ? "var(--card)" : `var(${line.color})`, stroke: `var(${line.color})`, "stroke-width": 1.5 }));
    }
  }
}

function nearest(points, x) {
  let best = null, distance = Infinity;
  for (const p of points) {
    const d = Math.abs(p[0] - x);
    if (d < distance) { distance = d; best = p; }
  }
  return best;
}

function tooltip(box, root, s, X, inner) {
  const cross = svg("line", { class: "cross", y1: MARGIN.top, y2: MARGIN.top + inner.h, visibility: "hidden" });
  const tip = el("div", { class: "tip", hidden: "" });
  root.append(cross);
  box.append(tip);
  const hide = () => { tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
  const show = (event) => {
    const frame = root.getBoundingClientRect(), t = (event.clientX - frame.left - MARGIN.left) / inner.w;
    if (t < -0.02 || t > 1.02) return hide();
    const at = s.x.back(Math.min(Math.max(t, 0), 1));
    const guide = nearest(s.lines.flatMap((line) => line.points.filter((p) => p[1] !== null && p[1] !== undefined)), at);
    if (!guide) return hide();
    cross.setAttribute("x1", X(guide[0])); cross.setAttribute("x2", X(guide[0])); cross.setAttribute("visibility", "visible");
    const rows = s.lines.map((line) => {
      const p = nearest(line.points, guide[0]);
      if (!p || p[0] !== guide[0] || p[1] === null || p[1] === undefined) return null;
      const format = line.format || s.y.format;
      const interval = p[2] !== null && p[2] !== undefined && p[3] !== null ? ` (${format(p[2])} – ${format(p[3])})` : "";
      return el("div", {}, el("span", {}, line.name), el("span", {}, format(p[1]) + interval));
    });
    tip.replaceChildren(el("b", {}, (s.tipX || s.x.format)(guide[0])), ...rows.filter((row) => row));
    tip.hidden = false;
    const left = X(guide[0]) + 12, room = box.clientWidth - tip.offsetWidth;
    tip.style.left = Math.max(0, Math.min(left > room ? X(guide[0]) - tip.offsetWidth - 12 : left, room)) + "px";
    tip.style.top = MARGIN.top + "px";
  };
  root.addEventListener("pointermove", show);
  root.addEventListener("pointerdown", show);
  root.addEventListener("pointerleave", hide);
}

// Every reply of the run: time across, latency up, stronger where there were more. Counts are shown by their logarithm,
// so a single slow reply is seen beside a million quick ones.
function heatStrip(bands, seconds, x0, x1) {
  let first = bands.floor_us.length, last = 0, most = 1;
  for (const column of bands.counts) {
    column.forEach((n, band) => { if (n > 0) { first = Math.min(first, band); last = Math.max(last, band); most = Math.max(most, n); } });
  }
  if (first > last) return null;
  return responsive((box, width) => {
    const rows = last - first + 1, rowHeight = Math.max(6, Math.min(12, Math.floor(170 / rows)));
    const height = MARGIN.top + rows * rowHeight + MARGIN.bottom;
    const y = logScale(bands.floor_us[first], bands.floor_us[last] * Math.pow(10, 0.25), axisTime);
    const x = timeScale(x0, x1, width), inner = { w: width - MARGIN.left - MARGIN.right, h: rows * rowHeight };
    const X = (v) => MARGIN.left + x.at(v) * inner.w, Y = (v) => MARGIN.top + (1 - y.at(v)) * inner.h;
    const canvas = el("canvas", { "aria-hidden": "true" }), scale = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(inner.w * scale)); canvas.height = Math.max(1, Math.round(inner.h * scale));
    canvas.style.cssText = `position:absolute;left:${MARGIN.left}px;top:${MARGIN.top}px;width:${inner.w}px;height:${inner.h}px`;
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const from = style.getPropertyValue("--heat0").split(",").map(Number), to = style.getPropertyValue("--heat1").split(",").map(Number);
    bands.counts.forEach((column, index) => {
      // Whole pixels of the device: neighbours that share a blended one show a seam.
      const second = seconds[index], place = (t) => Math.round(x.at(t) * canvas.width);
      const left = place(second.at_s), right = Math.max(place(second.at_s + second.span_s), left + 1);
      column.forEach((n, band) => {
        if (n === 0 || band < first) return;
        const t = 0.18 + 0.82 * Math.log(1 + n) / Math.log(1 + most);
        pen.fillStyle = `rgb(${from.map((c, i) => Math.round(c + (to[i] - c) * t)).join(",")})`;
        const top = Math.round((rows - 1 - band + first) / rows * canvas.height), below = Math.round((rows - band + first) / rows * canvas.height);
        pen.fillRect(left, top, right - left, below - top);
      });
    });
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "Replies by latency over time" });
    axes(root, { x, y, title: "every reply, stronger is more" }, X, Y, inner);
    box.append(root, canvas);
  });
}
