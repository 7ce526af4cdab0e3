"""Plays systemd for a built server: starts it with a notify socket, collects the descriptors that it gives to be kept,
starts the next server with them, and asks what a client would.

    play_systemd.py PROGRAM FOLDER SCENARIO

Written from systemd's pages (sd_notify, sd_listen_fds) and Python's own library, without any code of the server. Exits
0 when the scenario went as promised, else with what did not. `tests/systemd.rs` runs every scenario.
"""
import os
import signal
import socket
import subprocess
import sys
import time

PROGRAM, FOLDER, SCENARIO = sys.argv[1:4]
PATIENCE = 20
STARTED = []
CORES = sorted(os.sched_getaffinity(0))
REQUEST = (
    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n"
    b"Connection: close\r\n\r\n{\"a\":1}"
)


class Manager:
    """The socket to which a service tells things, and what it was told."""

    def __init__(self):
        self.path = os.path.join(FOLDER, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)
        self.store = []  # (name, descriptor), as systemd keeps them
        self.seen = []

    def hear(self):
        text, fds, _, _ = socket.recv_fds(self.socket, 4096, 16)
        said = dict(line.split("=", 1) for line in text.decode().splitlines())
        if said.get("FDSTORE") == "1":
            assert len(fds) == 1, (said, fds)
            # One that is kept already is dropped.
            if any(os.path.sameopenfile(fds[0], fd) for _, fd in self.store):
                os.close(fds[0])
            else:
                self.store.append((said["FDNAME"], fds[0]))
        elif said.get("FDSTOREREMOVE") == "1":
            self.store = [(name, fd) for name, fd in self.store if name != said["FDNAME"]]
        else:
            assert not fds, said
        self.seen.append(said)
        return said

    def until(self, name, value=None):
        """Hears until that is said."""
        while True:
            said = self.hear()
            if name in said and value in (None, said[name]):
                return said


class Server:
    def __init__(self, manager, *args, passed=(), shards=1, sink="null", env=(), wait=True):
        """`passed`: pairs of name and descriptor."""
        fds = [fd for _, fd in passed]
        # The shell knows the number that the server will have, and puts the descriptors where they belong. Those above
        # are closed on the way, so that the server has no other way to them.
        high = [os.dup2(fd, 200 + turn, inheritable=True) for turn, fd in enumerate(fds)]
        moves = "".join(f"exec {3 + turn}<&{fd} {fd}<&-; " for turn, fd in enumerate(high))
        names = ":".join(name for name, _ in passed)
        script = moves
        if fds:
            script += f"export LISTEN_PID=$$ LISTEN_FDS={len(fds)} LISTEN_FDNAMES='{names}'; "
        cores = ",".join(str(core) for core in CORES[:shards])
        command = [PROGRAM, "serve", "--admin", "none", "--cores", cores, "--connections-max", "64"]
        command += ["--receive-buffers", "128", "--body-budget-bytes", "17MiB", "--sink", sink, *args]
        variables = {key: value for key, value in os.environ.items() if not key.startswith("RINGMILL_")}
        if manager:
            variables["NOTIFY_SOCKET"] = manager.path
        variables.update(env)
        self.log = open(os.path.join(FOLDER, "log"), "a+b")
        self.process = subprocess.Popen(
            ["bash", "-c", script + 'exec "$0" "$@"', *command],
            env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, pass_fds=high,
        )
        STARTED.append(self.process)
        for fd in high:
            os.close(fd)
        self.ready = {}
        if wait:
            line = self.process.stdout.readline().decode()
            assert line.startswith("ringmill ready "), f"no ready line but {line!r}: {self.said()}"
            self.ready = dict(word.split("=", 1) for word in line.split()[2:])

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def address(self, kind="http", number=0):
        host, port = self.ready[kind].split(",")[number].rsplit(":", 1)
        return host, int(port)

    def end(self, how=signal.SIGTERM, code=0):
        self.process.send_signal(how)
        got = self.process.wait(PATIENCE)
        assert got == code, f"it ended with {got}: {self.said()}"


def connect(address):
    client = socket.create_connection(address, PATIENCE)
    client.settimeout(PATIENCE)
    return client


def answered(client, status=b"202"):
    """The whole reply to a request that was sent."""
    reply = b""
    while True:
        part = client.recv(4096)
        if not part:
            break
        reply += part
    assert reply.startswith(b"HTTP/1.1 " + status), reply
    client.close()


def ask(address, status=b"202"):
    client = connect(address)
    client.sendall(REQUEST)
    answered(client, status)


def tells():
    """READY, STATUS, WATCHDOG while it runs, STOPPING, in that order."""
    manager = Manager()
    server = Server(manager, "--listen", "127.0.0.1:0", env={"WATCHDOG_USEC": "400000"})
    ready = manager.until("READY", "1")
    host, port = server.address()
    assert ready["STATUS"] == f"1 shard(s) take events on {host}:{port} for null", ready
    assert [name for name, _ in manager.store] == ["ringmill-http-0-0"], manager.store
    for _ in range(3):
        manager.until("WATCHDOG", "1")
    # A process that stands still feeds nothing; what was on its way may still come.
    server.process.send_signal(signal.SIGSTOP)
    manager.socket.settimeout(2)
    try:
        for _ in range(3):
            manager.hear()
        raise AssertionError("it feeds the watchdog while it is stopped")
    except TimeoutError:
        pass
    manager.socket.settimeout(PATIENCE)
    server.process.send_signal(signal.SIGCONT)
    manager.until("WATCHDOG", "1")
    server.process.send_signal(signal.SIGTERM)
    manager.until("STOPPING", "1")
    assert server.process.wait(PATIENCE) == 0, server.said()
    assert sum("READY" in said for said in manager.seen) == 1


def without_watchdog():
    """No variable, no effect: the watchdog of another process, and none at all."""
    manager = Manager()
    server = Server(manager, "--listen", "127.0.0.1:0", env={"WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"})
    manager.until("READY", "1")
    manager.socket.settimeout(0.5)
    try:
        raise AssertionError(manager.hear())
    except TimeoutError:
        pass
    server.end()
    server = Server(None, "--listen", "127.0.0.1:0", env={"LISTEN_FDS": "3", "LISTEN_PID": "1"})
    ask(server.address())
    server.end()


def restart(how, code):
    """Connections between two servers are answered by the second, on the same port, from the same sockets."""
    manager = Manager()
    data = "segments:" + os.path.join(FOLDER, "data")
    path = os.path.join(FOLDER, "lines")
    args = ["--listen", "127.0.0.1:0", "--listen-lines", f"unix:{path}", "--lines-replies", "--segment-bytes", "32MiB"]
    shards = min(2, len(CORES))
    server = Server(manager, *args, sink=data, shards=shards)
    manager.until("READY", "1")
    ask(server.address(), b"200")
    names = sorted(name for name, _ in manager.store)
    assert names == [f"ringmill-http-0-{shard}" for shard in range(shards)] + ["ringmill-lines-0-0"], names
    address = server.address()
    server.end(how, code)
    waiting = []
    for _ in range(16):
        client = connect(address)
        client.sendall(REQUEST)
        waiting.append(client)
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(PATIENCE)
    line.connect(path)
    line.sendall(b'{"line":1}\n')
    kept = len(manager.store)
    server = Server(manager, *args, sink=data, shards=shards, passed=manager.store)
    assert server.address() == address, server.ready
    for client in waiting:
        answered(client, b"200")
    reply = line.recv(4096)
    assert reply.startswith(b'{"ack":"durable","through":1'), reply
    manager.until("READY", "1")
    assert len(manager.store) == kept, manager.store
    # And once more from the second to a third.
    server.end()
    client = connect(address)
    client.sendall(REQUEST)
    server = Server(manager, *args, sink=data, shards=shards, passed=manager.store)
    answered(client, b"200")
    server.end()


def other_shards():
    """More sockets than shards, and fewer: none is left without somebody who accepts from it."""
    shards = min(2, len(CORES))
    manager = Manager()
    args = ["--listen", "127.0.0.1:0"]
    server = Server(manager, *args, shards=shards)
    manager.until("READY", "1")
    server.end()
    server = Server(manager, *args, passed=manager.store)
    manager.until("READY", "1")
    for _ in range(16):
        ask(server.address())
    server.end()
    # The kernel would give connections to a socket that nobody has: only one is left now.
    for _, fd in manager.store[1:]:
        os.close(fd)
    del manager.store[1:]
    server = Server(manager, *args, shards=shards, passed=manager.store)
    manager.until("READY", "1")
    for _ in range(16):
        ask(server.address())
    server.end()
    assert len(manager.store) == shards, manager.store


def given_up():
    """An address that was taken out of the configuration: its socket goes."""
    manager = Manager()
    server = Server(manager, "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0")
    manager.until("READY", "1")
    first, second = server.address(), server.address(number=1)
    server.end()
    passed, manager.store = manager.store, list(manager.store)
    server = Server(manager, "--listen", "127.0.0.1:0", passed=passed)
    manager.until("READY", "1")
    assert server.address() == first
    gone = [(name, fd) for name, fd in passed if (name, fd) not in manager.store]
    assert [name for name, _ in gone] == ["ringmill-http-1-0"], manager.store
    os.close(gone[0][1])
    try:
        connect(second)
        raise AssertionError("it still listens")
    except ConnectionRefusedError:
        pass
    assert "ringmill-http-1-0" in server.said()
    server.end()


def socket_unit():
    """Sockets that somebody else bound: by address and by name, without SO_REUSEPORT, shared by all shards."""
    http, named = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    path = os.path.join(FOLDER, "lines")
    lines = socket.socket(socket.AF_UNIX)
    lines.bind(path)
    lines.listen()
    address = http.getsockname()
    manager = Manager()
    passed = [("ringmill.socket", http.fileno()), ("http", named.fileno()), ("lines", lines.fileno())]
    server = Server(
        manager, "--listen", f"127.0.0.1:{address[1]}", "--lines-replies", passed=passed, shards=min(2, len(CORES))
    )
    manager.until("READY", "1")
    assert manager.store == [], "they are the socket unit's to keep"
    assert [server.address(), server.address(number=1)] == [address, named.getsockname()], server.ready
    assert server.ready["lines"] == f"unix:{path}", server.ready
    for _ in range(8):
        ask(address)
        ask(named.getsockname())
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(PATIENCE)
    line.connect(path)
    line.sendall(b"{}\n")
    assert line.recv(4096).startswith(b'{"ack":"accepted","through":1')
    server.end()
    assert os.path.exists(path), "it is not the server's to remove"


def refused():
    """What cannot be listened on, or is for nobody, is said, and no server starts."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    stranger = socket.create_server(("127.0.0.1", 0))
    for passed, needle in [
        ([("http", datagrams.fileno())], "Accept=no"),
        ([("x.socket", stranger.fileno())], "no --listen or --listen-lines names"),
    ]:
        server = Server(None, "--listen", "127.0.0.1:0", passed=passed, wait=False)
        assert server.process.wait(PATIENCE) == 1, server.said()
        assert needle in server.said(), server.said()
    server = Server(None, "--listen", "127.0.0.1:0", wait=False, env={"LISTEN_PID": "x", "LISTEN_FDS": "1"})
    assert server.process.wait(PATIENCE) == 1, server.said()
    assert "LISTEN_PID" in server.said(), server.said()
    # A manager that has gone is no reason not to serve.
    server = Server(None, "--listen", "127.0.0.1:0", env={"NOTIFY_SOCKET": os.path.join(FOLDER, "nobody")})
    ask(server.address())
    server.end()
    assert "NOTIFY_SOCKET" in server.said(), server.said()


SCENARIOS = {
    "tells": tells,
    "without-watchdog": without_watchdog,
    "restart": lambda: restart(signal.SIGTERM, 0),
    "crash": lambda: restart(signal.SIGKILL, -signal.SIGKILL),
    "other-shards": other_shards,
    "given-up": given_up,
    "socket-unit": socket_unit,
    "refused": refused,
}
began = time.monotonic()
try:
    SCENARIOS[SCENARIO]()
finally:
    # No server outlives its scenario, whatever went wrong.
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.wait()
print(f"{SCENARIO}: as promised, {time.monotonic() - began:.1f} s")
