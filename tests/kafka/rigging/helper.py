"""A process that obeys: a JSON array of words in, a JSON object out, a line each. Above all the Java one that administers,
produces and consumes; the fault matrix speaks to its proxies and fakes in the same way."""
import json
import selectors
import subprocess
import time

from . import RigError


class Helper:
    """One running helper. One question at a time."""

    def __init__(self, command, log, environment):
        self.log = log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                            **environment)
        self.rest = b""

    def ask(self, *words, within=120):
        """The answer to one command, as a dict. Raises RigError when it failed or took longer than `within` seconds."""
        line = json.dumps([str(word) for word in words]) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise RigError(f"the helper is gone: see {self.log}") from None
        answer = json.loads(self._line(within))
        if not answer.pop("ok"):
            raise RigError(f"{' '.join(map(str, words))}: {answer['error']}")
        return answer

    def _line(self, within):
        """Raw reads behind a selector: a buffered reader would wait without a bound."""
        end = time.monotonic() + within
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.rest:
                if not ready.select(max(0, end - time.monotonic())):
                    raise RigError(f"no answer from the helper within {within} s: see {self.log}")
                some = self.process.stdout.raw.read(65536) if hasattr(self.process.stdout, "raw") else b""
                if not some:
                    raise RigError(f"the helper has ended: see {self.log}")
                self.rest += some
        line, self.rest = self.rest.split(b"\n", 1)
        return line

    def greeting(self, within=30):
        """The line that programs other than the Java one print when they are up."""
        return json.loads(self._line(within))

    def leave(self):
        """Lets it end by itself, so that it writes its class archive."""
        self.process.stdin.close()
        self.process.wait(30)

    def kill(self):
        """Ends it at once."""
        self.process.kill()
        self.process.wait()
