"""Brokers as processes: started, killed, stopped, continued, ended.

Each node is broker and controller. Nodes end by SIGKILL: after TERM one by one the last has no quorum to leave and hangs
for five minutes. Every process is bound to its parent's life, so none outlives a rig that was itself killed.
"""
import base64
import ctypes
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from . import RigError, kit as kits, settings
from .helper import Helper

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent():
    """Between fork and exec of each child."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# A session of their own: the Ctrl-C of a terminal is for the rig, which then ends them in its own way.
BOUND = {"preexec_fn": die_with_parent, "start_new_session": True}


def free_ports(count):
    """Ports below those the kernel gives to outgoing connections. One of the kernel's own range could be taken while its
    node is down, or a client that reconnects to it could even connect to itself."""
    held = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", random.randrange(15000, 32000)))
                held.append(candidate)
            except OSError:
                candidate.close()
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def sweep(runs):
    """Removes folders of rigs that were killed and could not do so. Those kept on purpose carry another name."""
    for folder in runs.iterdir():
        owner = folder.name.split("-")[0]
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            shutil.rmtree(folder, ignore_errors=True)


class Node:
    """One broker: its number from 1, its ports by listener, its folder, and its process while there is one."""

    def __init__(self, number, ports, folder):
        self.number, self.ports, self.folder = number, ports, folder
        self.data = folder / "data"
        self.properties = folder / "server.properties"
        self.log = folder / "log"
        self.process = None

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def lay_out(self, template):
        """A copy of the formatted folder, as this node's."""
        shutil.copytree(template, self.data)
        own = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
        lines = (self.data / "meta.properties").read_text().splitlines()
        changed = {"node.id": str(self.number), "directory.id": own}
        kept = [line for line in lines if line.split("=")[0] not in changed]
        (self.data / "meta.properties").write_text("\n".join(kept + [f"{k}={v}" for k, v in changed.items()]) + "\n")

    def signal(self, number):
        """Sends a signal to a living process."""
        if not self.alive:
            raise RigError(f"node {self.number} is not running")
        self.process.send_signal(number)


class Cluster:
    """Nodes 1..n and their helper; a context manager that leaves nothing behind."""

    def __init__(self, kit, nodes=1, secure=False, proxied=False, overrides=(), heap=128, options=(), keep=False,
                 archiving=False, folder=None):
        self.kit, self.heap, self.options, self.keep, self.archiving = kit, heap, options, keep, archiving
        runs = Path(folder) / "ringmill-kafka" if folder else kits.target_folder() / "run"
        runs.mkdir(parents=True, exist_ok=True)
        sweep(runs)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=runs))
        names = ["PLAINTEXT", "CONTROLLER"] + list(settings.SECURE if secure else ()) + ["PROXIED"] * proxied
        ports = iter(free_ports(nodes * (len(names) + proxied)))
        self.nodes = [Node(i + 1, {name: next(ports) for name in names}, self.folder / f"n{i + 1}")
                      for i in range(nodes)]
        self.proxies = {node.number: next(ports) for node in self.nodes} if proxied else {}
        voters = ",".join(f"{node.number}@127.0.0.1:{node.ports['CONTROLLER']}" for node in self.nodes)
        self.helper = None
        for node in self.nodes:
            node.folder.mkdir()
            node.lay_out(kit.template)
            advertised = {"PROXIED": self.proxies[node.number]} if proxied else {}
            node.properties.write_text(settings.properties(node, voters, advertised, nodes, kit.pki, overrides),
                                       encoding="utf-8")

    def __enter__(self):
        try:
            for node in self.nodes:
                self.start(node.number)
            options = ["-XX:ArchiveClassesAtExit=" + str(self.kit.folder / "helper.jsa")] if self.archiving else []
            bootstrap = ",".join(self.addresses())
            command = self.kit.command("RigHelper", bootstrap, archive="helper", heap=256, options=options)
            self.helper = Helper(command, self.folder / "helper.log", BOUND)
            self.settle()
        except BaseException:
            self.__exit__(True)
            raise
        return self

    def __exit__(self, failed=None, *_):
        """Ends every process and waits for it; removes the folder unless it is to be kept."""
        failed = failed not in (None, SystemExit, KeyboardInterrupt)
        for process in [node.process for node in self.nodes] + [self.helper and self.helper.process]:
            if process is not None:
                process.kill()
                process.wait()
        if self.keep or failed:
            kept = self.folder.with_name("kept-" + self.folder.name)
            print(f"rig: kept {self.folder.rename(kept)}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def addresses(self, listener="PLAINTEXT"):
        """host:port of each node on a listener; of PROXIED, those advertised, where a proxy is expected."""
        if listener == "PROXIED":
            return [f"127.0.0.1:{port}" for port in self.proxies.values()]
        return [f"127.0.0.1:{node.ports[listener]}" for node in self.nodes]

    def node(self, number):
        """Node `number`, counted from 1."""
        if not 1 <= int(number) <= len(self.nodes):
            raise RigError(f"there is no node {number}: they are 1 to {len(self.nodes)}")
        return self.nodes[int(number) - 1]

    def start(self, number):
        """Starts a node that is not running. Returns before it serves: `settle` waits."""
        node = self.node(number)
        if node.alive:
            raise RigError(f"node {number} is running")
        options = list(self.options)
        if self.archiving:
            options.append("-XX:ArchiveClassesAtExit=" + str(self.kit.folder / "broker.jsa"))
        command = self.kit.command("kafka.Kafka", node.properties, archive="broker", heap=self.heap, options=options)
        with open(node.log, "ab") as log:
            node.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **BOUND)

    def end(self, number, how):
        """SIGKILL or SIGTERM to a node, and waits for its end."""
        node = self.node(number)
        node.signal(how)
        try:
            node.process.wait(60)
        except subprocess.TimeoutExpired:
            raise RigError(f"node {number} did not end within 60 s: see {node.log}") from None

    def starve(self, number):
        """From now on each of the node's writes to a file fails, as on a full disk: its files may not grow past one
        byte. Unlike a small file system this needs no privilege and can strike at any moment. The broker ends itself."""
        node = self.node(number)
        node.signal(0)
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def settle(self, within=60):
        """Waits until every running node serves, and every partition has all replicas in sync that can be."""
        end = time.monotonic() + within
        while True:
            running = [node.number for node in self.nodes if node.alive]
            if self.helper and len(running) < len(self.nodes) and not any(n.alive for n in self.nodes):
                raise RigError("no node is running: " + self.tail(self.nodes[0]))
            try:
                return self.helper.ask("settle", ",".join(map(str, running)), int((end - time.monotonic()) * 1000))
            except RigError as error:
                if time.monotonic() > end or self.helper.process.poll() is not None:
                    raise RigError(f"{error}\n" + "\n".join(map(self.tail, self.nodes))) from None

    @staticmethod
    def tail(node):
        """The end of a node's log."""
        text = node.log.read_text(errors="replace") if node.log.exists() else ""
        return f"-- {node.log}\n{text[-1500:]}"

    def archive(self):
        """Lets helper and node end by themselves, which writes their archives."""
        self.helper.leave()
        self.end(1, signal.SIGTERM)
