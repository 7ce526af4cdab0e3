"""The Kafka sink: its producer alone beside librdkafka, through HTTP beside the null sink, and its stages one by one.

Whoever is measured has the server core for itself; brokers and load generator share the other. So the brokers bound how
many records go through, and CPU is that of the measured process alone, all of its threads, those of the kernel that
work for it among them. Every sample has a fresh process and a fresh topic.
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import time

from . import generators, memory
from .brokers import Brokers
from .machine import foreign_ticks, steal_ticks, target_dir, wait_quiet
from .processes import rss_kb, scheduled
from .sampling import cleanest, judge, mark_disturbance
from .servers import Arm
from .suites import JSON, NDJSON

NAMES = ("kafka-encoder", "kafka-cpu", "kafka-paced", "kafka-http", "kafka-latency", "kafka-batch", "kafka-rss")
EVENT_BYTES = 300
LINGER_MS = 5
BATCH_BYTES = 1_000_000
BODY_EVENTS = 100
LATENCY_RATE = 20_000
PACED_BURST = 500
# Stages of benches/micro, and how often each is run in a sample: some 50 ms.
STAGES = {"kafka-record": 2000, "kafka-record-keyed": 1500, "kafka-event": 2000, "kafka-event-headers": 1500, "kafka-seal": 2000, "kafka-seal-keyed": 1500, "kafka-seal-lz4": 200}
CPU = ("cpu_us", "CPU µs an event")
WORDS = ("order ", "payment ", "accepted ", "retry ", "of ", "user ")


def events(seed, count=512):
    """Log events of EVENT_BYTES: alike enough for a codec to find something, no two equal."""
    r = random.Random(seed)
    for _ in range(count):
        text = '{"type":"log","timestamp":%d,"level":"%s","service":"checkout-%d","trace":"%032x","message":"' % (
            1_700_000_000_000 + r.randrange(10 ** 9), r.choice(("info", "warn", "error")), r.randrange(50), r.getrandbits(128))
        while len(text) < EVENT_BYTES - 2:
            text += "%s%d " % (r.choice(WORDS), r.randrange(10_000))
        yield text[:EVENT_BYTES - 2] + '"}'


# --- who is measured ------------------------------------------------------------------------------------------

class Producer:
    """A program that produces from memory and prints one JSON object."""

    def __init__(self, name, argv):
        self.name, self.argv = name, argv

    def shown(self):
        return " ".join([os.path.basename(self.argv[0]), *self.argv[1:]])

    def attempt(self, a, brokers, load):
        topic = brokers.new_topic()
        argv = ["taskset", "-c", a.server_cpus, *self.argv, "--bootstrap", brokers.bootstrap, "--topic", topic, "--lines", a.events,
                "--seconds", "%g" % a.secs, "--warm", "%g" % a.warm, *load.get("args", [])]
        quiet = wait_quiet(a.server_cpu_list, a.quiet)
        before = Before(a, brokers)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            proc = subprocess.Popen(argv, stdout=out, stderr=errors, text=True)
            peak = 0
            end = time.time() + a.secs + a.warm + 60
            while proc.poll() is None and time.time() < end:
                time.sleep(0.1)
                try:
                    peak = max(peak, rss_kb(proc.pid, "VmHWM"))
                except (OSError, StopIteration):
                    pass
            if proc.poll() is None:
                proc.kill()
            code = proc.wait()
            out.seek(0), errors.seek(0)
            text, complaint = out.read(), errors.read()
        use = before.since()
        if not text.strip():
            print("  %s ended with %d: %s" % (self.name, code, complaint[-300:]), file=sys.stderr)
            return None
        d = json.loads(text)
        latency = {q: d["latency_us"][q] if load.get("rate") else None for q in ("p50", "p90", "p99", "p999", "max")}
        return {**use, **latency, "rps": d["records_per_second"], "events": d["records_per_second"], "cpu_us": d["cpu_us_per_record"],
                "srv_util": d["cpu_seconds"] / d["seconds"], "cli_util": 0, "cli_delay": 0, "bad": d["failed"], "other": 0,
                "rss_mb": peak / 1024, "exit": code, "quiet": quiet, "said": d}


class Through:
    """`ringmill serve`, loaded by `ringmill load`."""

    def __init__(self, name, a, sink, *args):
        argv = [a.bin, "serve", "--listen", "127.0.0.1:0", "--admin", "none", "--cores", a.server_cpus, *args]
        argv += ["--sink", "null", "--ack", "accepted"] if sink == "null" else ["--sink", "kafka:{bootstrap}/{topic}"]
        argv += ["--driver", a.driver] if a.driver else []
        self.name, self.argv = name, argv

    def shown(self):
        return " ".join([os.path.basename(self.argv[0]), *self.argv[1:]])

    def arm(self, brokers, topic):
        return Arm(self.name, [x.replace("{bootstrap}", brokers.bootstrap).replace("{topic}", topic) for x in self.argv], True, "/v1/events")

    def attempt(self, a, brokers, load):
        arm = self.arm(brokers, brokers.new_topic())
        server = arm.start(a, a.data)
        server.kin = brokers.pids
        try:
            quiet = wait_quiet(a.server_cpu_list, a.quiet)
            before = Before(a, brokers)
            d = generators.generate_load(a, server, {**load, "file": a.events}, a.secs)
            use = before.since()
        finally:
            code = server.stop()
        if code:
            print("  %s ended with %d: %s" % (self.name, code, server.stderr()), file=sys.stderr)
        if d is None:
            return None
        # Of an event, whatever came in one request; the warm-up's share of the brokers' time is small.
        d["cpu_us"] = d["cpu_us"] / load["per"]
        return {**d, "brokers_util": use["brokers_util"], "exit": code, "quiet": quiet}


class Before:
    """What the machine and the brokers had done before a sample."""

    def __init__(self, a, brokers):
        self.brokers, self.cores = brokers, [0, generators.GENERATOR_CPU]
        self.kin = (os.getpid(), *brokers.pids)
        self.began, self.ran = time.perf_counter(), brokers.cpu_ns()
        self.steal, self.children = steal_ticks(self.cores), os.times()
        self.foreign = foreign_ticks(self.kin)

    def since(self):
        took = time.perf_counter() - self.began
        ticks = os.sysconf("SC_CLK_TCK") * took
        return {"took_s": took, "brokers_util": (self.brokers.cpu_ns() - self.ran) / took / 1e9,
                "foreign": max(0, foreign_ticks(self.kin) - self.foreign) / ticks,
                "steal": (steal_ticks(self.cores) - self.steal) / ticks}


def attempt(a, brokers, arm, load):
    d = arm.attempt(a, brokers, load)
    if d is not None:
        mark_disturbance(d)
    return d


# --- suites ---------------------------------------------------------------------------------------------------

def librdkafka(codec="none", name="librdkafka"):
    return Producer(name, [os.path.join(target_dir(), "yardstick", "release", "ringmill-kafka-bench"), *same(codec)])


def ringmill(codec="none", name="ringmill"):
    return Producer(name, [os.path.join(target_dir(), "release", "ringmill-produce"), *same(codec)])


def same(codec):
    """What both sides are told alike."""
    return ["--linger-ms", str(LINGER_MS), "--batch-bytes", str(BATCH_BYTES), "--codec", codec]


def through(a, codec, name, *args):
    """The server; its records have no headers beyond those of the yardstick, which are none."""
    return Through(name, a, "kafka", "--kafka-compression", codec, "--kafka-batch-bytes", str(BATCH_BYTES), "--linger-us", "%dms" % LINGER_MS,
                   "--kafka-headers", "none", *args)


def cpu(a):
    """The producers alone, as fast as the brokers take records."""
    aim = {"none": 0.25, "lz4": 0.5}
    return [("producer alone, %d-byte records, %s" % (EVENT_BYTES, "plain" if codec == "none" else codec), {
        "load": {"per": 1}, "ref": "librdkafka", "figure": CPU, "arms": [librdkafka(codec), ringmill(codec)],
        "limits": [("ringmill", None, "cpu_us", "<=", aim[codec]), ("ringmill", "librdkafka", "cpu_us", "<=", 1 / 3)]})
        for codec in aim]


def paced(a):
    """The producers alone at a rate below what the brokers take, in bursts as a server's bodies are: nobody waits for room."""
    args = ["--rate", "%d" % a.kafka_rate, "--burst", str(PACED_BURST)]
    return [("producer alone, %d k/s in bursts of %d, %s" % (a.kafka_rate // 1000, PACED_BURST, "plain" if codec == "none" else codec), {
        "load": {"per": 1, "rate": a.kafka_rate, "args": args}, "ref": "librdkafka", "figure": CPU,
        "arms": [librdkafka(codec), ringmill(codec)], "limits": [("ringmill", "librdkafka", "cpu_us", "<=", 1 / 3)]})
        for codec in ("none", "lz4")]


def http(a):
    """What the sink costs on top of the null sink, at one rate."""
    load = {"per": BODY_EVENTS, "ctype": NDJSON, "conns": 256, "rate": a.kafka_rate / BODY_EVENTS}
    return [("bodies of %d events, %d k events/s, beyond the null sink" % (BODY_EVENTS, a.kafka_rate // 1000), {
        "load": load, "ref": "null", "minus": "null", "figure": ("above_us", "CPU µs an event beyond the null sink"),
        "arms": [Through("null", a, "null"), through(a, "none", "plain"), through(a, "lz4", "lz4")],
        "limits": [("plain", None, "above_us", "<=", 0.25), ("lz4", None, "above_us", "<=", 0.5)]})]


def latency(a):
    """From when a record was due to its acknowledgement by all replicas."""
    rate = LATENCY_RATE
    return [("replicated, %d k/s, linger %d ms" % (rate // 1000, LINGER_MS), {
        # A reply takes some 10 ms and a connection waits for it: 512 bear 50 k/s.
        "load": {"per": 1, "ctype": JSON, "conns": 512, "rate": rate, "even": True, "args": ["--rate", str(rate)]}, "ref": "librdkafka",
        "arms": [librdkafka(), ringmill(), through(a, "none", "ringmill through HTTP")],
        "limits": [("ringmill", "librdkafka", "p50", "<=", 1.1), ("ringmill", "librdkafka", "p99", "<=", 1.2)]})]


def batch(a):
    """As many bodies as the brokers take."""
    load = {"per": BODY_EVENTS, "ctype": NDJSON, "conns": 256}
    return [("bodies of %d events, as many as go" % BODY_EVENTS, {
        "load": load, "ref": "null", "limits": [], "figure": ("events", "events a second"),
        "arms": [Through("null", a, "null"), through(a, "none", "plain"), through(a, "lz4", "lz4"),
                 Through("plain, default headers", a, "kafka", "--linger-us", "%dms" % LINGER_MS)]})]


SUITES = {"kafka-cpu": cpu, "kafka-paced": paced, "kafka-http": http, "kafka-latency": latency, "kafka-batch": batch}


def run(a, name):
    """Results of a suite."""
    a.events = os.path.join(os.path.dirname(a.lines), "events.ndjson")
    with open(a.events, "w") as f:
        f.writelines(line + "\n" for line in events(a.seed))
    if name == "kafka-encoder":
        return [encoder(a)]
    with Brokers(a.brokers_cpus) as brokers:
        if name == "kafka-rss":
            return [rss(a, brokers)]
        missing = [arm.argv[0] for _, suite in SUITES[name](a) for arm in suite["arms"] if not os.access(arm.argv[0], os.X_OK)]
        if missing:
            sys.exit("%s: not there; `benches/run build` makes it" % missing[0])
        return [rounds(a, brokers, label, suite) for label, suite in SUITES[name](a)]


def rounds(a, brokers, label, suite):
    """Rounds of all arms in random order."""
    print("\n## %s" % label, flush=True)
    rows = {arm.name: [] for arm in suite["arms"]}
    for n in range(a.rounds):
        for arm in random.sample(suite["arms"], len(suite["arms"])):
            rows[arm.name].append(cleanest(a.tries, lambda: attempt(a, brokers, arm, suite["load"])))
        print("  round %d of %d, %s" % (n + 1, a.rounds, time.strftime("%H:%M:%S")), file=sys.stderr, flush=True)
    if "minus" in suite:
        subtract(rows, suite["minus"])
    figure = {"figure": suite["figure"]} if "figure" in suite else {}
    return {"label": label, "kafka": True, **figure, "ref": suite["ref"], "load": dict(suite["load"]), "brokers": brokers.shown(),
            "commands": {arm.name: arm.shown() for arm in suite["arms"]}, "rounds": rows,
            "limits": [judge(rows, *limit) for limit in suite["limits"]]}


def subtract(rows, base):
    """Gives each sample its CPU beyond that of the base in the same round."""
    for name, samples in rows.items():
        for d, below in zip(samples, rows[base]):
            if d and below and name != base:
                d["above_us"] = d["cpu_us"] - below["cpu_us"]
                d["dirty"] = d["dirty"] or below["dirty"]


def encoder(a):
    """Stages of the sink, nanoseconds an event; the first is the encoder alone."""
    stages = os.path.join(target_dir(), "release", "stages")
    if not os.access(stages, os.X_OK):
        sys.exit("%s: not there; `benches/run build` makes it" % stages)
    rows = {name: [] for name in STAGES}
    argv = ["taskset", "-c", a.server_cpus, stages]
    for n in range(max(a.rounds, 6)):
        quiet, steal, foreign = wait_quiet(a.server_cpu_list, a.quiet), steal_ticks(a.server_cpu_list), foreign_ticks((os.getpid(),))
        began = time.perf_counter()
        for name, runs in random.sample(sorted(STAGES.items()), len(STAGES)):
            asked = "".join("%s %d\n" % (name, runs) for _ in range(9))
            said = subprocess.run([*argv, "time", a.events], input=asked, capture_output=True, text=True, check=True).stdout
            each = sorted(float(ns) / int(units) for ns, units in (line.split() for line in said.splitlines()))
            counted = json.loads(subprocess.run([*argv, "run", name, "20", a.events], capture_output=True, text=True, check=True).stdout)
            rows[name].append({"cpu_us": each[len(each) // 2] / 1e3, "events": 1e9 / each[len(each) // 2], "allocations": counted["allocations"],
                               "dirty": False, "exit": 0, "bad": 0, "other": 0, "quiet": quiet})
        ticks = os.sysconf("SC_CLK_TCK") * (time.perf_counter() - began)
        disturbance = max(steal_ticks(a.server_cpu_list) - steal, foreign_ticks((os.getpid(),)) - foreign) / ticks
        for samples in rows.values():
            samples[-1].update(disturbance=disturbance, dirty=disturbance >= 0.02)
    return {"label": "stages of the Kafka sink, %d-byte events" % EVENT_BYTES, "kafka": True, "figure": CPU, "ref": "kafka-record", "load": {"per": 1},
            "commands": {"stages": "stages time"}, "rounds": rows,
            "limits": [judge(rows, "kafka-record", None, "cpu_us", "<=", 0.025), judge(rows, "kafka-record", None, "allocations", "<=", 0)]}


def rss(a, brokers):
    arm = through(a, "lz4", "ringmill").arm(brokers, brokers.new_topic())
    return {**memory.run_arm(a, "kafka, lz4", arm, brokers.pids), "brokers": brokers.shown()}
