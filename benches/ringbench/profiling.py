"""From samples to stages: stacks of perf and of jemalloc's heap profiles, folded, named, added up.

A folded line is `root;…;leaf count`, as inferno's tools read and write it.
"""
import os
import re
import shutil
import subprocess
import sys

from .machine import target_dir

INFERNO = "0.12.8"
OTHER = "other"

# The first name from the leaf upwards that matches decides. The first six are the stages of a byte's way.
STAGES = (
    ("kernel TCP", r"^_*(tcp_|ip_|inet_|sock_|sk_|skb_|net_rx|netif_|process_backlog|dev_(queue|hard)|loopback_|napi_|nf_|kfree_skb|"
                   r"io_(recv|send|accept|net)|sys_(recv|send|accept)|x64_sys_(recv|send|accept)|alloc_skb|consume_skb|ipv4_)"),
    ("frame", r"::wire::|httparse|engine::lines|actix_http::h1"),
    ("parse", r"::json::|simd_json|simdutf8|serde_json"),
    ("append", r"::batch::|engine::admit|crossbeam_queue"),
    ("sink", r"::sink::|::segment::|engine::commit|crc_fast|sha2|^_*(ext4_|xfs_|btrfs_|jbd2_|blk_|submit_bio|bio_|iomap_|io_write|"
             r"io_fsync|vfs_fsync|generic_file|virtblk|nvme_|scsi_|x64_sys_p?write|x64_sys_fdatasync|filemap_|io_wq|dax_)"),
    ("reply", r"::reply::|engine::settle|engine::outbox|actix_http::encoding"),
    ("engine", r"ringmill_core::engine"),
    ("driver", r"shard::driver|sys::ring|io_uring::|glommio::|mio::|tokio::|actix_"),
    ("kernel ring and waiting", r"^_*(io_|do_sys_io_uring|x64_sys_io_uring|ep_|do_epoll|x64_sys_epoll|schedule|task_work)"),
)
PATTERNS = [(name, re.compile(pattern)) for name, pattern in STAGES]


# --- stages -------------------------------------------------------------------------------------------------

def folded(lines):
    """[(frames from root to leaf, count)]"""
    parts = (line.rsplit(" ", 1) for line in lines if line.strip())
    return [(stack.split(";"), int(count)) for stack, count in parts]


def stage_of(frames):
    """The stage of a stack: the command's name, in front, does not count."""
    for frame in reversed(frames[1:]):
        for name, pattern in PATTERNS:
            if pattern.search(frame):
                return name
    return OTHER


def shares(stacks):
    """{stage: share of all samples}, in the order of STAGES."""
    total, counts = sum(count for _, count in stacks), {name: 0 for name, _ in STAGES}
    counts[OTHER] = 0
    for frames, count in stacks:
        counts[stage_of(frames)] += count
    return {name: count / total if total else 0.0 for name, count in counts.items()}


def hottest(stacks, stage, count=3):
    """The functions in which most samples of a stage ended."""
    leaves = {}
    for frames, samples in stacks:
        if stage_of(frames) == stage:
            leaves[frames[-1]] = leaves.get(frames[-1], 0) + samples
    return [name for name, _ in sorted(leaves.items(), key=lambda item: -item[1])[:count]]


def stage_table(stacks):
    out = ["| stage | share of CPU | mostly in |", "|-|-|-|"]
    for stage, share in shares(stacks).items():
        names = ", ".join("`%s`" % shortened(name) for name in hottest(stacks, stage))
        out.append("| %s | %.1f %% | %s |" % (stage, 100 * share, names or "–"))
    return "\n".join(out)


def shortened(name):
    """A function's last two parts, without type parameters."""
    while (bare := re.sub(r"<[^<>]*>", "", name)) != name:
        name = bare
    return "::".join([part for part in name.split("::") if part and part != "{{closure}}"][-2:])


# --- tools --------------------------------------------------------------------------------------------------

def inferno(program):
    """The path of one of inferno's programs. Installed beside the build if it is nowhere: a tool, not a dependency."""
    root = os.path.join(target_dir(), "tools")
    found = shutil.which(program) or shutil.which(program, path=os.path.join(root, "bin"))
    if found:
        return found
    print("installing inferno %s into %s" % (INFERNO, root), file=sys.stderr, flush=True)
    argv = ["cargo", "install", "--quiet", "--locked", "inferno", "--version", INFERNO, "--root", root]
    if subprocess.run(argv, env={k: v for k, v in os.environ.items() if k != "CARGO_TARGET_DIR"}).returncode:
        sys.exit("inferno could not be installed; put %s on the PATH" % program)
    return os.path.join(root, "bin", program)


def draw(stacks, path, title, unit):
    """A flame graph of folded stacks."""
    lines = "".join("%s %d\n" % (";".join(frames), count) for frames, count in stacks)
    argv = [inferno("inferno-flamegraph"), "--title", title, "--countname", unit, "--hash"]
    drawn = subprocess.run(argv, input=lines, capture_output=True, text=True)
    if drawn.returncode:
        sys.exit("inferno-flamegraph failed: %s" % drawn.stderr)
    with open(path, "w") as f:
        f.write(drawn.stdout)


# --- heap profiles ------------------------------------------------------------------------------------------

def heap(text):
    """A heap profile of jemalloc: [(addresses from leaf to root, live, live bytes, made, bytes made)] and mappings."""
    body, _, maps = text.partition("MAPPED_LIBRARIES:\n")
    sites, stack = [], None
    for line in body.splitlines():
        if line.startswith("@"):
            stack = [int(word, 16) for word in line[1:].split()]
        elif stack is not None and line.strip().startswith("t*:"):
            sites.append((stack, *(int(n) for n in re.findall(r"\d+", line.split("t*:")[1]))))
            stack = None
    return sites, mappings(maps)


def mappings(text):
    """[(start, end, offset in the file, path)] of what may be executed."""
    found = []
    for fields in (line.split() for line in text.splitlines()):
        if len(fields) >= 6 and "x" in fields[1]:
            start, end = (int(n, 16) for n in fields[0].split("-"))
            found.append((start, end, int(fields[2], 16), fields[5]))
    return found


def load_bias(path):
    """{file offset of an executable segment: its address as linked}, so that a mapping's addresses can be named."""
    done = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True)
    rows = (line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["LOAD"])
    return {int(row[1], 16): int(row[2], 16) for row in rows}


def named(binary, addresses, maps):
    """{address: functions from the innermost inlined one outwards} of those within `binary`, through addr2line."""
    where, linked = {}, load_bias(binary)
    for start, end, offset, path in maps:
        if os.path.realpath(path) == os.path.realpath(binary):
            page = next((v for o, v in linked.items() if o & ~0xfff == offset & ~0xfff), offset)
            where.update({a: (page & ~0xfff) + a - start for a in addresses if start <= a < end})
    # A return address is one past the call.
    asked = "".join("%#x\n" % (linked_at - 1) for linked_at in where.values())
    done = subprocess.run(["addr2line", "-a", "-f", "-C", "-i", "-e", binary], input=asked, capture_output=True, text=True)
    return dict(zip(where, inlined(done.stdout)))


def inlined(text):
    """The functions of each address that `addr2line -a -f -i` was asked for: two lines each, after the address."""
    found = []
    names = iter(text.splitlines())
    for line in names:
        if re.fullmatch(r"0x[0-9a-f]+", line):
            found.append([])
        else:
            found[-1].append(re.sub(r"::h[0-9a-f]{16}$", "", line))
            next(names, None)
    return found


def fold_heap(sites, names, of):
    """Folded stacks of the sites; `of` picks the number from (live, live bytes, made, bytes made)."""
    stacks = []
    for addresses, *numbers in sites:
        frames = [name for a in reversed(addresses) for name in reversed(names.get(a, []))]
        frames = [f for f in frames if not re.search(r"jemalloc|_rjem_|^prof_|^__rust_alloc|^alloc::alloc", f)]
        if of(numbers):
            stacks.append((["ringmill", *(f.replace(";", ",") for f in frames)] or ["?"], of(numbers)))
    return stacks
