# shellcheck shell=dash
# revert: goes through the journal from its end and puts back what was there, exactly. What somebody else has changed
# since is left and said, unless --force.

command_revert() {
    need_root
    journal_check
    [ -d "$STATE" ] || { say "nothing is applied" && exit 0; }
    [ -z "$ONLY$EXCEPT" ] || knobs_choose
    journal_lock
    [ -e "$JOURNAL" ] || { say "nothing is applied" && exit 0; }
    revert_items
    journal_close
    GONE=
    [ "$VOID" -eq 0 ] || GONE=", $VOID no more there"
    if [ "$LEFT" -gt 0 ]; then
        say "$REVERTED put back, $LEFT left as they are; they stay in the journal"
        exit 1
    fi
    say "$REVERTED put back${GONE}"
    revert_leftovers
    exit 0
}

# Reverts the open items, of CHOSEN only if --only or --except say so.
revert_items() {
    local number boot knob kind target old new hook answer
    REVERTED=0 LEFT=0 VOID=0
    journal_items >"$SCRATCH/items"
    awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' "$SCRATCH/items" >"$SCRATCH/back"
    while IFS=$TAB read -r number boot knob kind target old new hook answer; do
        if [ -n "$ONLY$EXCEPT" ] && ! among "$knob" "$CHOSEN"; then continue; fi
        decode "$target" && target=$R
        decode "$old" && old=$R
        decode "$new" && new=$R
        decode "$answer" && answer=$R
        if [ "$kind" = text ]; then
            case $old in *.old) old=$STATE/$old ;; esac
            case $new in *.new) new=$STATE/$new ;; esac
        fi
        step
        revert_item
    done <"$SCRATCH/back"
}

revert_item() {
    # What a crash in the middle of replacing a file left beside it.
    case $kind in
        text) rm -f "$ROOT$target.ringmill-tune" ;;
        arg) rm -f "$ROOT${target%%:*}.ringmill-tune" ;;
    esac
    if ! item_read "$kind" "$target"; then
        revert_gone
        return
    fi
    if item_same "$kind" "$R" "$old"; then
        # It was never changed, or put back already; what follows a change may still be missing.
        if ! hook_run "$hook"; then revert_left "$WHY" && return; fi
    elif [ -n "$FORCE" ] || revert_ours; then
        if ! item_write "$kind" "$target" "$old" "$hook"; then
            revert_left "${WHY:-it cannot be written}"
            return
        fi
        step
        if ! item_read "$kind" "$target" || ! item_same "$kind" "$R" "$old"; then
            revert_left "it reads back as \`$R\` instead of \`$old\`"
            return
        fi
    else
        revert_left "it is \`$R\` now, was \`$old\` and was set to \`$new\`: somebody changed it since; revert --force puts it back all the same"
        return
    fi
    journal_undone "$number" "reverted"
    REVERTED=$((REVERTED + 1))
}
# Whether it still is what we made of it.
revert_ours() {
    item_same "$kind" "$R" "$new" || { [ "$answer" != - ] && [ "$kind" != text ] && item_same "$kind" "$R" "$answer"; }
}
revert_gone() {
    case $kind in
        arg | text) revert_left "${WHY:-it cannot be read}" ;;
        *)
            journal_undone "$number" "gone"
            VOID=$((VOID + 1))
            ;;
    esac
}
revert_left() {
    LEFT=$((LEFT + 1))
    warn "$knob: $target: $1"
}

# Boot entries that were made since with the arguments of ours in them.
revert_leftovers() {
    local file
    for file in $ENTRIES; do
        if grep -q -e 'isolcpus=managed_irq,domain,' -e 'skew_tick=1' "$ROOT$file" 2>/dev/null; then
            say "$file still has arguments like ours, from a kernel that was installed meanwhile: look at its options"
        fi
    done
}
