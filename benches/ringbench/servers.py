"""Servers under test: ringmill, and the reference servers of the same run."""
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from .machine import HERE, ROOT, target_dir

YARDSTICK = os.environ.get("RINGMILL_YARDSTICK")
# Reference servers by what they are for. The folder that RINGMILL_YARDSTICK names goes before our own.
THEIRS = {"raw": ["s_raw"], "proto": ["s_proto"], "seed": ["s_seed"], "seed simd-json": ["s_seed", "--simd"]}
OURS = {"raw": ["raw"], "tokio": ["tokio"], "seed": ["seed"], "seed simd-json": ["seed", "--json=simd-json"]}
# Bodies of many events fill the seed's queue with documents; its users would flush more often.
LINES = {"s_seed": ["--lines"], "seed": ["--flush-ms=20"]}


class Server:
    """A server process on the server cores; `port` is where it takes events."""

    def __init__(self, name, argv, cpus, ready, path):
        self.name, self.path = name, path
        # Processes that work for it and are not what disturbs a sample.
        self.kin = ()
        self.log = tempfile.TemporaryFile()
        port = None if ready else free_port()
        argv = [a.replace("{port}", str(port)) for a in argv]
        self.proc = subprocess.Popen(["taskset", "-c", cpus, *argv], text=ready, stderr=self.log,
                                     stdout=subprocess.PIPE if ready else subprocess.DEVNULL)
        self.pid, self.ready = self.proc.pid, ""
        if not ready:
            self.port = port
            self.wait_port()
            return
        watchdog = threading.Timer(30, self.proc.kill)
        watchdog.start()
        while not self.ready.startswith("ringmill ready "):
            self.ready = self.proc.stdout.readline()
            if not self.ready:
                sys.exit("%s did not get ready:\n%s" % (" ".join(argv), self.stderr()))
        watchdog.cancel()
        fields = dict(f.split("=", 1) for f in self.ready.split() if "=" in f)
        self.port = int(fields["http"].split(",")[0].rsplit(":", 1)[1])

    def wait_port(self):
        for _ in range(100):
            if self.proc.poll() is not None:
                break
            try:
                return socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            except OSError:
                time.sleep(0.05)
        sys.exit("%s does not listen:\n%s" % (self.name, self.stderr()))

    def stderr(self):
        self.log.seek(0)
        return self.log.read()[-2000:].decode("utf-8", "replace")

    def stop(self):
        """Exit code after SIGTERM; killed after 35 s."""
        self.proc.send_signal(signal.SIGTERM)
        try:
            return self.proc.wait(35)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            return self.proc.wait()
        finally:
            if self.proc.stdout:
                self.proc.stdout.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Arm:
    """One side of a comparison: how a server is started afresh for each sample. `load` differs from the suite's."""

    def __init__(self, name, argv, ready, path, load=None):
        self.name, self.argv, self.ready, self.path, self.load = name, argv, ready, path, load or {}

    def start(self, a, scratch):
        return Server(self.name, [x.replace("{data}", scratch) for x in self.argv], a.server_cpus, self.ready, self.path)

    def shown(self):
        return shlex.join([os.path.basename(self.argv[0]), *self.argv[1:]])


def ringmill(a, sink="null", ack="accepted", name="ringmill", driver=None, scanner=None):
    if a.server_cmd:
        return Arm(name, shlex.split(a.server_cmd), "{port}" not in a.server_cmd, a.path)
    argv = [a.bin, "serve", "--listen", "127.0.0.1:0", "--admin", "none", "--cores", a.server_cpus, "--sink",
            "null" if sink == "null" else "segments:{data}/events", "--ack", ack]
    argv += ["--driver", driver or a.driver] if driver or a.driver else []
    return Arm(name, argv + (["--scanner", scanner] if scanner else []), True, "/v1/events")


def others(a, sink="null", ack="accepted"):
    """ringmill again, where asked for: on the other driver, and as it is, to see how far equals lie apart."""
    if a.server_cmd:
        return []
    return ([ringmill(a, sink, ack, "ringmill glommio", "glommio")] if a.both_drivers else []) + (
        [ringmill(a, sink, ack, "ringmill again")] if a.aa else [])


def own_folder():
    return os.path.join(target_dir(), "yardstick", "release")


def reference(role):
    """argv of a reference server, or None when it was not built."""
    folder, table = (YARDSTICK, THEIRS) if YARDSTICK else (own_folder(), OURS)
    argv = table.get(role)
    if argv is None or not os.access(os.path.join(folder, argv[0]), os.X_OK):
        return None
    return [os.path.join(folder, argv[0]), *argv[1:]]


def name_of(role):
    """How a reference server is called in results: its program."""
    return (THEIRS if YARDSTICK else OURS).get(role, ["no " + role])[0]


def yardstick(role, *args, label=None, lines=False):
    """[the arm], or [] when there is no such yardstick."""
    argv = reference(role)
    if argv is None:
        return []
    extra = LINES.get(os.path.basename(argv[0]), []) if lines else []
    return [Arm(label or os.path.basename(argv[0]), [*argv, *extra, *args, "--port={port}"], False, "/ingest")]


def build():
    """The server, what measures parts of it, and our references, as releases."""
    cargo, apart = ["cargo", "build", "--release", "--locked"], ["--target-dir", os.path.join(target_dir(), "yardstick")]
    parts = ["-p", "ringmill", "-p", "ringmill-produce", "-p", "ringmill-micro", "--bins"]
    for argv in ([*cargo, *parts], *([*cargo, "--manifest-path", os.path.join(HERE, name, "Cargo.toml"), *apart] for name in ("yardstick", "kafka"))):
        print(re.sub(re.escape(ROOT) + "/", "", shlex.join(argv)), file=sys.stderr, flush=True)
        done = subprocess.run(argv, cwd=ROOT)
        if done.returncode:
            sys.exit("the build failed; see above")
