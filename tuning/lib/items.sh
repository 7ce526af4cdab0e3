# shellcheck shell=dash
# The things that a knob turns. An item is a kind, a target and a value:
#
#   file    a value of the kernel, one line; of a choice like `always [madvise] never` the one in brackets
#   list    the same holding CPUs as 0-3,8        mask   the same as 00000000,0000000f
#   text    a whole file of ours or of the system's; its value is the name of a copy
#   arg     one kernel argument in a boot entry; its value is `present` or `absent`
#   ethtool `DEVICE GROUP NAME`                    unit   a systemd unit, `active` or `inactive`
#   controller `FILE:NAME` of a cgroup, `present` or `absent`
#   dir     a folder, `there` or `absent`          link   a symbolic link, its value where it leads
#
# Each kind can be read (R), written (WHY says what went wrong), compared and told as a command.

# Kinds whose effect does not outlive a boot.
volatile() { # KIND TARGET
    case $1:$2 in
        file:* | list:* | mask:* | ethtool:* | unit:* | controller:*) return 0 ;;
        dir:/sys/* | dir:/run/*) return 0 ;;
    esac
    return 1
}

item_read() { # KIND TARGET; a text is copied to SCRATCH/now
    WHY=
    case $1 in
        file | list | mask)
            slurp "$2" || { WHY="cannot be read" && return 1; }
            ;;
        text)
            R=absent
            [ -e "$ROOT$2" ] || return 0
            R=$SCRATCH/now
            cp -p "$ROOT$2" "$R" 2>/dev/null || cat "$ROOT$2" >"$R" || { WHY="cannot be read" && return 1; }
            ;;
        arg) arg_read "$2" ;;
        controller)
            slurp "${2%%:*}" || { WHY="cannot be read" && return 1; }
            if among "${2#*:}" "$R"; then R=present; else R=absent; fi
            ;;
        dir) if [ -d "$ROOT$2" ]; then R=there; else R=absent; fi ;;
        link) if [ -L "$ROOT$2" ]; then R=$(readlink "$ROOT$2"); else R=absent; fi ;;
        unit)
            R=$(systemctl is-active "$2" 2>/dev/null)
            [ "$R" = active ] || R=inactive
            ;;
        ethtool) ethtool_read "$2" ;;
    esac
}

# Whether values $2 and $3 mean the same. Leaves R alone.
item_same() { # KIND A B
    [ "$2" != "$3" ] || return 0
    local keep=$R same=0
    item_means "$@" || same=1
    R=$keep
    return $same
}
item_means() {
    local one=$2 two=$3
    case $1 in
        file)
            chosen "$one" && one=$R
            chosen "$two" && two=$R
            [ "$one" = "$two" ]
            ;;
        list)
            expand "$one" || return 1
            one=$R
            expand "$two" || return 1
            [ "$one" = "$R" ]
            ;;
        mask)
            from_mask "$one" || return 1
            one=$R
            from_mask "$two" || return 1
            [ "$one" = "$R" ]
            ;;
        text)
            [ "$one" != absent ] && [ "$two" != absent ] && cmp -s "$one" "$two"
            ;;
        *) return 1 ;;
    esac
}

# Of `always [madvise] never` the choice; anything else as it is, without space around.
chosen() {
    case $1 in
        *\[*\]*) R=${1#*\[} && R=${R%%\]*} ;;
        *)
            R=${1#"${1%%[! ]*}"}
            R=${R%"${R##*[! ]}"}
            ;;
    esac
}

item_write() { # KIND TARGET VALUE HOOK
    WHY=
    case $1 in
        file)
            local value=$3
            case $value in *\[*\]*) chosen "$value" && value=$R ;; esac
            put "$2" "$value"
            ;;
        list | mask) put "$2" "$3" ;;
        text) text_write "$2" "$3" && hook_run "$4" ;;
        arg) arg_write "$2" "$3" && hook_run "$4" ;;
        controller) if [ "$3" = present ]; then put "${2%%:*}" "+${2#*:}"; else put "${2%%:*}" "-${2#*:}"; fi ;;
        dir)
            if [ -n "$ROOT" ] && [ -n "${RINGMILL_TUNE_KERNEL-}" ]; then
                "$RINGMILL_TUNE_KERNEL" "$3" "$2"
            elif [ "$3" = there ]; then
                mkdir "$ROOT$2"
            else
                rmdir "$ROOT$2"
            fi 2>"$SCRATCH/why" || { WHY=$(sed -n '1s/.*: //p' "$SCRATCH/why") && return 1; }
            ;;
        link)
            if [ "$3" = absent ]; then rm -f "$ROOT$2"; else ln -sfn "$3" "$ROOT$2"; fi
            ;;
        unit)
            if [ "$3" = inactive ] && grep -qx 'populated 1' "$ROOT/sys/fs/cgroup/$2/cgroup.events" 2>/dev/null; then
                WHY="processes run in it, and stopping it would stop them: systemctl stop ringmill first"
                return 1
            fi
            if [ "$3" = active ]; then systemctl start "$2"; else systemctl stop "$2"; fi >/dev/null 2>"$SCRATCH/why" ||
                { WHY=$(sed -n 1p "$SCRATCH/why") && return 1; }
            ;;
        ethtool) ethtool_write "$2" "$3" ;;
    esac
}

# Replaces a file as a whole: after a crash it is the old one or the new one. What may be left beside it is named
# after it, and `revert` removes that.
text_write() { # TARGET COPY|absent
    local path=$ROOT$1
    rm -f "$path.ringmill-tune"
    if [ "$2" = absent ]; then
        rm -f "$path"
        return
    fi
    { cp -p "$2" "$path.ringmill-tune" && step && flush "$path.ringmill-tune" && mv "$path.ringmill-tune" "$path"; } 2>"$SCRATCH/why" ||
        { WHY=$(sed -n '1s/.*: //p' "$SCRATCH/why") && return 1; }
}

# A boot entry's arguments stand behind `options`; /etc/kernel/cmdline holds nothing else.
arg_read() { # FILE:ARG
    local file=${1%%:*} arg=${1#*:}
    WHY="has no line of options"
    R=$(awk -v arg="$arg" -v whole="$(arg_whole "$file")" '
        whole || $1 == "options" {
            seen = 1
            for (i = 1; i <= NF; i++) if ($i == arg) found = 1
        }
        END { if (!seen) exit 1; print found ? "present" : "absent" }' "$ROOT$file" 2>/dev/null)
}
arg_whole() {
    case $1 in */cmdline) echo 1 ;; *) echo 0 ;; esac
}
arg_write() { # FILE:ARG present|absent
    local file=${1%%:*} arg=${1#*:}
    cp -p "$ROOT$file" "$SCRATCH/entry" 2>/dev/null || { WHY="cannot be read" && return 1; }
    awk -v arg="$arg" -v whole="$(arg_whole "$file")" -v want="$2" '
        !done && (whole || $1 == "options") {
            done = 1
            if (want == "present") $0 = $0 " " arg
            else {
                at = index($0 " ", " " arg " ")
                if (at) $0 = substr($0, 1, at - 1) substr($0, at + length(arg) + 1)
            }
        }
        { print }' "$ROOT$file" >"$SCRATCH/entry" || return 1
    text_write "$file" "$SCRATCH/entry"
}

# What must follow when a file of the system was replaced. Doing it twice does no harm.
hook_run() {
    case $1 in
        - | '') return 0 ;;
        grub) hook_command update-grub ;;
        reload) [ -z "$SYSTEMD" ] || hook_command systemctl daemon-reload ;;
        irqbalance) [ -z "$SYSTEMD" ] || hook_command systemctl try-restart irqbalance ;;
    esac
}
hook_command() {
    "$@" >"$SCRATCH/hook" 2>&1 && return 0
    WHY="\`$*\` failed: $(tail -n 1 "$SCRATCH/hook")"
    return 1
}
hook_text() {
    case $1 in
        grub) R="update-grub" ;;
        reload) R="systemctl daemon-reload" ;;
        irqbalance) R="systemctl try-restart irqbalance" ;;
        *) R= ;;
    esac
}

# `eth0 channels combined`; groups: channels -l/-L, coalesce -c/-C, rings -g/-G.
ethtool_flags() {
    case $1 in
        channels) SHOW=-l CHANGE=-L ;;
        coalesce) SHOW=-c CHANGE=-C ;;
        rings) SHOW=-g CHANGE=-G ;;
    esac
}
ethtool_read() {
    # shellcheck disable=SC2086
    set -- $1
    WHY="ethtool shows none"
    ethtool_show "$1" "$2"
    R=$(ethtool_pick "$3" current)
    case $R in '' | n/a) return 1 ;; esac
}
# What ethtool says about a device is kept for the rest of the command, until something is written.
ethtool_show() { # DEVICE GROUP
    SHOWN=$SCRATCH/ethtool.$1.$2
    [ ! -e "$SHOWN" ] || return 0
    ethtool_flags "$2"
    ethtool "$SHOW" "$1" >"$SHOWN" 2>/dev/null || :
}
# The names are those that ethtool takes; it prints most of them in other words.
ethtool_pick() { # NAME current|maximum
    awk -v name="$1" -v want="$2" '
        BEGIN { part = "current" }
        /^Pre-set maximums/ { part = "maximum" }
        /^Current hardware settings/ { part = "current" }
        part == want {
            line = tolower($0)
            if (name == "adaptive-rx" && line ~ /^adaptive rx:/) { sub(/^adaptive rx:[ \t]*/, "", line); split(line, w, /[ \t]+/); print w[1]; exit }
            if (name == "adaptive-tx" && line ~ /^adaptive rx:/) { sub(/.*tx:[ \t]*/, "", line); print line; exit }
            if (line ~ "^" name ":") { sub(/^[^:]*:[ \t]*/, "", line); print line; exit }
        }' "$SHOWN"
}
ethtool_write() { # "DEVICE GROUP NAME" VALUE
    local value=$2
    # shellcheck disable=SC2086
    set -- $1
    ethtool_flags "$2"
    rm -f "$SCRATCH/ethtool.$1.$2"
    ethtool "$CHANGE" "$1" "$3" "$value" >"$SCRATCH/why" 2>&1 || { WHY=$(sed -n '$p' "$SCRATCH/why") && return 1; }
}

# The command that a person would type, in R.
item_command() { # KIND TARGET VALUE HOOK
    local file copy=
    case $1 in
        file | list | mask)
            local value=$3
            case $1:$value in file:*\[*\]*) chosen "$value" && value=$R ;; esac
            quote "$value"
            R="echo $R > $2"
            ;;
        text)
            if [ "$3" = absent ]; then
                R="rm -f $2"
            else
                copy=$(cat "$3")
                R="cat > $2 <<'END'$NL$copy${NL}END"
            fi
            ;;
        arg)
            file=${2%%:*}
            if [ "$3" = absent ]; then
                R="sed -i 's| ${2#*:}||' $file"
            elif [ "$(arg_whole "$file")" = 1 ]; then
                R="sed -i '1s|\$| ${2#*:}|' $file"
            else
                R="sed -i '/^options/s|\$| ${2#*:}|' $file"
            fi
            ;;
        controller) if [ "$3" = present ]; then R="echo +${2#*:} > ${2%%:*}"; else R="echo -${2#*:} > ${2%%:*}"; fi ;;
        dir) if [ "$3" = there ]; then R="mkdir $2"; else R="rmdir $2"; fi ;;
        link) if [ "$3" = absent ]; then R="rm $2"; else R="ln -s $3 $2"; fi ;;
        unit) if [ "$3" = active ]; then R="systemctl start $2"; else R="systemctl stop $2"; fi ;;
        ethtool)
            local value=$3
            # shellcheck disable=SC2086
            set -- $2
            ethtool_flags "$2"
            R="ethtool $CHANGE $1 $3 $value"
            return
            ;;
    esac
    file=$R
    hook_text "$4"
    [ -z "$R" ] || file="$file$NL$R"
    R=$file
}
