"""The second write-up's run: a fifth of the requests malformed, CPU taken away, its service and ours side by side.

First each server's highest sustainable rate is sought, under the same conditions. Then both run, in turns, at the
rate that the old one just holds, and at the one that the new one just holds. Of each run: latency by class,
replies that were not what the class calls for, how memory grows.
"""
import random
import statistics
import sys
import tempfile
import time

from . import generators
from .machine import wait_quiet
from .processes import rss_series, slope
from .sampling import mark_disturbance
from .servers import ringmill, yardstick
from .suites import JSON
from .throttle import throttle

# The rate that the second write-up names; what this machine holds is put beside it.
NAMED_RATE = 220_000
MALFORMED = 0.2
# Some requests have a body that never comes, and a service may wait for it: their clients lose patience, so that
# they hold none of the others' connections for long.
PATIENCE = "500ms"
# Of the highest rate that short runs held, what both are measured at, so that chance does not decide whether a
# queue grows.
SHARE_OF_HIGHEST = 0.8
OLD, NEW = "seed", "ringmill"
# A rate holds when nearly all of it was answered, and valid events not later than this.
ANSWERED_MIN, HELD_P99_US = 0.99, 50_000
BISECTIONS = 4
# Growth of memory over a run, a second, that still counts as none.
SLOPE_MAX_KB_PER_S = 64
PERCENTILES = ("p50", "p90", "p99", "p999")


def arms(a):
    found = [*yardstick("seed", label=OLD), ringmill(a, name=NEW)]
    if len(found) < 2:
        sys.exit("the old service is missing: build it by `benches/run build`")
    return found


def one_run(a, arm, rate, seconds):
    """A fresh server at one rate; None when the generator failed."""
    wait_quiet(a.watch, a.quiet)
    load = {"per": 1, "ctype": JSON, "conns": a.chaos_connections, "rate": rate, "file": a.spoiled}
    if a.generator == "load":
        load.update(malformed=MALFORMED, payload="mix", timeout=PATIENCE)
    cores = len(a.server_cpu_list)
    with tempfile.TemporaryDirectory(prefix="ringmill-bench-", dir=a.data) as scratch, \
            throttle(a.chaos_throttle, cores) as group:
        server = arm.start(a, scratch)
        group.add(server.pid)
        before, series = group.counts(), rss_series(server.pid)
        try:
            d = generators.generate(a, server, load, seconds)
        finally:
            rss, after = series.stop(), group.counts()
            code = server.stop()
    if d is None:
        return None
    mark_disturbance(d)
    trend = slope(rss)
    d.update(exit=code if arm.ready else None, rss_kb=rss, slope_kb_per_s=trend and trend[0],
             throttled={key: after[key] - before[key] for key in after}, classes=by_class(d))
    return d


def by_class(d):
    """{class: {p50, p99, p999, sent, unexpected}}; a generator that tells no classes apart gives one."""
    classes = d.get("load", {}).get("classes") or {"all": {**d, "unexpected": None}}
    pick = lambda c: {**{q: c.get("latency_us", c).get(q) for q in PERCENTILES}, "sent": c.get("sent"), "unexpected": c.get("unexpected")}
    return {name: pick(c) for name, c in classes.items()}


def valid(d):
    return d["classes"].get("valid") or d["classes"]["all"]


def settled(d):
    """Requests a second that came to their end."""
    return d.get("settled_per_s", d["rps"])


def holds(d, rate):
    """Whether a run's server kept up with the rate offered to it. Where a short run cannot bear p99, p90 must do."""
    if d is None or settled(d) < ANSWERED_MIN * rate:
        return False
    late = valid(d)["p99"] or valid(d).get("p90")
    return late is not None and late <= HELD_P99_US


def highest(held, start):
    """The highest rate that holds: up by half each time, then bisected. `held(rate)` says whether one does."""
    low, high = 0.0, start
    while held(high):
        low, high = high, high * 1.5
    while low == 0.0:
        high /= 2
        if high < start / 64:
            return 0.0
        if held(high):
            low, high = high, high * 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if held(middle) else (low, middle)
    return low


def twice(attempt, tries):
    """Whether one of the attempts holds. A failure may be the machine's, so only two of undisturbed runs decide."""
    failures = 0
    for _ in range(tries + 1):
        held, disturbed = attempt()
        if held:
            return True
        failures += not disturbed
        if failures == 2:
            break
    return False


def sought(a, arm):
    """(highest rate, every probe)"""
    probes = []

    def attempt(rate):
        d = one_run(a, arm, rate, a.chaos_probe_secs)
        held, disturbed = holds(d, rate), d is not None and d["dirty"]
        probes.append({"rate": rate, "held": held, "dirty": disturbed, "per_s": d and settled(d), "p99": d and valid(d)["p99"]})
        print("  %s at %.0f/s: %s%s" % (arm.name, rate, "held" if held else "not held", ", disturbed" if disturbed else ""),
              file=sys.stderr, flush=True)
        return held, disturbed

    return highest(lambda rate: twice(lambda: attempt(rate), a.tries), a.chaos_start), probes


def run(a):
    label = "chaos: %g %% malformed, %g %% of the CPU taken away" % (100 * MALFORMED, 100 * a.chaos_throttle)
    print("\n## %s" % label, flush=True)
    found = arms(a)
    rates = {arm.name: sought(a, arm) for arm in found}
    result = {"label": label, "chaos": True, "named_rate": NAMED_RATE, "malformed": MALFORMED,
              "throttle": a.chaos_throttle, "connections": a.chaos_connections, "secs": a.chaos_secs,
              "commands": {arm.name: arm.shown() for arm in found},
              "highest": {name: rate for name, (rate, _) in rates.items()},
              "probes": {name: probes for name, (_, probes) in rates.items()}, "at": []}
    for of in (OLD, NEW):
        rate = round(SHARE_OF_HIGHEST * result["highest"][of])
        if rate:
            result["at"].append({"rate": rate, "highest_of": of, "rounds": rounds(a, found, rate)})
    result["verdict"] = verdict(result)
    return result


def rounds(a, found, rate):
    rows = {arm.name: [] for arm in found}
    for n in range(a.chaos_rounds):
        order = found[:]
        random.shuffle(order)
        for arm in order:
            rows[arm.name].append(one_run(a, arm, rate, a.chaos_secs))
        print("  %d/s: round %d of %d, %s" % (rate, n + 1, a.chaos_rounds, time.strftime("%H:%M:%S")), file=sys.stderr, flush=True)
    return rows


def medians(samples):
    """{class: {p50, p99, p999, unexpected share}} as medians over the rounds that could say."""
    found = [d for d in samples if d]
    names = list(dict.fromkeys(name for d in found for name in d["classes"]))
    middle = lambda values: statistics.median(known) if (known := [v for v in values if v is not None]) else None
    of = lambda name: [d["classes"][name] for d in found if name in d["classes"]]
    share = lambda c: c["unexpected"] / c["sent"] if c["sent"] and c["unexpected"] is not None else None
    return {name: {**{q: middle(c.get(q) for c in of(name)) for q in PERCENTILES},
                   "unexpected": middle(share(c) for c in of(name))} for name in names}


def memory_slope(samples):
    known = [d["slope_kb_per_s"] for d in samples if d and d["slope_kb_per_s"] is not None]
    return statistics.median(known) if known else None


def verdict(result):
    """What was found, as sentences."""
    old, new = (result["highest"][name] for name in (OLD, NEW))
    said = ["The old service holds %s requests/s on this machine, ringmill %s%s; the write-up names %s." % (
        thousands(old), thousands(new), " (%.1f times as many)" % (new / old) if old else "", thousands(result["named_rate"]))]
    for at in result["at"]:
        by_arm = {name: medians(rows) for name, rows in at["rounds"].items()}
        for name, classes in by_arm.items():
            main, rows = classes.get("valid") or classes.get("all"), at["rounds"][name]
            if not main:
                said.append("At %s/s %s could not be measured." % (thousands(at["rate"]), name))
                continue
            kept = [d for d in rows if d]
            answered = statistics.median(settled(d) / at["rate"] for d in kept)
            said.append("At %s/s %s answers %.0f %%, %s with p99 %s and p999 %s; memory %s." % (
                thousands(at["rate"]), name, 100 * min(1, answered), "valid events" if "valid" in classes else "all classes together",
                micros(main["p99"]), micros(main["p999"]), grows(memory_slope(rows))))
    runs = [d for at in result["at"] for rows in at["rounds"].values() for d in rows if d]
    if disturbed := sum(bool(d["dirty"]) for d in runs):
        said.append("%d of %d runs were disturbed by others on the machine." % (disturbed, len(runs)))
    limits = [d["load"]["verdict"]["limit"] for d in runs if d.get("load")]
    if limits:
        said.append("The generator's own verdicts: %s." % ", ".join("%d times %s" % (limits.count(x), x) for x in sorted(set(limits))))
    return " ".join(said)


def grows(per_s):
    if per_s is None:
        return "was not followed for long enough"
    return "stays" if per_s <= SLOPE_MAX_KB_PER_S else "grows by %.0f KiB/s" % per_s


def thousands(rate):
    return "{:,.0f} k".format(rate / 1e3)


def micros(us):
    if us is None:
        return "not measurable"
    return "%.0f µs" % us if us < 10_000 else "%.1f ms" % (us / 1e3)
