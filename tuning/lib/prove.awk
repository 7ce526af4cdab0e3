# Judges pairs of runs: `PAIR SIDE P99 P999 IDLE LIMIT` lines to `VERDICT WORDS`, and a second line for JSON.
function student(df) {
    # 97.5 % points of Student's t.
    split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 2.120 2.110 2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045 2.042", t, " ")
    return df <= 30 ? t[df] : 1.96 + 2.5 / df
}
# Ratio of column c with / without over all pairs that have both: RATIO, LOW, HIGH, N.
function ratio(c,   p, n, sum, squares, x, sd, half) {
    n = 0; sum = 0; squares = 0
    for (p = 1; p <= pairs; p++) {
        if (v[p, "on", c] + 0 <= 0 || v[p, "off", c] + 0 <= 0) continue
        x[++n] = log(v[p, "on", c] / v[p, "off", c])
        sum += x[n]
    }
    N = n; RATIO = 0; LOW = 0; HIGH = 0
    if (n < 3) return 0
    for (p = 1; p <= n; p++) squares += (x[p] - sum / n) ^ 2
    sd = sqrt(squares / (n - 1)); half = student(n - 1) * sd / sqrt(n)
    RATIO = exp(sum / n); LOW = exp(sum / n - half); HIGH = exp(sum / n + half)
    return 1
}
# 2 % is what counts as a difference, however sure it is.
function judge(c) {
    if (!ratio(c)) return "none"
    if (LOW > 1 && RATIO > 1.02) return "harms"
    if (HIGH < 1 && RATIO < 0.98) return "helps"
    return "undecided"
}
function median(c, side,   n, i, j, t, x) {
    for (i = 1; i <= pairs; i++) if (v[i, side, c] + 0 > 0) x[++n] = v[i, side, c] + 0
    for (i = 2; i <= n; i++) for (j = i; j > 1 && x[j - 1] > x[j]; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
    return n ? (n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2) : 0
}
function say(c, name,   s) {
    if (!ratio(c)) return name " not measured"
    return sprintf("%s %.2f times (%.2f to %.2f; median %.0f us with, %.0f without)", name, RATIO, LOW, HIGH, median(c, "on"), median(c, "off"))
}
function json(c, name) {
    if (!ratio(c)) return "\"" name "\":null"
    return sprintf("\"%s\":{\"ratio\":%.4f,\"low\":%.4f,\"high\":%.4f,\"pairs\":%d,\"with_us\":%.1f,\"without_us\":%.1f}", name, RATIO, LOW, HIGH, N, median(c, "on"), median(c, "off"))
}
{ if ($1 > pairs) pairs = $1; v[$1, $2, "p99"] = $3; v[$1, $2, "p999"] = $4; v[$1, $2, "idle"] = $5; if ($6 != "none" && $6 != "server") unsound++; runs++ }
END {
    tail = "p999"
    if (!ratio("p999") || N < pairs) tail = "p99"
    verdict = judge(tail); idle = judge("idle")
    # What the server's clients see decides; the idle probe only where they see nothing.
    if (verdict == "undecided" || verdict == "none") {
        if (idle == "helps" || idle == "harms") verdict = idle
    }
    if (verdict == "none") verdict = "undecided"
    note = unsound ? sprintf("; in %d of %d runs the machine or the load tester was the limit", unsound, runs) : ""
    printf "%s\t%s; %s, %d pairs%s\n", verdict, say(tail, tail), say("idle", "idle jitter p99"), pairs, note
    printf "%s,%s,%s,\"runs\":%d,\"unsound\":%d\n", json("p99", "p99"), json("p999", "p999"), json("idle", "idle_p99"), runs, unsound
}
