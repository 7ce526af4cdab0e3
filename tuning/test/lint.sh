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
        ok "shellcheck of the tests" shellcheck --norc -s dash -e SC2034,SC2154 "$here/run" "$here"/*.sh "$here/make-tree" "$here/fake-kernel" "$here"/bin/*
    else
        echo "shellcheck is missing: left out"
    fi
    for name in $(sed -n 's/^knob: //p' "$here/../knobs.txt"); do
        ok "a function for $name" grep -q "^knob_$(echo "$name" | tr - _)()" "$here"/../lib/knobs-*.sh
        for field in title tier scope reboot profiles why evidence risk; do
            ok "$name has $field" awk -v name="$name" -v field="$field:" \
                '$1 == "knob:" { on = $2 == name } on && $1 == field { found = 1 } END { exit !found }' "$here/../knobs.txt"
        done
    done
    ok "security is in no profile" awk '/^tier: (security|advice|unproven)/ { on = 1 } /^profiles: [a-z]/ && on { exit 1 } /^$/ { on = 0 }' "$here/../knobs.txt"
    tree debian12 metal
    for name in $(sed -n 's/^knob: //p' "$here/../knobs.txt"); do exits 0 "explain" explain "$name"; done
    same "explain changes nothing"
fi
