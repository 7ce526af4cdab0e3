#!/usr/bin/env python3
"""ringmill from outside: server on one core, load generator on another, against yardsticks in the same run.

    run.py SUITE...            one or more of: smoke single pipelined batch batch-durable open-null
                               open-durable rss all
    run.py show FILE...        print the tables of earlier results again

Servers of a suite take turns in random order, each round with a fresh process; a run starts when the machine
is quiet and is repeated when generator or server had to wait for a core. What counts is the median of the
per-round ratios to the suite's reference. Each run writes benches/results/TIME-SUITE.json with every
sample and the environment, and prints a Markdown table.

The yardsticks and the generator `lg` are programs in the folder that RINGMILL_YARDSTICK names. Without it
their columns are left out, and the built-in generator (slow: for smoke only) stands in for `lg`.
Standard library only.
"""
import argparse
import http.client
import json
import os
import platform
import random
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, HERE)
import payload  # noqa: E402

YARDSTICK = os.environ.get("RINGMILL_YARDSTICK")
# Share of a run that others took from it, above which a sample says more of the machine.
DISTURBANCE_MAX = 0.02
QUIET_BUSY_MAX = 0.06
PLAN_SLACK = 1.05
# Growth over the last two thirds of a run, as a share of the plan, that still counts as none: a page here and
# there is touched for the first time. A leak of one byte an event would be 13 MiB of 20 million events.
GROWTH_MAX = 0.005
# What the segments of the memory run may take on the disk.
RSS_RETENTION = "2GiB"

NDJSON, JSON = "application/x-ndjson", "application/json"


# --- processes --------------------------------------------------------------------------------------------

class Server:
    """A server process on the server core; `port` is where it takes events."""

    def __init__(self, name, argv, cpus, ready, path, admin=False):
        self.name, self.path = name, path
        self.log = tempfile.TemporaryFile()
        port = None if ready else free_port()
        argv = [a.replace("{port}", str(port)) for a in argv]
        self.proc = subprocess.Popen(["taskset", "-c", cpus, *argv], stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
                                     stderr=self.log, text=ready)
        self.pid = self.proc.pid
        self.ready, self.admin = "", None
        if not ready:
            self.port = port
            self.wait_port()
            return
        watchdog = after(30, self.proc.kill)
        while not self.ready.startswith("ringmill ready "):
            self.ready = self.proc.stdout.readline()
            if not self.ready:
                sys.exit("%s did not get ready:\n%s" % (" ".join(argv), self.stderr()))
        watchdog.cancel()
        fields = dict(f.split("=", 1) for f in self.ready.split() if "=" in f)
        self.port = int(fields["http"].split(",")[0].rsplit(":", 1)[1])
        if admin:
            self.admin = int(fields["admin"].rsplit(":", 1)[1])

    def wait_port(self):
        for _ in range(100):
            if self.proc.poll() is not None:
                break
            try:
                return socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            except OSError:
                time.sleep(0.05)
        sys.exit("%s does not listen:\n%s" % (self.name, self.stderr()))

    def stderr(self):
        self.log.seek(0)
        return self.log.read()[-2000:].decode("utf-8", "replace")

    def stop(self):
        """Exit code after SIGTERM; killed after 35 s."""
        self.proc.send_signal(signal.SIGTERM)
        try:
            return self.proc.wait(35)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            return self.proc.wait()
        finally:
            if self.proc.stdout:
                self.proc.stdout.close()


def after(seconds, call):
    import threading
    t = threading.Timer(seconds, call)
    t.daemon = True
    t.start()
    return t


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# --- the machine ------------------------------------------------------------------------------------------

def cpu_times(cpus):
    want = {"cpu%d" % c for c in cpus}
    with open("/proc/stat") as f:
        return [[int(x) for x in l.split()[1:9]] for l in f if l.split(" ", 1)[0] in want]


def wait_quiet(cpus, seconds):
    """True as soon as each core was idle for a third of a second."""
    end = time.time() + seconds
    while True:
        a = cpu_times(cpus)
        time.sleep(0.3)
        delta = [[y - x for x, y in zip(p, q)] for p, q in zip(a, cpu_times(cpus))]
        if all((sum(d) - d[3] - d[4]) / max(1, sum(d)) < QUIET_BUSY_MAX for d in delta):
            return True
        if time.time() > end:
            return False
        time.sleep(0.5)


def foreign_ticks(excepted):
    """CPU time of every user process but these, with what their ended children took, in clock ticks."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in excepted:
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        # Children of kthreadd work for whoever asked the kernel, the server among them.
        if fields[1] not in ("0", "2") or name == "1":
            total += sum(int(x) for x in fields[11:15])
    return total


def text(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return None


def output(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=20).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def sha256(path):
    import hashlib
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


def environment(a):
    cpu = re.search(r"model name\s*:\s*(.*)", text("/proc/cpuinfo") or "")
    microcode = re.search(r"microcode\s*:\s*(.*)", text("/proc/cpuinfo") or "")
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_commit": output("git", "rev-parse", "HEAD"),
        "git_dirty": bool(output("git", "status", "--porcelain", "--untracked-files=no")),
        "rustc": output("rustc", "-V"),
        "rustflags": os.environ.get("RUSTFLAGS", ""),
        "lockfile_sha256": sha256(os.path.join(ROOT, "Cargo.lock")) if os.path.exists(os.path.join(ROOT, "Cargo.lock")) else None,
        "binary_sha256": sha256(a.bin) if a.bin and os.path.exists(a.bin) else None,
        # The commit above is the checkout's; a binary older than it was built from something else.
        "binary_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.path.getmtime(a.bin))) if a.bin and os.path.exists(a.bin) else None,
        "git_commit_time": output("git", "log", "-1", "--format=%cI"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cmdline": re.sub(r"\S*(=UUID|root=|ip=)\S*", "…", text("/proc/cmdline") or ""),
        "cpu": cpu and cpu.group(1),
        "microcode": microcode and microcode.group(1),
        "cores": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)),
        "isolated": text("/sys/devices/system/cpu/isolated"),
        "smt": text("/sys/devices/system/cpu/smt/active"),
        "governor": text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clocksource": text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "hypervisor": output("systemd-detect-virt") or text("/sys/hypervisor/type"),
        "thp": text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "mitigations": {n: text("/sys/devices/system/cpu/vulnerabilities/" + n)
                        for n in sorted(os.listdir("/sys/devices/system/cpu/vulnerabilities"))}
        if os.path.isdir("/sys/devices/system/cpu/vulnerabilities") else None,
        "memory_kb": int((re.search(r"MemTotal:\s*(\d+)", text("/proc/meminfo") or "") or [0, 0])[1]),
        "memlock": list(__import__("resource").getrlimit(__import__("resource").RLIMIT_MEMLOCK)),
        "data_filesystem": output("stat", "-f", "-c", "%T", a.data),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        "pressure": {n: text("/proc/pressure/" + n) for n in ("cpu", "io", "memory")},
        "server_cpus": a.server_cpus, "generator_cpu": 1,
        "seed": a.seed,
        "command": "benches/run.py " + shlex.join(arg if not os.path.isabs(arg) else os.path.basename(arg) for arg in sys.argv[1:]),
    }


# --- one sample -------------------------------------------------------------------------------------------

def generate(a, server, load, seconds):
    """One generator run; its figures, or None when it failed."""
    if not YARDSTICK:
        return generate_builtin(server, load, seconds)
    args = [os.path.join(YARDSTICK, "lg"), "--pid=%d" % server.pid, "--port=%d" % server.port, "--path=" + server.path,
            "--ctype=" + load["ctype"], "--conns=%d" % load.get("conns", 64), "--depth=%d" % load.get("depth", 1),
            "--rate=%g" % load.get("rate", 0), "--lines=" + load["file"], "--per=%d" % load["per"], "--expect=2",
            "--secs=%g" % seconds, "--warm=%g" % a.warm]
    try:
        ticks = foreign_ticks((os.getpid(), server.pid))
        done = subprocess.run(args, capture_output=True, text=True, timeout=seconds + a.warm + 20)
        ticks = foreign_ticks((os.getpid(), server.pid)) - ticks
    except subprocess.TimeoutExpired:
        print("  generator did not end against %s: %s" % (server.name, server.stderr()), file=sys.stderr)
        return None
    if done.returncode:
        print("  generator failed against %s: %s %s" % (server.name, done.stderr[-300:], server.stderr()), file=sys.stderr)
        return None
    d = json.loads(done.stdout)
    d["foreign"] = max(0, ticks) / os.sysconf("SC_CLK_TCK") / (seconds + a.warm)
    return d


def generate_builtin(server, load, seconds):
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
            "cli_util": 0, "srv_delay": 0, "cli_delay": 0, "foreign": 0, "steal": 0, "rss_mb": rss_kb(server.pid, "VmHWM") / 1024, "generator": "builtin"}


def cpu_ns(pid):
    total = 0
    for t in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/schedstat" % (pid, t)) as f:
                total += int(f.read().split()[0])
        except OSError:
            pass
    return total


def rss_kb(pid, key="VmRSS"):
    with open("/proc/%d/status" % pid) as f:
        return next(int(l.split()[1]) for l in f if l.startswith(key + ":"))


def sample(a, arm, load):
    """Fresh process, one generator run. Repeats dirty runs, keeps the cleanest and says so."""
    best = None
    for _ in range(a.tries):
        quiet = wait_quiet(a.watch, a.quiet)
        with tempfile.TemporaryDirectory(prefix="ringmill-bench-", dir=a.data) as scratch:
            server = arm.start(a, scratch)
            try:
                d = generate(a, server, {**load, **arm.load}, a.secs)
            finally:
                code = server.stop()
            if arm.ready and code:
                print("  %s ended with %d: %s" % (arm.name, code, server.stderr()), file=sys.stderr)
        if d is None:
            continue
        d.update(exit=code if arm.ready else None, quiet=quiet)
        # A server's threads may wait for each other on their one core, which is its own affair; and a generator
        # that mostly sleeps loses nothing when it waits for the disk's interrupts.
        d["disturbance"] = max(d["cli_delay"] if d["cli_util"] > 0.5 else 0, d["foreign"], d["steal"])
        d["dirty"] = d["disturbance"] >= DISTURBANCE_MAX
        if best is None or d["disturbance"] < best["disturbance"]:
            best = d
        if not d["dirty"]:
            break
    return best


# --- arms and suites --------------------------------------------------------------------------------------

class Arm:
    def __init__(self, name, argv, ready, path, load=None):
        self.name, self.argv, self.ready, self.path, self.load = name, argv, ready, path, load or {}

    def start(self, a, scratch):
        argv = [x.replace("{data}", scratch) for x in self.argv]
        return Server(self.name, argv, a.server_cpus, self.ready, self.path)


def ringmill(a, sink, ack, name="ringmill", driver=None):
    if a.server_cmd:
        return Arm(name, shlex.split(a.server_cmd), "{port}" not in a.server_cmd, a.path)
    argv = [a.bin, "serve", "--listen", "127.0.0.1:0", "--admin", "none", "--cores", a.server_cpus, "--sink",
            "null" if sink == "null" else "segments:{data}/events", "--ack", ack]
    return Arm(name, argv + (["--driver", driver or a.driver] if driver or a.driver else []), True, "/v1/events")


def yardstick(name, *args, label=None):
    """The arm, or nothing when there are no yardsticks."""
    if not YARDSTICK:
        return []
    return [Arm(label or name, [os.path.join(YARDSTICK, name), *args, "--port={port}"], False, "/ingest")]


# A limit is (arm, reference, figure, comparison, bound): the median of the rounds' ratios decides.
def suite_single(a):
    return {"load": {"per": 1, "ctype": JSON, "conns": 64}, "ref": "s_raw", "limits": [("ringmill", "s_raw", "cpu_us", "<=", 1.10)],
            "arms": [*yardstick("s_raw"), *yardstick("s_proto"), *yardstick("s_seed"), ringmill(a, "null", "accepted"), *glommio(a)]}


def suite_pipelined(a):
    return {"load": {"per": 1, "ctype": JSON, "conns": 64, "depth": 16}, "ref": "s_raw",
            "limits": [("ringmill", "s_raw", "cpu_us", "<=", 2.3)],
            "arms": [*yardstick("s_raw"), *yardstick("s_proto"), ringmill(a, "null", "accepted"), *glommio(a)]}


def suite_batch(a):
    return {"load": {"per": 100, "ctype": NDJSON, "conns": 64}, "ref": "s_seed",
            "limits": [("ringmill", "s_seed", "events", ">=", 6.0), ("ringmill", "s_proto", "events", ">=", 1.0)],
            "arms": [*yardstick("s_seed", "--lines"), *yardstick("s_proto", "--bs=16384"),
                     ringmill(a, "null", "accepted"), *glommio(a)]}


def suite_batch_durable(a):
    return {"load": {"per": 100, "ctype": NDJSON, "conns": 64}, "ref": "ringmill null",
            "limits": [("ringmill durable", "ringmill null", "events", ">=", 0.80)],
            "arms": [ringmill(a, "null", "accepted", "ringmill null"), ringmill(a, "segments", "durable", "ringmill durable"),
                     *yardstick("s_proto", "--bs=16384", label="s_proto null"),
                     *yardstick("s_proto", "--bs=16384", "--durable={data}/proto", label="s_proto durable")]}


def suite_open(a, rate, sink, ack, ref, *args, bounds):
    return {"load": {"per": 1, "ctype": JSON, "conns": 64, "rate": rate}, "ref": ref,
            "limits": [("ringmill", ref, "p50", "<=", bounds[0]), ("ringmill", ref, "p99", "<=", bounds[1])],
            "arms": [*yardstick(ref, *args), ringmill(a, sink, ack), *glommio(a, sink, ack)]}


def glommio(a, sink="null", ack="accepted"):
    return [ringmill(a, sink, ack, "ringmill glommio", "glommio")] if a.both_drivers and not a.server_cmd else []


def suites(a, name):
    """[(label, suite)]: the rows of one suite's name."""
    table = {
        "single": lambda: [("one event a request, 64 connections, null", suite_single(a))],
        "pipelined": lambda: [("one event a request, pipelined 16, null", suite_pipelined(a))],
        "batch": lambda: [("bodies of 100 events, null", suite_batch(a))],
        "batch-durable": lambda: [("bodies of 100 events, segments, durable", suite_batch_durable(a))],
        "open-null": lambda: [("open loop %d k/s, null" % (r // 1000), suite_open(a, r, "null", "accepted", "s_raw", bounds=b))
                              for r, b in ((60000, (1.15, 1.3)), (20000, (1.15, 1.3)))],
        "open-durable": lambda: [("open loop %d k/s, durable" % (r // 1000),
                                  suite_open(a, r, "segments", "durable", "s_proto", "--durable={data}/proto", bounds=(1.1, 1.1)))
                                 for r in (20000, 60000)],
        "smoke": lambda: [("smoke: 10 events a request, durable", {
            "load": {"per": 10, "ctype": NDJSON, "conns": 4}, "ref": "ringmill", "limits": [],
            "arms": [ringmill(a, "segments", "durable")]})],
    }
    return table[name]()


def median_ratio(rows, arm, ref, figure):
    """(median, min, max) over the rounds in which both have a clean figure; over all when none has."""
    pairs = [(x, y) for x, y in zip(rows.get(arm, []), rows.get(ref, [])) if x and y and y[figure]]
    pairs = [(x, y) for x, y in pairs if not x["dirty"] and not y["dirty"]] or pairs
    r = [x[figure] / y[figure] for x, y in pairs]
    return (statistics.median(r), min(r), max(r)) if r else None


def run_suite(a, label, suite):
    print("\n## %s" % label, flush=True)
    rows = {arm.name: [] for arm in suite["arms"]}
    for n in range(a.rounds):
        order = suite["arms"][:]
        random.shuffle(order)
        for arm in order:
            rows[arm.name].append(sample(a, arm, {**suite["load"], "file": a.lines}))
        print("  round %d of %d, %s" % (n + 1, a.rounds, time.strftime("%H:%M:%S")), file=sys.stderr, flush=True)
    verdicts = []
    for arm, ref, figure, op, bound in suite["limits"]:
        m = median_ratio(rows, arm, ref, figure)
        clean = sum(bool(x and y and not x["dirty"] and not y["dirty"]) for x, y in zip(rows.get(arm, []), rows.get(ref, [])))
        verdicts.append({"arm": arm, "clean_rounds": clean, "ref": ref, "figure": figure, "op": op, "bound": bound, "ratio": m and m[0], "min": m and m[1],
                         "max": m and m[2], "met": None if m is None or not clean else m[0] <= bound if op == "<=" else m[0] >= bound})
    load = {k: v for k, v in suite["load"].items()}
    return {"label": label, "ref": suite["ref"], "load": load, "commands": {x.name: show_command(x.argv) for x in suite["arms"]},
            "rounds": rows, "limits": verdicts}


def show_command(argv):
    return shlex.join([os.path.basename(argv[0]), *argv[1:]])


def table(result):
    ref, rows = result["ref"], result["rounds"]
    out = ["| %s | n | req/s | events/s | CPU µs | ratio (min–max) | p50 µs | p99 µs | p999 µs | busy server/generator | RSS MiB | not clean |" % result["label"],
           "|-|-|-|-|-|-|-|-|-|-|-|-|"]
    figure = result["limits"][0]["figure"] if result["limits"] else "cpu_us"
    for name, samples in rows.items():
        got = [d for d in samples if d]
        if not got:
            out.append("| %s | 0 | failed |||||||||| " % name)
            continue
        med = lambda k: statistics.median(d[k] for d in got)
        m = median_ratio(rows, name, ref, figure)
        flaws = [("%d dirty" % n) for n in [sum(d["dirty"] for d in got)] if n] + [
            ("%d bad" % n) for n in [sum(d["bad"] for d in got)] if n] + [
            ("%d not 2xx" % n) for n in [sum(d["other"] for d in got)] if n] + [
            ("%d exits" % n) for n in [sum(bool(d["exit"]) for d in got)] if n]
        out.append("| %s | %d | %s | %s | %.2f | %s | %.0f | %.0f | %.0f | %.2f / %.2f | %.0f | %s |" % (
            name, len(got), "{:,.0f}".format(med("rps")), "{:,.0f}".format(med("events")), med("cpu_us"),
            "%s %.2f (%.2f–%.2f)" % (figure, *m) if m else "–", med("p50"), med("p99"), med("p999"), med("srv_util"),
            med("cli_util"), med("rss_mb"), ", ".join(flaws) or "–"))
    for v in result["limits"]:
        if v["ratio"] is None:
            out.append("\n- %s of %s against %s %s %g: not measured (no yardstick)" % (v["figure"], v["arm"], v["ref"], v["op"], v["bound"]))
        else:
            out.append("\n- %s of %s is %.2f (%.2f–%.2f) of %s, wanted %s %g: **%s**" % (
                v["figure"], v["arm"], v["ratio"], v["min"], v["max"], v["ref"], v["op"], v["bound"], {None: "undecided, no clean round", True: "met", False: "not met"}[v["met"]]))
    return "\n".join(out)


# --- memory -----------------------------------------------------------------------------------------------

def planned_bytes(argv):
    """The sum that `serve --dry-run` prints: the byte count on the line that begins with `total`."""
    done = subprocess.run([*argv, "--dry-run"], capture_output=True, text=True, timeout=30)
    if done.returncode:
        sys.exit("--dry-run refused with %d: %s" % (done.returncode, done.stderr))
    sums = [int(n.replace(",", "").replace("_", "")) for l in done.stdout.splitlines() if l.split()[:1] == ["total"]
            for n in re.findall(r"\d[\d,_]{3,}", l)]
    return max(sums) if sums else None, done.stdout


def run_rss(a, sink):
    """Millions of events, a fifth malformed, through one process; RSS twice a second against the plan."""
    label = "RSS over %.3g million events, 20 %% malformed, %s" % (a.rss_events / 1e6, sink)
    print("\n## %s" % label, flush=True)
    arm = ringmill(a, sink, "durable" if sink == "segments" else "accepted")
    if sink == "segments" and not a.server_cmd:
        arm.argv += ["--retention-bytes", RSS_RETENTION]
    result = {"label": label, "commands": {arm.name: show_command(arm.argv)}}
    with tempfile.TemporaryDirectory(prefix="ringmill-bench-", dir=a.data) as scratch:
        plan, printed = (None, None) if a.server_cmd else planned_bytes([x.replace("{data}", scratch) for x in arm.argv])
        result["plan_bytes"], result["plan"] = plan, printed and printed.replace(scratch, "DIR")
        server = arm.start(a, scratch)
        series, begin, stop = [], time.time(), []

        def watch():
            while not stop:
                try:
                    series.append((round(time.time() - begin, 2), rss_kb(server.pid)))
                except (OSError, StopIteration):
                    return
                time.sleep(0.5)

        import threading
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        events, other, bad = 0.0, 0, 0
        while events < a.rss_events and time.time() - begin < a.rss_secs_max:
            d = generate(a, server, {"per": 100, "ctype": NDJSON, "conns": 64, "file": a.spoiled}, max(a.secs, 5))
            if d is None:
                break
            events += d["events"] * max(a.secs, 5)
            other, bad = other + d["other"], bad + d["bad"]
            print("  %.1f million events" % (events / 1e6), file=sys.stderr, flush=True)
        result.update(events=events, not_2xx=other, bad=bad, peak_bytes=rss_kb(server.pid, "VmHWM") * 1024)
        stop.append(1)
        watcher.join()
        result["exit"] = server.stop()
    later = [(t, kb) for t, kb in series if t > series[-1][0] / 3] if series else []
    if len(later) < 4:
        sys.exit("too few samples of RSS: %r" % series)
    mean_t, mean_kb = statistics.mean(t for t, _ in later), statistics.mean(kb for _, kb in later)
    spread = sum((t - mean_t) ** 2 for t, _ in later)
    slope = sum((t - mean_t) * (kb - mean_kb) for t, kb in later) / spread if spread else 0.0
    growth = slope * (later[-1][0] - later[0][0]) * 1024
    result.update(rss_kb=series, slope_kb_per_s=slope, growth_bytes=growth,
                  met_plan=plan and result["peak_bytes"] <= plan * PLAN_SLACK,
                  met_slope=growth <= (plan or result["peak_bytes"]) * GROWTH_MAX,
                  met_events=events >= a.rss_events and not other and not bad and not result["exit"])
    print(table_rss(result), flush=True)
    return result


def table_rss(r):
    yes = lambda key: {True: "met", False: "**not met**", None: "undecided, no plan"}[r[key]]
    return ("| %s | | |\n|-|-|-|\n| events sent; replies not 2xx, bad; exit code | %s; %d, %d; %d | %s |\n"
            "| peak RSS, of the plan's %s | %.1f MiB | %s |\n| slope of the last two thirds, growth in them | %.1f KiB/s, %.2f MiB | %s |" % (
                r["label"], "{:,.0f}".format(r["events"]), r["not_2xx"], r["bad"], r["exit"], yes("met_events"),
                "%.1f MiB" % (r["plan_bytes"] / 2**20) if r["plan_bytes"] else "–", r["peak_bytes"] / 2**20, yes("met_plan"),
                r["slope_kb_per_s"], r["growth_bytes"] / 2**20, yes("met_slope")))


# --- main -------------------------------------------------------------------------------------------------

def save(a, name, results, env, before):
    os.makedirs(a.results, exist_ok=True)
    path = os.path.join(a.results, time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + name + ".json")
    env = {**env, "load_average_after": os.getloadavg(), "steal_ticks": steal() - before}
    with open(path, "w") as f:
        json.dump({"suite": name, "environment": env, "secs": a.secs, "warm": a.warm, "rounds": a.rounds, "results": results}, f, indent=1)
        f.write("\n")
    print("\nwritten to %s" % os.path.relpath(path), file=sys.stderr, flush=True)


def steal():
    return sum(t[7] for t in cpu_times(range(os.cpu_count())))


def default_bin():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    return os.path.join(target, "release", "ringmill")


def main():
    names = ["smoke", "single", "pipelined", "batch", "batch-durable", "open-null", "open-durable", "rss"]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("suite", nargs="+", help="suite names, or `show` and result files")
    p.add_argument("--bin", default=default_bin(), help="the built server (default: cargo's release target)")
    p.add_argument("--server-cmd", help="another server in ringmill's place; {port} and {data} are filled in")
    p.add_argument("--path", default="/v1/events", help="ingest path of --server-cmd")
    p.add_argument("--driver", help="pass --driver to ringmill")
    p.add_argument("--both-drivers", action="store_true", help="measure the glommio driver beside")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--secs", type=float, default=4.0)
    p.add_argument("--warm", type=float, default=1.0)
    p.add_argument("--tries", type=int, default=3, help="runs at most for one clean sample")
    p.add_argument("--quiet", type=float, default=30.0, help="seconds at most to wait for a quiet machine")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--server-cpus", default="0", help="taskset list of every server; the generator pins itself to core 1")
    p.add_argument("--data", default=os.environ.get("TMPDIR", "/var/tmp"), help="folder on a real disk for segments")
    p.add_argument("--results", default=os.path.join(HERE, "results"))
    p.add_argument("--rss-events", type=float, default=20e6)
    p.add_argument("--rss-sinks", default="null,segments", help="comma-separated")
    p.add_argument("--rss-secs-max", type=float, default=400.0)
    a = p.parse_args()
    if a.suite[0] == "show":
        for path in a.suite[1:]:
            with open(path) as f:
                print("\n\n".join(table(r) if "rounds" in r else table_rss(r) for r in json.load(f)["results"]), "\n")
        return
    wanted = names[1:] if a.suite == ["all"] else a.suite
    if unknown := [n for n in wanted if n not in names]:
        p.error("no suite %s; there are %s, and all" % (", ".join(unknown), ", ".join(names)))
    if not a.server_cmd and not os.access(a.bin, os.X_OK):
        p.error("no server at %s; build it with `cargo build --release` or name it with --bin" % a.bin)
    if not YARDSTICK:
        print("RINGMILL_YARDSTICK is not set: yardsticks are skipped, the built-in generator is slow; ratios are not measured",
              file=sys.stderr)
    a.watch = sorted(set(range(min(2, os.cpu_count()))))
    missed = 0
    with tempfile.TemporaryDirectory(prefix="ringmill-bench-") as made:
        a.lines, a.spoiled = os.path.join(made, "mix.ndjson"), os.path.join(made, "spoiled.ndjson")
        with open(a.lines, "wb") as f:
            payload.write(f, "mix", a.seed, size=1 << 20)
        with open(a.spoiled, "wb") as f:
            payload.write(f, "mix", a.seed, size=1 << 20, malformed=0.2)
        for name in wanted:
            env, before = environment(a), steal()
            if name == "rss":
                results = [run_rss(a, sink) for sink in a.rss_sinks.split(",")]
                missed += sum(not r[met] for r in results for met in ("met_events", "met_plan", "met_slope"))
            else:
                results = [run_suite(a, label, suite) for label, suite in suites(a, name)]
                print("\n\n".join(table(r) for r in results), flush=True)
                missed += sum(1 for r in results for rows in r["rounds"].values() for d in rows
                              if d is None or d["bad"] or d["other"] or d["exit"])
            save(a, name, results, env, before)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
