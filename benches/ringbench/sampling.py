"""One sample, and rounds in which servers take turns."""
import argparse
import random
import statistics
import sys
import tempfile
import time

from . import generators
from .machine import wait_quiet

# Share of a run that others took from it, above which a sample says more of the machine.
DISTURBANCE_MAX = 0.02
BURST_WARM_SECS = 0.2


def sample(a, arm, load):
    """Fresh process, one generator run. Repeats dirty runs, keeps the cleanest and says so."""
    return cleanest(a.tries, lambda: attempt(a, arm, load))


def attempt(a, arm, load):
    """One sample, or None when the generator failed."""
    quiet = wait_quiet(a.watch, a.quiet)
    with tempfile.TemporaryDirectory(prefix="ringmill-bench-", dir=a.data) as scratch:
        server = arm.start(a, scratch)
        try:
            d = generators.generate(a, server, {**load, **arm.load}, a.secs)
        finally:
            code = server.stop()
        if arm.ready and code:
            print("  %s ended with %d: %s" % (arm.name, code, server.stderr()), file=sys.stderr)
    if d is not None:
        d.update(exit=code if arm.ready else None, quiet=quiet)
        mark_disturbance(d)
    return d


def cleanest(tries, attempt):
    """The first undisturbed run of so many, or the least disturbed one; None when all failed."""
    best = None
    for _ in range(tries):
        d = attempt()
        if d is None:
            continue
        if best is None or d["disturbance"] < best["disturbance"]:
            best = d
        if not d["dirty"]:
            break
    return best


def mark_disturbance(d):
    # A server's threads may wait for each other on their one core, which is its own affair; and a generator
    # that mostly sleeps loses nothing when it waits for the disk's interrupts.
    d["disturbance"] = max(d["cli_delay"] if d["cli_util"] > 0.5 else 0, d["foreign"], d["steal"])
    d["dirty"] = d["disturbance"] >= DISTURBANCE_MAX or d.get("load", {}).get("verdict", {}).get("limit") == "platform"


def median_ratio(rows, arm, ref, figure):
    """(median, min, max) over the rounds in which both have a clean figure; over all when none has."""
    pairs = [(x, y) for x, y in zip(rows.get(arm, []), rows.get(ref, [])) if x and y and x.get(figure) and y.get(figure)]
    pairs = [(x, y) for x, y in pairs if not x["dirty"] and not y["dirty"]] or pairs
    r = [x[figure] / y[figure] for x, y in pairs]
    return (statistics.median(r), min(r), max(r)) if r else None


def run_suite(a, label, suite):
    """Rounds of all arms in random order. `suite`: load, ref, limits and arms, as suites.py has them."""
    print("\n## %s" % label, flush=True)
    rows = {arm.name: [] for arm in suite["arms"]}
    for n in range(a.rounds):
        order = suite["arms"][:]
        random.shuffle(order)
        for arm in order:
            rows[arm.name].append(sample(a, arm, {**suite["load"], "file": a.lines}))
        print("  round %d of %d, %s" % (n + 1, a.rounds, time.strftime("%H:%M:%S")), file=sys.stderr, flush=True)
    return {"label": label, "ref": suite["ref"], "load": dict(suite["load"]),
            "commands": {arm.name: arm.shown() for arm in suite["arms"]}, "rounds": rows,
            "limits": [judge(rows, *limit) for limit in suite["limits"]]}


def run_bursts(a, label, suite):
    """Both servers stay up and bursts alternate A B, B A, …: most stalls of a shared machine last longer than a burst,
    so that they hit both sides of a pair alike, and the pairs' ratios say more than runs of some seconds."""
    print("\n## %s" % label, flush=True)
    arms, rows = suite["arms"], {arm.name: [] for arm in suite["arms"]}
    if len(arms) < 2:
        sys.exit("%s needs a reference server: build ours by `benches/run build`, or set RINGMILL_YARDSTICK" % label)
    burst = argparse.Namespace(**{**vars(a), "warm": BURST_WARM_SECS})
    with tempfile.TemporaryDirectory(prefix="ringmill-bench-", dir=a.data) as scratch:
        servers = []
        try:
            for arm in arms:
                servers.append(arm.start(a, scratch))
            for n in range(a.pairs):
                order = (0, 1) if n % 2 == 0 else (1, 0)
                got = {i: generators.generate(burst, servers[i], {**suite["load"], "file": a.lines}, a.burst_secs) for i in order}
                if all(got.values()):
                    for i in order:
                        rows[arms[i].name].append({**got[i], "dirty": False, "exit": None})
        finally:
            codes = [server.stop() for server in servers]
    if any(code for arm, code in zip(arms, codes) if arm.ready):
        print("  ringmill ended with %s" % codes, file=sys.stderr)
    return {"label": label, "bursts": True, "ref": suite["ref"], "load": dict(suite["load"]),
            "commands": {arm.name: arm.shown() for arm in arms}, "rounds": rows,
            "limits": [judge(rows, *limit) for limit in suite["limits"]]}


def judge(rows, arm, ref, figure, op, bound):
    """Whether a limit is met by the median of the rounds' ratios, or of the figure itself if there is no reference:
    None when no round can say."""
    if ref is None:
        return judge_alone(rows.get(arm, []), arm, figure, op, bound)
    m = median_ratio(rows, arm, ref, figure)
    clean = sum(bool(x and y and not x["dirty"] and not y["dirty"]) for x, y in zip(rows.get(arm, []), rows.get(ref, [])))
    met = None if m is None or not clean else m[0] <= bound if op == "<=" else m[0] >= bound
    return {"arm": arm, "ref": ref, "figure": figure, "op": op, "bound": bound, "clean_rounds": clean,
            "ratio": m and m[0], "min": m and m[1], "max": m and m[2], "met": met}


def judge_alone(samples, arm, figure, op, bound):
    known = [d for d in samples if d and d.get(figure) is not None]
    clean = [d for d in known if not d["dirty"]]
    values = [d[figure] for d in clean or known]
    middle = statistics.median(values) if values else None
    met = None if not clean else middle <= bound if op == "<=" else middle >= bound
    return {"arm": arm, "ref": None, "figure": figure, "op": op, "bound": bound, "clean_rounds": len(clean), "ratio": middle,
            "min": min(values, default=None), "max": max(values, default=None), "met": met}
