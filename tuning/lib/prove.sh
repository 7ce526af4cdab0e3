# shellcheck shell=dash
# prove: the same question to the server with a knob and without it, in turns, so that whatever else changes on the
# host changes for both. What it found is kept, and a knob that harms here is left out by `apply` from then on.
#
# A pair is one run with and one without, in an order that a coin decides. A run is `ringmill load` at a fixed rate,
# counted from the intended time, and an idle probe: the load tester spinning on a shard's CPU beside a server that
# has nothing to do, where every gap in its loop is the host's. The verdict is of the ratio with / without: its mean
# over the pairs and the 95 % interval of Student's t on logarithms.

PROOFS=$STATE/proofs

# The last proof of a knob, as said to people, in R; false without one.
proof_key() {
    R=$1
    [ "$1:$LAYOUT" = "$1:auto" ] || [ "$1" != nic-irqs ] || R=$1/$LAYOUT
    local word
    for word in $SETS; do
        [ "${word%%=*}" != "$1" ] || R=$word
    done
}
proof_of() {
    [ -r "$PROOFS" ] || return 1
    proof_key "$1"
    R=$(awk -F "$TAB" -v key="$R" '$1 == key { found = $2 " (" $3 ", " $4 ")" } END { if (found == "") exit 1; print found }' "$PROOFS")
}
proof_harms() {
    proof_of "$1" || return 1
    case $R in
        harms*) R="proved to harm here: ${R#harms }" ;;
        *) return 1 ;;
    esac
}

command_prove() {
    local name
    prove_bounds
    if [ "$KNOB" != all ]; then
        knob_known "$KNOB"
        ONLY=$KNOB
    fi
    knobs_choose
    ACCEPT=1
    apply_allowed
    prove_server_found
    journal_lock
    prove_boot_only
    [ -n "$CHOSEN" ] || exit 2
    # The answer is remembered for this host, whatever becomes of the journal.
    QUIET=1 HARMED=0 FIRST=1
    PROVE_LIST=$CHOSEN
    [ -z "$JSON" ] || printf '{"rate":"%s","pairs":%s,"seconds":%s,"knobs":[' "$RATE" "$PAIRS" "$SECONDS_EACH"
    for name in $PROVE_LIST; do prove_knob "$name"; done
    [ -z "$JSON" ] || printf '\n]}\n'
    exit "$HARMED"
}

prove_bounds() {
    case $PAIRS in '' | *[!0-9]* | ????*) die "--pairs $PAIRS: a whole number from 3 to 100" ;; esac
    { [ "$PAIRS" -ge 3 ] && [ "$PAIRS" -le 100 ]; } || die "--pairs $PAIRS: from 3 to 100; fewer bear no interval"
    case $SECONDS_EACH in '' | *[!0-9]* | ????*) die "--seconds $SECONDS_EACH: a whole number from 1 to 600" ;; esac
    { [ "$SECONDS_EACH" -ge 1 ] && [ "$SECONDS_EACH" -le 600 ]; } || die "--seconds $SECONDS_EACH: from 1 to 600"
}
prove_server_found() {
    if [ -z "$SERVER_BIN" ]; then
        SERVER_BIN=$(command -v ringmill) || SERVER_BIN=$HOME_DIR/../target/release/ringmill
    fi
    [ -x "$SERVER_BIN" ] || die "prove needs the program ringmill: name it with --ringmill FILE; nothing was changed"
    [ -n "$ASK_CORES" ] || ASK_CORES=${HOUSE%% *}
}
# A knob that needs a reboot cannot be turned between two runs.
prove_boot_only() {
    local name kept=
    for name in $CHOSEN; do
        knob_fact "$name" 4
        if [ "$R" = yes ]; then
            warn "$name takes effect at boot: run \`ringmill load … --json before.json\`, apply --only $name, reboot, run it again and compare"
        else
            kept="$kept$name "
        fi
    done
    CHOSEN=${kept% }
}

prove_knob() { # NAME
    local order
    ONLY=$1 CHOSEN=$1 PROVING=$1
    knob_fact "$1" 1
    if [ -n "$(journal_items | awk -F "$TAB" -v knob="$1" '$3 == knob')" ]; then PROVE_END=on; else PROVE_END=off; fi
    knobs_collect "$1"
    if [ $PROVE_END = off ] && ! awk -F "$TAB" '$6 == "differs" { found = 1 } END { exit !found }' "$SCRATCH/plan"; then
        PROVING=
        prove_said "$1" none "" "as wanted already, and not by this tool, or not for this host: there is nothing to turn"
        return
    fi
    : >"$SCRATCH/samples"
    local pair=1
    while [ "$pair" -le "$PAIRS" ]; do
        order="on off"
        [ $((0x$(head -c 1 /dev/urandom | od -An -tx1 | tr -d ' ') & 1)) -eq 0 ] || order="off on"
        for SIDE in $order; do
            prove_turn "$SIDE"
            prove_sample "$pair" "$SIDE"
        done
        [ -n "$JSON" ] || printf '%s: pair %s of %s\r' "$1" "$pair" "$PAIRS" >&2
        pair=$((pair + 1))
    done
    prove_turn $PROVE_END
    PROVING=
    prove_judge "$1"
}

prove_end() {
    [ -n "$PROVING$SERVER" ] || return 0
    prove_stop
    [ -z "$PROVING" ] || prove_turn "$PROVE_END"
    PROVING=
}
SERVER=
PROVING=

prove_turn() { # on|off
    if [ "$1" = on ]; then
        apply_all
        if [ "$APPLY" -ne 0 ] && [ "$APPLIED" -eq 0 ] && [ -n "$PROVING" ] && [ ! -s "$SCRATCH/samples" ]; then
            die "$PROVING could not be turned on: nothing to prove"
        fi
    else
        revert_items
        [ "$LEFT" -eq 0 ] || die "$PROVING could not be turned off: somebody else changes it"
        journal_close
    fi
}

# Starts the server, inside the partition if there is one, and waits until it is ready.
prove_start() {
    local line wait=0
    PROVE_URL=$URL
    [ -z "$URL" ] || return 0
    : >"$SCRATCH/ready"
    # Should this shell be killed, the server goes with it, where there is a setpriv that can say so.
    DEATH="setpriv --pdeathsig TERM"
    $DEATH true 2>/dev/null || DEATH=
    # shellcheck disable=SC2016,SC2086
    sh -c '[ ! -w "$0" ] || echo $$ >"$0"; exec "$@"' "$ROOT/sys/fs/cgroup/ringmill.slice/cgroup.procs" \
        $DEATH "$SERVER_BIN" serve --listen 127.0.0.1:0 --admin none --sink null --cores "$EXEC_LIST" \
        >"$SCRATCH/ready" 2>"$SCRATCH/serve.log" 9>&- &
    SERVER=$!
    while [ "$wait" -lt 100 ]; do
        line=$(sed -n 's/^ringmill ready http=\([^ ,]*\).*/\1/p' "$SCRATCH/ready")
        [ -z "$line" ] || break
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
        wait=$((wait + 1))
    done
    [ -n "$line" ] || die "the server did not start: $(tail -n 1 "$SCRATCH/serve.log")"
    PROVE_URL=http://$line
}
prove_stop() {
    [ -n "$SERVER" ] || return 0
    kill "$SERVER" 2>/dev/null
    wait "$SERVER" 2>/dev/null
    SERVER=
}

# One run and one idle probe: a line `PAIR SIDE P99 P999 IDLE LIMIT`, `-` for what the samples could not bear.
prove_sample() {
    local p99 p999 idle limit
    prove_start
    prove_ask "$SECONDS_EACH" "$RATE" 16 "$ASK_CORES" ""
    p99=$(json_number latency_us p99) p999=$(json_number latency_us p999)
    limit=$(sed -n 's/^ *"limit": "\([a-z]*\)".*/\1/p' "$SCRATCH/load.json" | head -n 1)
    prove_ask 2 1 1 "${EXEC%% *}" inside
    idle=$(json_number platform hiccup_p99_us)
    prove_stop
    [ "$p99$p999" != -- ] || die "the load tester gave no percentile: more --seconds or a higher --rate"
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$p99" "$p999" "$idle" "${limit:-?}" >>"$SCRATCH/samples"
}
prove_ask() { # SECONDS RATE CONNECTIONS CORES INSIDE
    local procs=/nowhere
    [ -z "$5" ] || procs=$ROOT/sys/fs/cgroup/ringmill.slice/cgroup.procs
    rm -f "$SCRATCH/load.json"
    # shellcheck disable=SC2016
    sh -c '[ ! -w "$0" ] || echo $$ >"$0"; exec "$@"' "$procs" \
        "$SERVER_BIN" load "$PROVE_URL" --rate "$2" --duration "$1s" --warmup 1s --connections "$3" --cores "$4" \
        --json "$SCRATCH/load.json" --no-tui >"$SCRATCH/load.log" 2>&1 9>&-
    [ -s "$SCRATCH/load.json" ] || die "the load tester failed: $(tail -n 1 "$SCRATCH/load.log")"
}
# The load tester prints one key a line, two spaces deep for each object.
json_number() { # OBJECT KEY
    awk -v object="  \"$1\": {" -v key="    \"$2\": " '
        $0 == object { on = 1; next }
        on && $0 ~ /^  }/ { exit }
        on && index($0, key) == 1 { v = substr($0, length(key) + 1); sub(/,$/, "", v); if (v ~ /^[0-9.]+$/) found = v; exit }
        END { print found == "" ? "-" : found }' "$SCRATCH/load.json"
}

prove_judge() { # NAME
    local verdict words
    awk -F "$TAB" -f "$HOME_DIR/lib/prove.awk" "$SCRATCH/samples" >"$SCRATCH/judged"
    IFS=$TAB read -r verdict words <"$SCRATCH/judged"
    proof_key "$1"
    local key=$R
    printf '%s\t%s\t%s\t%s\n' "$key" "$verdict" "$words" "kernel $KERNEL, $(date -u +%Y-%m-%d)" >>"$PROOFS"
    flush "$PROOFS"
    [ "$verdict" != harms ] || HARMED=1
    prove_said "$1" "$verdict" "$(sed -n 2p "$SCRATCH/judged")" "$words"
}
prove_said() { # NAME VERDICT JSON WORDS
    if [ -n "$JSON" ]; then
        [ -n "$FIRST" ] || printf ','
        FIRST=
        printf '\n{"knob":"%s","verdict":"%s"%s}' "$1" "$2" "${3:+,$3}"
    else
        printf '%-14s %-14s %s\n' "$1" "$2" "$4"
    fi
}
