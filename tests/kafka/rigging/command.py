"""The command line: starts a cluster, prints one JSON line about it, obeys words on standard input, ends with it."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

from . import RigError
from .cluster import Cluster
from .kit import SCRAM_USERS, Kit
from .settings import PLAIN_USERS, SECURE

WORDS = """
commands, one a line on standard input, words between spaces or a JSON array; each is answered by one JSON line:
  create TOPIC PARTITIONS [REPLICAS] [KEY=VALUE…]   a topic
  grow TOPIC PARTITIONS | delete TOPIC | config TOPIC KEY=VALUE…
  describe TOPIC                     its id; leader, replicas and in-sync replicas of each partition
  lead TOPIC PARTITION NODE          makes NODE the leader
  truncate TOPIC PARTITION OFFSET    deletes records before OFFSET (-1: all), and with them producers' state
  brokers KEY=VALUE…                 a setting of all brokers; nothing behind the equals sign restores the default
  quota CLIENT BYTES|none            what brokers let a client id produce a second
  producers TOPIC                    how many producers the topic's leaders remember
  deny USER TOPIC                    USER may no longer write to TOPIC (with --secure)
  scram USER PASSWORD [ITERATIONS]   a SCRAM user, or another password for one
  produce TOPIC COUNT BYTES [PROPERTIES]   the Java client writes records; PROPERTIES is a file for it
  consume TOPIC FILE                 the Java client reads everything: a JSON line a record, bytes in base64
  dump NODE TOPIC PARTITION FILE     each batch as it lies in the node's log: a JSON line a batch
  kill N | term N                    ends node N by SIGKILL | SIGTERM and waits for its end
  stop N | cont N                    freezes | continues node N
  start N                            starts node N again on its ports and data
  starve N                           from now on node N's disk is full
  settle [SECONDS]                   waits for all running nodes and their replicas
  status                             the nodes, as in the first line
  end                                ends everything, as the end of standard input does
"""


def parser():
    """The arguments of `rig`."""
    it = argparse.ArgumentParser(prog="rig", description=__doc__, epilog=WORDS,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    it.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    it.add_argument("--topic", action="append", default=[], metavar="NAME:PARTITIONS")
    it.add_argument("--secure", action="store_true", help="listeners with SASL, TLS, both, and mutual TLS")
    it.add_argument("--proxied", action="store_true", help="a listener that advertises ports where a proxy will listen")
    it.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every broker")
    it.add_argument("--heap", type=int, default=128, metavar="MB", help="of each broker")
    it.add_argument("--java-option", action="append", default=[], metavar="OPTION", help="for each broker")
    it.add_argument("--folder", metavar="DIR", help="where data and logs lie while it runs, instead of cargo's target folder")
    it.add_argument("--keep", action="store_true", help="do not remove data and logs at the end")
    it.add_argument("--prepare", action="store_true", help="only fetch and build what is needed, then end")
    it.add_argument("run", nargs="*", help="after --: a command to run with RIG_BOOTSTRAP set, instead of obeying")
    return it


def main(arguments):
    """Exit code 0, or that of the command run; 1 after an error, which is printed."""
    options = parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return serve(options)
    except KeyboardInterrupt:
        return 130
    except RigError as error:
        print(f"rig: {error}", file=sys.stderr)
        return 1


def serve(options):
    """From the kit to the last process' end."""
    kit = Kit().prepare()
    if options.prepare:
        print(json.dumps({"kit": str(kit.folder)}))
        return 0
    began = time.monotonic()
    overrides = [pair.split("=", 1) for pair in options.set]
    with Cluster(kit, options.nodes, options.secure, options.proxied, overrides, options.heap, options.java_option,
                 options.keep, folder=options.folder) as cluster:
        for topic in options.topic:
            name, partitions = topic.rsplit(":", 1)
            cluster.helper.ask("create", name, partitions, options.nodes)
        if options.run:
            environment = {**os.environ, "RIG_BOOTSTRAP": ",".join(cluster.addresses())}
            return subprocess.run(options.run, env=environment).returncode
        say({**status(cluster), "seconds": round(time.monotonic() - began, 2)})
        obey(cluster)
    return 0


def obey(cluster):
    """Answers each line of standard input until it ends or says so. `readline`, not the file's iterator, which reads
    ahead and would leave a question unanswered."""
    while line := sys.stdin.readline():
        try:
            words = json.loads(line) if line.startswith("[") else line.split()
            if not words:
                continue
            if words == ["end"]:
                break
            say(one(cluster, *words))
        except (RigError, OSError, TypeError, ValueError) as error:
            say({"ok": False, "error": str(error)})


def one(cluster, word, *rest):
    """One command."""
    signals = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP, "cont": signal.SIGCONT}
    if word in ("kill", "term"):
        cluster.end(*rest, signals[word])
    elif word in signals:
        cluster.node(*rest).signal(signals[word])
    elif word == "start":
        cluster.start(*rest)
        return status(cluster)
    elif word == "starve":
        cluster.starve(*rest)
    elif word == "settle":
        return {"ok": True, **cluster.settle(*map(float, rest))}
    elif word == "status":
        return status(cluster)
    elif word == "dump":
        node, topic, partition, to = rest
        return {"ok": True, **cluster.helper.ask("dump", cluster.node(node).data / f"{topic}-{int(partition)}", to)}
    elif word == "create" and (len(rest) < 3 or "=" in rest[2]):
        rest = (*rest[:2], str(len(cluster.nodes)), *rest[2:])
        return {"ok": True, **cluster.helper.ask(word, *rest)}
    else:
        return {"ok": True, **cluster.helper.ask(word, *rest)}
    return {"ok": True}


def status(cluster):
    """Where everything is."""
    listeners = [name for name in cluster.nodes[0].ports if name != "CONTROLLER"]
    told = {"ok": True, "folder": str(cluster.folder), "helper": cluster.helper.process.pid,
            "bootstrap": ",".join(cluster.addresses()),
            "listeners": {name: cluster.addresses(name) for name in listeners},
            "nodes": [{"node": node.number, "pid": node.process.pid, "alive": node.alive, "log": str(node.log),
                       "data": str(node.data)} for node in cluster.nodes]}
    if cluster.proxies:
        told["proxies"] = [{"node": node.number, "listen": f"127.0.0.1:{cluster.proxies[node.number]}",
                            "to": f"127.0.0.1:{node.ports['PROXIED']}"} for node in cluster.nodes]
    if SECURE[0] in listeners:
        pki = cluster.kit.pki
        told["security"] = {"plain": dict(PLAIN_USERS), "scram": dict(SCRAM_USERS),
                            "files": {path.name: str(path) for path in sorted(pki.iterdir())}}
    return told


def say(what):
    """One JSON line, at once."""
    print(json.dumps(what), flush=True)
