"""Servers, load and control channels of the end-to-end gate."""
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time

from gating import tree
from ringbench.machine import foreign_ticks
from ringbench.processes import cpu_ns

HEAD = "POST /v1/events HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
READY_S, STOP_S, SLICE_SLACK_S = 30, 35, 20
# Each a core to itself; `lg` takes the second one unasked.
SERVER_CORE, GENERATOR_CORE = 0, 1


class Server:
    """A ringmill on its core, null sink, its idle time its own affair. Ends with `stop`."""

    def __init__(self, binary, scratch):
        self.log = open(os.path.join(scratch, "server-%d.log" % time.monotonic_ns()), "w+b")
        argv = ["taskset", "-c", str(SERVER_CORE), binary, "serve", "--listen", "127.0.0.1:0", "--admin", "none",
                "--cores", str(SERVER_CORE), "--sink", "null", "--ack", "accepted"]
        self.proc = subprocess.Popen(argv, cwd=scratch, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.pid = self.proc.pid
        watchdog = threading.Timer(READY_S, self.proc.kill)
        watchdog.start()
        line = self.proc.stdout.readline()
        watchdog.cancel()
        if not line.startswith("ringmill ready "):
            self.stop()
            raise tree.Unusable("%s did not get ready:\n%s" % (binary, self.said()))
        fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
        self.port = int(fields["http"].rsplit(":", 1)[1])

    def said(self):
        self.log.seek(0)
        return self.log.read()[-2000:].decode("utf-8", "replace")

    def freeze(self):
        """A server that polls steals from its neighbour even when idle."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def stop(self):
        if self.proc.poll() is None:
            self.thaw()
            self.proc.terminate()
        try:
            self.proc.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()


def ask_one_by_one(port, requests, body=b'{"type":"log","n":[1.5,-2e9]}'):
    """A scripted client on one connection that waits for every reply."""
    request = (HEAD % len(body)).encode() + body
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            s.sendall(request)
            reply = b""
            while b"\r\n\r\n" not in reply or len(reply) < reply.index(b"\r\n\r\n") + 4 + length_of(reply):
                more = s.recv(4096)
                if not more:
                    raise tree.Unusable("the server closed the connection of the scripted client")
                reply += more


def length_of(reply):
    head = reply[:reply.index(b"\r\n\r\n")].lower()
    return int(head.split(b"content-length:")[1].split(b"\r\n")[0])


# --- control channels: of the machine, never of the server's own latency ----------------------------------

def _stat():
    """{core: [ticks by state]}"""
    with open("/proc/stat") as f:
        rows = [line.split() for line in f if line.startswith("cpu") and line[3].isdigit()]
    return {int(row[0][3:]): [int(x) for x in row[1:9]] for row in rows}


def _throttled_us():
    try:
        with open("/sys/fs/cgroup/cpu.stat") as f:
            return next((int(line.split()[1]) for line in f if line.startswith("throttled_usec")), 0)
    except OSError:
        return 0


class Watch:
    """Steal, throttling and the work of strangers between start and `take`, as shares of the time."""

    def __init__(self, mine):
        self.mine = {os.getpid(), *mine}
        self.began, self.stat, self.throttled, self.foreign = time.monotonic(), _stat(), _throttled_us(), foreign_ticks(self.mine)

    def take(self):
        took = time.monotonic() - self.began
        now = _stat()
        steal = max((now[c][7] - before[7]) / max(1, sum(now[c]) - sum(before)) for c, before in self.stat.items() if c in now)
        foreign = max(0, foreign_ticks(self.mine) - self.foreign) / os.sysconf("SC_CLK_TCK")
        return {"steal": steal, "foreign": foreign / took, "throttled": (_throttled_us() - self.throttled) / 1e6 / took}


# --- generators -------------------------------------------------------------------------------------------

class Generator:
    """One slice of load. `command` is `lg` of the yardsticks or a ringmill that can `load`; both are pinned."""

    def __init__(self, command, events, connections=64):
        self.command, self.events, self.connections = command, events, connections
        self.is_lg = os.path.basename(command) == "lg"

    def argv(self, server, rate, seconds, settle, seed):
        if self.is_lg:
            return [self.command, "--pid=%d" % server.pid, "--port=%d" % server.port, "--path=/v1/events", "--ctype=application/json",
                    "--conns=%d" % self.connections, "--depth=1", "--rate=%g" % rate, "--lines=" + self.events, "--per=1",
                    "--expect=2", "--secs=%g" % seconds, "--warm=%g" % settle]
        paced = ["--rate", "%g" % rate] if rate else []
        return [self.command, "load", "http://127.0.0.1:%d/v1/events" % server.port, *paced, "--duration", "%gms" % (1000 * seconds),
                "--warmup", "%gms" % (1000 * settle), "--connections", str(self.connections), "--payload", self.events,
                "--seed", str(seed), "--cores", str(GENERATOR_CORE), "--json", "-"]

    def slice(self, server, rate, seconds=1.0, settle=0.2, seed=1):
        """Figures of one slice: p50, tail (p95, or p90 where there is no p95), p99, p999 in µs, the server's CPU in
        µs a request, completed a second, and the control channels."""
        argv = self.argv(server, rate, seconds, settle, seed)
        cpu, watch = cpu_ns(server.pid), Watch([server.pid])
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + settle + SLICE_SLACK_S)
        except subprocess.TimeoutExpired:
            raise tree.Unusable("the generator did not end: %s" % shlex.join(argv)) from None
        controls, cpu = watch.take(), cpu_ns(server.pid) - cpu
        if done.returncode:
            raise tree.Unusable("the generator failed: %s\n%s%s" % (shlex.join(argv), done.stderr[-2000:], server.said()))
        told = json.loads(done.stdout)
        figures = lg_figures(told) if self.is_lg else load_figures(told, cpu, seconds, settle)
        # What the generator itself ran is in `foreign` as that of an ended child of ours, which is not counted.
        figures["controls"] = {**controls, **figures["controls"]}
        return figures


def lg_figures(told):
    if told["bad"] or told["other"]:
        raise tree.Unusable("%d broken and %d unwanted replies: nothing to compare" % (told["bad"], told["other"]))
    return {"p50": told["p50"], "tail": told.get("p95", told["p90"]), "p99": told["p99"], "p999": told["p999"],
            "cpu_us": told["cpu_us"], "per_s": told["rps"], "controls": {"generator_delay": told["cli_delay"]}}


def load_figures(told, cpu, seconds, settle):
    """Of what `ringmill load --json -` prints. A percentile that it refuses is None."""
    if told["errors"] or told["unexpected"]:
        raise tree.Unusable("%d errors and %d unexpected replies: nothing to compare" % (told["errors"], told["unexpected"]))
    latency, lag = told["latency_us"], told.get("send_lag_us", {})
    per_s = told["completed"] / seconds
    if not per_s or latency.get("p90") is None:
        raise tree.Unusable("the generator completed %d requests: too few for a percentile" % told["completed"])
    return {"p50": latency["p50"], "tail": latency.get("p95") or latency["p90"], "p99": latency["p99"], "p999": latency["p999"],
            "cpu_us": cpu / 1e3 / (per_s * (seconds + settle)), "per_s": per_s,
            "controls": {"send_lag_p99_us": lag.get("p99"), "generator": float(told["verdict"]["limit"] == "generator")}}
