"""The load generators themselves, beside each other, each on one core against the raw server on another.

How many requests a second they get answered; the highest rate that each keeps up with; how late ours sends; what
each says of a server that stands still 100 ms of every second, beside what arithmetic says; and our own memory
over 10^8 requests. What is compared is `ringmill load`, `lg` (in the folder that RINGMILL_YARDSTICK names), wrk and
oha, as far as they are here. Enter at `run`.
"""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from . import generators
from .chaos import highest, twice
from .machine import wait_quiet
from .processes import rss_series, slope
from .sampling import cleanest, judge, mark_disturbance
from .servers import name_of, yardstick
from .suites import JSON

OURS, FLOOR = "load", "lg"
CONNECTIONS = 64
# A rate is kept when it was answered, and the median request not later than this behind its plan.
ANSWERED_MIN, KEPT_P50_US = 0.99, 1000
LAG_RATE, LAG_MAX_US = 50_000, 5
STALL_EVERY_S, STALL_S, STALL_RATE, STALL_SECS, STALL_ERROR_MAX = 1.0, 0.1, 10_000, 30, 0.03
# For a minute memory is taken for the stretches of which intervals are made, later for the seconds of the report: a
# point of some 300 bytes each, until there are 3600.
MEMORY_REQUESTS, MEMORY_SECS_MIN, MEMORY_GROWTH_MAX_KB = 1e8, 300, 512


# --- the tools ----------------------------------------------------------------------------------------------

def program(name):
    return os.environ.get(name.upper()) or shutil.which(name)


def there(a):
    """Names of the tools on this machine."""
    found = [OURS] if generators.has_load(a.load_bin) else []
    if generators.YARDSTICK and os.access(os.path.join(generators.YARDSTICK, FLOOR), os.X_OK):
        found.append(FLOOR)
    return found + [name for name in ("wrk", "oha") if program(name)]


def shoot(a, tool, server, load, seconds):
    """One run of a tool: the figures that all of them have, or None when it failed."""
    if tool in (OURS, FLOOR):
        of = {OURS: generators.generate_load, FLOOR: generators.generate_lg}[tool]
        return of(a, server, load, seconds)
    argv, read = {"wrk": (wrk_argv, read_wrk), "oha": (oha_argv, read_oha)}[tool]
    with tempfile.TemporaryDirectory(prefix="ringmill-tools-") as folder:
        wanted = lambda secs: ["taskset", "-c", str(generators.GENERATOR_CPU), *argv(server, load, secs, folder)]
        if a.warm:
            generators.run(wanted(max(1, a.warm)), server, a.warm + 30)
        done, use = generators.run(wanted(seconds), server, seconds + 40)
    if done is None or done.returncode:
        return done and generators.failed(server, done)
    figures = read(done.stdout)
    return {**use, **figures, "cpu_us": use["server_cpu_ns"] / 1e3 / max(1, figures["rps"] * seconds)}


LUA = """wrk.method, wrk.body = "POST", io.open("%s"):read("a"):gsub("\\n$", "")
wrk.headers["Content-Type"] = "%s"
local one
init = function() one = string.rep(wrk.format(nil, "%s"), %d) end
request = function() return one end
"""


def wrk_argv(server, load, seconds, folder):
    script = os.path.join(folder, "post.lua")
    with open(script, "w") as f:
        f.write(LUA % (load["file"], load["ctype"], server.path, load.get("depth", 1)))
    return [program("wrk"), "-t1", "-c%d" % CONNECTIONS, "-d%ds" % round(seconds), "--latency", "--timeout", "10s", "-s", script,
            "http://127.0.0.1:%d%s" % (server.port, server.path)]


def read_wrk(said):
    units = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}
    at = lambda share: next((float(n) * units[u] for n, u in re.findall(r"^\s+%s%%\s+([\d.]+)(us|ms|s|m)\b" % share, said, re.M)), None)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), "p50": at(50), "p90": at(90), "p99": at(99),
            "other": int(wrong[1]) if wrong else 0, "bad": sum(map(int, broken.groups())) if broken else 0}


def oha_argv(server, load, seconds, folder):
    rate = ["-q", "%d" % load["rate"], "--latency-correction"] if load.get("rate") else []
    return [program("oha"), "-z", "%gs" % seconds, "-c", str(CONNECTIONS), "-m", "POST", "-D", load["file"], "-T", load["ctype"], *rate,
            "--no-tui", "--output-format", "json", "http://127.0.0.1:%d%s" % (server.port, server.path)]


def read_oha(said):
    d = json.loads(said)
    at = lambda key: d["latencyPercentiles"].get(key) and d["latencyPercentiles"][key] * 1e6
    # What its deadline cut off is no failure of the server's.
    errors = sum(n for what, n in d["errorDistribution"].items() if "deadline" not in what)
    return {"rps": sum(d["statusCodeDistribution"].values()) / d["summary"]["total"], "p50": at("p50"), "p90": at("p90"), "p99": at("p99"),
            "p999": at("p99.9"), "bad": errors, "other": sum(n for s, n in d["statusCodeDistribution"].items() if not s.startswith("2"))}


# --- rates --------------------------------------------------------------------------------------------------

def against_raw(a, tool, load, seconds):
    """One run against a fresh raw server."""
    wait_quiet(a.watch, a.quiet)
    server = yardstick("raw")[0].start(a, "")
    try:
        d = shoot(a, tool, server, {"per": 1, "ctype": JSON, "conns": CONNECTIONS, "file": a.one_line, **load}, seconds)
    finally:
        server.stop()
    if d is not None:
        # A tool's own threads, and the kernel's that do its work, wait for each other on its one core.
        d.update(exit=None, cli_delay=0)
        mark_disturbance(d)
    return d


def closed(a, tools, depth):
    """Rounds of a closed loop, the tools in random order."""
    # oha does not pipeline.
    tools = [tool for tool in tools if depth == 1 or tool != "oha"]
    label = "generators: closed loop, %d connections%s" % (CONNECTIONS, ", pipelined %d" % depth if depth > 1 else "")
    print("\n## %s" % label, flush=True)
    rows = {tool: [] for tool in tools}
    for n in range(a.rounds):
        for tool in random.sample(tools, len(tools)):
            rows[tool].append(cleanest(a.tries, lambda: against_raw(a, tool, {"depth": depth}, a.secs)))
        print("  round %d of %d" % (n + 1, a.rounds), file=sys.stderr, flush=True)
    bounds = [(OURS, tool, "rps", ">=", 0.9 if tool == FLOOR else 1.0) for tool in tools if tool != OURS]
    return {"label": label, "ref": FLOOR if FLOOR in tools else OURS, "load": {"per": 1, "depth": depth}, "commands": {},
            "figure": ("rps", "requests a second"), "rounds": rows, "limits": [judge(rows, *bound) for bound in bounds]}


def keeps(d, rate):
    """Whether tool and server together kept up with the plan."""
    return d is not None and d["rps"] >= ANSWERED_MIN * rate and (d["p50"] or KEPT_P50_US) < KEPT_P50_US


def highest_open(a, tools):
    """The highest rate that each keeps, sought `rounds` / 2 times in turn. wrk has no open loop."""
    tools = [tool for tool in tools if tool != "wrk"]
    print("\n## generators: highest open-loop rate", flush=True)
    found, probes = {tool: [] for tool in tools}, []

    def attempt(tool, rate):
        d = against_raw(a, tool, {"rate": rate}, a.secs)
        held, disturbed = keeps(d, rate), d is not None and d["dirty"]
        probes.append({"tool": tool, "rate": rate, "held": held, "dirty": disturbed, **{k: d and d.get(k) for k in ("rps", "p50", "p99", "srv_util", "cli_util")}})
        print("  %s at %.0f/s: %s%s" % (tool, rate, "kept" if held else "not kept", ", disturbed" if disturbed else ""), file=sys.stderr, flush=True)
        return held, disturbed

    for n in range(max(1, a.rounds // 2)):
        # oha is far from the others: once is enough to see that.
        turns = [tool for tool in tools if tool != "oha" or n == 0]
        for tool in random.sample(turns, len(turns)):
            start = 120_000 if tool in (OURS, FLOOR) else 30_000
            found[tool].append(highest(lambda rate, tool=tool: twice(lambda: attempt(tool, rate), a.tries), start))
    return {"label": "generators: highest open-loop rate, %d connections" % CONNECTIONS, "tools": "open", "found": found, "probes": probes}


def lag(a):
    """How late `ringmill load` sends at a set rate, by its own record of plan and send."""
    label = "generators: lateness of sending at %d k/s" % (LAG_RATE / 1000)
    print("\n## %s" % label, flush=True)
    rows = [against_raw(a, OURS, {"rate": LAG_RATE}, a.secs) for _ in range(a.rounds)]
    return {"label": label, "tools": "lag", "bound_us": LAG_MAX_US,
            "rows": [{"send_lag_us": d["load"]["send_lag_us"], "dirty": d["dirty"], "rps": d["rps"]} for d in rows if d]}


# --- a server that stands still -----------------------------------------------------------------------------

class Staller:
    """Stops a process for 100 ms of each second, and remembers when it really stood."""

    def __init__(self, pid):
        self.pid, self.stood, self._end = pid, [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        due = time.monotonic() + STALL_EVERY_S / 2
        while not self._end.wait(max(0, due - time.monotonic())):
            os.kill(self.pid, signal.SIGSTOP)
            began = time.monotonic()
            time.sleep(STALL_S)
            os.kill(self.pid, signal.SIGCONT)
            self.stood.append((began, time.monotonic()))
            due += STALL_EVERY_S

    def stop(self):
        self._end.set()
        self._thread.join()


def true_p99_us(stood, began, ended):
    """p99 of requests that come evenly from `began` to `ended` and wait for the end of whatever stall they meet."""
    pieces = [(max(s, began), e) for s, e in stood if e > began and s < ended]
    beyond = lambda late: sum(max(0, min(e - late, ended) - s) for s, e in pieces)
    low, high = 0.0, max((e - s for s, e in pieces), default=0.0)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > 0.01 * (ended - began) else (low, middle)
    return 1e6 * low


def stalled(a, tool):
    """p99 by a tool's account, and by arithmetic on the stalls that it met."""
    server = yardstick("raw")[0].start(a, "")
    a = type(a)(**vars(a) | {"warm": 0})
    load = {"per": 1, "ctype": JSON, "conns": CONNECTIONS, "file": a.one_line}
    if tool != "wrk":
        load.update(rate=STALL_RATE, even=True)
    staller, began = Staller(server.pid), time.monotonic()
    try:
        d = shoot(a, tool, server, load, STALL_SECS)
    finally:
        ended = time.monotonic()
        staller.stop()
        server.stop()
    # The tool's window lies within these by its start and its end, of some milliseconds.
    truth = true_p99_us(staller.stood, ended - STALL_SECS, ended)
    return d and {"tool": tool, "p99_us": d["p99"], "true_p99_us": truth, "rps": d["rps"], "stalls": len(staller.stood),
                  "took_s": ended - began}


def stalls(a, tools):
    print("\n## generators: a server that stands still", flush=True)
    # lg sends independently, so that arithmetic on an even plan is not its truth to the same digit.
    rows = [row for _ in range(2) for tool in tools if tool != FLOOR for row in [stalled(a, tool)] if row]
    return {"label": "generators: p99 of a server that stands still 100 ms of each second, %d k/s" % (STALL_RATE / 1000), "tools": "stall",
            "bound": STALL_ERROR_MAX, "rows": rows}


# --- memory -------------------------------------------------------------------------------------------------

def memory(a):
    """Our own resident memory over 10^8 requests, in one run."""
    label = "generators: memory of ringmill load over %.3g million requests and more" % (a.tools_requests / 1e6)
    print("\n## %s" % label, flush=True)
    server = yardstick("raw")[0].start(a, "")
    load = {"per": 1, "ctype": JSON, "conns": CONNECTIONS, "file": a.one_line, "depth": 16}
    try:
        rate = generators.generate_load(a, server, load, 5)["rps"]
        with tempfile.TemporaryDirectory(prefix="ringmill-tools-") as folder:
            out, hlog = os.path.join(folder, "out.json"), os.path.join(folder, "out.hlog")
            seconds = max(MEMORY_SECS_MIN, 1.5 * a.tools_requests / rate)
            argv = [*generators.load_argv(a, server, load, seconds, out), "--hlog", hlog]
            proc = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            series = rss_series(proc.pid)
            code, points = proc.wait(seconds + 120), series.stop()
            with open(out) as f:
                done = json.load(f)["completed"]
            logged = os.path.getsize(hlog)
    finally:
        server.stop()
    # The end of a run makes the report.
    points = [p for p in points[:-2] if p[1]]
    per_s, grown = slope(points)
    return {"label": label, "tools": "memory", "requests": done, "exit": code, "seconds": seconds, "hlog_bytes": logged, "rss_kb": points,
            "slope_kb_per_s": per_s, "growth_kb": grown, "peak_kb": max(kb for _, kb in points),
            "met": done >= a.tools_requests and grown <= MEMORY_GROWTH_MAX_KB}


# --- all of it ----------------------------------------------------------------------------------------------

def one_line(a, folder):
    """A body that every tool can send: one event of usual length."""
    with open(a.lines, "rb") as f:
        events = f.read().splitlines()
    usual = min(events, key=lambda e: abs(len(e) - sum(map(len, events)) / len(events)))
    path = os.path.join(folder, "one.ndjson")
    with open(path, "wb") as f:
        f.write(usual + b"\n")
    return path


def run(a):
    """Results of every part that was asked for by --tools-parts."""
    if not yardstick("raw"):
        sys.exit("%s is missing: build it by `benches/run build`" % name_of("raw"))
    tools = there(a)
    parts = {"closed": lambda: closed(a, tools, 1), "pipelined": lambda: closed(a, tools, 16), "open": lambda: highest_open(a, tools),
             "lag": lambda: lag(a), "stall": lambda: stalls(a, tools), "memory": lambda: memory(a)}
    with tempfile.TemporaryDirectory(prefix="ringmill-tools-") as folder:
        a.one_line = one_line(a, folder)
        return [parts[name]() for name in a.tools_parts.split(",")]
