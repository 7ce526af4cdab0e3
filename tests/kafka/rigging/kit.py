"""What is prepared once per clone under target/kafka: jars, the helper's classes, archives, a formatted folder.

Keyed by everything that shapes it (pom.xml, Java sources, the Java version, this file), so a changed recipe makes a new
kit instead of trusting an old one. Several rigs may start at once on a clean clone: a file lock lets one prepare.
"""
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from . import RigError, pki

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
# SCRAM users every cluster is born with, as (name, password); those of PLAIN are in settings.py. Names with a comma or an
# equals sign cannot be said to Kafka's formatter: the command `scram` makes them in a running cluster.
SCRAM_USERS = (("bob", "pw-bob"), ("carol", "pw-carol"))
# C1 only: brokers of a test live for seconds, and the better compiler would take the second core from the test.
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


def target_folder():
    """Cargo's target folder, so that `cargo clean` takes the kit along and nothing lies outside the clone."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "kafka"


def need(program, package):
    """The path of `program`; its absence names the Debian package that brings it."""
    path = shutil.which(program)
    if not path:
        raise RigError(f"{program} is missing: apt-get install {package}")
    return path


class Kit:
    """Paths of one prepared kit."""

    def __init__(self):
        self.java = need("java", "openjdk-17-jdk-headless")
        self.folder = target_folder() / f"kit-{self._key()}"
        self.libs = self.folder / "libs"
        self.classes = self.folder / "classes"
        self.template = self.folder / "template"
        self.pki = self.folder / "pki"

    def _key(self):
        told = hashlib.sha256()
        for path in [HERE / "pom.xml", Path(__file__), Path(pki.__file__), *sorted((HERE / "java").glob("*.java"))]:
            told.update(path.read_bytes())
        told.update(subprocess.run([self.java, "-version"], capture_output=True, check=True).stderr)
        return told.hexdigest()[:12]

    @property
    def classpath(self):
        """Jars only, written out: a class archive takes no folder, and is only valid for exactly the path it was made
        with."""
        return ":".join(map(str, [self.classes / "helper.jar", *sorted(self.libs.glob("*.jar"))]))

    def command(self, main, *arguments, archive=None, heap=128, options=()):
        """The command line of a Java program of this kit. `archive` names a class archive, used when it is there."""
        shared = self.folder / f"{archive}.jsa"
        sharing = [f"-XX:SharedArchiveFile={shared}"] if archive and shared.exists() else []
        log = f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}"
        return [self.java, f"-Xmx{heap}m", *JVM, *sharing, log, *options, "-cp", self.classpath, main, *map(str, arguments)]

    def prepare(self):
        """Makes whatever is not there yet. Returns itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._once(self.libs, self._fetch)
            self._once(self.classes, self._compile)
            self._once(self.template, self._format)
            self._once(self.pki, pki.make)
            self._archive()
        return self

    @staticmethod
    def _once(path, make):
        """Makes the folder `path` whole or not at all: what was cut off half way is made again."""
        if path.exists():
            return
        half = path.with_name(path.name + ".half")
        shutil.rmtree(half, ignore_errors=True)
        make(half)
        half.rename(path)

    def _fetch(self, to):
        """Maven wants a writable folder beside the pom, so it gets a copy of it."""
        mvn = need("mvn", "maven")
        pom = self.folder / "pom.xml"
        shutil.copy(HERE / "pom.xml", pom)
        run([mvn, "-B", "-q", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime",
             f"-DoutputDirectory={to}"], "fetching Kafka's jars from Maven Central")

    def _compile(self, to):
        javac = need("javac", "openjdk-17-jdk-headless")
        loose = self.folder / "loose"
        run([javac, "-nowarn", "-encoding", "UTF-8", "-d", loose, "-cp", f"{self.libs}/*",
             *sorted((HERE / "java").glob("*.java"))], "compiling the helper")
        to.mkdir()
        with zipfile.ZipFile(to / "helper.jar", "w") as jar:
            for path in sorted(loose.rglob("*.class")):
                jar.write(path, path.relative_to(loose))
        shutil.rmtree(loose)

    def _format(self, to):
        """Formats one folder with the SCRAM users in it. Nodes get copies: only node.id and directory.id differ."""
        properties = self.folder / "format.properties"
        properties.write_text("process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\n"
                              "listeners=CONTROLLER://127.0.0.1:1,PLAINTEXT://127.0.0.1:2\n"
                              f"controller.listener.names=CONTROLLER\nlog.dirs={to}\n")
        users = []
        for name, password in SCRAM_USERS:
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                users += ["--add-scram", f'{mechanism}=[name="{name}",password="{password}"]']
        run(self.command("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties, *users),
            "formatting a Kafka folder")

    def _archive(self):
        """Class archives of broker and helper, made by one short life of both. Without them a start takes twice as
        long, nothing else changes: so a failure here is not an error."""
        if (self.folder / "helper.jsa").exists() or (self.folder / "no-archive").exists():
            return
        from .cluster import Cluster
        with contextlib.suppress(Exception), Cluster(self, nodes=1, archiving=True) as cluster:
            cluster.helper.ask("create", "archive", "1", "1")
            cluster.helper.ask("produce", "archive", "100", "100")
            cluster.helper.ask("consume", "archive", cluster.folder / "consumed")
            cluster.archive()
        if not (self.folder / "helper.jsa").exists():
            (self.folder / "no-archive").touch()


def run(command, what):
    """Runs a command that must succeed; its output is only shown when it does not."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RigError(f"{what} failed with exit code {done.returncode}:\n{done.stdout[-4000:]}")
