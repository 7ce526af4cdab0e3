"""Reads what Valgrind writes, and sets counts against a baseline: pure functions.

A measurement is {stage: {"unit", "instructions", "allocations", "copied", "functions"}}, all figures a unit
(request, event, …) but "unit", a word. "functions" holds the instructions of each function that has a share worth
naming; what the compiler inlined counts where it went.
"""
import re

# Instructions may grow by this before it fails; allocations and copied bytes by nothing at all.
LIMIT = 0.02
# Functions below this share of their stage are not kept in the baseline.
SHARE_MIN = 0.01

_COST = re.compile(r"(\S+) (\d+)$")
_NAME = re.compile(r"\((\d+)\)(?: (.*))?$")
# What differs from build to build, and the mark of a recursion.
_HASH = re.compile(r"::h[0-9a-f]{16}|\[[0-9a-f]{8,16}\]|'\d+$")


def parse(text):
    """(all instructions, {function: its own instructions}) of a callgrind.out file."""
    names, own, current, skip, total = {}, {}, None, False, None
    for line in text.splitlines():
        if line.startswith("fn="):
            number, name = _NAME.match(line[3:]).groups()
            if name is not None:
                names[number] = plain_name(name)
            current = names[number]
        elif line.startswith("cfn="):
            # Names are given where they first occur, callees too.
            number, name = _NAME.match(line[4:]).groups()
            if name is not None:
                names[number] = plain_name(name)
        elif line.startswith("calls="):
            skip = True
        elif line.startswith(("summary:", "totals:")):
            total = int(line.split(":")[1].split()[0])
        elif current is not None:
            cost = _COST.match(line)
            if cost and not skip:
                own[current] = own.get(current, 0) + int(cost[2])
            if cost:
                # The line behind `calls=` is the callee's, counted there.
                skip = False
    if total is None:
        raise ValueError("no totals: the program ended before Valgrind could write them")
    return total, own


def plain_name(name):
    """Without the compiler's hashes."""
    return _HASH.sub("", name)


def copied(text):
    """Bytes that `dhat --mode=copy` counted."""
    found = re.search(r"Total:\s+([\d,]+) bytes", text)
    if not found:
        raise ValueError("no total in what DHAT printed: %s" % text[-300:])
    return int(found[1].replace(",", ""))


def per_unit(total, own, units, share_min=SHARE_MIN):
    """The stage's figures a unit, functions without those that hardly count."""
    kept = {name: count for name, count in own.items() if count >= share_min * total}
    order = sorted(kept, key=lambda name: (-kept[name], name))
    return {"instructions": round(total / units, 1), "functions": {name: round(kept[name] / units, 1) for name in order}}


class Finding:
    """What one figure of one stage came to. `kind` is "fails", "gain", "new" or "gone"."""

    def __init__(self, kind, stage, text):
        self.kind, self.stage, self.text = kind, stage, text

    def __repr__(self):
        return "%s %s: %s" % (self.kind, self.stage, self.text)


def compare(before, now, limit=LIMIT):
    """Findings of `now` against `before`; what stayed within the limit makes none."""
    findings = []
    for stage in [*before, *(s for s in now if s not in before)]:
        if stage not in now:
            findings.append(Finding("gone", stage, "is no longer measured"))
        elif stage not in before:
            findings.append(Finding("new", stage, "is not in the baseline"))
        else:
            findings += _stage(stage, before[stage], now[stage], limit)
    return findings


def _stage(stage, before, now, limit):
    findings = []
    unit = now["unit"]
    a, b = before["instructions"], now["instructions"]
    if b > a * (1 + limit):
        text = "%s → %s instructions per %s, %+.1f %% (limit %+.0f %%)" % (show(a), show(b), unit, 100 * (b / a - 1), 100 * limit)
        where = grown(before.get("functions", {}), now.get("functions", {}))
        if where:
            text += "; most of it in " + ", ".join("%s (%s)" % (name, show(more, "+")) for name, more in where)
        findings.append(Finding("fails", stage, text))
    elif b < a * (1 - limit):
        findings.append(Finding("gain", stage, "%s → %s instructions per %s, %+.1f %%" % (show(a), show(b), unit, 100 * (b / a - 1))))
    for key, what in (("allocations", "allocations"), ("copied", "bytes copied")):
        a, b = before.get(key), now.get(key)
        if a is not None and b is not None and b != a:
            text = "%s → %s %s per %s%s" % (show(a), show(b), what, unit, " (nothing more is allowed)" if b > a else "")
            findings.append(Finding("fails" if b > a else "gain", stage, text))
    return findings


def grown(before, now, most=3):
    """[(function, instructions more)] of those that grew most; a function moved or renamed shows on both sides."""
    more = {name: count - before.get(name, 0) for name, count in now.items()}
    order = sorted((name for name in more if more[name] > 0), key=lambda name: (-more[name], name))
    return [(name, more[name]) for name in order[:most]]


def show(number, sign=""):
    """12,345 or, below 100, 1.23."""
    text = "{:,.0f}".format(number) if abs(number) >= 100 or number == int(number) else "{:,.2f}".format(number)
    return sign + text if number >= 0 else text


def table(before, now):
    """Markdown of both, a row a stage."""
    rows = ["| stage | a | instructions | baseline | change | allocations | bytes copied |", "|-|-|-:|-:|-:|-:|-:|"]
    for stage, figures in now.items():
        old = before.get(stage, {}).get("instructions")
        rows.append("| %s | %s | %s | %s | %s | %s | %s |" % (
            stage, figures["unit"], show(figures["instructions"]), show(old) if old else "–",
            "%+.2f %%" % (100 * (figures["instructions"] / old - 1)) if old else "–", show(figures["allocations"]),
            show(figures["copied"]) if figures.get("copied") is not None else "–"))
    return "\n".join(rows)
