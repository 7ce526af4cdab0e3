#!/usr/bin/env python3
"""NDJSON events for benches and tests: the same seed gives the same bytes, on any machine.

    payload.py [--kind mix|log|metric|span|trace] [--seed N] [--events N | --bytes N]
               [--malformed 20%] [--class CLASS] [--labels FILE] [--out FILE]

`mix` is, by count, 50 % logs, 30 % metrics, 15 % spans and 5 % logs with stack traces; its mean is
423 B an event, newline not counted. Every event carries the routing fields `type`, `key` and `ts` (19-digit
nanoseconds within one hour), in one event of five at the end instead of the beginning; one in ten
is written with spaces after `,` and `:`. With `--malformed` that share of the lines (drawn line by line)
is spoiled, each by a class drawn from CLASSES or always by `--class`; `--labels` names each line's class
(`valid` for the good). No line holds a raw newline. Standard library only.
"""
import argparse
import sys

MASK = (1 << 64) - 1


class Rng:
    """xorshift64*: owned here so that no Python release can change the bytes."""

    def __init__(self, seed):
        self.s = (seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) & MASK or 1

    def next(self):
        s = self.s
        s ^= s >> 12
        s = (s ^ (s << 25)) & MASK
        s ^= s >> 27
        self.s = s
        return (s * 0x2545F4914F6CDD1D & MASK) >> 11

    def below(self, n):
        """0 to n - 1."""
        return self.next() % n

    def between(self, low, high):
        """low to high, both included."""
        return low + self.next() % (high - low + 1)

    def pick(self, seq):
        return seq[self.next() % len(seq)]

    def percent(self, p):
        return self.next() % 1000 < p * 10

    def hex(self, digits):
        return "".join("%x" % (self.next() & 15) for _ in range(digits))


SERVICES = ["checkout", "payments", "inventory", "gateway", "search", "auth", "ledger", "mailer"]
LEVELS = ["info", "info", "info", "info", "debug", "warn", "error"]
WORDS = ["request", "served", "cache", "miss", "retry", "upstream", "timeout", "queue", "flushed", "session",
         "opened", "closed", "order", "accepted", "worker", "lease", "renewed", "backoff", "shard", "commit"]
FOREIGN = ["Grüße aus Köln", "żądanie zakończone", "注文を受け付けました", "запрос выполнен", "coût élevé", "naïve café"]
REGIONS = ["eu-west-1", "us-east-2", "ap-south-1", "eu-north-1"]
METRICS = ["cpu", "memory", "disk_read", "disk_write", "net_in", "net_out", "load1", "load5", "faults", "ctxsw", "temp"]
TABLES = ["orders", "users", "carts", "ledger_entries", "sessions"]
FRAMES = ["com.example.checkout.CartService.reserve", "com.example.db.Pool.lend", "io.netty.channel.Handler.read",
          "java.base/java.lang.Thread.run", "com.example.http.Router.dispatch", "com.example.util.Retry.call"]


def words(r, n):
    return " ".join(r.pick(WORDS) for _ in range(n))


def ts(r):
    return 1763000000000000000 + r.below(3_600_000_000_000)


def assemble(kind, key, stamp, rest, r):
    """Puts the routing fields first, or in one of five last; spaces in one of ten. `rest` is [(key, text)]."""
    routing = [("type", '"%s"' % kind), ("key", '"%s"' % key), ("ts", str(stamp))]
    fields = rest + routing if r.percent(20) else routing + rest
    comma, colon = (", ", ": ") if r.percent(10) else (",", ":")

    def show(v):
        if isinstance(v, list):
            return "{" + comma.join('"%s"%s%s' % (k, colon, show(x)) for k, x in v) + "}"
        if isinstance(v, tuple):
            return "[" + comma.join(show(x) for x in v) + "]"
        return v

    return show(fields).encode()


def log(r, trace=False):
    key = "%s-%s-%s" % (r.pick(SERVICES), r.hex(10), r.hex(5))
    text = words(r, r.between(4, 11))
    if r.percent(5):
        text = r.pick(FOREIGN) + " " + text
    elif r.percent(2):
        text += r" \ud83d\ude80"
    if r.percent(35):
        text += r" \"%s\"" % r.pick(WORDS)
    if r.percent(15):
        text += r"\t" + r.pick(WORDS)
    if r.percent(10):
        text += r"\n" + words(r, 2)
    attrs = [("region", '"%s"' % r.pick(REGIONS)), ("status", str(r.pick([200, 200, 201, 204, 404, 500]))),
             ("latency_ms", "%d.%d" % (r.below(400), r.below(100))), ("request_id", '"%s"' % r.hex(16))]
    if r.percent(50):
        attrs.append(("retry", r.pick(["true", "false", "null"])))
    rest = [("level", '"%s"' % r.pick(LEVELS)), ("msg", '"%s"' % text), ("attrs", attrs)]
    if trace:
        frames = r.between(14, 36)
        stack = "".join(r"\n\tat %s(%s.java:%d)" % (r.pick(FRAMES), r.pick(WORDS), r.below(900)) for _ in range(frames))
        rest.append(("stack", '"java.lang.IllegalStateException: %s%s"' % (words(r, 4), stack)))
    return assemble("log", key, ts(r), rest, r)


def trace(r):
    return log(r, True)


def number(r):
    form = r.below(4)
    if form == 0:
        return str(r.below(10 ** r.between(1, 9)))
    if form == 1:
        return "%d.%0*d" % (r.below(10000), r.between(1, 6), r.below(10))
    if form == 2:
        return "-%d.%d" % (r.below(1000), r.below(1000))
    return "%d.%de%s%d" % (r.between(1, 9), r.below(1000), r.pick(["", "+", "-"]), r.between(1, 12))


def metric(r):
    n = r.between(6, 11)
    start = r.below(len(METRICS))
    values = [(METRICS[(start + i) % len(METRICS)], number(r)) for i in range(n)]
    rest = [("region", '"%s"' % r.pick(REGIONS)), ("interval_s", "10"), ("values", values), ("unit", '"mixed"')]
    return assemble("metric", "host-%04d" % r.below(10000), ts(r), rest, r)


def span(r):
    table = r.pick(TABLES)
    sql = r"SELECT \"id\", \"%s\" FROM \"%s\"\n WHERE \"tenant\" = '%s' AND \"state\" <> \"void\"" % (r.pick(WORDS), table, r.hex(8))
    begin = ts(r)
    events = tuple([("name", '"%s"' % r.pick(WORDS)), ("at_ns", str(begin + r.below(10 ** 9)))]
                   for _ in range(r.between(1, 4)))
    rest = [
        ("trace_id", '"%s"' % r.hex(32)), ("span_id", '"%s"' % r.hex(16)), ("parent_id", '"%s"' % r.hex(16)),
        ("name", '"%s %s"' % (r.pick(["GET", "POST", "SELECT", "PUBLISH"]), words(r, 2))),
        ("duration_ns", str(r.below(10 ** 9))),
        ("resource", [("service", '"%s"' % r.pick(SERVICES)), ("version", '"%d.%d.%d"' % (r.below(5), r.below(20), r.below(9))),
                      ("region", '"%s"' % r.pick(REGIONS)), ("host", '"host-%04d.%s.internal"' % (r.below(10000), r.pick(REGIONS)))]),
        ("http", [("method", '"%s"' % r.pick(["GET", "POST", "PUT"])), ("status", str(r.pick([200, 201, 404, 503]))),
                  ("url", r'"https:\/\/api.example.com\/v2\/%s\/%s"' % (table, r.hex(8))), ("agent", '"ringmill-sdk/%d.%d"' % (r.below(9), r.below(30)))]),
        ("db", [("system", '"postgresql"'), ("statement", '"%s"' % sql), ("rows", str(r.below(500)))]),
        ("events", events),
        ("status", [("code", '"%s"' % r.pick(["ok", "ok", "error"])), ("sampled", r.pick(["true", "false"]))]),
    ]
    return assemble("span", r.hex(32), begin, rest, r)


def mix(r):
    d = r.below(100)
    return log(r) if d < 50 else metric(r) if d < 80 else span(r) if d < 95 else trace(r)


KINDS = {"mix": mix, "log": log, "metric": metric, "span": span, "trace": trace}

# Each turns one good event into one bad line without a newline; all are refused by RFC 8259 or by the bounds
# on an event (object at the top, no BOM, UTF-8, no lone surrogate escape, depth up to 64).
CLASSES = {
    "cut_json": lambda e, r: e[:r.between(1, len(e) - 1)],
    "bad_utf8": lambda e, r: e[:-1] + b',"x":"' + bytes([r.pick([0xFF, 0xC0, 0xF8])]) + b'"}',
    "cut_utf8": lambda e, r: e[:-1] + b',"x":"\xe2\x82"}',
    "control": lambda e, r: e[:-1] + b',"x":"a' + bytes([r.pick([0, 1, 8, 31])]) + b'b"}',
    "lone_surrogate": lambda e, r: e[:-1] + rb',"x":"\ud83d!"}',
    "bad_escape": lambda e, r: e[:-1] + rb',"x":"\q"}',
    "bad_number": lambda e, r: e[:-1] + b',"x":' + r.pick([b"01", b"1.", b".5", b"+1", b"1e", b"NaN", b"0x1f"]) + b"}",
    "bad_literal": lambda e, r: e[:-1] + b',"x":' + r.pick([b"True", b"nul", b"undefined", b"'a'"]) + b"}",
    "trailing_comma": lambda e, r: e[:-1] + b",}",
    "missing_colon": lambda e, r: e[:-1] + b',"x" 1}',
    "unquoted_key": lambda e, r: e[:-1] + b",x:1}",
    "trailing_data": lambda e, r: e + r.pick([b"}", b" 1", b"{}", b"x"]),
    "not_object": lambda e, r: r.pick([b"[1,2]", b"17", b'"text"', b"null", b"hello"]),
    "bom": lambda e, r: b"\xef\xbb\xbf" + e,
    "too_deep": lambda e, r: b'{"x":' + b"[" * 80 + b"]" * 80 + b"}",
}


def lines(kind="mix", seed=1, malformed=0.0, only=None):
    """Yields (label, line) without end; `malformed` is a share of 0 to 1."""
    make, r, names = KINDS[kind], Rng(seed), list(CLASSES)
    limit = round(malformed * 10000)
    while True:
        event = make(r)
        if limit and r.below(10000) < limit:
            label = only or r.pick(names)
            yield label, CLASSES[label](event, r)
        else:
            yield "valid", event


def share(text):
    value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("a share lies between 0 and 1 (or 0% and 100%)")
    return value


def write(out, kind="mix", seed=1, events=None, size=None, malformed=0.0, only=None, labels=None):
    """Writes whole lines up to `events` of them or `size` bytes (1 MiB when neither is given)."""
    if events is None and size is None:
        size = 1 << 20
    count = total = 0
    for label, line in lines(kind, seed, malformed, only):
        if (events is not None and count >= events) or (size is not None and total + len(line) + 1 > size):
            return count, total
        out.write(line + b"\n")
        if labels:
            labels.write(label + "\n")
        count, total = count + 1, total + len(line) + 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kind", choices=KINDS, default="mix")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--events", type=int)
    p.add_argument("--bytes", type=int)
    p.add_argument("--malformed", type=share, default=0.0)
    p.add_argument("--class", dest="only", choices=CLASSES)
    p.add_argument("--labels")
    p.add_argument("--out")
    a = p.parse_args()
    if a.only and not a.malformed:
        a.malformed = 1.0
    out = open(a.out, "wb") if a.out else sys.stdout.buffer
    labels = open(a.labels, "w") if a.labels else None
    count, total = write(out, a.kind, a.seed, a.events, a.bytes, a.malformed, a.only, labels)
    print("%d events, %d bytes, mean %.1f" % (count, total, (total - count) / max(1, count)), file=sys.stderr)


if __name__ == "__main__":
    main()
