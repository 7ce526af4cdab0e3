"""Answers lost, requests cut, bits flipped, links slow: through proxies that know where frames begin and end."""
from .rows import row

QUICK_PATIENCE = ("--kafka-request-timeout-s", "2s")


def scattered(t, meddlings, turns):
    """These meddlings with Produce in turn on every link, three good answers between each: many in a row would have the
    server dial less and less often, up to every 10 s."""
    for turn in range(turns):
        what, n = meddlings[turn % len(meddlings)]
        t.meddle("Produce", 1, what, n, skip=4 + 4 * turn)


@row("answers lost", "a Produce is appended, its answer never comes or ends half way; eight times a broker", "A B E",
     quick=True)
def answers(t):
    t.create()
    t.serve(*QUICK_PATIENCE, via="PROXIED")
    t.send()
    scattered(t, [("cut-answer", 0), ("cut-answer-after", 7), ("cut-answer", 0), ("drop-answer", 0)], 8)
    t.meddled(90)
    t.recovers()
    retries = t.server.metric("ringmill_kafka_retries_total")
    t.notes.append(f"{retries:.0f} retries")
    t.require(retries > 0, "nothing was asked for again")


@row("requests cut", "a Produce ends half way, before the append, six times a broker; Metadata, producer ids and versions "
     "too", "A B E", quick=True)
def requests(t):
    t.create()
    t.meddle("InitProducerId", 1, "cut-answer")
    t.meddle("Metadata", 1, "cut-answer-after", 9)
    t.meddle("ApiVersions", 1, "cut-answer-after", 5)
    t.serve(*QUICK_PATIENCE, via="PROXIED")
    t.send()
    scattered(t, [("cut-request-after", n) for n in (3, 40, 500)], 6)
    t.meddled(90)
    t.recovers()


@row("a bit flips on the way", "a bit inside a batch arrives inverted; 30 times", "A B E", quick=True)
def flips(t):
    t.create()
    t.serve(via="PROXIED")
    t.send()
    t.meddle("Produce", 10, "flip-request", 30, skip=5)
    t.meddled()
    t.recovers()
    retries = t.server.metric("ringmill_kafka_retries_total")
    t.notes.append(f"{retries:.0f} retries")
    t.require(retries >= 10, "the brokers took a wrong checksum: the rig proves nothing")


@row("late answers", "every answer of a second comes 3 s late", "A C E")
def late(t):
    t.create()
    t.serve(via="PROXIED")
    t.send()
    t.pause(1)
    t.meddle("Produce", 5, "delay-answer", 3000)
    t.meddled(60)
    t.recovers()


@row("answers never come", "Produce answers are lost for longer than the delivery timeout of 2 s", "A C E", quick=True)
def never(t):
    t.all_acked = False
    t.create()
    t.serve("--kafka-request-timeout-s", "1s", "--kafka-delivery-timeout-s", "2s", via="PROXIED")
    t.send()
    t.pause(1)
    t.meddle("Produce", 6, "drop-answer")
    t.meddled(60)
    t.recovers()
    t.require(any("possibly_written" in name for name in t.load.outcomes()), "nothing was said to be possibly written")


@row("slow links", "64 kB/s to and from each broker, offered eight times as much", "D E", quick=True)
def slow(t):
    t.all_acked, t.pad = False, "x" * 700
    t.create()
    t.serve(via="PROXIED")
    t.send(rate=2000, clients=32, per_body=20)
    t.pause(1)
    t.stage.proxies.ask("limit", 0, 64000)
    t.pause(8)
    t.stage.proxies.ask("limit", 0, 0)
    t.recovers()
    t.require(not any(name.startswith("failed") for name in t.load.outcomes()), "a batch was given up within 2 min")


@row("answers by the byte", "every answer in packets of one byte", "A E")
def sliced(t):
    t.create()
    t.serve(via="PROXIED")
    t.send(rate=500)
    for call in ("Produce", "Metadata", "InitProducerId"):
        t.meddle(call, 20 if call == "Produce" else 1, "slice-answer", 1)
    t.pause(5)
    t.recovers()


@row("throttle", "a quota of 100 kB/s, offered six times as much", "D E", quick=True)
def throttle(t):
    t.all_acked, t.pad = False, "x" * 600
    t.create()
    t.ask("quota", "ringmill", 100_000)
    try:
        t.serve()
        t.send(rate=1000, per_body=20)
        t.pause(8)
        muted = t.server.metric("ringmill_kafka_broker_throttled_seconds_total")
        t.notes.append(f"{muted:.1f} s muted")
        t.require(muted > 0, "no broker throttled us")
    finally:
        t.ask("quota", "ringmill", "none")
    t.recovers()
    t.require(not any(name.startswith("failed") for name in t.load.outcomes()), "a batch was given up within 2 min")
