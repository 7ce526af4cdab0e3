"""What rows play on: three real brokers with proxies in front, kept up over many rows, and fakes for single ones."""
import json
import subprocess
from pathlib import Path

from rigging import RigError
from rigging.cluster import BOUND, Cluster, free_ports
from rigging.helper import Helper
from rigging.kit import Kit, target_folder

NODES = 3
REAUTHENTICATE_MS = 4000
OVERRIDES = [
    # Looked at each second, so that a row which lets producers' state expire need not wait for ten minutes.
    ("producer.id.expiration.check.interval.ms", "1000"),
    # SCRAM-SHA-256 on this listener lasts for seconds; no other row uses the pair.
    ("listener.name.sasl.scram-sha-256.connections.max.reauth.ms", str(REAUTHENTICATE_MS)),
]
KFAKE = Path(__file__).resolve().parent.parent / "kfake"


def build_kfake():
    """The path of franz-go's fake as a program, built when its source is newer."""
    to = target_folder() / "kfake"
    to.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["go", "build", "-o", to, "."], cwd=KFAKE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode:
        raise RigError(f"building tests/kafka/kfake failed; it needs Go 1.26 or newer:\n{done.stdout}")
    return to


class Stage:
    """Starts what a row asks for at its first use; a context manager that leaves nothing behind.

    `programs` has the paths of `ringmill`, `frame-proxy`, `kafka-probe` and `kfake`."""

    def __init__(self, programs, folder):
        self.programs, self.folder = programs, Path(folder)
        self._cluster = self._proxies = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._proxies:
            self._proxies.kill()
        if self._cluster:
            self._cluster.__exit__(*error)

    @property
    def cluster(self):
        """Three brokers with every listener."""
        if not self._cluster:
            started = Cluster(Kit().prepare(), NODES, secure=True, proxied=True, overrides=OVERRIDES)
            self._cluster = started.__enter__()
        return self._cluster

    @property
    def proxies(self):
        """The proxies in front of the listener PROXIED, all of them lenient until told otherwise."""
        if not self._proxies:
            pairs = [f"127.0.0.1:{self.cluster.proxies[node.number]}=127.0.0.1:{node.ports['PROXIED']}"
                     for node in self.cluster.nodes]
            self._proxies = self._program("frame-proxy", *pairs)
        return self._proxies

    def kfake(self, version=""):
        """A fresh fake of three brokers, as (the program to speak to, addresses). The row ends it."""
        it = self._program("kfake", "-ports", ",".join(map(str, free_ports(NODES))), "-version", version)
        return it, it.greeted["addresses"]

    def _program(self, name, *arguments):
        it = Helper([self.programs[name], *arguments], self.folder / f"{name}.log", BOUND)
        it.greeted = it.greeting()
        if not it.greeted["ok"]:
            raise RigError(f"{name} did not start: see {it.log}")
        return it

    def mend(self):
        """Whatever a row left broken is whole again, so that no row's failure becomes the next one's."""
        if self._proxies:
            self._proxies.kill()
            self._proxies = None
        if not self._cluster:
            return
        for node in self._cluster.nodes:
            if not node.alive:
                self._cluster.start(node.number)
            else:
                node.signal(18)  # SIGCONT
        self._cluster.settle()

    def probe(self, address, topic):
        """What the brokers say to what no correct producer asks."""
        done = subprocess.run([self.programs["kafka-probe"], address, topic], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RigError(f"kafka-probe: {done.stderr}")
        return json.loads(done.stdout)
