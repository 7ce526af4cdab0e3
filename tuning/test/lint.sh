# shellcheck shell=dash
# What can be said without running it.

if group lint; then
    for shell in dash 'busybox sh' 'bash --posix'; do
        for file in "$TUNE" "$here"/../lib/*.sh; do
            # shellcheck disable=SC2086
            ok "$shell -n $file" $shell -n "$file"
        done
    done
    if command -v shellcheck >/dev/null; then
        # As one program, so that no variable is used that nothing sets.
        {
            sed '/^for part in base/,/^done/d; /^main "\$@"$/d' "$TUNE"
            cat "$here"/../lib/*.sh
            echo 'main "$@"'
        } >"$WORK/whole.sh"
        ok "shellcheck of the whole" shellcheck --norc -s dash "$WORK/whole.sh"
        ok "shellcheck of the tests" shellcheck --norc -s dash -e SC2034,SC2154,SC2016 "$here/run" "$here"/*.sh "$here/make-tree" "$here/fake-kernel" "$here"/bin/*
    else
        echo "shellcheck is missing: left out"
    fi
    sed -n 's/^knob: /knob_/p' "$here/../knobs.txt" | tr - _ | sort >"$WORK/out"
    sed -n 's/^\(knob_[a-z_]*\)() {.*/\1/p' "$here"/../lib/knobs-*.sh | sort >"$WORK/functions"
    ok "a function for each knob, a knob for each function" diff "$WORK/out" "$WORK/functions"
    ok "each knob has all fields" awk '
        function check(  i) { if (name != "") for (i in want) if (!((name, i) in have)) { print name " has no " i; bad = 1 } }
        BEGIN { n = split("title tier scope reboot profiles why evidence risk", w, " "); for (i = 1; i <= n; i++) want[w[i] ":"] }
        $1 == "knob:" { check(); name = $2 } { have[name, $1] } END { check(); exit bad }' "$here/../knobs.txt"
    ok "security is in no profile" awk '/^tier: (security|advice|unproven)/ { on = 1 } /^profiles: [a-z]/ && on { exit 1 } /^$/ { on = 0 }' "$here/../knobs.txt"
    tree debian12 metal
    for name in nic-irqs partition isolcpus queues limits mitigations hugepages; do exits 0 "explain" explain $name; done
    same "explain changes nothing"
fi
