"""What real brokers show seldom or cannot be made to show: franz-go's kfake, a judge by strangers; and whether the
judges judge. Of the sequence's wrap kfake is no judge: it goes on at (n mod 2^31 - 1), Kafka at (n mod 2^31)."""
from .rows import row

# As Kafka names them. Answers of both kinds: before the append, and with the append done (REQUEST_TIMED_OUT and
# NOT_ENOUGH_REPLICAS_AFTER_APPEND); the last four end an idempotent librdkafka.
ERRORS = ["NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS",
          "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "NETWORK_EXCEPTION", "KAFKA_STORAGE_ERROR", "UNKNOWN_TOPIC_OR_PARTITION",
          "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "CORRUPT_MESSAGE", "UNKNOWN_TOPIC_ID", "COORDINATOR_LOAD_IN_PROGRESS",
          "OUT_OF_ORDER_SEQUENCE_NUMBER", "UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_EPOCH"]


def stand(t, version=""):
    """A fresh fake with the row's topic. Returns what `serve` takes as brokers."""
    t.fake, addresses = t.stage.kfake(version)
    t.fake.ask("create", t.topic, 6)
    return addresses


@row("the judges judge", "a flipped bit and a skipped sequence are refused by Kafka and by kfake", "-", quick=True)
def proof(t):
    t.create(1)
    real = t.cluster.addresses()[t.leader() - 1]
    fake, addresses = t.stage.kfake()
    try:
        fake.ask("create", t.topic, 1)
        at = {"Kafka": real, "kfake": addresses[fake.ask("leaders", t.topic)["leaders"][0]]}
        for name, address in at.items():
            told = t.stage.probe(address, t.topic)
            t.notes.append(f"{name}: flipped {told['flipped_bit']}, skipped {told['skipped_sequence']}")
            wanted = {"good": 0, "flipped_bit": 2, "skipped_sequence": 45, "duplicate": 0,
                      "duplicate_has_the_same_offset": True, "going_on": 0}
            t.require(told == wanted, f"{name} says {told}")
    finally:
        fake.kill()
    t.ask("truncate", t.topic, 0, -1)  # What the probe wrote is no event of ours.
    t.serve()
    t.send()
    t.recovers()


@row("kfake: error by error", f"{len(ERRORS)} errors, each to four Produce requests", "A C", quick=True)
def errors(t):
    t.serve(to=stand(t))
    t.send()
    t.recovers(20)
    for n, name in enumerate(ERRORS):
        t.fake.ask("fault", "Produce", name, 4)
        t.wait(f"{name} strikes four times", lambda: t.fake.ask("hits")["hits"] == 4 * (n + 1))
        t.recovers(20)
    t.fake.ask("fault", "InitProducerID", "COORDINATOR_LOAD_IN_PROGRESS", 2)
    t.recovers()


@row("kfake: leaders move, answers are lost", "30 elections by chance with hints, 20 answers lost", "A E", quick=True)
def moves(t):
    t.serve(to=stand(t), cores="0,1")
    t.send()
    for turn in range(30):
        if turn % 3 == 0:
            t.fake.ask("lose", 2)
        t.fake.ask("shuffle")
        t.pause(0.2)
    t.recovers()
    t.notes.append(f"{t.fake.ask('hits')['lost']} answers lost")
    t.require(t.fake.ask("hits")["lost"] >= 10, "hardly any answer was lost")


@row("kfake: a node leaves and returns", "three times", "A E")
def nodes(t):
    t.serve(to=stand(t))
    t.send()
    for node in (0, 1, 2):
        t.fake.ask("remove", node)
        t.pause(1.5)
        t.fake.ask("add", node)
        t.fake.ask("shuffle")
        t.pause(0.5)
    t.recovers()


@row("kfake: records deleted", "all partitions emptied between events, twice", "A E")
def truncated(t):
    t.serve(to=stand(t))
    t.send()
    for _ in range(2):
        t.pause(1)
        t.cut()
        for partition in range(6):
            t.fake.ask("truncate", t.topic, partition)
        t.load.resume()
    t.recovers()


@row("kfake: the oldest Kafka we take", "versions of Kafka 2.1", "A E", quick=True)
def oldest(t):
    t.serve(to=stand(t, "v2.1"))
    t.send()
    t.recovers()
    t.fake.ask("shuffle")
    t.fake.ask("lose", 3)
    t.recovers()


@row("kfake: Kafka too old", "versions of Kafka 2.0: not ready, and says why", "C E", quick=True)
def too_old(t):
    t.all_acked = False
    addresses = stand(t, "v2.0")
    t.serve("--shed-after-ms", "200", to=addresses)
    t.wait("it says so", lambda: "older than 2.1" in t.server.unready())
    t.notes.append(t.server.unready())
    t.send()
    t.pause(2)
    t.require(t.load.acked() == 0, "acknowledged by brokers too old")
    # The brokers are upgraded: the server goes on by itself.
    t.crash()
    t.fake.kill()
    t.serve(to=stand(t))
    t.recovers()
