"""Better, worse or not told apart: two sets of results, or two servers of one run.

Figures of two runs lie apart in time, and so does the machine. Each is therefore divided by the figure of the
suite's reference in the same round, if both runs have it; only then are rounds paired. Two servers of one run
were measured in the same round and are compared as they are.
"""
import glob
import os

from .results import Unreadable
from .results import read as read_file
from .statistic import ratio

# Figure: whether more is better.
FIGURES = {"rps": True, "events": True, "cpu_us": False, "p50": False, "p99": False, "p999": False}
BETTER, WORSE, EQUAL = "better", "worse", "not told apart"


def read(selector):
    """(results of all files in order, arm or None) of `FILE|FOLDER[,…][#ARM]`."""
    paths, _, arm = selector.partition("#")
    found = []
    for path in paths.split(","):
        files = sorted(glob.glob(os.path.join(path, "*.json") if os.path.isdir(path) else path))
        if not files:
            raise Unreadable("%s: no result there" % path)
        for file in files:
            found += read_file(file)["results"]
    return found, arm or None


def rounds_of(results):
    """{label: (reference, [round {arm: sample}])}; runs of the same suite follow each other."""
    suites = {}
    for r in results:
        if "rounds" not in r:
            continue
        reference, rounds = suites.setdefault(r["label"], (r["ref"], []))
        count = max((len(samples) for samples in r["rounds"].values()), default=0)
        rounds += [{arm: samples[n] for arm, samples in r["rounds"].items() if n < len(samples) and samples[n]}
                   for n in range(count)]
    return suites


def figure_of(round_, arm, reference, figure):
    """The figure, in units of the reference's if there is one; None when it is missing or a side was disturbed."""
    names = [arm] + ([reference] if reference else [])
    samples = [round_.get(name) for name in names]
    if any(s is None or s.get("dirty") or not s.get(figure) for s in samples):
        return None
    return samples[0][figure] / (samples[1][figure] if reference else 1)


def paired(before, after, pick_a, pick_b):
    """Pairs of the rounds in which both have a figure."""
    pairs = ((pick_a(x), pick_b(y)) for x, y in zip(before, after))
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def says(row, more_is_better, least):
    """One of three words. A difference below `least` is not worth telling apart."""
    if row["low"] is None or row["low"] <= 1 <= row["high"] or abs(row["ratio"] - 1) < least:
        return EQUAL
    return BETTER if (row["ratio"] > 1) == more_is_better else WORSE


def compare(a, b, confidence=0.95, least=0.03):
    """[{label, arm, figure, unit, ratio, low, high, n, says}] of B against A; each is (results, arm or None)."""
    (results_a, arm_a), (results_b, arm_b) = a, b
    suites_a, suites_b, rows = rounds_of(results_a), rounds_of(results_b), []
    for label in (name for name in suites_a if name in suites_b):
        (ref, rounds_a), (ref_b, rounds_b) = suites_a[label], suites_b[label]
        has = lambda rounds, arm: any(arm in r for r in rounds)
        arms = dict.fromkeys(name for r in rounds_a for name in r)
        for arm in [arm_a] if arm_a else [n for n in arms if arm_b or has(rounds_b, n)]:
            other, same = arm_b or arm, results_a == results_b
            if not has(rounds_a, arm) or not has(rounds_b, other) or (same and arm == other):
                continue
            by = None if same or ref != ref_b or ref in (arm, other) else ref
            by = by if has(rounds_a, by) and has(rounds_b, by) else None
            for figure, more_is_better in FIGURES.items():
                pairs = paired(rounds_a, rounds_b, lambda r: figure_of(r, arm, by, figure),
                               lambda r: figure_of(r, other, by, figure))
                if pairs:
                    row = ratio(pairs, confidence)
                    rows.append({"label": label, "arm": arm if arm == other else "%s → %s" % (arm, other),
                                 "figure": figure, "unit": by or ("same round" if same else "absolute"), **row,
                                 "says": says(row, more_is_better, least)})
    return rows


def table(rows, confidence):
    out = ["| suite | server | figure | in units of | B / A | %g %% interval | rounds | B is |" % (100 * confidence), "|-|-|-|-|-|-|-|-|"]
    for r in rows:
        interval = "%.3f–%.3f" % (r["low"], r["high"]) if r["low"] is not None else "too few rounds"
        said = r["says"] if r["says"] == EQUAL else "**%s**" % r["says"]
        out.append("| %s | %s | %s | %s | %.3f | %s | %d | %s |" % (
            r["label"], r["arm"], r["figure"], r["unit"], r["ratio"], interval, r["n"], said))
    return "\n".join(out)
