# The table and the JSON of `check`: knobs.txt first, then the plan that knobs.sh collected.
function text(s) { gsub(/\\-/, "", s); gsub(/\\n/, " ", s); gsub(/\\t/, " ", s); gsub(/\\\\/, "\\", s); return s }
function string(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); gsub(/[\001-\037]/, " ", s); return "\"" s "\"" }
function brief(kind, s) {
    s = text(s)
    if (kind == "file" && s ~ /\[.*\]/) { sub(/^[^[]*\[/, "", s); sub(/\].*/, "", s) }
    return s
}
function where(kind, s) { if (kind == "arg") sub(/^[^:]*\//, "", s); return s }

FNR == NR {
    if ($0 ~ /^#/ || !match($0, /^[a-z]+:/)) next
    key = substr($0, 1, RLENGTH - 1); value = substr($0, RLENGTH + 1); sub(/^ +/, "", value)
    if (key == "knob") { name = value; order[++knobs] = name; at[name] = knobs }
    else fact[name, key] = value
    next
}
{
    k = $1; seen[k] = 1; kind = $2; n = ++items[k]
    item[k, n] = NR; kinds[NR] = kind; target[NR] = text($3); state[NR] = $6; note[NR] = text($8)
    was[NR] = brief(kind, $4); new[NR] = brief(kind, $5)
    if (kind == "text") { was[NR] = $6 == "same" ? "as wanted" : ($4 == "absent" ? "absent" : "another content"); new[NR] = "a text of ours" }
    if (kind == "skip") { if (states[k] == "") states[k] = "skip" }
    else if (kind == "advice") { if (states[k] == "" || states[k] == "skip") states[k] = "advice" }
    else if ($6 == "unknown") { if (states[k] != "differs") states[k] = "unknown" }
    else if ($6 == "differs") states[k] = "differs"
    else if (states[k] != "differs" && states[k] != "unknown") states[k] = "ok"
}

# One word for what all items of a knob have in common, or how many differ.
function summary(k, what,   i, r, v, one, total, off, first) {
    for (i = 1; i <= items[k]; i++) {
        r = item[k, i]
        if (kinds[r] == "skip" && states[k] != "skip") continue
        total++
        if (state[r] == "differs" || state[r] == "unknown") off++
        v = what == "now" ? was[r] : new[r]
        if (kinds[r] == "skip") v = "-"
        if (v == "") v = what == "now" && state[r] == "unknown" ? "?" : "empty"
        if (total == 1) { first = v; one = 1 } else if (v != first) one = 0
    }
    if (one) return first
    if (what == "now") return off ? off " of " total " differ" : "as wanted"
    return total " values"
}
function cut(s, n) { return length(s) > n ? substr(s, 1, n - 1) "~" : s }

END {
    verdict = 0
    for (i = 1; i <= knobs; i++) {
        k = order[i]
        if (index(chosen, " " k " ") == 0) continue
        if (states[k] == "differs" && verdict == 0) verdict = 1
        if (states[k] == "unknown") verdict = 2
    }
    if (json) print_json(); else print_table()
    exit verdict
}
function print_table(   i, k, r, w, l) {
    printf "host      %s, kernel %s, %s, cgroups %s, boot %s, network %s, disks %s\n", distro == "" ? "unknown system" : distro, kernel, kind_name(), cgroups, loader, nics == "" ? "none" : nics, disks == "" ? "none" : disks
    printf "plan      profile %s, shards on %s (%s), their helpers on %s, idle siblings %s, the system on %s, layout %s, isolation %s\n\n", profile, executors, plan_why, helper == "" ? "the system's" : helper, idle == "" ? "none" : idle, house, layout, isolation
    printf "%-14s %-8s %-24s %-24s %-9s %s\n", "KNOB", "STATE", "NOW", "WANTED", "TIER", "REBOOT"
    for (i = 1; i <= knobs; i++) {
        k = order[i]
        if (!seen[k]) continue
        mine = index(chosen, " " k " ") > 0
        printf "%-14s %-8s %-24s %-24s %-9s %s\n", k, states[k] (mine || states[k] != "differs" ? "" : "*"), cut(summary(k, "now"), 24), cut(summary(k, "new"), 24), fact[k, "tier"], fact[k, "reboot"] == "yes" ? "yes" : "-"
        if (mine && states[k] == "differs") {
            printf "    why       %s\n    evidence  %s\n    risk      %s\n", fact[k, "why"], fact[k, "evidence"], fact[k, "risk"]
        }
        l = ""
        for (r = 1; r <= items[k]; r++) {
            w = note[item[k, r]]
            if (w != "" && w != l && state[item[k, r]] != "differs") printf "    %s\n", w
            if (w != "") l = w
        }
        if (states[k] == "differs") differing += mine
        if (states[k] == "unknown") unread += mine
        if (mine) all++
    }
    printf "\n%d of %d knobs of profile %s are as wanted%s%s. * is not in the profile. `ringmill-tune explain KNOB` says more.\n", all - differing - unread, all, profile, differing ? ", " differing " differ" : "", unread ? ", " unread " could not be read" : ""
}
function kind_name() { return host == "metal" ? "bare metal" : host == "vm" ? "virtual machine" : "container" }
function print_json(   i, k, j, r, sep, sep2) {
    printf "{\"version\":1,\"host\":{\"system\":%s,\"kernel\":%s,\"kind\":%s,\"cgroups\":%s,\"boot\":%s,\"online\":%s,\"network\":%s,\"disks\":%s},", string(distro), string(kernel), string(host), string(cgroups), string(loader), string(online), string(nics), string(disks)
    printf "\"plan\":{\"profile\":%s,\"executors\":%s,\"helper\":%s,\"idle\":%s,\"system\":%s,\"layout\":%s,\"isolation\":%s,\"why\":%s},\"fit\":%s,\"knobs\":[", string(profile), string(executors), string(helper), string(idle), string(house), string(layout), string(isolation), string(plan_why), verdict == 0 ? "true" : verdict == 1 ? "false" : "null"
    for (i = 1; i <= knobs; i++) {
        k = order[i]
        if (!seen[k]) continue
        printf "%s\n{\"knob\":%s,\"state\":%s,\"in_profile\":%s,\"now\":%s,\"wanted\":%s,\"tier\":%s,\"scope\":%s,\"needs_reboot\":%s,\"why\":%s,\"evidence\":%s,\"risk\":%s,\"items\":[", sep, string(k), string(states[k]), index(chosen, " " k " ") ? "true" : "false", string(summary(k, "now")), string(summary(k, "new")), string(fact[k, "tier"]), string(fact[k, "scope"]), fact[k, "reboot"] == "yes" ? "true" : "false", string(fact[k, "why"]), string(fact[k, "evidence"]), string(fact[k, "risk"])
        sep = ","; sep2 = ""
        for (j = 1; j <= items[k]; j++) {
            r = item[k, j]
            printf "%s{\"kind\":%s,\"target\":%s,\"now\":%s,\"wanted\":%s,\"state\":%s,\"note\":%s}", sep2, string(kinds[r]), string(target[r]), string(was[r]), string(new[r]), string(state[r]), string(note[r])
            sep2 = ","
        }
        printf "]}"
    }
    print "\n]}"
}
