#!/usr/bin/env python3
"""Latency of ringmill against a yardstick in adjacent bursts: both servers stay up, bursts alternate A B, B A, ...

Stalls of a shared machine last longer than a burst, so most of them hit both sides of a pair alike; the median of
the pairs' ratios then says more than two runs of some seconds. Needs RINGMILL_YARDSTICK, as run.py does.

    python3 benches/pairs.py null 60000 --pairs 30
"""
import argparse
import json
import math
import os
import statistics
import tempfile
import time

import run

REFERENCE = {"null": ("s_raw", []), "segments": ("s_proto", ["--durable={data}/proto"])}
ACK = {"null": "accepted", "segments": "durable"}
FIGURES = ("p50", "p99", "p999", "cpu_us")


def interval(values):
    """Median and the order statistics that hold the true one with 95 %."""
    values = sorted(values)
    n = len(values)
    reach = 1.96 * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach))
    return statistics.median(values), values[low], values[high]


def bursts(a, arms, load):
    """Pairs of figures of adjacent bursts, ringmill's first."""
    pairs = []
    with tempfile.TemporaryDirectory(prefix="ringmill-pairs-", dir=a.data) as scratch:
        servers = []
        try:
            for arm in arms:
                servers.append(arm.start(a, scratch))
            for n in range(a.pairs):
                order = (0, 1) if n % 2 == 0 else (1, 0)
                got = {i: run.generate(a, servers[i], load, a.secs) for i in order}
                if all(got.values()):
                    pairs.append((got[0], got[1]))
        finally:
            for server in servers:
                server.stop()
    return pairs


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("sink", choices=REFERENCE)
    p.add_argument("rate", type=float, help="requests a second of one event")
    p.add_argument("--pairs", type=int, default=30)
    p.add_argument("--secs", type=float, default=0.8)
    p.add_argument("--bin", default=run.default_bin())
    p.add_argument("--data", default=os.environ.get("TMPDIR", "/var/tmp"))
    p.add_argument("--results", default=os.path.join(run.HERE, "results"))
    a = p.parse_args()
    a.warm, a.server_cpus, a.driver, a.server_cmd, a.seed = 0.2, "0", None, None, 1
    name, extra = REFERENCE[a.sink]
    arms = [run.ringmill(a, a.sink, ACK[a.sink]), *run.yardstick(name, *extra)]
    if len(arms) < 2:
        p.error("RINGMILL_YARDSTICK is not set")
    with tempfile.TemporaryDirectory() as made:
        lines = os.path.join(made, "mix.ndjson")
        with open(lines, "wb") as f:
            run.payload.write(f, "mix", a.seed, size=1 << 20)
        environment = run.environment(a)
        pairs = bursts(a, arms, {"per": 1, "ctype": run.JSON, "conns": 64, "rate": a.rate, "file": lines})
    print("| %g k/s, %s, %d pairs of %g s | ringmill | %s | ratio (95 %%) |\n|-|-|-|-|" % (a.rate / 1e3, a.sink, len(pairs), a.secs, name))
    for figure in FIGURES:
        ours, theirs = (statistics.median(pair[i][figure] for pair in pairs) for i in (0, 1))
        ratio = interval([x[figure] / y[figure] for x, y in pairs])
        print("| %s | %.1f | %.1f | %.2f (%.2f–%.2f) |" % (figure, ours, theirs, *ratio))
    os.makedirs(a.results, exist_ok=True)
    path = os.path.join(a.results, "%s-pairs-%s-%dk.json" % (time.strftime("%Y%m%d-%H%M%S"), a.sink, a.rate / 1e3))
    with open(path, "w") as f:
        json.dump({"suite": "pairs", "sink": a.sink, "rate": a.rate, "reference": name, "environment": environment, "pairs": pairs}, f, indent=1)
        f.write("\n")
    print("written to %s" % os.path.relpath(path))


if __name__ == "__main__":
    main()
