# shellcheck shell=dash
# SIGKILL at every place where something was just done or is about to be; whatever is left, revert ends where it began.

# Steps of which there is one of each kind of item; all of a profile with TUNE_ALL.
crash_at_each() { # DISTRO SHAPE ARGS…
    local distro=$1 shape=$2 at=1 code
    shift 2
    while :; do
        tree "$distro" "$shape"
        RINGMILL_TUNE_CRASH=$at "$SH" "$TUNE" apply "$@" >"$WORK/out" 2>&1
        code=$?
        [ "$code" -ne 0 ] || break
        [ "$code" -eq 137 ] || { fail "$distro $shape: apply ends with $code at step $at" && break; }
        # Every third goes on to the end before it goes back.
        case $((at % 3)) in
            0) tune apply "$@" || fail "$distro $shape: apply after a crash at step $at" ;;
            1) tune status || [ $? -eq 1 ] || fail "$distro $shape: status after a crash at step $at" ;;
        esac
        tune revert || fail "$distro $shape: revert after a crash at step $at"
        if same_quiet; then pass; else fail "$distro $shape: crash at step $at: $(head -n 4 "$WORK/diff")"; fi
        at=$((at + 1))
    done
    echo "  $distro $shape: killed at each of $((at - 1)) steps of apply"
    [ "$at" -gt 5 ] || fail "$distro $shape: there were no steps"
}
crash_revert_at_each() { # DISTRO SHAPE ARGS…
    local distro=$1 shape=$2 at=1 code
    shift 2
    while :; do
        tree "$distro" "$shape"
        tune apply "$@"
        RINGMILL_TUNE_CRASH=$at "$SH" "$TUNE" revert >"$WORK/out" 2>&1
        code=$?
        [ "$code" -ne 0 ] || break
        tune revert || fail "$distro $shape: revert after a crash of revert at step $at"
        if same_quiet; then pass; else fail "$distro $shape: crash of revert at step $at: $(head -n 4 "$WORK/diff")"; fi
        at=$((at + 1))
    done
    echo "  $distro $shape: killed at each of $((at - 1)) steps of revert"
}

if group crash; then
    if [ -n "${TUNE_ALL-}" ]; then
        for pair in $TUNE_ALL; do
            crash_at_each "${pair%:*}" "${pair#*:}"
            crash_revert_at_each "${pair%:*}" "${pair#*:}"
        done
    else
        crash_at_each debian12 vm --only limits,partition,thp
        crash_at_each debian12 vm --only skew-tick,irqbalance
        crash_at_each rhel9 vm --only isolcpus
        crash_at_each ubuntu2404 vm --only coalesce
        crash_revert_at_each debian12 vm --only limits,thp,skew-tick
    fi
fi

if group kill; then
    # From outside, at any time: also between two steps.
    tree debian12 metal
    for delay in 0.1 0.3 0.5 0.8; do
        tree debian12 metal
        dash "$TUNE" apply >"$WORK/out" 2>&1 &
        pid=$!
        sleep $delay
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
        tune revert || fail "revert after SIGKILL at $delay s"
        same "SIGKILL at $delay s"
    done
fi

if group cut; then
    # A journal whose last line was cut in the middle, at every byte: nothing was changed after it, nothing is lost.
    tree debian12 vm
    tune apply --only swappiness,thp
    cp -a "$ROOT" "$WORK/before"
    size=$(wc -c <"$ROOT/var/lib/ringmill-tune/journal")
    last=$(tail -n 1 "$ROOT/var/lib/ringmill-tune/journal" | wc -c)
    cut=1
    while [ "$cut" -lt "$last" ]; do
        rm -rf "$ROOT" && cp -a "$WORK/before" "$ROOT"
        head -c $((size - cut)) "$WORK/before/var/lib/ringmill-tune/journal" >"$ROOT/var/lib/ringmill-tune/journal"
        tune revert || fail "revert with a journal short of $cut bytes"
        same_quiet || fail "a journal short of $cut bytes"
        pass
        cut=$((cut + 1))
    done
    rm -rf "$WORK/before"
fi

if group power; then
    # The power goes in the middle of apply: what lived in the kernel is gone, what lies on disk is put back.
    for at in 3 12 22 33 57; do
        tree debian12 vm
        RINGMILL_TUNE_CRASH=$at dash "$TUNE" apply --profile latency >"$WORK/out" 2>&1
        reboot
        tune status || :
        tune revert || fail "revert after a power cut at step $at"
        echo 11111111-2222-3333-4444-555555555555 >"$ROOT/proc/sys/kernel/random/boot_id"
        same "power cut at step $at"
    done
fi
