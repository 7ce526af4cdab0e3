"""Results as Markdown."""
import statistics

from . import chaos
from .sampling import median_ratio
from .statistic import ratio

# Percentiles of a class, in µs.
SHOWN = ("p50", "p99", "p999")
MET = {None: "undecided, no clean round", True: "met", False: "not met"}


def of(result):
    """The table of any result."""
    if result.get("chaos"):
        return of_chaos(result)
    if result.get("kafka"):
        return of_kafka(result)
    if result.get("bursts"):
        return of_bursts(result)
    if result.get("tools"):
        return {"open": of_open, "lag": of_lag, "stall": of_stall, "memory": of_own_memory}[result["tools"]](result)
    return of_rounds(result) if "rounds" in result else of_memory(result)


def number(value, form="%.0f", none="–"):
    return none if value is None else "{:,.0f}".format(value) if form == "," else form % value


def median(samples, figure):
    known = [d[figure] for d in samples if d and d.get(figure) is not None]
    return statistics.median(known) if known else None


def flaws(got):
    counts = (("dirty", sum(bool(d["dirty"]) for d in got)), ("bad", sum(bool(d["bad"]) for d in got)),
              ("not 2xx", sum(bool(d["other"]) for d in got)), ("exits", sum(bool(d["exit"]) for d in got)))
    return ", ".join("%d %s" % (n, what) for what, n in counts if n) or "–"


def of_rounds(result):
    ref, rows = result["ref"], result["rounds"]
    figure = result["limits"][0]["figure"] if result["limits"] else "cpu_us"
    out = ["| %s | n | req/s | events/s | CPU µs | ratio (min–max) | p50 µs | p99 µs | p999 µs | busy server/generator | RSS MiB "
           "| not clean |" % result["label"], "|-|-|-|-|-|-|-|-|-|-|-|-|"]
    for name, samples in rows.items():
        got = [d for d in samples if d]
        if not got:
            out.append("| %s | 0 | failed |||||||||| " % name)
            continue
        m, of = median_ratio(rows, name, ref, figure), lambda key: median(got, key)
        out.append("| %s | %d | %s | %s | %s | %s | %s | %s | %s | %s / %s | %s | %s |" % (
            name, len(got), number(of("rps"), ","), number(of("events"), ","), number(of("cpu_us"), "%.2f"),
            "%s %.2f (%.2f–%.2f)" % (figure, *m) if m else "–", number(of("p50")), number(of("p99")), number(of("p999")),
            number(of("srv_util"), "%.2f"), number(of("cli_util"), "%.2f"), number(of("rss_mb")), flaws(got)))
    return "\n".join(out + [of_limit(v) for v in result["limits"]])


def of_kafka(result):
    """Of each who produced: what an event cost it, and who was busy."""
    ref, rows = result["ref"], result["rounds"]
    out = ["| %s | n | events/s | CPU µs an event | ratio (min–max) | beyond %s, µs | p50 µs | p99 µs | busy: it / brokers / generator | RSS MiB "
           "| not clean |" % (result["label"], ref), "|-|-|-|-|-|-|-|-|-|-|-|"]
    for name, samples in rows.items():
        got = [d for d in samples if d]
        if not got:
            out.append("| %s | 0 | failed ||||||||| " % name)
            continue
        figure = "cpu_us" if "figure" in result else "p99"
        m, of = median_ratio(rows, name, ref, figure), lambda key, form="%.0f": number(median(got, key), form)
        out.append("| %s | %d | %s | %s | %s | %s | %s | %s | %s / %s / %s | %s | %s |" % (
            name, len(got), of("events", ","), of("cpu_us", "%.3f"), "%s %.2f (%.2f–%.2f)" % (figure, *m) if m and name != ref else "–",
            of("above_us", "%.3f"), of("p50"), of("p99"), of("srv_util", "%.2f"), of("brokers_util", "%.2f"), of("cli_util", "%.2f"),
            of("rss_mb"), flaws(got)))
    return "\n".join(out + [of_limit(v) for v in result["limits"]])


def of_limit(v):
    if v["ref"] is None:
        return "\n- %s of %s is %s (%s), wanted %s %g: **%s**" % (
            v["figure"], v["arm"], number(v["ratio"], "%.3f"), "–".join(number(v[end], "%.3f") for end in ("min", "max")), v["op"], v["bound"],
            MET[v["met"]])
    if v["ratio"] is None:
        return "\n- %s of %s against %s %s %g: not measured (no yardstick)" % (v["figure"], v["arm"], v["ref"], v["op"], v["bound"])
    return "\n- %s of %s is %.2f (%.2f–%.2f) of %s, wanted %s %g: **%s**" % (
        v["figure"], v["arm"], v["ratio"], v["min"], v["max"], v["ref"], v["op"], v["bound"], MET[v["met"]])


def of_bursts(r):
    """Medians of both sides, and the ratio of adjacent bursts with its interval."""
    arm, ref, rows = next(name for name in r["rounds"] if name != r["ref"]), r["ref"], r["rounds"]
    out = ["| %s, %d pairs | %s | %s | ratio (95 %%) |" % (r["label"], len(rows[ref]), arm, ref), "|-|-|-|-|"]
    for figure in ("p50", "p99", "p999", "cpu_us"):
        pairs = [(y[figure], x[figure]) for x, y in zip(rows[arm], rows[ref]) if x.get(figure) and y.get(figure)]
        found = ratio(pairs)
        shown = "%.2f (%.2f–%.2f)" % (found["ratio"], found["low"], found["high"]) if found["low"] else "%s, too few" % number(
            found["ratio"], "%.2f")
        out.append("| %s | %s | %s | %s |" % (figure, number(median(rows[arm], figure), "%.1f"), number(median(rows[ref], figure), "%.1f"), shown))
    return "\n".join(out + [of_limit(v) for v in r["limits"]])


def of_memory(r):
    yes = lambda key: {True: "met", False: "**not met**", None: "undecided, no plan"}[r[key]]
    return ("| %s | | |\n|-|-|-|\n| events sent; replies not 2xx, bad; exit code | %s; %d, %d; %d | %s |\n"
            "| peak RSS, of the plan's %s | %.1f MiB | %s |\n| slope of the last two thirds, growth in them | %.1f KiB/s, %.2f MiB | %s |" % (
                r["label"], "{:,.0f}".format(r["events"]), r["not_2xx"], r["bad"], r["exit"], yes("met_events"),
                "%.1f MiB" % (r["plan_bytes"] / 2**20) if r["plan_bytes"] else "–", r["peak_bytes"] / 2**20, yes("met_plan"),
                r["slope_kb_per_s"], r["growth_bytes"] / 2**20, yes("met_slope")))


def of_writeup(result):
    """A row of the first write-up's table for each service: throughput, p50, p99, CPU."""
    out = ["| %s | requests/s | p50 µs | p99 µs | CPU of a core | CPU µs a request |" % result["label"], "|-|-|-|-|-|-|"]
    for name, samples in result["rounds"].items():
        of = lambda key: median(samples, key)
        busy = of("srv_util")
        out.append("| %s | %s | %s | %s | %s | %s |" % (name, number(of("rps"), ","), number(of("p50")), number(of("p99")),
                                                       number(busy and 100 * busy, "%.0f %%"), number(of("cpu_us"), "%.1f")))
    return "\n".join(out)


def of_chaos(r):
    out = ["%s" % r["verdict"], ""]
    for at in r["at"]:
        by_arm = {name: chaos.medians(rows) for name, rows in at["rounds"].items()}
        names = list(dict.fromkeys(c for classes in by_arm.values() for c in classes))
        out.append("| %s at %s/s, µs | %s |" % (r["label"], chaos.thousands(at["rate"]), " | ".join(
            "%s %s" % (arm, what) for arm in by_arm for what in (*SHOWN, "unexpected"))))
        out.append("|-" * (1 + 4 * len(by_arm)) + "|")
        for name in names:
            cells = [of_class(by_arm[arm].get(name)) for arm in by_arm]
            out.append("| %s | %s |" % (name, " | ".join(cells)))
        for arm, rows in at["rounds"].items():
            out.append("\n- %s: %s" % (arm, of_run([d for d in rows if d])))
        out.append("")
    return "\n".join(out).rstrip()


def of_chaos_summary(r):
    """What the run found for valid events, a row for each server and rate; every class is in the report."""
    out = [r["verdict"], "", "| %s | answered | p50 µs | p99 µs | p999 µs | replies to malformed ones that their class does not call for |" % r["label"],
           "|-|-|-|-|-|-|"]
    for at in r["at"]:
        for arm, rows in at["rounds"].items():
            got = [d for d in rows if d]
            wrong = [sum(c["unexpected"] or 0 for c in d["classes"].values()) / max(1, sum(c["sent"] or 0 for name, c in d["classes"].items()
                     if name != "valid")) for d in got]
            main = chaos.medians(rows).get("valid") or {}
            out.append("| %s at %s/s | %s | %s | %s |" % (
                arm, chaos.thousands(at["rate"]), number(100 * min(1, statistics.median(chaos.settled(d) / at["rate"] for d in got)), "%.0f %%"),
                " | ".join(number(main.get(q)) for q in SHOWN), number(100 * statistics.median(wrong), "%.1f %%")))
    return "\n".join(out)


def of_class(c):
    if c is None:
        return "– | – | – | –"
    unexpected = None if c["unexpected"] is None else 100 * c["unexpected"]
    return " | ".join([*(number(c[q]) for q in SHOWN), number(unexpected, "%.1f %%")])


def of_run(got):
    if not got:
        return "failed"
    held = statistics.median(d["throttled"]["nr_throttled"] / max(1, d["throttled"]["nr_periods"]) for d in got)
    grown = chaos.memory_slope(got)
    return "%d runs, held back in %.0f %% of periods, peak RSS %s MiB, memory %s, %s" % (
        len(got), 100 * held, number(median(got, "rss_mb")), chaos.grows(grown), "not clean: " + chaos_flaws(got))


def chaos_flaws(got):
    """A malformed request is answered with 400, so that only disturbance and exits are flaws here."""
    counts = (("dirty", sum(bool(d["dirty"]) for d in got)), ("exits", sum(bool(d["exit"]) for d in got)))
    return ", ".join("%d %s" % (n, what) for what, n in counts if n) or "–"


def of_open(r):
    out = ["| %s | rates kept, a second | median |" % r["label"], "|-|-|-|"]
    for tool, rates in r["found"].items():
        out.append("| %s | %s | %s |" % (tool, ", ".join(map(chaos.thousands, rates)), chaos.thousands(statistics.median(rates))))
    if r["found"].get("lg"):
        out.append("\n- median of load is %.2f of that of lg, wanted >= 0.9" % (
            statistics.median(r["found"]["load"]) / statistics.median(r["found"]["lg"])))
    return "\n".join(out)


def of_lag(r):
    out = ["| %s, µs | p50 | p99 | p999 | max | not clean |" % r["label"], "|-|-|-|-|-|-|"]
    for row in r["rows"]:
        out.append("| load | %s | %s |" % (" | ".join(number(row["send_lag_us"].get(q), "%.1f") for q in ("p50", "p99", "p999", "max")),
                                           "dirty" if row["dirty"] else "–"))
    middle = statistics.median(row["send_lag_us"]["p50"] for row in r["rows"])
    return "\n".join(out + ["\n- median %.1f µs, wanted <= %g: **%s**" % (middle, r["bound_us"], MET[middle <= r["bound_us"]])])


def of_stall(r):
    out = ["| %s | p99 said, ms | arithmetic, ms | said / true | requests/s |" % r["label"], "|-|-|-|-|-|"]
    for row in sorted(r["rows"], key=lambda row: row["tool"]):
        said, true = row["p99_us"], row["true_p99_us"]
        out.append("| %s | %s | %.1f | %s | %s |" % (row["tool"], number(said and said / 1e3, "%.1f"), true / 1e3, number(said and said / true, "%.3f"),
                                                    number(row["rps"], ",")))
    return "\n".join(out)


def of_own_memory(r):
    return ("| %s | |\n|-|-|\n| requests; seconds; exit code | %s; %.0f; %d |\n| peak RSS | %.1f MiB |\n"
            "| growth in the last two thirds | %.0f KiB: %s |\n| interval log | %.1f MiB |" % (
                r["label"], number(r["requests"], ","), r["seconds"], r["exit"], r["peak_kb"] / 1024, r["growth_kb"], MET[r["met"]],
                r["hlog_bytes"] / 2**20))
