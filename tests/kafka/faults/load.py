"""Load: connections that send bodies of events at a pace, each waiting for its reply, and note what it said.

No event is sent twice. A connection that ends gets a successor with a number of its own, for order holds per connection.
Threads, not a loop: a body takes a millisecond of Python and waits for the brokers for ten.
"""
import json
import socket
import threading
import time

from .oracle import ACKED, FAILED, OPEN, SHED, Request

# No reply later than this is waited for: above the longest delivery timeout of a row.
REPLY_WITHIN_S = 60
# Between two requests of a connection that are shed, so that the server's refusals do not become the load.
SHED_PAUSE_S = 0.05


class Connection:
    """One keep-alive connection that sends a request and reads its reply."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(REPLY_WITHIN_S)
        self.rest = b""

    def ask(self, body, headers=""):
        """(status, body as JSON), or None when the server closed before it replied."""
        head = ("POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-ndjson\r\n"
                f"{headers}Content-Length: {len(body)}\r\n\r\n")
        try:
            self.socket.sendall(head.encode() + body)
            head = self._until(b"\r\n\r\n").decode()
            length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            while len(self.rest) < length:
                self._more()
        except (ConnectionError, EOFError):
            return None
        told, self.rest = self.rest[:length], self.rest[length:]
        return int(head.split(" ", 2)[1]), json.loads(told)

    def _until(self, mark):
        while mark not in self.rest:
            self._more()
        before, self.rest = self.rest.split(mark, 1)
        return before

    def _more(self):
        some = self.socket.recv(65536)
        if not some:
            raise EOFError
        self.rest += some

    def close(self):
        self.socket.close()


def understand(request, status, body):
    """Writes what a reply says into its request."""
    request.status, request.error, request.reason = status, body.get("error", ""), body.get("reason", "")
    if status in (200, 207, 400) and "errors" in body:
        request.outcome = ACKED
        request.refused = frozenset(error["index"] for error in body["errors"])
        if body["accepted"] != request.count - len(request.refused) or body["rejected"] != len(request.refused):
            raise ValueError(f"{request}: the counts do not fit: {body}")
        if status == 200 and body["ack"] != "replicated":
            raise ValueError(f"{request}: 200 with the level {body['ack']}")
    elif status == 503 and "possibly_written" in body:
        request.outcome = FAILED
        request.written, request.not_written, request.possibly = (
            body[name] for name in ("written", "not_written", "possibly_written"))
        request.refused = frozenset()
    elif status in (413, 503):
        request.outcome = SHED
        if body["accepted"]:
            raise ValueError(f"{request}: shed, and something accepted: {body}")
    else:
        raise ValueError(f"{request}: an unexpected reply: {status} {body}")


class Load:
    """`clients` connections that send `rate` events a second together, in bodies of `per_body`.

    `event(connection, number)` gives an event's bytes. `address()` is asked before each connect: the server may be
    another one by then."""

    def __init__(self, address, event, rate=2000, clients=8, per_body=10):
        self.address, self.event, self.per_body = address, event, per_body
        self.every = per_body * clients / rate
        self.requests, self.acked_at, self.late_s, self.broken = [], [], [], []
        self.spans, self.connections = [], 0
        self._lock, self._go, self._over = threading.Lock(), threading.Event(), threading.Event()
        self._busy = 0
        self._threads = [threading.Thread(target=self._client, args=(i / clients,), daemon=True) for i in range(clients)]
        for thread in self._threads:
            thread.start()
        self.resume()

    def resume(self):
        """Sends on."""
        self.spans.append([time.monotonic(), None])
        self._go.set()

    def pause(self):
        """No further request begins; waits until each that began has its reply."""
        self._go.clear()
        end = time.monotonic() + REPLY_WITHIN_S + 10
        while self._busy:
            if time.monotonic() > end:
                raise RuntimeError("a request has no reply")
            time.sleep(0.01)
        self.spans[-1][1] = time.monotonic()

    def stop(self):
        """Ends it, after `pause`."""
        if self._go.is_set():
            self.pause()
        self._over.set()
        self._go.set()
        for thread in self._threads:
            thread.join()
        if self.broken:
            raise RuntimeError(f"a client broke: {self.broken[0]!r}")

    def abandon(self):
        """Ends it without waiting for anything."""
        self._over.set()
        self._go.set()

    def acked(self):
        """Requests acknowledged so far."""
        return len(self.acked_at)

    def outcomes(self):
        """How many requests had each outcome, with the error's name where there is one."""
        counts = {}
        for request in list(self.requests):
            name = f"{request.outcome} {request.status or ''} {request.error}".strip()
            counts[name] = counts.get(name, 0) + 1
        return counts

    def reasons(self):
        """Why requests failed that the brokers had a hand in, with examples of their connection and first event."""
        return {request.reason: (request.connection, request.first) for request in self.requests if request.outcome == FAILED}

    def _begin(self):
        """True when a request may begin, which then counts as busy; False at the end."""
        while True:
            self._go.wait()
            with self._lock:
                if self._over.is_set():
                    return False
                if self._go.is_set():
                    self._busy += 1
                    return True

    def _client(self, phase):
        connection = number = name = None
        due = time.monotonic() + phase * self.every
        while self._begin():
            try:
                if connection is None:
                    connection, number = Connection(self.address()), 0
                    with self._lock:
                        name, self.connections = self.connections, self.connections + 1
                request = Request(name, number, self.per_body)
                with self._lock:
                    self.requests.append(request)
                if not self._one(connection, request):
                    connection.close()
                    connection = None
                number += self.per_body
            except ConnectionError:
                time.sleep(SHED_PAUSE_S)  # No server is there: it was killed, and is started again.
            except Exception as error:  # Whatever it is, the row must fail and not hang.
                self.broken.append(error)
                return
            finally:
                with self._lock:
                    self._busy -= 1
            due = max(due + self.every, time.monotonic() - self.every)
            time.sleep(max(0, due - time.monotonic()))
        if connection:
            connection.close()

    def _one(self, connection, request):
        """Sends one request and notes its reply; False when there was none."""
        body = b"\n".join(self.event(request.connection, number) for number in request.numbers())
        began = time.monotonic()
        told = connection.ask(body)
        now = time.monotonic()
        if told is None:
            return False
        understand(request, *told)
        if request.outcome == ACKED:
            self.acked_at.append(now)
            self.late_s.append(now - began)
        else:
            time.sleep(SHED_PAUSE_S)
        return True


__all__ = ["ACKED", "FAILED", "OPEN", "SHED", "Connection", "Load", "understand"]
