"""From samples to stages: stacks of perf and of jemalloc's heap profiles, folded, named, added up.

A folded stack is the thread's name, then functions from root to leaf, and a count.
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
    return "::".join(bare(name).split("::")[-2:])


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


# --- names --------------------------------------------------------------------------------------------------

# Where a source file lies says which module it is; the names of inlined functions do not.
MODULES = (
    (re.compile(r"/registry/src/[^/]+/([\w-]+?)-\d[^/]*/(?:src/)?(.*)\.rs$"), r"\1/\2"),
    (re.compile(r"/library/(\w+)/src/(.*)\.rs$"), r"\1/\2"),
    (re.compile(r"(?:^|/)benches/yardstick/src/(.*)\.rs$"), r"yardstick/\1"),
    (re.compile(r"(?:^|/)src/core/(.*)\.rs$"), r"ringmill_core/\1"),
    (re.compile(r"(?:^|/)src/(.*)\.rs$"), r"ringmill/\1"),
)


def module_of(path):
    """`ringmill_core::json::strict` of `…/src/core/json/strict.rs`; nothing for what is no Rust of a known place."""
    for pattern, to in MODULES:
        if found := pattern.search(path):
            parts = found.expand(to).replace("-", "_").split("/")
            return "::".join(part for part in parts if part not in ("mod", "lib"))
    return ""


def bare(name):
    """A function's name without type parameters, hash and closures."""
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    parts = (part.strip() for part in name.replace("{impl#", "{").split("::"))
    return "::".join(part for part in parts if part and not part.startswith("{")) or "closure"


def chain(places):
    """Frames from the innermost outwards of one address: `places` are (name, file:line) as addr2line says them.

    With line tables only, inlined functions have no path, and the innermost gets the name of the symbol that all of
    them are part of. So modules come from the files, the innermost is named by its line, and the symbol goes last.
    """
    names, files = [bare(name) for name, _ in places], [place.split(" ")[0].rpartition(":") for _, place in places]
    modules = [module_of(path) for path, _, _ in files]
    full = lambda i: names[i] if "::" in names[i] or not modules[i] else "%s::%s" % (modules[i], names[i])
    if len(places) == 1 or "::" not in names[0]:
        return [full(i) for i in range(len(places))]
    inner = "%s:%s" % (modules[0] or os.path.basename(files[0][0]), files[0][2])
    return [inner, *(full(i) for i in range(1, len(places) - 1)), names[0]]


def inlined(text):
    """The places of each address that `addr2line -a -f -i` was asked for: two lines each, after the address."""
    found, lines = [], iter(text.splitlines())
    for line in lines:
        if re.fullmatch(r"0x[0-9a-f]+", line):
            found.append([])
        else:
            found[-1].append((line, next(lines, "")))
    return found


def segments(binary):
    """[(offset in the file, address as linked, bytes)] of a binary's loaded parts."""
    done = subprocess.run(["readelf", "-lW", binary], capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["LOAD"]]
    return [(int(row[1], 16), int(row[2], 16), int(row[4], 16)) for row in rows]


def named(binary, offsets):
    """{offset in the file: frames from the innermost outwards}, through addr2line."""
    parts = segments(binary)
    linked = {o: next((v + o - f for f, v, size in parts if f <= o < f + size), None) for o in offsets}
    asked = [o for o in linked if linked[o] is not None]
    done = subprocess.run(["addr2line", "-a", "-f", "-C", "-i", "-e", binary], capture_output=True, text=True,
                          input="".join("%#x\n" % linked[o] for o in asked))
    return {o: chain(places) for o, places in zip(asked, inlined(done.stdout)) if places[0][0] != "??"}


# --- perf ---------------------------------------------------------------------------------------------------

def samples(script):
    """[(thread's name, [(address, symbol, file) from the leaf to the root])] of `perf script -F comm,ip,sym,dso`.

    The address within a program is the offset in its file.
    """
    found = []
    for line in script.splitlines():
        if line[:1] not in ("\t", " ") and line.strip():
            found.append((line.strip(), []))
        elif frame := re.match(r"\s+([0-9a-f]+) (.*) \((.*)\)$", line):
            if frame[2] != "[unknown]" or frame[3] != "[unknown]":
                found[-1][1].append((int(frame[1], 16), frame[2], frame[3]))
    return [(name, frames) for name, frames in found if frames]


def fold_samples(found, binary):
    """Folded stacks of samples, with the inlined functions of `binary` unfolded."""
    # A caller's address is one past its call.
    at = lambda i, address: address - (i > 0)
    ours = lambda path: os.path.basename(path) == os.path.basename(binary)
    names = named(binary, {at(i, a) for _, frames in found for i, (a, _, path) in enumerate(frames) if ours(path)})
    counts = {}
    for thread, frames in found:
        stack = []
        for i, (address, symbol, path) in enumerate(frames):
            stack += names.get(at(i, address), [bare(symbol)]) if ours(path) else [symbol]
        key = (re.sub(r"-\d+$", "", thread), *(f.replace(";", ",") for f in reversed(stack)))
        counts[key] = counts.get(key, 0) + 1
    return [(list(key), n) for key, n in counts.items()]


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


def named_sites(sites, maps, binary):
    """{address: frames} of the addresses within `binary`; all of them are return addresses."""
    where = {}
    for start, end, offset, path in maps:
        if os.path.realpath(path) == os.path.realpath(binary):
            where.update({a: a - 1 - start + offset for addresses, *_ in sites for a in addresses if start <= a < end})
    names = named(binary, set(where.values()))
    return {a: names[o] for a, o in where.items() if o in names}


ALLOCATOR = re.compile(r"jemalloc|_rjem_|\bi(m|r)alloc|^prof_|__rust_|^alloc::alloc")


def fold_heap(sites, names, of):
    """Folded stacks of the sites; `of` picks the number from (live, live bytes, made, bytes made)."""
    stacks = []
    for addresses, *numbers in sites:
        frames = [name for a in reversed(addresses) for name in reversed(names.get(a, []))]
        frames = [f.replace(";", ",") for f in frames if not ALLOCATOR.search(f)]
        if of(numbers):
            stacks.append((["ringmill", *frames], of(numbers)))
    return stacks
