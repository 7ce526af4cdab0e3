# shellcheck shell=dash
# Knobs: which there are (knobs.txt), which are chosen, and what each wants of this host. A knob is a function
# `knob_NAME` that says `want KIND TARGET VALUE [HOOK]`, `skip WHY` or `advise NOW WANTED WHY`, and changes nothing.

KNOBS=$HOME_DIR/knobs.txt

# One line a knob in SCRATCH/knobs: name, tier, scope, reboot, profiles.
knob_table() {
    [ ! -e "$SCRATCH/knobs" ] || return 0
    awk '
        function out() { if (name != "") print name "\t" f["tier"] "\t" f["scope"] "\t" f["reboot"] "\t" f["profiles"]; name = ""; split("", f) }
        /^#/ { next }
        /^$/ { out(); next }
        /^[a-z]+: / { key = $1; sub(/:$/, "", key); value = $0; sub(/^[a-z]+: */, "", value); f[key] = value; if (key == "knob") name = value }
        END { out() }' "$KNOBS" >"$SCRATCH/knobs"
}
knob_names() {
    knob_table
    awk -F "$TAB" '{ printf "%s%s", sep, $1; sep = " " }' "$SCRATCH/knobs"
}
knob_fact() { # NAME COLUMN
    R=$(awk -F "$TAB" -v name="$1" -v column="$2" '$1 == name { print $column }' "$SCRATCH/knobs")
}
knob_text() { # NAME FIELD
    awk -v name="$1" -v field="$2" '
        $1 == "knob:" { on = $2 == name }
        on && index($0, field ": ") == 1 { print substr($0, length(field) + 3) }' "$KNOBS"
}
knob_known() {
    local near
    among "$1" "$(knob_names)" && return 0
    near=$(knob_names | tr ' ' '\n' | awk -v want="$1" 'index($0, want) || index(want, $0) { printf " %s", $0 }')
    die "unknown knob \`$1\`${near:+; did you mean$near?} There are: $(knob_names); nothing was changed"
}

# CHOSEN: the profile's or those of --only, without those of --except.
knobs_choose() {
    local name all
    knob_table
    for name in $(words "$ONLY,$EXCEPT"); do knob_known "$name"; done
    for name in $SETS; do
        case $name in *=?*) knob_known "${name%%=*}" ;; *) die "--set $name: expected KNOB=VALUE; nothing was changed" ;; esac
    done
    if [ -n "$ONLY" ]; then
        all=$(words "$ONLY")
    else
        all=$(awk -F "$TAB" -v profile="$PROFILE" '(" " $5 " ") ~ (" " profile " ") { printf "%s ", $1 }' "$SCRATCH/knobs")
        for name in $SETS; do among "${name%%=*}" "$all" || all="$all${name%%=*} "; done
    fi
    # In the order of knobs.txt, which is the order in which they may be turned.
    common "$(knob_names)" "$all"
    without "$R" "$(words "$EXCEPT")"
    CHOSEN=$R
}

# Looks at what knobs $1 want: a line each item in SCRATCH/plan, `KNOB KIND TARGET OLD NEW STATE HOOK NOTE`.
# STATE: same, differs, unknown (NOTE says why); a line of KIND skip or advice has no target.
knobs_collect() {
    : >"$SCRATCH/plan"
    rm -f "$SCRATCH"/ethtool.*
    TEXTS=0
    for CURRENT in $1; do
        joined - _ "$CURRENT"
        "knob_$R"
    done
}
# $3 with each $1 replaced by $2.
joined() {
    local IFS=$1 with=$2
    # shellcheck disable=SC2086
    set -- $3
    IFS=$with
    R=$*
}

plan_line() { # KIND TARGET OLD NEW STATE HOOK NOTE
    local line=$CURRENT word
    for word in "$@"; do
        encode "$word"
        line=$line$TAB$R
    done
    printf '%s\n' "$line" >>"$SCRATCH/plan"
}
want() { # KIND TARGET VALUE HOOK
    local old state=differs
    if ! item_read "$1" "$2"; then
        plan_line "$1" "$2" "" "$3" unknown "${4:--}" "$WHY"
        return
    fi
    old=$R
    ! item_same "$1" "$old" "$3" || state=same
    # The present content of a text is read again when it is replaced.
    if [ "$1" = text ] && [ "$old" != absent ]; then old=there; fi
    plan_line "$1" "$2" "$old" "$3" "$state" "${4:--}" ""
}
skip() {
    plan_line skip "" "" "" same - "$1"
}
advise() { # NOW WANTED NOTE
    plan_line advice "" "$1" "$2" same - "$3"
}

# A kernel setting below /proc/sys, if this kernel has it.
want_sysctl() { # NAME VALUE
    local path
    joined . / "$1"
    path=/proc/sys/$R
    [ -e "$ROOT$path" ] || { skip "this kernel has no $1" && return; }
    want file "$path" "$2"
}
# At least VALUE, for bounds that may already be higher.
want_least() { # PATH VALUE
    slurp "$1" || { skip "this kernel has no $1" && return; }
    case $R in
        *[!0-9]*) skip "$1 says \`$R\`" ;;
        *) if [ "${#R}" -gt 15 ] || [ "$R" -ge "$2" ]; then want file "$1" "$R"; else want file "$1" "$2"; fi ;;
    esac
}
# A text of ours: standard input is its content.
want_text() { # PATH HOOK
    TEXTS=$((TEXTS + 1))
    cat >"$SCRATCH/text.$TEXTS"
    want_dirs "${1%/*}"
    want text "$1" "$SCRATCH/text.$TEXTS" "${2:--}"
}
# The folders above it, as far as they are missing.
want_dirs() {
    [ ! -d "$ROOT$1" ] || return 0
    case $1 in /*/*) want_dirs "${1%/*}" ;; esac
    grep -q "^[^$TAB]*${TAB}dir$TAB$1$TAB" "$SCRATCH/plan" || want dir "$1" there
}

# The value of --set for this knob, or $1.
chosen_value() {
    local word
    R=$1
    for word in $SETS; do
        [ "${word%%=*}" != "$CURRENT" ] || R=${word#*=}
    done
}
chosen_number() {
    chosen_value "$1"
    case $R in '' | *[!0-9]*) die "--set $CURRENT=$R: a whole number is expected; nothing was changed" ;; esac
}
