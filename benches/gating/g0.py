"""G0: deterministic counts against a committed baseline. Blocking, under three minutes, the same on any x86-64-v3 host.

Each stage of benches/micro runs under callgrind (instructions, of which +2 % fails), under DHAT (bytes copied by
memcpy and its like, of which nothing more is allowed) and counts its own allocations. Valgrind emulates one CPU
whatever the host's is, so run-time detection always sees the same; the emulated features are part of the toolchain
that the baseline names. If that toolchain is another one, the commit of the baseline is built again here and
stands in for the stored numbers.
"""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from gating import callgrind, tree

BASELINE = os.path.join(tree.BENCHES, "gating", "baseline.json")
FLAGS = "-C target-cpu=" + tree.COUNTED_CPU
ROUNDS = 20
# Copies are measured over that many runs and over twice as many, so that the difference is of the runs alone.
COPY_ROUNDS = 20
# A short, fixed environment: its size moves the stack, and with it the alignment of what lies there.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
TOGGLE = "ringmill_measured"


def valgrind(scratch, options, program, *args):
    argv = ["setarch", "-R", "valgrind", *options, program, *args]
    done = subprocess.run(argv, cwd=scratch, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise tree.Unusable("valgrind %s %s ended with %d:\n%s\nA host without AVX2 cannot run what is counted (%s)."
                            % (options[0], " ".join(args), done.returncode, (done.stderr or done.stdout)[-2000:], tree.COUNTED_CPU))
    return done.stdout, done.stderr


def toolchain(scratch, program):
    """Everything but the source that the counts depend on."""
    seen, _ = valgrind(scratch, ["--tool=none", "-q"], program, "cpu")
    return {
        "rustc": tree.run(["rustc", "-V"], cwd=tree.ROOT),
        "valgrind": tree.run(["valgrind", "--version"]),
        "libc": tree.run(["getconf", "GNU_LIBC_VERSION"]),
        "target_cpu": tree.COUNTED_CPU,
        "emulated_cpu": seen.strip(),
    }


def count_stage(scratch, program, events, stage, unit):
    """The figures of one stage."""
    out = os.path.join(scratch, "callgrind.%s.%s" % (os.path.basename(program), stage))
    options = ["--tool=callgrind", "-q", "--toggle-collect=" + TOGGLE, "--callgrind-out-file=" + out, "--compress-pos=no"]
    said, _ = valgrind(scratch, options, program, "run", stage, str(ROUNDS), events)
    said = json.loads(said)
    with open(out) as f:
        total, own = callgrind.parse(f.read())
    if not total:
        raise tree.Unusable("callgrind collected nothing in %s: is it still a function of its own?" % TOGGLE)
    figures = {"unit": unit, **callgrind.per_unit(total, own, said["units"])}
    figures["allocations"] = said["allocations"] / said["units"]
    return figures


def count_copies(scratch, program, events, stage):
    """Bytes copied a unit, from two runs of which one is twice as long."""
    seen = []
    for rounds in (COPY_ROUNDS, 2 * COPY_ROUNDS):
        options = ["--tool=dhat", "--mode=copy", "--dhat-out-file=/dev/null"]
        said, log = valgrind(scratch, options, program, "run", stage, str(rounds), events)
        seen.append((callgrind.copied(log), json.loads(said)["units"]))
    (a, units_a), (b, units_b) = seen
    return round((b - a) / (units_b - units_a), 2)


def measure(scratch, program):
    """({stage: figures}, toolchain) of a built harness."""
    events = tree.payload(os.path.join(scratch, "events.ndjson"))
    stages = [line.split("\t") for line in tree.run([program, "list"]).splitlines()]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        counts = {s: pool.submit(count_stage, scratch, program, events, s, unit) for s, unit in stages}
        copies = {s: pool.submit(count_copies, scratch, program, events, s) for s, _ in stages}
        found = {s: dict(counts[s].result(), copied=copies[s].result()) for s, _ in stages}
    return found, toolchain(scratch, program)


def measure_here(scratch):
    program = tree.build(tree.ROOT, "ringmill-micro", "stages", os.path.join(scratch, "head"), FLAGS)
    return measure(scratch, program)


def measure_commit(scratch, commit, edit=None, name="base"):
    program = tree.build_stages_of(commit, os.path.join(scratch, name), FLAGS, edit=edit)
    return measure(scratch, program)[0]


def load_baseline():
    try:
        with open(BASELINE) as f:
            return json.load(f)
    except FileNotFoundError:
        return None


def baseline_for(scratch, stored, here):
    """(figures to compare with, a sentence for people or None); no figures: compare nothing."""
    other = [key for key in here if stored["toolchain"].get(key) != here[key]]
    if not other:
        return stored["stages"], None
    said = "The baseline was made with another toolchain (%s)" % "; ".join(
        "%s: %s, here %s" % (key, stored["toolchain"].get(key), here[key]) for key in other)
    commit = tree.git("log", "-1", "--format=%H", "--", os.path.relpath(BASELINE, tree.ROOT))
    if not commit:
        return None, said + ", and its commit is not in this clone: reported only."
    print("%s. Building its commit %s to compare with." % (said, commit[:10]), file=sys.stderr)
    try:
        return measure_commit(scratch, commit), said + ": compared with its commit %s, built here." % commit[:10]
    except tree.Unusable as why:
        return None, "%s, and its commit %s cannot be counted here: reported only.\n%s" % (said, commit[:10], why)


def need_tools():
    for tool, package in (("valgrind", "valgrind"), ("setarch", "util-linux"), ("cargo", "Rust from https://rustup.rs")):
        if not shutil.which(tool):
            raise tree.Unusable("%s is missing: install %s" % (tool, package))


def say(findings, findings_of=lambda f: f.kind == "fails"):
    for finding in filter(findings_of, findings):
        print("  %-16s %s" % (finding.stage, finding.text))


def main(args):
    """0: within the limits. 1: something grew. 2: cannot be counted here."""
    need_tools()
    with tempfile.TemporaryDirectory(prefix="ringmill-g0-") as scratch:
        now, here = measure_here(scratch)
        stored = load_baseline()
        if stored is None:
            print(callgrind.table({}, now))
            print("\ng0: FAIL  there is no %s: write it with `benches/gate accept` and commit it." % os.path.relpath(BASELINE, tree.ROOT))
            return 1
        before, note = baseline_for(scratch, stored, here)
        size = os.path.getsize(os.path.join(scratch, "head"))
    print(callgrind.table(before or stored["stages"], now))
    print()
    if note:
        print(note)
    report_server(args, size)
    return verdict(callgrind.compare(before, now) if before is not None else [])


def verdict(findings):
    fails = [f for f in findings if f.kind in ("fails", "gone", "new")]
    gains = [f for f in findings if f.kind == "gain"]
    if gains:
        print("g0: better than the baseline; `benches/gate accept` holds the gain:")
        say(gains, lambda _: True)
    if not fails:
        print("g0: PASS")
        return 0
    print("g0: FAIL")
    say(fails, lambda _: True)
    print("If it is worth that: `benches/gate accept`, and commit benches/gating/baseline.json with the reason.")
    return 1


def accept(args):
    """Writes what is counted now as the baseline."""
    need_tools()
    with tempfile.TemporaryDirectory(prefix="ringmill-g0-") as scratch:
        now, here = measure_here(scratch)
    stored = load_baseline()
    if stored:
        say(callgrind.compare(stored["stages"], now), lambda _: True)
    with open(BASELINE, "w") as f:
        json.dump({"toolchain": here, "stages": now}, f, indent=1, ensure_ascii=False)
        f.write("\n")
    print("accepted: commit %s with the reason." % os.path.relpath(BASELINE, tree.ROOT))
    return 0


# --- reported only ----------------------------------------------------------------------------------------

def report_server(args, stages_bytes):
    """Binary size, and the system calls of a lone connection, of a server that is already built."""
    binary = args.bin or next((b for b in (os.path.join(tree.target(kind), "ringmill") for kind in ("release", "debug"))
                               if os.path.exists(b)), None)
    print("reported: the counted program has %s bytes" % callgrind.show(stages_bytes), end="")
    if binary is None:
        return print("; no server is built (`--bin` names one)")
    print("; %s has %s" % (os.path.relpath(binary, tree.ROOT), callgrind.show(os.path.getsize(binary))))
    calls = system_calls(binary)
    if calls:
        print("reported: system calls a request of one waiting connection, null sink: " + ", ".join(
            "%s %.2f" % call for call in calls))


def system_calls(binary, requests=1000):
    """[(name, calls a request)] by strace, or None where it is missing or not allowed."""
    if not shutil.which("strace"):
        return None
    from gating import serving
    with tempfile.TemporaryDirectory(prefix="ringmill-g0-") as scratch:
        server = serving.Server(binary, scratch)
        try:
            log = os.path.join(scratch, "strace")
            tracer = subprocess.Popen(["strace", "-f", "-c", "-U", "calls,name", "-o", log, "-p", str(server.pid)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if b"attached" not in tracer.stderr.readline():
                tracer.wait()
                return None
            serving.ask_one_by_one(server.port, requests)
            tracer.send_signal(2)
            tracer.communicate(timeout=20)
            with open(log) as f:
                found = re.findall(r"^\s*(\d+)\s+([a-z]\w+)$", f.read(), re.M)
            return [(name, int(calls) / requests) for calls, name in found if name != "total" and int(calls) >= requests / 100]
        finally:
            server.stop()
