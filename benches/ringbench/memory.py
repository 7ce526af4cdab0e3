"""Resident memory of one process over millions of events, against the sum that `serve --dry-run` prints."""
import re
import subprocess
import sys
import tempfile
import time

from . import generators
from .processes import rss_kb, rss_series, slope
from .servers import ringmill
from .suites import NDJSON

PLAN_SLACK = 1.05
# Growth over the last two thirds of a run, as a share of the plan, that still counts as none: a page here and
# there is touched for the first time. A leak of one byte an event would be 13 MiB of 20 million events.
GROWTH_MAX = 0.005
# What the segments of the memory run may take on the disk.
RETENTION = "2GiB"


def planned_bytes(argv):
    """The sum that `serve --dry-run` prints: the byte count on the line that begins with `total`."""
    done = subprocess.run([*argv, "--dry-run"], capture_output=True, text=True, timeout=30)
    if done.returncode:
        sys.exit("--dry-run refused with %d: %s" % (done.returncode, done.stderr))
    sums = [int(n.replace(",", "").replace("_", "")) for line in done.stdout.splitlines() if line.split()[:1] == ["total"]
            for n in re.findall(r"\d[\d,_]{3,}", line)]
    return max(sums) if sums else None, done.stdout


def load_events(a, server):
    """Loads until enough events went in: (events, replies that are not 2xx, bad replies)."""
    events, other, bad, begin = 0.0, 0, 0, time.time()
    while events < a.rss_events and time.time() - begin < a.rss_secs_max:
        seconds = max(a.secs, 5)
        d = generators.generate(a, server, {"per": 100, "ctype": NDJSON, "conns": 64, "file": a.spoiled}, seconds)
        if d is None:
            break
        events += d["events"] * seconds
        other, bad = other + d["other"], bad + d["bad"]
        print("  %.1f million events" % (events / 1e6), file=sys.stderr, flush=True)
    return events, other, bad


def run(a, sink):
    arm = ringmill(a, sink, "durable" if sink == "segments" else "accepted")
    if sink == "segments" and not a.server_cmd:
        arm.argv += ["--retention-bytes", RETENTION]
    return run_arm(a, sink, arm)


def run_arm(a, sink, arm, kin=()):
    """`kin` are processes that belong to the server's work, not to what disturbs it."""
    label = "RSS over %.3g million events, 20 %% malformed, %s" % (a.rss_events / 1e6, sink)
    print("\n## %s" % label, flush=True)
    result = {"label": label, "commands": {arm.name: arm.shown()}}
    with tempfile.TemporaryDirectory(prefix="ringmill-bench-", dir=a.data) as scratch:
        argv = [x.replace("{data}", scratch) for x in arm.argv]
        plan, printed = (None, None) if a.server_cmd else planned_bytes(argv)
        server = arm.start(a, scratch)
        server.kin = kin
        series = rss_series(server.pid)
        events, other, bad = load_events(a, server)
        result.update(plan_bytes=plan, plan=printed and printed.replace(scratch, "DIR"), events=events, not_2xx=other,
                      bad=bad, peak_bytes=rss_kb(server.pid, "VmHWM") * 1024, rss_kb=series.stop(), exit=server.stop())
    return judged(result, a.rss_events)


def judged(result, wanted):
    trend = slope(result["rss_kb"])
    if trend is None:
        sys.exit("too few samples of RSS: %r" % result["rss_kb"])
    plan, growth = result["plan_bytes"], trend[1] * 1024
    result.update(slope_kb_per_s=trend[0], growth_bytes=growth,
                  met_plan=plan and result["peak_bytes"] <= plan * PLAN_SLACK,
                  met_slope=growth <= (plan or result["peak_bytes"]) * GROWTH_MAX,
                  met_events=result["events"] >= wanted and not result["not_2xx"] and not result["bad"] and not result["exit"])
    return result
