"""What is measured, against what, and which ratio it is held to."""
from .machine import vector_units
from .servers import name_of, others, ringmill, yardstick

NDJSON, JSON = "application/x-ndjson", "application/json"

# What the first write-up says of its service with serde_json.
WRITEUP_RATE = 38_000

# A limit is (arm, reference, figure, comparison, bound): the median of the rounds' ratios decides.


def single(a):
    raw = name_of("raw")
    return [("one event a request, 64 connections, null", {
        "load": {"per": 1, "ctype": JSON, "conns": 64}, "ref": raw, "limits": [("ringmill", raw, "cpu_us", "<=", 1.10)],
        "arms": [*yardstick("raw"), *yardstick("proto"), *yardstick("tokio"), *yardstick("seed"), ringmill(a), *others(a)]})]


def pipelined(a):
    raw = name_of("raw")
    return [("one event a request, pipelined 16, null", {
        "load": {"per": 1, "ctype": JSON, "conns": 64, "depth": 16}, "ref": raw,
        "limits": [("ringmill", raw, "cpu_us", "<=", 2.3)],
        "arms": [*yardstick("raw"), *yardstick("proto"), *yardstick("tokio"), ringmill(a), *others(a)]})]


def batch(a):
    seed, proto = name_of("seed"), yardstick("proto", "--bs=16384")
    return [("bodies of 100 events, null", {
        "load": {"per": 100, "ctype": NDJSON, "conns": 64}, "ref": seed,
        "limits": [("ringmill", seed, "events", ">=", 6.0)] + [("ringmill", p.name, "events", ">=", 1.0) for p in proto],
        "arms": [*yardstick("seed", lines=True), *proto, *yardstick("tokio"), ringmill(a), *others(a)]})]


def batch_durable(a):
    return [("bodies of 100 events, segments, durable", {
        "load": {"per": 100, "ctype": NDJSON, "conns": 64}, "ref": "ringmill null",
        "limits": [("ringmill durable", "ringmill null", "events", ">=", 0.80)],
        "arms": [ringmill(a, name="ringmill null"), ringmill(a, "segments", "durable", "ringmill durable"),
                 *yardstick("proto", "--bs=16384", label="s_proto null"),
                 *yardstick("proto", "--bs=16384", "--durable={data}/proto", label="s_proto durable")]})]


def scan_arms(a, sink, ack, *args):
    """The prototype with the same vector units, and ringmill with each of its scanners."""
    proto = yardstick("proto", "--bs=16384", "--scan=" + ("avx512" if vector_units() == "avx512" else "avx2"), *args, label="s_proto scan")
    return proto, [*proto, ringmill(a, sink, ack, "ringmill fast", scanner="fast"),
                   ringmill(a, sink, ack, "ringmill exact", scanner="exact"),
                   ringmill(a, sink, ack, "ringmill simd-json", scanner="simd-json")]


def scan(a):
    """The data path with each scanner, set against the prototype's scanner."""
    rows = []
    for sink, ack, bound, args in (("null", "accepted", 1.0, ()), ("segments", "durable", 1.2, ("--durable={data}/proto",))):
        proto, arms = scan_arms(a, sink, ack, *args)
        rows.append(("bodies of 100 events, %s" % ("null" if sink == "null" else "segments, durable"), {
            "load": {"per": 100, "ctype": NDJSON, "conns": 64}, "ref": proto[0].name if proto else "ringmill exact",
            "limits": [("ringmill fast", p.name, "events", ">=", bound) for p in proto]
            + [("ringmill fast", "ringmill exact", "events", ">=", 1.0), ("ringmill fast", "ringmill simd-json", "events", ">=", 1.0)],
            "arms": arms}))
    return rows


def open_null(a):
    raw = name_of("raw")
    return [("open loop %d k/s, null" % (rate // 1000), {
        "load": {"per": 1, "ctype": JSON, "conns": 64, "rate": rate}, "ref": raw,
        "limits": [("ringmill", raw, "p50", "<=", 1.15), ("ringmill", raw, "p99", "<=", 1.3)],
        "arms": [*yardstick("raw"), ringmill(a), *others(a)]}) for rate in (60000, 20000)]


def open_durable(a):
    proto = yardstick("proto", "--durable={data}/proto")
    ref = proto[0].name if proto else "ringmill"
    return [("open loop %d k/s, durable" % (rate // 1000), {
        "load": {"per": 1, "ctype": JSON, "conns": 64, "rate": rate}, "ref": ref,
        "limits": [("ringmill", ref, f, "<=", 1.1) for f in ("p50", "p99") if proto],
        "arms": [*proto, ringmill(a, "segments", "durable"), *others(a, "segments", "durable")]})
        for rate in (20000, 60000)]


def pairs(a):
    """The open loops again, in adjacent bursts, ringmill and its reference only."""
    rows = []
    for sink, ack, role, rates in (("null", "accepted", "raw", (60000, 20000)), ("segments", "durable", "proto", (20000, 60000))):
        reference = yardstick(role, *(["--durable={data}/proto"] if role == "proto" else []))
        if sink == "segments" and not reference:
            continue
        ref, bounds = reference[0].name if reference else name_of(role), (1.15, 1.3) if sink == "null" else (1.1, 1.1)
        rows += [("bursts at %d k/s, %s" % (rate // 1000, sink), {
            "load": {"per": 1, "ctype": JSON, "conns": 64, "rate": rate}, "ref": ref,
            "limits": [("ringmill", ref, f, "<=", b) for f, b in zip(("p50", "p99"), bounds)],
            "arms": [ringmill(a, sink, ack), *reference]}) for rate in rates]
    return rows


def writeup(a):
    """The first write-up's table: its service in both forms and ringmill, at one rate and at saturation."""
    load = {"per": 1, "ctype": JSON, "conns": 64}
    arms = [*yardstick("seed", label="seed serde_json"), *yardstick("seed simd-json", label="seed simd-json"),
            ringmill(a), *others(a)]
    rate = a.rate or WRITEUP_RATE
    return [(label, {"load": {**load, **more}, "ref": "seed serde_json", "limits": [], "arms": arms})
            for label, more in (("write-up, %d k/s each" % (rate // 1000), {"rate": rate}), ("write-up, saturation", {}))]


def smoke(a):
    return [("smoke: 10 events a request, durable", {
        "load": {"per": 10, "ctype": NDJSON, "conns": 4}, "ref": "ringmill", "limits": [],
        "arms": [ringmill(a, "segments", "durable")]})]


# Suites of rounds; `pairs`, `rss`, `chaos` and `generators` have a shape of their own.
ROUNDS = {"smoke": smoke, "single": single, "pipelined": pipelined, "batch": batch, "batch-durable": batch_durable, "scan": scan,
          "open-null": open_null, "open-durable": open_durable, "writeup": writeup}
NAMES = [*ROUNDS, "pairs", "rss", "chaos", "generators"]
# `lg` is what the bounds above were set with; the write-ups are retold with our own tool.
GENERATORS = {"writeup": ("load", "lg"), "chaos": ("load", "lg")}
DEFAULT_GENERATORS = ("lg", "load")
