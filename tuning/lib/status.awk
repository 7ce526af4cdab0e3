# The table and the JSON of `status`.
function text(s) { gsub(/\\-/, "", s); gsub(/\\n/, " ", s); gsub(/\\t/, " ", s); gsub(/\\\\/, "\\", s); return s }
function string(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); gsub(/[\001-\037]/, " ", s); return "\"" s "\"" }
BEGIN {
    if (json) printf "{\"applied\":true,\"whole\":%s,\"drifted\":%d,\"items\":[", whole == "" ? "true" : "false", awry
    else if (found) printf "%-14s %-8s %-52s %s\n", "KNOB", "STATE", "TARGET", "NOW (WANTED)"
}
{
    now = text($4)
    if (json) {
        printf "%s\n{\"knob\":%s,\"state\":%s,\"target\":%s,\"now\":%s,\"wanted\":%s,\"note\":%s}", sep, string($1), string($2), string($3), string(now), string($5), string($6)
        sep = ","
    } else {
        wanted = $5 ~ /\.new$/ || $2 == "kept" || $2 == "waits" ? "" : " (" $5 ")"
        printf "%-14s %-8s %-52s %s%s\n", $1, $2, $3, now, wanted
        if ($6 != "") printf "    %s\n", $6
    }
}
END {
    if (json) print "\n]}"
    else {
        printf "%d applied, %d not as applied\n", found, awry
        if (whole != "") print whole
    }
}
