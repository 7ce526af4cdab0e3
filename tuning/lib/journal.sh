# shellcheck shell=dash
# The journal: what was there, noted before it is changed. A file of lines; a line counts when it ends with ` .`.
#
#   ringmill-tune 1 MACHINE .                       whose it is
#   plan EXEC HELPER IDLE .                         which CPUs the first apply chose
#   begin BOOT PROFILE .                            an apply begins
#   want N BOOT KNOB KIND TARGET OLD NEW HOOK .     item N will be changed (old and new copies of a text: N.old, N.new)
#   done N VALUE .                                  it was, and reads back so
#   undone N WHY .                                  it is as it was before
#   managed BOOT TARGET .                           the kernel refuses to have it changed: not tried again
#   end .                                           the apply came to its end
#   unit NAME .                                     a boot unit of ours is installed (--persist)
#
# Fields are separated by tabs. `want` is written before the item, `done` after it; if the power or the process ends
# between the two, `revert` looks at what is there. Nothing else is kept: what the journal does not say was not done.

JOURNAL=$STATE/journal
NUMBER=0

# One at a time. The kernel lets go of the lock when the process ends, however it ends.
journal_lock() {
    journal_check
    { mkdir -p "$STATE" && chmod 700 "$STATE"; } 2>/dev/null || die "cannot make $STATE: the journal must be kept there; is the file system read-only? Nothing was changed"
    { exec 9>"$STATE/lock"; } 2>/dev/null || die "cannot write in $STATE; nothing was changed"
    flock -n 9 || die "another ringmill-tune is at work (it holds $STATE/lock): wait for it; nothing was changed"
    # One that ended meanwhile may have removed the file that we hold.
    [ "$STATE/lock" -ef /proc/$$/fd/9 ] || die "another ringmill-tune ended just now: try again; nothing was changed"
    LOCKED=1
    journal_check
    journal_mend
}

# Refuses a journal that is not this host's, or not of this tool.
journal_check() {
    [ -e "$JOURNAL" ] || return 0
    local word version machine end
    IFS=$TAB read -r word version machine end <"$JOURNAL" || :
    [ "$word" != ringmill-tune ] || [ -n "$end" ] || [ -n "$version" ] || word=
    [ "$word" = ringmill-tune ] ||
        die "$JOURNAL is no journal of this tool; move it away and begin anew: mv $JOURNAL $JOURNAL.foreign; nothing was changed"
    [ "$version" = 1 ] ||
        die "$JOURNAL has format $version, this tool writes 1: use the ringmill-tune that wrote it to revert; nothing was changed"
    [ "$machine" = "$MACHINE_ID" ] ||
        die "$JOURNAL is of machine $machine, this is $MACHINE_ID (a cloned disk?): its old values are not this host's; if so, mv $JOURNAL $JOURNAL.foreign; nothing was changed"
}

# A line that was cut by a crash was followed by no change: it is dropped. So is what an earlier boot took with it.
journal_mend() {
    [ -e "$JOURNAL" ] || return 0
    awk -F "$TAB" -v OFS="$TAB" -v boot="$BOOT_ID" '
        $NF != "." { next }
        $1 == "want" { line[++n] = $0; number[n] = $2; gone[$2] = $3 != boot && ($5 ~ /^(file|list|mask|ethtool|unit|controller)$/ || ($5 == "dir" && $6 ~ /^\/(sys|run)\//)); next }
        $1 == "done" { answer[$2] = $0; next }
        $1 == "undone" { gone[$2] = 1; next }
        $1 == "managed" && $2 != boot { next }
        { line[++n] = $0; number[n] = "" }
        END {
            for (i = 1; i <= n; i++) {
                if (number[i] == "") print line[i]
                else if (!gone[number[i]]) { print line[i]; if (number[i] in answer) print answer[number[i]] }
            }
        }' "$JOURNAL" >"$JOURNAL.new" || die "cannot write in $STATE: is the disk full? Nothing was changed"
    if cmp -s "$JOURNAL" "$JOURNAL.new"; then
        rm -f "$JOURNAL.new"
    else
        flush "$JOURNAL.new"
        mv "$JOURNAL.new" "$JOURNAL"
        flush "$STATE"
    fi
    journal_number
}
journal_number() {
    NUMBER=$(awk -F "$TAB" '$1 == "want" && $2 > n { n = $2 } END { print n + 0 }' "$JOURNAL")
}

journal_open() {
    if [ ! -e "$JOURNAL" ]; then
        printf 'ringmill-tune\t1\t%s\t.\n' "$MACHINE_ID" >"$JOURNAL.new" || die "cannot write in $STATE; nothing was changed"
        flush "$JOURNAL.new"
        mv "$JOURNAL.new" "$JOURNAL"
        flush "$STATE"
        NUMBER=0
    fi
    journal_note "plan$TAB$EXEC_LIST$TAB$HELPER$TAB$IDLE_LIST"
    journal_note "begin$TAB$BOOT_ID$TAB$PROFILE"
}

journal_note() {
    { printf '%s\t.\n' "$1" >>"$JOURNAL"; } 2>/dev/null ||
        die "cannot write $JOURNAL: is the disk full? What it holds can be reverted when there is room"
}

# Notes that an item will be changed. What outlives a power cut must be known to outlive it first.
journal_want() { # KNOB KIND TARGET OLD NEW HOOK
    local old=$4 new=$5 target
    NUMBER=$((NUMBER + 1))
    if [ "$2" = text ]; then
        if [ "$old" != absent ]; then
            journal_copy "$old" "$NUMBER.old"
            old=$NUMBER.old
        fi
        if [ "$new" != absent ]; then
            journal_copy "$new" "$NUMBER.new"
            new=$NUMBER.new
        fi
    fi
    encode "$3" && target=$R
    encode "$old" && old=$R
    encode "$new"
    journal_note "want$TAB$NUMBER$TAB$BOOT_ID$TAB$1$TAB$2$TAB$target$TAB$old$TAB$R$TAB${6:--}"
    volatile "$2" "$3" || flush "$JOURNAL"
}
journal_copy() {
    { cp -p "$1" "$STATE/$2" && flush "$STATE/$2"; } 2>/dev/null ||
        die "cannot write in $STATE: is the disk full? What the journal holds can be reverted when there is room"
}
journal_done() {
    encode "$1"
    journal_note "done$TAB$NUMBER$TAB$R"
}
journal_undone() { # NUMBER WHY
    encode "$2"
    journal_note "undone$TAB$1$TAB$R"
}

# The open items, `N BOOT KNOB KIND TARGET OLD NEW HOOK DONE` each, oldest first; DONE is what it read back as, or -.
journal_items() {
    [ -e "$JOURNAL" ] || return 0
    awk -F "$TAB" -v OFS="$TAB" '
        $NF != "." { next }
        $1 == "want" { order[++n] = $2; boot[$2] = $3; text[$2] = $3 OFS $4 OFS $5 OFS $6 OFS $7 OFS $8 OFS $9; answer[$2] = "-"; next }
        $1 == "done" { answer[$2] = $3; next }
        $1 == "undone" { delete text[$2] }
        END { for (i = 1; i <= n; i++) if (order[i] in text) print order[i], text[order[i]], answer[order[i]] }' "$JOURNAL"
}

# Whether the last apply came to its end.
journal_whole() {
    [ ! -e "$JOURNAL" ] || awk -F "$TAB" '$1 == "begin" { open = 1 } $1 == "end" { open = 0 } END { exit open }' "$JOURNAL"
}

# What was planned: PLANNED and PLANNED_HELPER as lists, empty without a journal.
journal_plan() {
    PLANNED='' PLANNED_HELPER=''
    KEPT=
    [ -r "$JOURNAL" ] || return 0
    local line
    KEPT=$(awk -F "$TAB" -v boot="$BOOT_ID" '$1 == "managed" && $2 == boot && $NF == "." { print $3 }' "$JOURNAL" | tr '\n' ' ')
    line=$(awk -F "$TAB" '$1 == "plan" && $NF == "." { print $2 ":" $3 ":" $4 }' "$JOURNAL" | tail -n 1)
    PLANNED=${line%%:*}
    line=${line#*:}
    PLANNED_HELPER=${line%%:*}
}

# When nothing is open any more, nothing of the journal stays.
journal_close() {
    [ -e "$JOURNAL" ] || return 0
    [ -z "$(journal_items)" ] || return 0
    rm -f "$JOURNAL" "$JOURNAL.new" "$STATE"/*.old "$STATE"/*.new
    NUMBER=0
}
# The last that a command does with it, called by `leave`.
journal_leave() {
    journal_close
    [ ! -e "$JOURNAL" ] || return 0
    rm -f "$STATE/lock" "$STATE"/*.old "$STATE"/*.new
    rmdir "$STATE" 2>/dev/null || :
}
