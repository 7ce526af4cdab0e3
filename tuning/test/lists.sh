# shellcheck shell=dash
# Lists and masks: each row in all three shells.

lists_table() {
    cat <<'END'
expand|0|0
expand|0-3,8|0 1 2 3 8
expand||
expand|10-11|10 11
expand|3-1|!
expand|a|!
expand|-1|!
expand|1-|!
expand|0-99999999|!
expand|1-2-3|!
compress|0 1 2 3 8|0-3,8
compress|5|5
compress||
compress|0 2 4 5|0,2,4-5
to_mask|0|00000001
to_mask|0 1 35|00000008,00000003
to_mask|31|80000000
to_mask|64|00000001,00000000,00000000
to_mask|0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31|ffffffff
from_mask|00000000,000000ff|0-7
from_mask|ff|0-7
from_mask|80000000,00000000|63
from_mask|0|
from_mask||!
from_mask|xyz|!
from_mask|123456789|!
END
}

if group lists; then
    for shell in dash 'busybox sh' 'bash --posix'; do
        lists_table | while IFS='|' read -r name input want; do
            # shellcheck disable=SC2016,SC2086
            got=$($shell -c '. "$1"; among() { case " $2 " in *" $1 "*) return 0 ;; esac; return 1; }; if "$2" "$3"; then printf "%s" "$R"; else printf "!"; fi' x "$here/../lib/lists.sh" "$name" "$input" 2>&1)
            [ "$got" = "$want" ] || echo "$shell: $name \`$input\` is \`$got\` instead of \`$want\`"
        done >"$WORK/out"
        if [ -s "$WORK/out" ]; then fail "lists"; else pass; fi
        # There and back for every mask of eight CPUs.
        # shellcheck disable=SC2016,SC2086
        got=$($shell -c '. "$1"; i=0; while [ $i -lt 256 ]; do hex $i; m=$R; from_mask $m; expand "$R"; to_mask "$R"; [ "$R" = "$m" ] || echo "$m $R"; i=$((i + 1)); done' x "$here/../lib/lists.sh" 2>&1)
        if [ -z "$got" ]; then pass; else fail "$shell: masks there and back: $got"; fi
    done
fi
