"""Commits, temporary worktrees, builds and the toolchain: everything the gates ask of git and cargo."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

BENCHES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(BENCHES)
# What the counts are built for: the newest level that Valgrind emulates everywhere, never the builder's own CPU.
COUNTED_CPU = "x86-64-v3"


class Unusable(Exception):
    """The gate cannot be run here; the text says what to do."""


def run(argv, **more):
    """Output of a command that must succeed."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode:
        raise Unusable("%s failed with %d:\n%s" % (" ".join(argv[:6]), done.returncode, (done.stderr or done.stdout)[-3000:]))
    return done.stdout.strip()


def git(*argv, at=ROOT):
    return run(["git", "-C", at, *argv])


def commit_of(name):
    """The full hash of a commit, or None when this clone has none of that name."""
    try:
        return git("rev-parse", "--verify", "--quiet", name + "^{commit}")
    except Unusable:
        return None


def is_dirty():
    return bool(git("status", "--porcelain", "--untracked-files=no"))


def usual_base():
    """What a change is compared with when nobody says: where it left main, or else the commit before it."""
    head = commit_of("HEAD")
    for name in ("origin/main", "main"):
        if commit_of(name):
            base = git("merge-base", "HEAD", name)
            if base != head:
                return base
    return head if is_dirty() else commit_of("HEAD~1") or head


@contextlib.contextmanager
def worktree(commit):
    """A checkout of that commit that is gone afterwards."""
    place = tempfile.mkdtemp(prefix="ringmill-gate-")
    path = os.path.join(place, "tree")
    try:
        git("worktree", "add", "--detach", "--quiet", path, commit)
        yield path
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", path], capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


def target(name):
    """A folder for builds of one kind, beside the ordinary ones, so that neither throws the other's away."""
    return os.path.join(os.path.abspath(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")), name)


def build(tree, package, binary, to, flags="", target_name="gate", locked=True):
    """Builds a release binary of the checkout `tree` and copies it to `to`."""
    env = dict(os.environ, CARGO_TARGET_DIR=target(target_name), RUSTFLAGS=flags)
    env.pop("CARGO_ENCODED_RUSTFLAGS", None)
    argv = ["cargo", "build", "--release", "--quiet", "--message-format=json-render-diagnostics", "-p", package, "--bin", binary]
    done = subprocess.run(argv + (["--locked"] if locked else []), cwd=tree, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Unusable("%s of %s does not build:\n%s" % (binary, tree, done.stderr[-3000:]))
    made = [m["executable"] for m in map(json.loads, done.stdout.splitlines())
            if m.get("reason") == "compiler-artifact" and m.get("executable") and m["target"]["name"] == binary]
    shutil.copy2(made[-1], to)
    return to


def lay_harness(tree):
    """Puts today's micro harness into an older checkout, so that both sides are measured by the same one."""
    there = os.path.join(tree, "benches", "micro")
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(os.path.join(BENCHES, "micro"), there)
    manifest = os.path.join(tree, "Cargo.toml")
    with open(manifest) as f:
        text = f.read()
    if '"benches/micro"' not in text:
        text = re.sub(r"members = \[", 'members = ["benches/micro", ', text, count=1)
        with open(manifest, "w") as f:
            f.write(text)


def build_stages_of(commit, to, flags="", target_name="gate", edit=None):
    """The micro harness over the library of that commit: today's harness where it fits, else the commit's own.
    `edit` is given the checkout and may change it."""
    with worktree(commit) as tree:
        own = os.path.exists(os.path.join(tree, "benches", "micro", "src", "main.rs"))
        if edit:
            edit(tree)
        lay_harness(tree)
        try:
            return build(tree, "ringmill-micro", "stages", to, flags, target_name, locked=False)
        except Unusable:
            if not own:
                raise
        git("checkout", "--quiet", commit, "--", "benches/micro", "Cargo.toml", "Cargo.lock", at=tree)
        print("  %s does not build with today's benches/micro; its own is used" % commit[:10], file=sys.stderr)
        return build(tree, "ringmill-micro", "stages", to, flags, target_name)


def payload(to, events=512):
    """The events that all stages work on."""
    sys.path.insert(0, BENCHES)
    import payload as generator
    with open(to, "wb") as f:
        generator.write(f, "mix", 1, events=events)
    return to


def edit_file(tree, path, anchor, text):
    """Puts `text` behind the only place where `anchor` stands."""
    name = os.path.join(tree, path)
    with open(name) as f:
        before = f.read()
    if before.count(anchor) != 1:
        raise Unusable("%s holds %r %d times, not once: the planted slowdown of benches/gating/g3.py needs another place"
                       % (path, anchor, before.count(anchor)))
    with open(name, "w") as f:
        f.write(before.replace(anchor, anchor + text))
