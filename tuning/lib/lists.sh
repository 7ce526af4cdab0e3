# shellcheck shell=dash
# Lists of CPUs (`0-3,8`) and masks (`00000000,000000ff`), in the shell's own arithmetic. Results stand in R.

# `0-3,8` to `0 1 2 3 8`; false when it is no list.
expand() {
    local part i end out='' IFS=,
    R=
    for part in $1; do
        case $part in
            *[!0-9-]* | -* | *- | *-*-*) return 1 ;;
            *-*) i=${part%-*} end=${part#*-} ;;
            *) i=$part end=$part ;;
        esac
        [ "${#i}" -le 5 ] && [ "${#end}" -le 5 ] && [ "$i" -le "$end" ] || return 1
        while [ "$i" -le "$end" ]; do
            out="$out$i "
            i=$((i + 1))
        done
    done
    R=${out% }
}

# `0 1 2 3 8`, rising, to `0-3,8`.
compress() {
    local cpu first='' last='' out=
    for cpu in $1; do
        if [ -z "$first" ]; then
            first=$cpu
        elif [ "$cpu" -ne $((last + 1)) ]; then
            span "$first" "$last"
            out=$out$R,
            first=$cpu
        fi
        last=$cpu
    done
    R=
    [ -z "$first" ] || span "$first" "$last"
    R=$out$R
}
span() {
    if [ "$1" -eq "$2" ]; then R=$1; else R=$1-$2; fi
}

# Those of $1 that are not in $2; those that are.
without() {
    local word out=
    for word in $1; do among "$word" "$2" || out="$out$word "; done
    R=${out% }
}
common() {
    local word out=
    for word in $1; do ! among "$word" "$2" || out="$out$word "; done
    R=${out% }
}

# How many words; the $2-th of them, from 0; the first.
count() {
    # shellcheck disable=SC2086
    set -- $1
    R=$#
}
nth() {
    local n=$2
    # shellcheck disable=SC2086
    set -- $1
    shift "$n"
    R=$1
}

# `0 1 35` to the mask that the kernel reads: groups of 32 bits, the highest first.
to_mask() {
    local cpu group=0 bits top=0 out=
    for cpu in $1; do [ "$cpu" -le "$top" ] || top=$cpu; done
    while [ $((group * 32)) -le "$top" ]; do
        bits=0
        for cpu in $1; do
            [ $((cpu / 32)) -ne "$group" ] || bits=$((bits | 1 << cpu % 32))
        done
        hex "$bits"
        if [ -z "$out" ]; then out=$R; else out=$R,$out; fi
        group=$((group + 1))
    done
    R=$out
}
hex() {
    local value=$1 digit
    R=
    while [ "$value" -gt 0 ] || [ -z "$R" ]; do
        digit=$((value % 16))
        case $digit in 10) digit=a ;; 11) digit=b ;; 12) digit=c ;; 13) digit=d ;; 14) digit=e ;; 15) digit=f ;; esac
        R=$digit$R
        value=$((value / 16))
    done
    while [ "${#R}" -lt 8 ]; do R=0$R; done
}

# A mask as `0-3,8`; false when it is none.
from_mask() {
    local group base=0 bit bits list='' rest=$1
    R=
    case $rest in '' | *[!0-9a-fA-F,]*) return 1 ;; esac
    while [ -n "$rest" ]; do
        group=${rest##*,}
        case $rest in *,*) rest=${rest%,*} ;; *) rest= ;; esac
        [ "${#group}" -le 8 ] && [ -n "$group" ] || return 1
        bits=$((0x$group)) bit=0
        while [ "$bits" -gt 0 ]; do
            [ $((bits & 1)) -eq 0 ] || list="$list$((base + bit)) "
            bits=$((bits >> 1)) bit=$((bit + 1))
        done
        base=$((base + 32))
    done
    compress "$list"
}
