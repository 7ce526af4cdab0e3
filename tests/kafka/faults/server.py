"""The built server under test: started on ports of its own towards brokers, asked, ended."""
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

from rigging.cluster import BOUND

READY_WITHIN_S, END_WITHIN_S = 30, 40
# Small tables, so that the plan is tight: memory that grows with a fault is seen.
SMALL = ["--connections-max", "64", "--receive-buffers", "128", "--body-budget-bytes", "17MiB", "--kafka-partitions-max", "64",
         "--kafka-brokers-max", "4"]


class Server:
    """One running server. `environment` is added to ours."""

    def __init__(self, program, arguments, log, environment=None, cores="0"):
        self.log = log
        sized = [*SMALL, "--cores", cores, *arguments]
        self.command = [program, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *sized]
        self.plan_bytes = self._plan()
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                            text=True, env={**os.environ, **(environment or {})}, **BOUND)
        try:
            self._ready()
        except BaseException:
            self.kill()
            raise

    def _plan(self):
        """The bound on its memory, as `--dry-run` prints it."""
        done = subprocess.run([*self.command, "--dry-run"], capture_output=True, text=True, timeout=30)
        total = re.search(r"(?m)^ *total +(\d+) ", done.stdout)
        if done.returncode or not total:
            raise RuntimeError(f"no plan: {done.stderr or done.stdout}")
        return int(total.group(1))

    def _ready(self):
        watchdog = threading.Timer(READY_WITHIN_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line.startswith("ringmill ready "):
            raise RuntimeError(f"the server did not get ready:\n{self.told()}")
        fields = dict(field.split("=", 1) for field in line.split()[2:])
        address = lambda name: (fields[name].rsplit(":", 1)[0], int(fields[name].rsplit(":", 1)[1]))
        self.http, self.admin = address("http"), address("admin")

    def told(self):
        """The end of its log."""
        try:
            with open(self.log, errors="replace") as log:
                return log.read()[-3000:]
        except OSError:
            return ""

    def get(self, path):
        """(status, text) of the admin side."""
        try:
            with urllib.request.urlopen("http://%s:%d%s" % (*self.admin, path), timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def unready(self):
        """Why it is not ready, or nothing when it is."""
        status, text = self.get("/readyz")
        return "" if status == 200 else json.loads(text)["reason"]

    def metric(self, name, **labels):
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            found = re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line)
            if found and all(f'{key}="{value}"' in (found.group(1) or "") for key, value in labels.items()):
                total += float(found.group(2))
        return total

    def peak_bytes(self):
        """The most memory it had resident so far."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

    def kill(self):
        """SIGKILL, and its end."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """SIGTERM, and its end. Returns (exit code, seconds)."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = None
        self.process.stdout.close()
        return code, time.monotonic() - began
