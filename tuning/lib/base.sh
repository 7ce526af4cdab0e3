# shellcheck shell=dash
# What everything else stands on: messages, where the host's root is, reading and writing one file of it, scratch
# space. Functions that are called often leave their result in R instead of printing it: a fork less each time.

# All paths of the host begin with it; empty on a real one. Tests put a recorded tree there.
ROOT=${RINGMILL_TUNE_ROOT-}
STATE=${RINGMILL_TUNE_STATE-$ROOT/var/lib/ringmill-tune}
TAB='	'
NL='
'
R=

say() { printf '%s\n' "$*"; }
warn() { printf 'ringmill-tune: %s\n' "$*" >&2; }
die() {
    warn "error: $*"
    exit 2
}

# Where a crash may strike; tests let it strike at each of these places in turn.
STEPS=0
step() {
    [ -n "${RINGMILL_TUNE_CRASH-}" ] || return 0
    STEPS=$((STEPS + 1))
    [ "$STEPS" -ne "$RINGMILL_TUNE_CRASH" ] || kill -9 $$
}

need_tools() {
    local tool missing=
    for tool in awk sed grep cat cp mv rm rmdir mkdir mktemp chmod readlink head tail sort tr od date cmp sync id flock; do
        command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
    done
    [ -z "$missing" ] || die "missing tools:$missing; install gawk or mawk, sed, grep, coreutils, diffutils, util-linux"
}

scratch_make() {
    SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/ringmill-tune.XXXXXX") || die "no scratch folder: set TMPDIR to one that can be written"
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# However it ends: no server is left behind, a knob that is being proved is as it was, nothing stays of an empty journal.
LOCKED=
leave() {
    prove_end
    [ -z "$LOCKED" ] || journal_leave
    rm -rf "$SCRATCH"
}

# Puts the first line of the host's file $1 into R; false when it is not there or cannot be read. The shell's own
# `read` takes one byte at a time, and what lies below /proc/sys answers only the first of those: there it is cat.
slurp() {
    R=
    [ -r "$ROOT$1" ] || return 1
    case $1 in
        /proc/sys/* | /proc/cmdline) R=$(cat "$ROOT$1" 2>/dev/null) || return 1 ;;
        *)
            { IFS= read -r R; } 2>/dev/null <"$ROOT$1" || [ -n "$R" ] ||
                { R=$(cat "$ROOT$1" 2>/dev/null) && [ -z "$R" ]; } || return 1
            ;;
    esac
    R=${R%"$NL"}
}

# Writes $2 and a line's end into the host's file $1, which must be there. What the kernel said goes to WHY.
WHY=
put() {
    WHY=
    if [ ! -e "$ROOT$1" ]; then
        WHY="it is gone"
        return 1
    fi
    if [ -n "$ROOT" ] && [ -n "${RINGMILL_TUNE_KERNEL-}" ]; then
        "$RINGMILL_TUNE_KERNEL" write "$1" "$2" 2>"$SCRATCH/why" && return 0
    else
        { printf '%s\n' "$2" >"$ROOT$1"; } 2>/dev/null && return 0
        # dash says `I/O error` whatever it was; cat tells one refusal from another.
        { printf '%s\n' "$2" | cat >"$ROOT$1"; } 2>"$SCRATCH/why" && return 0
    fi
    WHY=$(sed -n '1s/.*: //p' "$SCRATCH/why")
    [ -n "$WHY" ] || WHY="the kernel refused"
    return 1
}

# Whether the host's file $1 can be written, as far as can be told without doing it.
writable() {
    [ -w "$ROOT$1" ]
}

# Fields of our files are separated by tabs and end with lines; both are written as \t and \n, and nothing as \-, for
# `read` takes several tabs as one.
encode() {
    R=$1
    case $1 in
        '') R='\-' ;;
        *"$TAB"* | *"$NL"* | *\\*)
            R=$(printf '%s' "$1" | awk 'NR > 1 { printf "\\n" } { gsub(/\\/, "\\\\"); gsub(/\t/, "\\t"); printf "%s", $0 }')
            ;;
    esac
}
decode() {
    R=$1
    case $1 in
        '\-') R= ;;
        *\\*) R=$(printf '%b' "$1") ;;
    esac
}

# $1 as a word for a shell.
quote() {
    case $1 in
        '' | *[!A-Za-z0-9_./:=,@%+-]*) R="'$(printf '%s' "$1" | sed "s/'/'\\\\''/g")'" ;;
        *) R=$1 ;;
    esac
}

# Whether word $1 is one of $2.
among() {
    case " $2 " in *" $1 "*) return 0 ;; esac
    return 1
}

# Makes sure that file or folder $1 outlives a power cut.
flush() {
    sync "$1" 2>/dev/null || sync
}

# The host's tools, by whichever of its folders they are in; under a recorded tree only those that a test gives.
tool() {
    command -v "$1" >/dev/null 2>&1
}

need_root() {
    [ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || die "$COMMAND must be root: sudo ringmill-tune $COMMAND …; nothing was changed"
}
