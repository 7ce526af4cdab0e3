"""Figures as SVG: bars, dots on a logarithmic scale, lines. No script, no font, no network; dark where the page is.

Colours are for eyes that tell them apart badly too, and each series carries its name.
"""
import math
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, ROW = 760, 190, 90, 30
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#8a5bc7", "#b8860b", "#444b54")
STYLE = ("<style>text{font:13px system-ui,sans-serif;fill:#1b1f24}.t{font-weight:600;font-size:15px}.m{fill:#59636e}"
         ".g{stroke:#d1d9e0}.w{stroke:#1b1f24;stroke-width:1.5}@media(prefers-color-scheme:dark){text{fill:#e6edf3}"
         ".m{fill:#9198a1}.g{stroke:#3d444d}.w{stroke:#e6edf3}}</style>")


def figure(title, height, parts):
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">\n%s\n'
            '%s\n%s\n</svg>\n' % (WIDTH, height, WIDTH, height, escape(title, {'"': "&quot;"}), STYLE, words(12, 22, title, "t"), "\n".join(parts)))


def words(x, y, what, css="", anchor="start"):
    return '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (x, y, css, anchor, escape(what))


def line(x1, y1, x2, y2, css="g"):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>' % (x1, y1, x2, y2, css)


def short(value):
    """A number as one reads it at a glance."""
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return "%.3g %s" % (value / bound, unit)
    return "%.3g" % value


def steps(high, count=5):
    """Round values from 0 to at least `high`."""
    if high <= 0:
        return [0.0, 1.0]
    rough = high / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    return [i * step for i in range(math.ceil(high / step - 1e-9) + 1)]


def legend(names, y):
    parts, x = [], LEFT
    for i, name in enumerate(names):
        parts += ['<circle cx="%d" cy="%d" r="5" fill="%s"/>' % (x, y - 4, COLOURS[i % len(COLOURS)]), words(x + 10, y, name)]
        x += 30 + 8 * len(name)
    return parts


def bars(title, unit, rows):
    """`rows`: (name, value, low, high); the whisker goes from low to high."""
    ticks = steps(max([r[3] for r in rows], default=1))
    at = lambda v: LEFT + (WIDTH - LEFT - RIGHT) * v / ticks[-1]
    bottom, parts = 44 + ROW * len(rows), []
    for tick in ticks:
        parts += [line(at(tick), 38, at(tick), bottom), words(at(tick), bottom + 16, short(tick), "m", "middle")]
    for i, (name, value, low, high) in enumerate(rows):
        y = 44 + ROW * i
        colour = COLOURS[0] if name.startswith("ringmill") else COLOURS[5]
        parts += [words(LEFT - 8, y + 17, name, "", "end"),
                  '<rect x="%d" y="%d" width="%.1f" height="20" fill="%s" opacity="0.8"/>' % (LEFT, y + 2, at(value) - LEFT, colour),
                  line(at(low), y + 12, at(high), y + 12, "w"), words(at(high) + 6, y + 17, short(value))]
    return figure(title, bottom + 40, [*parts, words(WIDTH - 12, bottom + 34, unit, "m", "end")])


def dots(title, unit, series, rows):
    """`rows`: (name, [value or None for each of `series`]), on a logarithmic scale."""
    known = [v for _, values in rows for v in values if v]
    low = math.floor(math.log10(min(known, default=1)))
    high = max(math.ceil(math.log10(max(known, default=10)) - 1e-9), low + 1)
    at = lambda v: LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(v) - low) / (high - low)
    bottom, parts = 64 + ROW * len(rows), legend(series, 44)
    for power in range(low, high + 1):
        parts += [line(at(10.0 ** power), 56, at(10.0 ** power), bottom),
                  words(at(10.0 ** power), bottom + 16, short(10.0 ** power), "m", "middle")]
    for i, (name, values) in enumerate(rows):
        y = 64 + ROW * i + 12
        parts += [words(LEFT - 8, y + 5, name, "", "end"), line(LEFT, y, WIDTH - RIGHT, y)]
        parts += ['<circle cx="%.1f" cy="%d" r="6" fill="%s"><title>%s %s: %s</title></circle>' % (
            at(v), y, COLOURS[j % len(COLOURS)], escape(name), escape(series[j]), short(v)) for j, v in enumerate(values) if v]
    return figure(title, bottom + 40, [*parts, words(WIDTH - 12, bottom + 34, unit, "m", "end")])


def lines(title, unit_x, unit_y, series, marks=()):
    """`series`: (name, [(x, y)]); `marks`: (name, y) are drawn across."""
    top, height = 60, 240
    xs = steps(max((x for _, points in series for x, _ in points), default=1))
    ys = steps(max([y for _, points in series for _, y in points] + [y for _, y in marks], default=1))
    right = WIDTH - RIGHT
    at_x = lambda v: 70 + (right - 70) * v / xs[-1]
    at_y = lambda v: top + height - height * v / ys[-1]
    parts = legend([name for name, _ in series], 44)
    for tick in xs:
        parts += [words(at_x(tick), top + height + 18, short(tick), "m", "middle")]
    for tick in ys:
        parts += [line(70, at_y(tick), right, at_y(tick)), words(64, at_y(tick) + 4, short(tick), "m", "end")]
    for name, y in marks:
        parts += [line(70, at_y(y), right, at_y(y), "w"), words(right + 4, at_y(y) + 4, name)]
    for i, (_, points) in enumerate(series):
        path = " ".join("%.1f,%.1f" % (at_x(x), at_y(y)) for x, y in points)
        parts += ['<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (path, COLOURS[i % len(COLOURS)])]
    parts += [words(right, top + height + 36, unit_x, "m", "end"), words(WIDTH - 12, 22, unit_y, "m", "end")]
    return figure(title, top + height + 46, parts)
