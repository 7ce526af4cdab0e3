"""The tables and figures that README quotes, rebuilt from the newest result of each suite."""
import glob
import os
import re
import statistics
import sys

from . import chaos, results, svg, tables
from .sampling import median_ratio

BLOCK = re.compile(r"(<!-- report:([a-z0-9-]+) -->\n)(.*?)(<!-- /report -->)", re.S)


def load(folder):
    """[(time, suite, environment, result)], the oldest first; JSON files that are no results are left alone."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        try:
            d = results.read(path)
        except results.Unreadable as error:
            print("left out: %s" % error, file=sys.stderr)
            continue
        environment = {**d["environment"], "rounds": d["rounds"]}
        found += [(environment["time"], d["suite"], environment, r) for r in d["results"]]
    return sorted(found, key=lambda row: row[0])


def newest(found):
    """{(suite, label): (environment, result)} in the order of suites."""
    kept = {}
    for _, suite, environment, result in found:
        kept.pop((suite, result["label"]), None)
        kept[suite, result["label"]] = (environment, result)
    order = list(dict.fromkeys(suite for suite, _ in kept))
    return dict(sorted(kept.items(), key=lambda item: order.index(item[0][0])))


# --- blocks -------------------------------------------------------------------------------------------------

def limits(kept):
    """Every ratio that is held to a bound, in one table."""
    out = ["| measured | figure | of | ratio (min–max) | bound | |", "|-|-|-|-|-|-|"]
    for (_, label), (_, r) in kept.items():
        for v in r.get("limits", []):
            if v["ratio"] is None:
                continue
            out.append("| %s | %s | %s | %.2f (%.2f–%.2f) | %s %g | %s |" % (
                label, v["figure"], v["ref"] or "itself", v["ratio"], v["min"], v["max"], "≤" if v["op"] == "<=" else "≥", v["bound"],
                {None: "undecided", True: "met", False: "**not met**"}[v["met"]]))
        if "met_plan" in r:
            out.append("| %s | peak RSS | plan | %.2f | ≤ %.2f | %s |" % (
                label, r["peak_bytes"] / r["plan_bytes"], 1.05, "met" if r["met_plan"] and r["met_slope"] else "**not met**"))
    return "\n".join(out)


def noise(kept):
    """How far apart equals were measured: the A/A floor of the runs that had one."""
    out = ["| measured | figure | ringmill again / ringmill (min–max) |", "|-|-|-|"]
    for (_, label), (_, r) in kept.items():
        for figure in ("cpu_us", "events", "p50", "p99"):
            m = median_ratio(r.get("rounds", {}), "ringmill again", "ringmill", figure)
            if m:
                out.append("| %s | %s | %.2f (%.2f–%.2f) |" % (label, figure, *m))
    return "\n".join(out) if len(out) > 2 else "No run measured ringmill against itself (`--aa`)."


def environments(kept):
    """Where and when each suite was measured."""
    out = ["| suite | time | commit | machine | generator | rounds |", "|-|-|-|-|-|-|"]
    for suite in dict.fromkeys(suite for suite, _ in kept):
        e = [environment for (name, _), (environment, _) in kept.items() if name == suite][-1]
        out.append("| %s | %s | %s%s | %s cores of %s, Linux %s | %s | %s |" % (
            suite, e["time"], (e["git_commit"] or "–")[:9], " dirty" if e["git_dirty"] else "", e["cores"], e["cpu"] or e["machine"],
            e["kernel"], e.get("generator", "lg"), e["rounds"]))
    return "\n".join(out)


def blocks(kept):
    """{name: Markdown} of everything that a page may quote."""
    suites = {}
    for (suite, _), (_, row) in kept.items():
        suites.setdefault(suite, []).append(row)
    made = {"limits": limits(kept), "noise": noise(kept), "environment": environments(kept)}
    for suite, rows in suites.items():
        made[suite] = "\n\n".join(map(tables.of_writeup if suite == "writeup" else tables.of, rows))
    if "chaos" in suites:
        made["chaos-summary"] = tables.of_chaos_summary(suites["chaos"][-1])
    return made


# --- figures ------------------------------------------------------------------------------------------------

def spread(samples, figure):
    known = [d[figure] for d in samples if d and d.get(figure)]
    return (statistics.median(known), min(known), max(known)) if known else None


def slug(label):
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def of_rounds(result):
    rows = result["rounds"]
    if result["load"].get("rate") and "figure" not in result:
        percentiles = ("p50", "p99", "p999")
        points = [(name, [(spread(samples, q) or [None])[0] for q in percentiles]) for name, samples in rows.items()]
        return {slug(result["label"]): svg.dots(result["label"], "µs from the intended time", percentiles, points)}
    usual = ("events", "events a second") if result["load"]["per"] > 1 else ("cpu_us", "CPU µs a request")
    figure, unit = result.get("figure", usual)
    found = [(name, spread(samples, figure)) for name, samples in rows.items()]
    return {slug(result["label"]): svg.bars(result["label"], unit, [(name, *s) for name, s in found if s])}


def of_memory(result):
    points = [(t, kb / 1024) for t, kb in result["rss_kb"]]
    marks = [("plan", result["plan_bytes"] / 2**20)] if result["plan_bytes"] else []
    return {slug(result["label"]): svg.lines(result["label"], "seconds", "MiB resident", [("ringmill", points)], marks)}


def of_tools(result):
    if result["tools"] == "memory":
        points = [(t, kb / 1024) for t, kb in result["rss_kb"]]
        return {slug(result["label"]): svg.lines(result["label"], "seconds", "MiB resident", [("ringmill load", points)])}
    if result["tools"] == "stall":
        rows = [(row["tool"], [row["p99_us"], row["true_p99_us"]]) for row in result["rows"]]
        return {slug(result["label"]): svg.dots(result["label"], "µs", ("said", "true"), rows)}
    return {}


def of_chaos(result):
    made = {}
    for at in result["at"]:
        by_arm = {name: chaos.medians(rows) for name, rows in at["rounds"].items()}
        names = list(dict.fromkeys(c for classes in by_arm.values() for c in classes))
        series = ["%s %s" % (arm, q) for arm in by_arm for q in ("p99", "p999")]
        points = [(name, [by_arm[arm].get(name, {}).get(q) for arm in by_arm for q in ("p99", "p999")]) for name in names]
        title = "%s, %s/s" % (result["label"], chaos.thousands(at["rate"]))
        points = [(name, values) for name, values in points if any(values)]
        if points:
            made["chaos-latency-at-highest-of-" + slug(at["highest_of"])] = svg.dots(title, "µs from the intended time", series, points)
        memory = [(arm, [(t, kb / 1024) for t, kb in d["rss_kb"]]) for arm, rows in at["rounds"].items()
                  for d in [next((d for d in rows if d), None)] if d]
        made["chaos-memory-at-highest-of-" + slug(at["highest_of"])] = svg.lines(title, "seconds", "MiB resident", memory)
    return made


def figures(kept):
    """{name: SVG}"""
    made = {}
    for _, result in kept.values():
        of = of_chaos if result.get("chaos") else of_tools if result.get("tools") else of_rounds if "rounds" in result else of_memory
        made.update(of(result))
    return made


# --- pages --------------------------------------------------------------------------------------------------

def fill(page, made):
    """A page with the text between `<!-- report:NAME -->` and `<!-- /report -->` renewed; unknown names are refused."""
    unknown = [name for _, name, _, _ in BLOCK.findall(page) if name not in made]
    if unknown:
        raise SystemExit("nothing was measured for %s; there are %s" % (", ".join(unknown), ", ".join(made)))
    return BLOCK.sub(lambda m: m[1] + made[m[2]] + "\n" + m[4], page)


def report(made, drawn, folder):
    """All of it as one page; `folder` is where the figures lie, seen from the page."""
    out = ["# Measured", "", "Rebuilt by `benches/report` from the newest result of each suite in this folder.", ""]
    for name, markdown in made.items():
        out += ["## " + name, "", markdown, ""]
    out += ["## figures", ""] + ["![%s](%s/%s.svg)\n" % (name, folder, name) for name in drawn]
    return "\n".join(out)
