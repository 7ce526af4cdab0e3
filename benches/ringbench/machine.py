"""The machine: who is busy on it, and the record of it that goes into every result."""
import hashlib
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(HERE)
QUIET_BUSY_MAX = 0.06


def text(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return None


def output(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=20).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def sha256(path):
    if not path or not os.path.exists(path):
        return None
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def target_dir():
    return os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))


# --- who is busy --------------------------------------------------------------------------------------------

def cpu_times(cpus):
    """User, nice, system, idle, iowait, irq, softirq and steal of each core, in clock ticks."""
    want = {"cpu%d" % c for c in cpus}
    with open("/proc/stat") as f:
        return [[int(x) for x in line.split()[1:9]] for line in f if line.split(" ", 1)[0] in want]


def steal_ticks(cpus=None):
    return sum(t[7] for t in cpu_times(range(os.cpu_count()) if cpus is None else cpus))


def wait_quiet(cpus, seconds):
    """True as soon as each core was idle for a third of a second."""
    end = time.time() + seconds
    while True:
        a = cpu_times(cpus)
        time.sleep(0.3)
        delta = [[y - x for x, y in zip(p, q)] for p, q in zip(a, cpu_times(cpus))]
        if all((sum(d) - d[3] - d[4]) / max(1, sum(d)) < QUIET_BUSY_MAX for d in delta):
            return True
        if time.time() > end:
            return False
        time.sleep(0.5)


def foreign_ticks(excepted):
    """CPU time of every user process but these, with what their ended children took, in clock ticks."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in excepted:
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        # Children of kthreadd work for whoever asked the kernel, the server among them.
        if fields[1] not in ("0", "2") or name == "1":
            total += sum(int(x) for x in fields[11:15])
    return total


# --- the record ---------------------------------------------------------------------------------------------

def first(pattern, string):
    found = re.search(pattern, string or "")
    return found and found.group(1)


def entries(folder):
    """{name: content} of the readable files of a folder of the kernel's."""
    return {n: text(os.path.join(folder, n)) for n in sorted(os.listdir(folder))} if os.path.isdir(folder) else None


def built_profile():
    """The release profile as Cargo.toml has it, in one line."""
    section = first(r"(?ms)^\[profile\.release\]\n(.*?)(?:^\[|\Z)", text(os.path.join(ROOT, "Cargo.toml")))
    lines = (line.strip() for line in (section or "").splitlines())
    return ", ".join(line for line in lines if line and not line.startswith("#"))


def of_code(a):
    modified = lambda path: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.path.getmtime(path)))
    return {
        "git_commit": output("git", "rev-parse", "HEAD"),
        "git_commit_time": output("git", "log", "-1", "--format=%cI"),
        "git_dirty": bool(output("git", "status", "--porcelain", "--untracked-files=no")),
        "rustc": output("rustc", "-V"),
        "rustflags": os.environ.get("RUSTFLAGS", ""),
        "profile": built_profile(),
        "allocator": "jemalloc",
        "lockfile_sha256": sha256(os.path.join(ROOT, "Cargo.lock")),
        "binary_sha256": sha256(a.bin),
        # The commit above is the checkout's; a binary older than it was built from something else.
        "binary_time": modified(a.bin) if a.bin and os.path.exists(a.bin) else None,
    }


def of_cpu():
    info, cpu0 = text("/proc/cpuinfo"), "/sys/devices/system/cpu/"
    return {
        "machine": platform.machine(),
        "cpu": first(r"model name\s*:\s*(.*)", info),
        "microcode": first(r"microcode\s*:\s*(.*)", info),
        "cores": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)),
        "isolated": text(cpu0 + "isolated"),
        "nohz_full": text(cpu0 + "nohz_full"),
        "smt": text(cpu0 + "smt/active"),
        "numa_nodes": text("/sys/devices/system/node/online"),
        "governor": text(cpu0 + "cpu0/cpufreq/scaling_governor"),
        "turbo_off": text(cpu0 + "intel_pstate/no_turbo"),
        "pmu": os.path.isdir("/sys/bus/event_source/devices/cpu"),
        "clocksource": text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "hypervisor": output("systemd-detect-virt") or text("/sys/hypervisor/type"),
        "mitigations": entries("/sys/devices/system/cpu/vulnerabilities"),
    }


def of_kernel(a):
    memory = text("/proc/meminfo")
    limit = lambda name: list(resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
    return {
        "kernel": platform.release(),
        "cmdline": re.sub(r"\S*(=UUID|root=|ip=|init=)\S*", "…", (text("/proc/cmdline") or "").split(" -- ")[0]),
        "thp": text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "io_uring_disabled": text("/proc/sys/kernel/io_uring_disabled"),
        "irq_affinity": text("/proc/irq/default_smp_affinity"),
        "rps_lo": text("/sys/class/net/lo/queues/rx-0/rps_cpus"),
        "memory_kb": int(first(r"MemTotal:\s*(\d+)", memory) or 0),
        "memlock": limit("MEMLOCK"),
        "nofile": limit("NOFILE"),
        "data_filesystem": output("stat", "-f", "-c", "%T", a.data),
    }


def pressures():
    """What the kernel says of waiting and of throttling, to be read before a run and after it."""
    return {
        "load_average": os.getloadavg(),
        "pressure": {n: text("/proc/pressure/" + n) for n in ("cpu", "io", "memory")},
        "cpu_stat": text("/sys/fs/cgroup/cpu.stat") or text("/sys/fs/cgroup/cpu/cpu.stat"),
        "steal_ticks": steal_ticks(),
    }


def environment(a):
    words = (os.path.basename(word) if os.path.isabs(word) else word for word in sys.argv[1:])
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": "benches/run " + shlex.join(words),
        **of_code(a), **of_cpu(), **of_kernel(a),
        "python": platform.python_version(),
        "server_cpus": a.server_cpus, "generator_cpu": 1, "generator": a.generator,
        "seed": a.seed, "payload_sha256": {os.path.basename(p): sha256(p) for p in (a.lines, a.spoiled)},
        "before": pressures(),
    }


def vector_units():
    """The best that this processor has of what the scanner's kernels use: `avx512`, `avx2` or None."""
    flags = (first(r"flags\s*:\s*(.*)", text("/proc/cpuinfo")) or "").split()
    return "avx512" if "avx512_vbmi2" in flags else "avx2" if "avx2" in flags else None
