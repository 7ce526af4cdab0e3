"""The rig does what it says: run by `python3 -m unittest discover -s tests/kafka`."""
import base64
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

RIG = Path(__file__).resolve().parent / "rig"


class Rig:
    """The rig as a program, spoken to from outside. Every wait has a bound."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([RIG, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.rest = b""
        self.up = self.answer(within=300)  # The first start on a clean clone fetches and compiles.

    def answer(self, within=120):
        end = time.monotonic() + within
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.rest:
                assert ready.select(max(0, end - time.monotonic())), "no answer in time"
                some = self.process.stdout.read(65536)
                assert some, "the rig has ended"
                self.rest += some
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ask(self, *words):
        self.process.stdin.write((json.dumps([str(word) for word in words]) + "\n").encode())
        return self.answer()

    def do(self, *words):
        answer = self.ask(*words)
        assert answer["ok"], answer
        return answer

    def pids(self):
        status = self.do("status")
        return [node["pid"] for node in status["nodes"]] + [status["helper"]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def runs(pid):
    """Whether a process is there and not a zombie that only waits for its parent to ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(pids, within=10):
    end = time.monotonic() + within
    while any(map(runs, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(runs, pids))


class OneNode(unittest.TestCase):
    def test_produces_consumes_exactly_breaks_and_ends(self):
        with Rig() as rig, tempfile.TemporaryDirectory() as scratch:
            out = f"{scratch}/with a space"
            rig.do("create", "events", 3, "max.message.bytes=2000")
            self.assertEqual(len(rig.do("describe", "events")["partitions"]), 3)
            rig.do("produce", "events", 500, 20)
            self.exactly(rig, out, 500)

            rig.do("kill", 1)
            self.assertFalse(rig.do("status")["nodes"][0]["alive"])
            self.assertIn("not running", rig.ask("kill", 1)["error"])
            rig.do("start", 1)
            self.assertIn("is running", rig.ask("start", 1)["error"])
            rig.do("settle")
            self.exactly(rig, out, 500)

            refused = rig.ask("produce", "events", 1, 5000)
            self.assertIn("RecordTooLarge", refused["error"])
            rig.do("config", "events", "max.message.bytes=100000")
            rig.do("produce", "events", 1, 5000)
            self.assertEqual(len(rig.do("grow", "events", 5)["partitions"]), 5)
            rig.do("delete", "events")
            self.assertIn("UnknownTopic", rig.ask("describe", "events")["error"])
            self.assertIn("no node 2", rig.ask("kill", 2)["error"])
            self.assertFalse(rig.ask("nonsense")["ok"])
            pids, folder = rig.pids(), Path(rig.up["folder"])
        self.assertEqual(rig.process.returncode, 0)
        self.assertTrue(ended(pids))
        self.assertFalse(folder.exists())

    def exactly(self, rig, out, count):
        self.assertEqual(rig.do("consume", "events", out)["records"], count)
        records = lines(out)
        wanted = {f"key-{i}": f"value-{i}".encode().ljust(20, b"\0") for i in range(count)}
        got = {base64.b64decode(r["key"]).decode(): base64.b64decode(r["value"]) for r in records}
        self.assertEqual(got, wanted)
        for partition in range(3):
            offsets = [r["offset"] for r in records if r["partition"] == partition]
            self.assertEqual(offsets, list(range(len(offsets))))
        batches = []
        for partition in range(3):
            rig.do("dump", 1, "events", partition, out)
            batches += lines(out)
        self.assertEqual(sum(batch["records"] for batch in batches), count)
        self.assertTrue(all(batch["valid"] and batch["codec"] == "none" for batch in batches))

    def test_a_full_disk_ends_the_broker(self):
        with Rig("--topic", "events:1") as rig:
            rig.do("produce", "events", 1, 10)
            rig.do("starve", 1)  # The next write, one of the metadata's own, ends it.
            end = time.monotonic() + 20
            while rig.do("status")["nodes"][0]["alive"]:
                self.assertLess(time.monotonic(), end, "the broker goes on without a disk")
                time.sleep(0.1)

    def test_brokers_do_not_outlive_a_rig_that_was_killed(self):
        with Rig() as rig:
            pids = rig.pids()
            self.assertTrue(all(map(runs, pids)))
            os.kill(rig.process.pid, signal.SIGKILL)
            self.assertTrue(ended(pids))

    def test_runs_a_command_and_hands_on_its_exit_code(self):
        done = subprocess.run([RIG, "--topic", "a:1", "--", "sh", "-c", "echo $RIG_BOOTSTRAP; exit 7"],
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertRegex(done.stdout, r"^127\.0\.0\.1:\d+\n$")


class ThreeNodes(unittest.TestCase):
    def test_leaders_move_and_nothing_is_lost(self):
        with Rig("--nodes", "3", "--topic", "events:3") as rig, tempfile.TemporaryDirectory() as scratch:
            out = f"{scratch}/out"
            self.assertEqual(rig.do("lead", "events", 0, 2)["partitions"][0]["leader"], 2)
            rig.do("produce", "events", 100, 10)
            rig.do("kill", 2)
            rig.do("produce", "events", 100, 10)
            self.assertNotEqual(rig.do("describe", "events")["partitions"][0]["leader"], 2)
            rig.do("start", 2)
            rig.do("settle")
            rig.do("stop", 3)
            rig.do("produce", "events", 100, 10)
            rig.do("cont", 3)
            rig.do("settle")
            rig.do("term", 1)
            rig.do("start", 1)
            rig.do("settle")
            self.assertEqual(rig.do("consume", "events", out)["records"], 300)
            self.assertEqual(sorted(rig.do("describe", "events")["partitions"][0]["in_sync"]), [1, 2, 3])
            rig.do("truncate", "events", 0, -1)
            rig.do("consume", "events", out)
            self.assertNotIn(0, {record["partition"] for record in lines(out)})
            rig.do("stop", 3)  # A frozen process ends all the same.
            pids = rig.pids()
        self.assertTrue(ended(pids))


class Security(unittest.TestCase):
    def test_every_listener_takes_the_right_credentials_and_no_others(self):
        with Rig("--secure", "--proxied", "--topic", "events:1", "--topic", "secret:1") as rig:
            rig.do("scram", "d=ora", "a,b=c")
            rig.do("deny", "carol", "secret")
            plain, scram = self.login("PLAIN"), self.login("SCRAM-SHA-256")
            for listener, mechanism, module, user, password, topic, refused in [
                    ("SASL", "PLAIN", plain, "alice", "pw-alice", "events", None),
                    ("SASL", "PLAIN", plain, "alice", "wrong", "events", "SaslAuthentication"),
                    ("SASL", "SCRAM-SHA-256", scram, "bob", "pw-bob", "events", None),
                    ("SASL", "SCRAM-SHA-512", scram, "d=ora", "a,b=c", "events", None),
                    ("SASLSSL", "SCRAM-SHA-512", scram, "bob", "pw-bob", "events", None),
                    ("SASLSSL", "SCRAM-SHA-512", scram, "bob", "pw-bob ", "events", "SaslAuthentication"),
                    ("SASL", "SCRAM-SHA-256", scram, "carol", "pw-carol", "events", None),
                    ("SASL", "SCRAM-SHA-256", scram, "carol", "pw-carol", "secret", "TopicAuthorization")]:
                with self.subTest(listener=listener, mechanism=mechanism, user=user, topic=topic, password=password):
                    settings = {"sasl.mechanism": mechanism,
                                "sasl.jaas.config": f'{module} required username="{user}" password="{password}";'}
                    self.probe(rig, listener, settings, topic, refused)
            files = rig.up["security"]["files"]
            self.probe(rig, "SSL", {}, "events", None)
            self.probe(rig, "SSL", {"ssl.truststore.location": files["stranger-ca.pem"]}, "events", "SslAuthentication")
            self.probe(rig, "MTLS", {}, "events", "SslAuthentication")
            self.probe(rig, "MTLS", self.certificate(files, "client"), "events", None)
            self.probe(rig, "MTLS", self.certificate(files, "stranger"), "events", "SslAuthentication")
            self.assertEqual(rig.up["proxies"][0]["listen"], rig.up["listeners"]["PROXIED"][0])

    @staticmethod
    def login(mechanism):
        kind = "scram.ScramLoginModule" if mechanism.startswith("SCRAM") else "plain.PlainLoginModule"
        return f"org.apache.kafka.common.security.{kind}"

    @staticmethod
    def certificate(files, name):
        key, chain = (Path(files[f"{name}.{end}"]).read_text().replace("\n", "\\n") for end in ("key", "pem"))
        return {"ssl.keystore.type": "PEM", "ssl.keystore.key": key, "ssl.keystore.certificate.chain": chain}

    def probe(self, rig, listener, settings, topic, refused):
        protocol = {"SASL": "SASL_PLAINTEXT", "SASLSSL": "SASL_SSL"}.get(listener, "SSL")
        every = {"bootstrap.servers": rig.up["listeners"][listener][0], "security.protocol": protocol,
                 "ssl.truststore.type": "PEM", "ssl.truststore.location": rig.up["security"]["files"]["ca.pem"]}
        with tempfile.NamedTemporaryFile("w", suffix=".properties") as file:
            file.writelines(f"{key}={value}\n" for key, value in {**every, **settings}.items())
            file.flush()
            answer = rig.ask("produce", topic, 1, 10, file.name)
        if refused:
            self.assertFalse(answer["ok"])
            self.assertIn(refused, answer["error"])
        else:
            self.assertTrue(answer["ok"], answer)


if __name__ == "__main__":
    unittest.main()
