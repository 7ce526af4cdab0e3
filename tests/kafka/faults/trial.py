"""One row's run: a topic, a server, load, whatever the row breaks, and the judgement of it all."""
import base64
import json
import random
import re
import signal
import time

from rigging import RigError

from . import oracle
from .load import Load
from .server import Server

# From the last fault mended until events are acknowledged again, and from SIGTERM to the end of an idle server.
RECOVERED_WITHIN_S = 30
DRAINED_WITHIN_S = 10
KEYS = 61


class Failed(Exception):
    """The row cannot go on; the message says what did not come about."""


class Trial:
    """What a row is given. `notes` are shown beside its figures: they are the evidence that the fault struck."""

    def __init__(self, name, stage, seed):
        self.name, self.stage, self.seed = name, stage, seed
        self.chance = random.Random(f"{seed} {name}")
        self.topic = re.sub("[^A-Za-z0-9]+", "-", name)
        self.notes, self.failures, self.logs = [], [], []
        self.server = self.load = self.fake = self._serving = None
        self.pad, self.keyed, self.all_acked, self.killed = "x" * 150, True, True, False
        self.peak = self.plan = 0
        self.drain_s = None
        self.spoiled = {}  # (connection, number) -> bytes, of events that differ from the usual.

    # --- the brokers -------------------------------------------------------------------------------------------

    @property
    def cluster(self):
        return self.stage.cluster

    def ask(self, *words):
        """A word to the brokers' administration."""
        return self.cluster.helper.ask(*words)

    def create(self, partitions=6, **config):
        """The row's topic, on all three brokers."""
        pairs = [f"{key.replace('_', '.')}={value}" for key, value in config.items()]
        return self.ask("create", self.topic, partitions, 3, *pairs)

    def leader(self, partition=0):
        """The number of the node that leads a partition. A broker that has just come may not know the topic yet."""
        for patience in range(50):
            try:
                return self.ask("describe", self.topic)["partitions"][partition]["leader"]
            except RigError:
                if patience == 49:
                    raise
                time.sleep(0.1)

    def kill(self, node):
        self.cluster.end(node, signal.SIGKILL)

    def term(self, node):
        self.cluster.end(node, signal.SIGTERM)

    def stop(self, node):
        self.cluster.node(node).signal(signal.SIGSTOP)

    def cont(self, node):
        self.cluster.node(node).signal(signal.SIGCONT)

    def start(self, *nodes):
        """Starts nodes again and waits until all replicas are in sync."""
        for node in nodes:
            self.cluster.start(node)
        self.cluster.settle()

    def meddle(self, call, times, what, n=0, skip=0, node=0):
        """A rule for the proxies; node 0 is all of them."""
        self.stage.proxies.ask("rule", node, call, skip, times, what, n)

    def meddled(self, within=30):
        """Waits until every rule has struck as often as it should."""
        self.wait("every rule strikes", lambda: self.stage.proxies.ask("left", 0)["left"] == 0, within)

    # --- the server --------------------------------------------------------------------------------------------

    def serve(self, *arguments, via="PLAINTEXT", cores="0", environment=None, to=None):
        """Starts the server towards the row's topic, through a listener or to addresses of a fake."""
        if via == "PROXIED":
            self.stage.proxies  # They must listen before anybody connects.
        brokers = ",".join(to or self.cluster.addresses(via))
        keys = ["--kafka-key", "/k"] if self.keyed else []
        self._serving = ([f"--sink=kafka:{brokers}/{self.topic}", *keys, *arguments], environment, cores)
        self.serve_again()

    def serve_again(self):
        """Starts it as it was."""
        arguments, environment, cores = self._serving
        log = self.stage.folder / f"{self.topic}.log"
        self.server = Server(self.stage.programs["ringmill"], arguments, log, environment, cores)
        self.plan = self.server.plan_bytes

    def crash(self):
        """SIGKILL to the server."""
        self.peak, self.killed = max(self.peak, self.server.peak_bytes()), True
        self.server.kill()

    # --- the load ----------------------------------------------------------------------------------------------

    def event(self, connection, number):
        """The bytes of an event: told again by its connection and number alone."""
        odd = self.spoiled.get((connection, number))
        if odd is not None:
            return odd
        return b'{"c":%d,"n":%d,"k":"k%d","pad":"%s"}' % (connection, number, number % KEYS, self.pad.encode())

    def send(self, rate=2000, clients=8, per_body=10):
        """Begins the load."""
        self.load = Load(lambda: self.server.http, self.event, rate, clients, per_body)

    def pause(self, seconds):
        """Lets it run on."""
        time.sleep(seconds)
        if self.load and self.load.broken:
            raise Failed(f"a client broke: {self.load.broken[0]!r}")

    def wait(self, what, holds, within=RECOVERED_WITHIN_S):
        """Waits until something holds; the row fails when it never does."""
        end = time.monotonic() + within
        while not holds():
            if time.monotonic() > end:
                raise Failed(f"never: {what}; not ready: {self.server.unready() if self.server else '-'!r}")
            self.pause(0.05)

    def recovers(self, requests=100):
        """Events are acknowledged again, and go on to be."""
        self.wait("events are acknowledged again", lambda: not self.server.unready())
        begin = self.load.acked()
        self.wait("events go on to be acknowledged", lambda: self.load.acked() >= begin + requests)

    def require(self, holds, what):
        """The row fails with these words unless something holds."""
        if not holds:
            self.failures.append(what)

    def cut(self):
        """Stops the load until all is answered, and keeps what the topic holds, which may be emptied then."""
        self.load.pause()
        self.logs.append(self.consume())

    # --- the judgement -----------------------------------------------------------------------------------------

    def consume(self):
        """Everything in the topic, by an independent consumer, as the judge wants it."""
        to = self.stage.folder / f"{self.topic}.jsonl"
        (self.fake.ask if self.fake else self.ask)("consume", self.topic, to)
        with open(to) as lines:
            found = [self.record(json.loads(line)) for line in lines]
        to.unlink()
        return found

    def record(self, told):
        """A record, or None when it is none of ours."""
        try:
            value = base64.b64decode(told["value"])
            event = json.loads(value)
            headers = {name: base64.b64decode(text or "") for name, text in told["headers"]}
            shard, sequence = map(int, headers["id"].split(b":"))
            key = base64.b64decode(told["key"]).decode() if told["key"] else None
            intact = (value == self.event(event["c"], event["n"]) and headers["stream"] == b"default"
                      and key == (event.get("k") if self.keyed else None))
            return oracle.Record(told["partition"], event["c"], event["n"], shard, sequence, intact)
        except (ValueError, KeyError, TypeError):
            return None

    def finish(self):
        """Ends load and server, asks the consumer, and judges. Returns the row's result."""
        self.load.pause()
        self.load.stop()
        counted = self.counters()
        self.peak = max(self.peak, self.server.peak_bytes())
        code, self.drain_s = self.server.stop()
        self.require(code == 0, f"the server ended with {code}: {self.server.told()}")
        self.require(self.drain_s <= DRAINED_WITHIN_S, f"it took {self.drain_s:.1f} s to end")
        self.logs.append(self.consume())
        verdict = oracle.judge(self.load.requests, self.logs)
        self.failures += verdict.faults()
        self.hold(verdict, counted)
        return self.result(verdict)

    def hold(self, verdict, counted):
        """What must hold in every row beside the judge's own faults."""
        self.require(verdict.acked > 0, "nothing was acknowledged")
        self.require(self.peak <= self.plan, f"{self.peak} bytes resident, {self.plan} planned")
        if not self.killed:
            self.require(verdict.unanswered == 0, f"{verdict.unanswered} events have no reply")
            told = {"stored": verdict.acked, "possibly": verdict.possibly}
            for name, value in told.items():
                self.require(counted[name] == value, f"the metrics say {counted[name]:.0f} {name}, replies say {value}")
            self.require(counted["in_flight"] == 0, f"{counted['in_flight']:.0f} events in flight at rest")
        if self.all_acked:
            failed = verdict.not_written + verdict.possibly
            self.require(failed == 0, f"{failed} events were not taken: {self.load.outcomes()} {self.load.reasons()}")

    def counters(self):
        """What the metrics say at rest."""
        names = {"stored": "ringmill_events_stored_total", "possibly": "ringmill_kafka_events_possibly_written_total",
                 "in_flight": "ringmill_events_in_flight"}
        return {short: self.server.metric(name) for short, name in names.items()}

    def result(self, verdict):
        """The row as it is kept."""
        gap = oracle.longest_gap(self.load.acked_at, self.load.spans)
        late = sorted(self.load.late_s)
        keep = ["sent", "acked", "refused", "not_written", "possibly", "unanswered", "stored", *oracle.FAULTS]
        return {**{name: getattr(verdict, name) for name in keep}, "longest_gap_s": round(gap, 2),
                "reply_p50_ms": round(late[len(late) // 2] * 1000, 1) if late else None,
                "peak_bytes": self.peak, "plan_bytes": self.plan, "drain_s": round(self.drain_s, 2),
                "replies": self.load.outcomes(), "notes": self.notes, "failures": self.failures,
                "examples": verdict.examples}

    def close(self):
        """Whatever happened: no process of the row's is left, and its topic is removed."""
        if self.load:
            self.load.abandon()
        if self.server and self.server.process.poll() is None:
            self.server.kill()
        if self.fake:
            self.fake.kill()
        elif not self.failures:
            try:
                self.ask("delete", self.topic)
            except RigError:
                pass  # The row removed it, or never made it.
