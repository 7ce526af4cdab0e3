"""Topics that are not there, are made anew or grow; records that brokers refuse; producers that brokers forget."""
import json

from .rows import row

BEFORE_WRAP = 2**31 - 3


@row("topic absent", "the topic is made 10 s after the load began", "A B E", quick=True)
def absent(t):
    t.all_acked = False
    t.serve("--shed-after-ms", "200")
    t.send()
    t.pause(10)
    t.require("does not exist" in t.server.unready(), f"not ready, but why? {t.server.unready()!r}")
    t.require(t.load.acked() == 0, "acknowledged without a topic")
    t.create()
    t.recovers()


@row("topic deleted, made again later", "5 s without the topic under load", "A B E", quick=True)
def recreated(t):
    t.all_acked = False
    t.create()
    t.serve("--shed-after-ms", "200")
    t.send()
    t.pause(2)
    t.cut()
    t.ask("delete", t.topic)
    t.load.resume()
    t.pause(5)
    t.create()
    t.recovers()


@row("topic made anew at once", "another topic of the same name between two events", "A B E")
def anew(t):
    t.create()
    t.serve()
    t.send()
    for _ in range(3):
        t.pause(1)
        t.cut()
        t.ask("delete", t.topic)
        t.create()
        t.load.resume()
    t.recovers()


@row("topic grown", "from 3 partitions to 9 under load", "A B E", quick=True)
def grown(t):
    t.create(3)
    t.serve()
    t.send()
    t.pause(1)
    t.ask("grow", t.topic, 9)
    # The next question about metadata tells of it: a leader that moves asks it.
    t.ask("lead", t.topic, 0, t.leader() % 3 + 1)
    written = lambda: sum(t.server.metric("ringmill_kafka_partition_records_total", partition=n) > 0 for n in range(3, 9))
    t.wait("all six new partitions are written to", lambda: written() == 6)
    t.recovers()


@row("records deleted", "DeleteRecords empties every partition, producers' state goes with it", "A E", quick=True)
def truncated(t):
    t.create()
    t.serve()
    t.send()
    for _ in range(2):
        t.pause(1)
        t.cut()
        for partition in range(6):
            t.ask("truncate", t.topic, partition, -1)
        t.load.resume()
    t.recovers()
    first = min(record.number for record in t.logs[0])
    t.require(all(record.number > first for record in t.consume()), "nothing was deleted")


@row("producer state expired", "brokers forget producers after 1 s, the load pauses for longer, twice", "A E", quick=True)
def expired(t):
    t.create()
    t.serve()
    t.send()
    t.ask("brokers", "producer.id.expiration.ms=1000")
    try:
        for _ in range(2):
            t.pause(1)
            t.load.pause()
            t.wait("the brokers forget", lambda: t.ask("producers", t.topic)["producers"] == 0)
            t.load.resume()
        t.recovers()
    finally:
        t.ask("brokers", "producer.id.expiration.ms=")


def wrapped(t):
    """Requires batches on both sides of the wrap in the logs, as the brokers hold them."""
    to = t.stage.folder / "dump"
    sequences = []
    for partition in range(6):
        t.ask("dump", t.cluster.node(1).data / f"{t.topic}-{partition}", to)
        sequences += [json.loads(line)["sequence"] for line in to.read_text().splitlines()]
    high, low = sum(s >= BEFORE_WRAP for s in sequences), sum(s < BEFORE_WRAP for s in sequences)
    t.notes.append(f"{high} batches before the wrap, {low} behind it")
    t.require(high >= 6 and low > 0, "no sequence wrapped")


@row("sequence wrap", "sequences begin at 2^31 - 3; the first answers are lost", "A E", quick=True)
def wrap(t):
    t.create()
    t.meddle("Produce", 4, "cut-answer")
    t.serve(via="PROXIED", environment={"RINGMILL_TEST_KAFKA_FIRST_SEQUENCE": str(BEFORE_WRAP)})
    t.send()
    t.meddled()
    t.recovers()
    t.load.pause()
    wrapped(t)


def spoil(t, every, make):
    """One event of `every` of each connection is another, as `make` says."""
    for connection in range(64):
        for number in range(every // 2, 20000, every):
            t.spoiled[connection, number] = make(connection, number)


def require_refused(t):
    """Exactly the spoiled events were refused: no more, no fewer, and every request with one says which."""
    for request in t.load.requests:
        odd = {place for place, number in enumerate(request.numbers()) if (request.connection, number) in t.spoiled}
        if request.refused != odd:
            return t.require(False, f"{request} should have refused {sorted(odd)}")
    refused = sum(len(request.refused) for request in t.load.requests)
    t.notes.append(f"{refused} refused, each named by its index")
    t.require(refused > 10, "hardly any was refused")


@row("poison records", "a compacted topic refuses records without a key, one in 40", "C E", quick=True)
def poison(t):
    spoil(t, 40, lambda connection, number: b'{"c":%d,"n":%d}' % (connection, number))
    t.create(cleanup_policy="compact", min_cleanable_dirty_ratio="1.0")
    t.serve()
    t.send()
    t.pause(4)
    t.recovers()
    t.load.pause()
    require_refused(t)


@row("poison time", "records of the far future, one in 40, are refused", "C E")
def poison_time(t):
    spoil(t, 40, lambda c, n: b'{"c":%d,"n":%d,"k":"k1","at":4000000000000}' % (c, n))
    t.create(message_timestamp_after_max_ms=3600000)
    t.serve("--kafka-timestamp", "/at", "--kafka-compression", "lz4")
    t.send()
    t.pause(4)
    t.recovers()
    t.load.pause()
    require_refused(t)


@row("records too large", "the topic takes batches of 4 kB, one event in 40 has 8 kB", "C E", quick=True)
def too_large(t):
    spoil(t, 40, lambda c, n: b'{"c":%d,"n":%d,"k":"k1","pad":"%s"}' % (c, n, b"y" * 8000))
    t.create(max_message_bytes=4000)
    t.serve()
    t.send(rate=1000, per_body=40)
    t.pause(4)
    t.recovers()
    t.load.pause()
    splits = t.server.metric("ringmill_kafka_splits_total")
    t.notes.append(f"{splits:.0f} splits")
    t.require(splits > 0, "no batch was split")
    require_refused(t)
