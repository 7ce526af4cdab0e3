"""Credentials and certificates: right, wrong, expiring, changed."""
import tempfile

from .rows import row
from .stage import REAUTHENTICATE_MS


def secret(t, text):
    """A file with a password."""
    file = tempfile.NamedTemporaryFile("w", dir=t.stage.folder, delete=False)
    with file:
        file.write(text + "\n")
    return file.name


def scram(t, user, password, mechanism="scram-sha-256"):
    """The flags for a SCRAM user."""
    return ["--kafka-sasl", mechanism, "--kafka-user", user, "--kafka-password-file", secret(t, password)]


def tls(t, authority="ca.pem"):
    """The flags for TLS under an authority."""
    return ["--kafka-tls", "--kafka-tls-ca", str(t.cluster.kit.pki / authority)]


@row("TLS and SCRAM", "both right, over every listener that wants them", "A E")
def right(t):
    t.create()
    t.serve(*tls(t), *scram(t, "bob", "pw-bob", "scram-sha-512"), via="SASLSSL")
    t.send()
    t.pause(3)
    node = t.leader()
    t.kill(node)
    t.pause(2)
    t.start(node)
    t.recovers()


@row("SASL sessions expire", f"brokers end what is older than {REAUTHENTICATE_MS // 1000} s and has not said again who it is",
     "A E", quick=True)
def expires(t):
    t.ask("scram", "eve", "one")
    t.create()
    t.serve(*scram(t, "eve", "one"), via="SASL")
    t.send()
    t.pause(3 * REAUTHENTICATE_MS / 1000)
    lost = t.server.metric("ringmill_kafka_broker_links_lost_total")
    t.notes.append(f"{lost:.0f} links lost")
    t.require(lost == 0, f"{lost:.0f} links were lost: sessions were not renewed in place")
    # That sessions have an end at all: with another password they are not renewed.
    t.load.pause()
    t.ask("scram", "eve", "two")
    t.wait("sessions are renewed", lambda: "credentials refused" in t.server.unready())


@row("password changed", "first at the brokers, 2 s later in the server's file; sessions end meanwhile", "A C E")
def changed(t):
    t.all_acked = False
    t.ask("scram", "dora", "one")
    t.create()
    file = secret(t, "one")
    t.serve("--kafka-sasl", "scram-sha-256", "--kafka-user", "dora", "--kafka-password-file", file, "--shed-after-ms", "200",
            via="SASL")
    t.send()
    t.pause(2)
    t.ask("scram", "dora", "two")
    t.wait("it knows", lambda: "credentials refused" in t.server.unready())
    t.pause(2)
    with open(file, "w") as to:
        to.write("two\n")
    t.recovers()


@row("wrong credentials and certificates", "a wrong password, a wrong authority; then what is right", "C E", quick=True)
def wrong(t):
    t.all_acked = False
    t.create()
    for flags, listener, why in [(tls(t, "stranger-ca.pem"), "SSL", "certificate not trusted"),
                                 (scram(t, "bob", "wrong"), "SASL", "credentials refused"),
                                 ([], "SASL", ""), ([], "SSL", "")]:
        t.serve(*flags, "--shed-after-ms", "200", via=listener)
        t.wait(f"it says {why!r}", lambda: why in t.server.unready() and t.server.unready())
        if t.load is None:
            t.send()
        t.pause(1.5)
        t.require(t.load.acked() == 0, "acknowledged without being let in")
        t.crash()
    t.serve(*tls(t), via="SSL")
    t.recovers()


@row("write denied", "an authoriser denies writing to the topic", "C E", quick=True)
def denied(t):
    t.all_acked = False
    t.create()
    t.serve(*scram(t, "carol", "pw-carol", "scram-sha-512"), "--shed-after-ms", "200", via="SASL")
    t.send()
    t.recovers()
    t.ask("deny", "carol", t.topic)
    t.wait("it is denied", lambda: "grant Describe and Write" in t.server.unready())
    t.pause(1)
