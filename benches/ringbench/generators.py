"""Load generators. Each gives the same figures: rates a second, latency in µs from the intended time in an open
loop, the server's CPU in µs a request, and what disturbed the run.

`load` is `ringmill load`, `lg` the raw generator in the folder that RINGMILL_YARDSTICK names, `builtin` a slow
closed loop of our own, enough to see that a server works.
"""
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from .machine import foreign_ticks, steal_ticks
from .processes import Series, cpu_ns, rss_kb, scheduled
from .servers import YARDSTICK

GENERATOR_CPU = 1
NAMES = ("auto", "load", "lg", "builtin")
PERCENTILES = ("p50", "p90", "p99", "p999", "p9999", "max")


def choose(a, prefer):
    """The generator to use: what was asked for, else the first of `prefer` that is there."""
    if a.generator != "auto":
        return a.generator
    there = {"lg": lambda: YARDSTICK and os.access(os.path.join(YARDSTICK, "lg"), os.X_OK),
             "load": lambda: has_load(a.load_bin), "builtin": lambda: True}
    return next(name for name in [*prefer, "builtin"] if there[name]())


def has_load(binary):
    try:
        return subprocess.run([binary, "load", "--help"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def generate(a, server, load, seconds):
    """Figures of one run, or None when the generator failed."""
    return {"lg": generate_lg, "load": generate_load, "builtin": generate_builtin}[a.generator](a, server, load, seconds)


def run(argv, server, seconds):
    """Runs a generator to its end: (finished process or None, what it and the server did meanwhile)."""
    cores = [0, GENERATOR_CPU]
    foreign, steal, began = foreign_ticks((os.getpid(), server.pid, *server.kin)), steal_ticks(cores), time.perf_counter()
    ran_before, server_before = resource.getrusage(resource.RUSAGE_CHILDREN), scheduled(server.pid)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        proc = subprocess.Popen(argv, stdout=out, stderr=errors, text=True)
        waits = Series(lambda: scheduled(proc.pid)[1], 0.2)
        try:
            proc.wait(seconds)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()
            print("  the generator did not end against %s: %s" % (server.name, server.stderr()), file=sys.stderr)
            return None, None
        finally:
            waits.stop()
        out.seek(0), errors.seek(0)
        done = subprocess.CompletedProcess(argv, proc.returncode, out.read(), errors.read())
    took, ran = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    server_ran, server_waited = (y - x for x, y in zip(server_before, scheduled(server.pid)))
    foreign = max(0, foreign_ticks((os.getpid(), server.pid, *server.kin)) - foreign)
    ticks = os.sysconf("SC_CLK_TCK") * took
    own = (ran.ru_utime + ran.ru_stime - ran_before.ru_utime - ran_before.ru_stime) / took
    return done, {
        "took_s": took, "server_cpu_ns": server_ran, "foreign": foreign / ticks,
        "srv_util": server_ran / took / 1e9, "srv_delay": server_waited / took / 1e9,
        "cli_util": own, "cli_delay": max([v for _, v in waits.points], default=0) / took / 1e9,
        "steal": (steal_ticks(cores) - steal) / ticks}


def failed(server, done):
    print("  the generator failed against %s: %s %s" % (server.name, done.stderr[-300:], server.stderr()), file=sys.stderr)


# --- lg -----------------------------------------------------------------------------------------------------

def generate_lg(a, server, load, seconds):
    argv = [os.path.join(YARDSTICK, "lg"), "--pid=%d" % server.pid, "--port=%d" % server.port, "--path=" + server.path,
            "--ctype=" + load["ctype"], "--conns=%d" % load.get("conns", 64), "--depth=%d" % load.get("depth", 1),
            "--rate=%g" % load.get("rate", 0), "--lines=" + load["file"], "--per=%d" % load["per"], "--expect=2",
            "--secs=%g" % seconds, "--warm=%g" % a.warm]
    done, use = run(argv, server, seconds + a.warm + 20)
    if done is None or done.returncode:
        return done and failed(server, done)
    try:
        figures = json.loads(done.stdout)
    except ValueError:
        # It divides by the number of replies; there was none.
        return failed(server, done)
    # It looks at the same things itself, and only within its window.
    return {**figures, "foreign": use["foreign"]}


# --- ringmill load ------------------------------------------------------------------------------------------

def load_argv(a, server, load, seconds, out):
    argv = [a.load_bin, "load", "http://127.0.0.1:%d%s" % (server.port, server.path), "--duration", "%gs" % seconds,
            "--warmup", "0s", "--connections", str(load.get("conns", 64)), "--pipeline", str(load.get("depth", 1)),
            "--payload", load.get("payload") or load["file"], "--events-per-request", str(load["per"]),
            "--seed", str(a.seed), "--cores", str(GENERATOR_CPU), "--json", out]
    argv += ["--rate", "%.3f" % load["rate"]] if load.get("rate") else []
    # Independent arrivals, as `lg` sends them.
    argv += ["--poisson"] if load.get("rate") and not load.get("even") else []
    argv += ["--malformed", "%g%%" % (100 * load["malformed"])] if load.get("malformed") else []
    argv += ["--timeout", load["timeout"]] if load.get("timeout") else []
    return argv


def generate_load(a, server, load, seconds):
    with tempfile.TemporaryDirectory(prefix="ringmill-load-") as folder:
        out = os.path.join(folder, "out.json")
        # A run of its own warms up, so that the CPU of the measured one is that of its requests.
        if a.warm:
            run(load_argv(a, server, load, a.warm, out), server, a.warm + 30)
        done, use = run(load_argv(a, server, load, seconds, out), server, seconds + 40)
        if done is None or done.returncode not in (0, 1) or not os.path.exists(out):
            return done and failed(server, done)
        with open(out) as f:
            # Threads of its own take turns on its core; whether others came between, its verdict says.
            return {**use, "cli_delay": 0, **figures_of_load(json.load(f), load["per"], seconds, use["server_cpu_ns"]),
                    "rss_mb": rss_kb(server.pid, "VmHWM") / 1024}


def figures_of_load(d, per, seconds, server_cpu_ns):
    """The figures of all generators from the JSON of `ringmill load`; all of its own is kept beside them."""
    seconds = d.get("elapsed_s") or seconds
    done = d["completed"]
    latency = {q: d["latency_us"].get(q) for q in PERCENTILES}
    good = sum(n for status, n in d["status"].items() if status.startswith("2"))
    return {"rps": done / seconds, "events": good * per / seconds, "cpu_us": server_cpu_ns / 1e3 / max(1, done),
            **latency, "bad": d["errors"], "other": sum(d["status"].values()) - good, "unexpected": d["unexpected"],
            "censored": d["censored"], "sent": d["sent"],
            # Answered or ended as its class calls for, a reset among them.
            "settled_per_s": (d["sent"] - d["censored"]) / seconds,
            "generator": "load", "load": {k: v for k, v in d.items() if k not in ("environment", "command")}}


# --- builtin ------------------------------------------------------------------------------------------------

def generate_builtin(a, server, load, seconds):
    """A closed loop on one connection by the standard library: enough to see that it works, not how fast."""
    with open(load["file"], "rb") as f:
        events = f.read().splitlines()
    per = load["per"]
    bodies = [b"\n".join(events[i:i + per]) + (b"\n" if per > 1 else b"") for i in range(0, len(events) - per + 1, per)][:256]
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    took, other, cpu, begin = [], 0, cpu_ns(server.pid), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        t = time.perf_counter()
        c.request("POST", server.path, bodies[len(took) % len(bodies)], {"Content-Type": load["ctype"]})
        r = c.getresponse()
        r.read()
        took.append((time.perf_counter() - t) * 1e6)
        other += r.status // 100 != 2
    c.close()
    spent, n = time.perf_counter() - begin, len(took)
    took.sort()
    at = lambda q: took[min(n - 1, int(n * q))]
    return {"rps": n / spent, "events": n * per / spent, "cpu_us": (cpu_ns(server.pid) - cpu) / 1e3 / n, "p50": at(.5),
            "p90": at(.9), "p99": at(.99), "p999": at(.999), "max": took[-1], "bad": 0, "other": other, "srv_util": 0,
            "cli_util": 0, "srv_delay": 0, "cli_delay": 0, "foreign": 0, "steal": 0,
            "rss_mb": rss_kb(server.pid, "VmHWM") / 1024, "generator": "builtin"}
