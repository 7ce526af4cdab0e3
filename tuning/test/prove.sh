# shellcheck shell=dash
# prove with a server and a load tester of straw, whose figures depend on the tree. Their noise stays below what counts.

straw() { # FACTOR WITH SWAPPINESS 10
    mkdir -p "$WORK/straw"
    cat >"$WORK/straw/ringmill" <<END
#!/bin/sh
factor=$1 seed=\$\$
END
    cat >>"$WORK/straw/ringmill" <<'END'
if [ "$1" = serve ]; then
    echo "ringmill ready http=127.0.0.1:4711 lines=- admin=- shards=1 sink=null ack=accepted driver=uring"
    trap 'kill $sleeper; exit 0' TERM
    sleep 60 &
    sleeper=$!
    wait
fi
while [ $# -gt 0 ]; do
    [ "$1" != --json ] || file=$2
    shift
done
awk -v factor="$factor" -v swap="$(cat "$RINGMILL_TUNE_ROOT/proc/sys/vm/swappiness")" -v seed="$seed" 'BEGIN {
    srand(seed); noise = 0.995 + 0.01 * rand(); f = swap == 10 ? factor : 1
    printf "{\n  \"mode\": \"open\",\n  \"latency_us\": {\n    \"p50\": 20,\n    \"p99\": %.1f,\n    \"p999\": %.1f\n  },\n", 100 * f * noise, 400 * f * noise
    printf "  \"verdict\": {\n    \"limit\": \"none\"\n  },\n  \"platform\": {\n    \"hiccup_p99_us\": %.1f,\n    \"hiccup_max_us\": 1\n  }\n}\n", 10 * noise
}' >"$file"
END
    chmod +x "$WORK/straw/ringmill"
}
proving() {
    tune prove "$@" --ringmill "$WORK/straw/ringmill" --pairs 5 --seconds 1
}

if group prove; then
    tree debian12 vm
    straw 0.5
    proving swappiness
    ends 0 "helps"
    says 'swappiness *helps *p999 0\.\(49\|50\|51\) times'
    is /proc/sys/vm/swappiness 60
    ok "nothing is left applied" test ! -e "$ROOT/var/lib/ringmill-tune/journal"
    straw 1
    proving swappiness
    says 'swappiness *undecided'
    straw 2
    proving swappiness
    ends 1 "harms"
    says 'swappiness *harms'
    exits 1 "left out" apply --only swappiness,stat-interval
    says 'swappiness is left out: proved to harm here'
    is /proc/sys/vm/swappiness 60
    is /proc/sys/vm/stat_interval 10
    exits 0 "explained" explain swappiness
    says 'proved here: harms'
    exits 0 "unless accepted" apply --only swappiness --accept-harm
    is /proc/sys/vm/swappiness 10
    # Proved while applied: it stays applied.
    straw 0.5
    proving swappiness --json
    ! command -v jq >/dev/null || ok "JSON" jq -e '.knobs[0].verdict == "helps" and .knobs[0].p999.pairs == 5' "$WORK/out"
    is /proc/sys/vm/swappiness 10
    exits 0 "the last answer counts" apply --only swappiness
    exits 0 "revert" revert
    is /proc/sys/vm/swappiness 60
    rm -rf "$ROOT/var/lib/ringmill-tune"
    same "prove"
    proving isolcpus
    ends 2 "a knob that needs a boot"
    says 'takes effect at boot'
    proving thp
    says 'thp *undecided'
    proving clocksource
    says 'there is nothing to turn'
    # Killed in the middle: the journal knows.
    rm -rf "$ROOT/var/lib/ringmill-tune"
    straw 1
    dash "$TUNE" prove swappiness --ringmill "$WORK/straw/ringmill" --pairs 50 --seconds 1 >"$WORK/out" 2>&1 &
    pid=$!
    sleep 0.7
    kill -9 $pid
    wait $pid 2>/dev/null
    sleep 0.3
    ok "its server went with it" sh -c "! grep -qz '$WORK/[s]traw/ringmill' /proc/[0-9]*/cmdline 2>/dev/null"
    tune revert
    rm -rf "$ROOT/var/lib/ringmill-tune"
    same "killed while proving"
    # Interrupted: it puts back by itself and leaves no server.
    dash "$TUNE" prove swappiness --ringmill "$WORK/straw/ringmill" --pairs 50 --seconds 1 >"$WORK/out" 2>&1 &
    pid=$!
    sleep 0.7
    kill -TERM $pid
    wait $pid 2>/dev/null
    is /proc/sys/vm/swappiness 60
fi
