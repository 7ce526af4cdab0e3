"""Three real Kafka brokers for measurements: started by `tests/kafka/rig`, away from the core that is measured.

Their data lie in memory, so that no disk's writing back falls into a sample, and are thrown away soon: nobody reads them.
"""
import json
import os
import subprocess
import sys

from .machine import ROOT
from .processes import cpu_ns

RIG = os.path.join(ROOT, "tests", "kafka", "rig")
MEMORY = "/dev/shm"
PARTITIONS = 6
SETTINGS = {
    # What a broker of ordinary size has; the rig's own are for brokers that are to be killed.
    "broker.session.timeout.ms": 9000, "broker.heartbeat.interval.ms": 2000, "replica.lag.time.max.ms": 30000,
    # 6 partitions of 3 replicas take some 2 GB.
    "log.segment.bytes": 64 << 20, "log.retention.bytes": 64 << 20, "log.retention.check.interval.ms": 1000,
    "log.segment.delete.delay.ms": 1000,
}
HEAP_MB = 512


class Brokers:
    """A cluster while the context lasts. `pids` are those of all that belongs to it."""

    def __init__(self, cpus):
        self.cpus, self._topics = cpus, 0

    def __enter__(self):
        argv = ["taskset", "-c", self.cpus, RIG, "--nodes", "3", "--heap", str(HEAP_MB)]
        argv += ["--folder", MEMORY] if os.path.isdir(MEMORY) else []
        argv += [word for key, value in SETTINGS.items() for word in ("--set", "%s=%s" % (key, value))]
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = self._answer()
        self.bootstrap = told["bootstrap"]
        self.nodes = [node["pid"] for node in told["nodes"]]
        self.pids = (self.proc.pid, told["helper"], *self.nodes)
        return self

    def __exit__(self, *_):
        self.proc.stdin.close()
        self.proc.wait(60)
        self.proc.stdout.close()

    def _answer(self):
        line = self.proc.stdout.readline()
        if not line:
            sys.exit("%s ended; see above" % os.path.relpath(RIG, ROOT))
        told = json.loads(line)
        if not told.get("ok"):
            sys.exit("the brokers: %s" % told.get("error"))
        return told

    def ask(self, *words):
        self.proc.stdin.write(" ".join(map(str, words)) + "\n")
        self.proc.stdin.flush()
        return self._answer()

    def new_topic(self):
        """A topic of its own for a sample, so that each begins alike."""
        if self._topics:
            self.ask("delete", self.topic)
        self._topics += 1
        self.topic = "events-%d" % self._topics
        self.ask("create", self.topic, PARTITIONS)
        self.ask("settle")
        return self.topic

    def cpu_ns(self):
        return sum(map(cpu_ns, self.nodes))

    def shown(self):
        return {"nodes": len(self.nodes), "partitions": PARTITIONS, "cpus": self.cpus, "heap_mb": HEAP_MB,
                "data": MEMORY if os.path.isdir(MEMORY) else "disk", "settings": SETTINGS}
