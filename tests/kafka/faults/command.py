"""The command line: chooses rows, runs them, prints a line for each, and keeps what was found."""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from rigging import RigError
from rigging.kit import ROOT, target_folder

from . import rows_brokers, rows_fakes, rows_network, rows_security, rows_topics  # noqa: F401 (they fill ROWS)
from .rows import ROWS
from .stage import Stage, build_kfake
from .trial import Failed, Trial

sys.path.insert(0, str(ROOT / "benches"))
from ringbench import machine  # noqa: E402

HEAD = ("row", "sent", "acked", "refused", "not w.", "poss.", "stored", "lost", "twice", "order", "gap s", "MiB of plan", "s")
SHAPE = "{:39} {:>7} {:>7} {:>7} {:>7} {:>6} {:>7} {:>5} {:>5} {:>5} {:>6} {:>11} {:>5}  {}"
MUST = """
What must hold: A every acknowledged event once, B order per (shard, partition) and per connection, C failures say
"not" or "possibly" written, truthfully, D memory within the plan, E it recovers by itself and drains, F no timer in the
way of a healthy flush. The judge looks for all of them in every row; the letters are those that the fault threatens.
"""


def parser():
    """The arguments of `matrix`."""
    it = argparse.ArgumentParser(prog="matrix", description="The Kafka sink's fault matrix: the built server under load, "
                                 "real brokers and others', one fault a row, an independent consumer as the judge.",
                                 epilog=MUST, formatter_class=argparse.RawDescriptionHelpFormatter)
    it.add_argument("--quick", action="store_true", help="the half that CI runs")
    it.add_argument("--only", action="append", metavar="WORDS", help="the row of this name, or rows whose names hold these words; repeatable")
    it.add_argument("--list", action="store_true", help="name the rows and end")
    it.add_argument("--times", type=int, default=1, help="run the chosen rows so often")
    it.add_argument("--seed", type=int, default=int(time.time()), help="of what rows leave to chance")
    it.add_argument("--bin", type=Path, help="the server to test; built otherwise")
    it.add_argument("--release", action="store_true", help="build a release")
    it.add_argument("--keep", action="store_true", help=f"write the result into {Path('benches/results')}")
    return it


def main(arguments):
    """Exit code 0 when every row held, else 1."""
    options = parser().parse_args(arguments)
    names = {row.name for row in ROWS}
    meant = lambda words, name: words == name if words in names else words in name
    chosen = [row for row in ROWS if (row.quick or not options.quick)
              and (not options.only or any(meant(words, row.name) for words in options.only))]
    if options.list:
        for row in chosen:
            print(f"{row.name:39} {'quick' if row.quick else 'long':5}  {row.must:8} {row.fault}")
        return 0
    if not chosen:
        print("matrix: no such row: see --list", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return run(options, chosen * options.times)
    except RigError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1


def run(options, chosen):
    """All rows, one after the other."""
    programs = build(options)
    options.bin, options.data = str(programs["ringmill"]), str(target_folder())
    environment = surroundings(options)
    print(f"seed {options.seed}\n" + SHAPE.format(*HEAD, ""), flush=True)
    began, results = time.monotonic(), []
    kept = {"matrix": "quick" if options.quick else "all", "seed": options.seed, "environment": environment, "rows": results}
    stem = ROOT / "benches" / "results" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-kafka-matrix"
    with tempfile.TemporaryDirectory(prefix="matrix-", dir=folder()) as scratch, Stage(programs, scratch) as stage:
        for row in chosen:
            results.append(one(row, stage, options.seed))
            print(line(results[-1]), flush=True)
            if options.keep:  # Row by row: a run that is broken off keeps what it found.
                stem.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")
    seconds = round(time.monotonic() - began)
    failed = [result for result in results if result["failures"]]
    print(f"{len(results)} rows, {len(failed)} failed, {seconds} s", flush=True)
    if options.keep:
        print(f"written to {stem.with_suffix('.json').relative_to(ROOT)}")
    return 1 if failed else 0


def folder():
    """Where logs and dumps of a run lie, under cargo's target folder."""
    to = target_folder() / "run"
    to.mkdir(parents=True, exist_ok=True)
    return to


def build(options):
    """The programs that rows need, by name."""
    cargo = ["cargo", "build", "--locked", "--quiet"]
    wanted = [[*cargo, "-p", "ringmill-kafka-kit", "--bins"]]
    if not options.bin:
        wanted.append([*cargo, "--bin", "ringmill", *(["--release"] if options.release else [])])
    for command in wanted:
        if subprocess.run(command, cwd=ROOT).returncode:
            raise RigError(f"{' '.join(command)} failed")
    built = target_folder().parent
    server = options.bin or built / ("release" if options.release else "debug") / "ringmill"
    return {"ringmill": server.resolve(), "frame-proxy": built / "debug" / "frame-proxy",
            "kafka-probe": built / "debug" / "kafka-probe", "kfake": build_kfake()}


def surroundings(options):
    """What is known of code and machine."""
    told = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "command": "tests/kafka/matrix " + " ".join(
        os.path.basename(word) for word in sys.argv[1:]), **machine.of_code(options), **machine.of_cpu(),
        **machine.of_kernel(options)}
    # A checked build is no release: what it was must be known.
    told["profile"] = told["profile"] if options.release else "dev"
    return told


def one(row, stage, seed):
    """One row, whatever happens in it."""
    began = time.monotonic()
    trial = Trial(row.name, stage, seed)
    result = {}
    try:
        row.run(trial)
        result = trial.finish()
    except (Failed, RigError, RuntimeError, OSError, ValueError) as error:
        trial.failures.append(str(error) if isinstance(error, Failed) else traceback.format_exc(limit=4))
        if trial.load:
            trial.failures.append(f"replies so far: {trial.load.outcomes()}")
        if trial.server:
            trial.failures.append(f"the server's log: {trial.server.told()}")
    finally:
        trial.close()
    if trial.failures:
        mended(stage, trial)
    return {"row": row.name, "fault": row.fault, "must": row.must, "seconds": round(time.monotonic() - began, 1), **result,
            "notes": trial.notes, "failures": trial.failures}


def mended(stage, trial):
    """After a failure the next row gets whole brokers."""
    try:
        stage.mend()
    except RigError as error:
        trial.failures.append(f"the brokers could not be mended: {error}")


def line(result):
    """A row of the table, and what failed below it."""
    at = lambda name: result.get(name, "-")
    memory = f"{at('peak_bytes') >> 20} of {at('plan_bytes') >> 20}" if "peak_bytes" in result else "-"
    told = SHAPE.format(result["row"], at("sent"), at("acked"), at("refused"), at("not_written"), at("possibly"), at("stored"),
                        at("lost"), at("duplicated"), at("reordered"), at("longest_gap_s"), memory, result["seconds"],
                        "FAILED" if result["failures"] else "ok; " + "; ".join(result["notes"]) if result["notes"] else "ok")
    return "\n    ".join([told.rstrip(), *("\n".join(result["failures"]).splitlines()),
                          *(map(str, result.get("examples", [])) if result["failures"] else [])])

