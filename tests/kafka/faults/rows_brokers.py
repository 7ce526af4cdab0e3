"""Brokers that die, freeze, restart, hand leadership on, run out of disk, and lose replicas."""
from .rows import row


def replaced(t, node, before):
    """Notes that partition 0 has another leader than `before`, and requires it."""
    now = t.leader()
    t.notes.append(f"leader {before} to {now}")
    t.require(now != node, f"node {node} still leads: the fault did not strike")


@row("healthy", "none: two shards, lz4", "A B F", quick=True)
def healthy(t):
    t.create()
    t.serve("--kafka-compression", "lz4", cores="0,1")
    t.send(rate=4000)
    t.pause(4)
    late = sorted(t.load.late_s)
    # A reply waits for linger (none) and the brokers. Seconds would be a timer's, not a round trip's.
    t.require(late[len(late) // 2] < 1, f"half of the replies took {late[len(late) // 2]:.2f} s")


@row("kill", "SIGKILL to a leader under load; it comes back", "A B E", quick=True)
def kill(t):
    t.create()
    t.serve()
    t.send()
    t.pause(2)
    node = t.leader()
    t.kill(node)
    t.recovers()  # Before the node is back: another leads.
    replaced(t, node, node)
    t.start(node)
    t.recovers()


@row("kill, glommio and lz4", "the same on the other driver", "A B E")
def kill_glommio(t):
    t.create()
    t.serve("--driver", "glommio", "--kafka-compression", "lz4")
    t.send()
    t.pause(2)
    node = t.leader()
    t.kill(node)
    t.recovers()
    t.start(node)
    t.recovers()


@row("kill, without keys", "the leader of the partition that all events stay with", "A B E")
def kill_keyless(t):
    t.keyed = False
    t.create()
    t.serve()
    t.send()
    t.pause(2)
    records = [t.server.metric("ringmill_kafka_partition_records_total", partition=n) for n in range(6)]
    node = t.leader(records.index(max(records)))
    t.kill(node)
    t.recovers()
    t.start(node)
    t.recovers()


@row("kill, again and again", "six times a leader by chance, two shards, zstd", "A B E")
def kills(t):
    t.create()
    t.serve("--kafka-compression", "zstd", cores="0,1")
    t.send()
    for _ in range(6):
        node = t.leader(t.chance.randrange(6))
        t.kill(node)
        t.pause(t.chance.uniform(0, 2))
        t.start(node)
    t.recovers()


@row("term", "SIGTERM to a leader under load; it comes back", "A B E")
def term(t):
    t.create()
    t.serve()
    t.send()
    t.pause(2)
    node = t.leader()
    t.term(node)
    t.recovers()
    replaced(t, node, node)
    t.start(node)
    t.recovers()


@row("stop", "a leader frozen for 4 s and more", "A C E", quick=True)
def stop(t):
    t.create()
    t.serve()
    t.send()
    t.pause(1)
    node = t.leader()
    t.stop(node)
    t.pause(4)
    t.recovers()  # While it is frozen.
    t.cont(node)
    t.recovers()
    replaced(t, node, node)


@row("rolling restart", "each broker in turn by SIGTERM, two shards", "A B E", quick=True)
def rolling(t):
    t.create()
    t.serve(cores="0,1")
    t.send()
    leaders = [t.leader()]
    for node in (1, 2, 3):
        t.term(node)
        t.start(node)
        leaders.append(t.leader())
    t.notes.append("leaders " + " ".join(map(str, leaders)))
    t.require(len(set(leaders)) > 1, "the leader never moved")
    t.recovers()


@row("leaders move", "eighteen times a partition gets another leader", "A B E", quick=True)
def moves(t):
    t.create()
    t.serve()
    t.send()
    for turn in range(18):
        t.ask("lead", t.topic, turn % 6, 1 + (turn // 6 + turn) % 3)
    retries = t.server.metric("ringmill_kafka_retries_total")
    t.notes.append(f"{retries:.0f} retries")
    t.require(retries > 0, "no batch ever met a former leader")
    t.recovers()


@row("disk full", "a leader's writes fail; it ends itself", "A B E", quick=True)
def starve(t):
    t.create()
    t.serve()
    t.send()
    t.pause(1)
    node = t.leader()
    t.cluster.starve(node)
    t.wait("the broker ends itself", lambda: not t.cluster.node(node).alive)
    t.recovers()
    replaced(t, node, node)
    t.start(node)
    t.recovers()


@row("replicas lost", "three replicas must be in sync, one is frozen for 8 s", "A C", quick=True)
def isr(t):
    t.create(min_insync_replicas=3)
    t.serve()
    t.send()
    t.pause(1)
    t.stop(1)
    t.pause(8)
    t.cont(1)
    t.cluster.settle()
    t.recovers()
    retries = t.server.metric("ringmill_kafka_retries_total")
    t.notes.append(f"{retries:.0f} retries")
    t.require(retries > 0, "no batch was ever refused")


@row("replicas lost for too long", "the same for 12 s, with a delivery timeout of 3 s", "A C E")
def isr_expired(t):
    t.all_acked = False
    t.create(min_insync_replicas=3)
    t.serve("--kafka-delivery-timeout-s", "3s", "--kafka-request-timeout-s", "3s")
    t.send()
    t.pause(1)
    t.kill(1)
    t.wait("requests fail", lambda: any(name.startswith("failed") for name in t.load.outcomes()))
    t.pause(10)
    t.start(1)
    t.recovers()


@row("quorum lost", "two of three brokers killed for 8 s", "A B E")
def quorum(t):
    t.all_acked = False  # Shed where nothing can be sent; what was sent must come through.
    t.create()
    t.serve()
    t.send()
    t.pause(1)
    for node in (1, 2):
        t.kill(node)
    t.pause(8)
    t.start(1, 2)
    t.recovers()
    # Batches that were never sent may be given up by --kafka-leader-wait-s, those sent only by the delivery timeout.
    t.require(not any("possibly_written" in name for name in t.load.outcomes()), "a batch was given up within 2 min")


def down_then_crash(t, seconds):
    """All brokers away, then we crash, then all come back."""
    t.all_acked = False
    t.create()
    t.serve("--shed-after-ms", "200")
    t.send()
    t.pause(2)
    before = t.load.acked()
    for node in (1, 2, 3):
        t.kill(node)
    t.wait("it knows", lambda: t.server.unready())
    t.pause(seconds)
    t.notes.append(f"{seconds} s away, {t.load.acked() - before} requests acknowledged meanwhile")
    t.require("Kafka" in t.server.unready(), f"not ready, but why? {t.server.unready()!r}")
    t.crash()
    t.start(1, 2, 3)
    t.serve_again()
    t.recovers()


@row("Kafka away, then our crash", "all brokers killed for 10 s, then SIGKILL to the server", "C D E", quick=True)
def away(t):
    down_then_crash(t, 10)


@row("Kafka away for minutes, then our crash", "all brokers killed for 180 s, then SIGKILL to the server", "C D E")
def away_long(t):
    down_then_crash(t, 180)


@row("our crash", "SIGKILL to the server under load, three times, two shards", "A B")
def crash(t):
    t.all_acked = False
    t.create()
    t.serve(cores="0,1")
    t.send()
    for _ in range(3):
        t.pause(2)
        t.crash()
        t.serve_again()
        t.recovers()
