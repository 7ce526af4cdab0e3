# shellcheck shell=dash
# check, explain, status: what is said, as a table or as JSON. Nothing is changed here.

# States of knobs: ok, differs, unknown (could not be read), skip (not for this host), advice.
command_check() {
    knobs_choose
    [ -e "$JOURNAL" ] && journal_check
    knobs_collect "$(knob_names)"
    report_plan check
    CHECK=$?
    exit "$CHECK"
}

# Prints SCRATCH/plan; 0 when all chosen knobs are as wanted, 1 when not, 2 when something chosen could not be read.
report_plan() {
    compress "$ONLINE"
    awk -F "$TAB" -v json="$JSON" -v chosen=" $CHOSEN " -v host="$KIND" -v distro="$DISTRO" -v kernel="$KERNEL" \
        -v profile="$PROFILE" -v layout="$LAYOUT" -v isolation="$ISOLATION" -v cgroups="$CGROUPS" -v loader="$LOADER" \
        -v online="$R" -v executors="$EXEC_LIST" -v helper="$HELPER" -v idle="$IDLE_LIST" -v house="$HOUSE_LIST" \
        -v plan_why="$PLAN_WHY" -v nics="$NICS" -v disks="$DISKS" \
        -f "$HOME_DIR/lib/report.awk" "$KNOBS" "$SCRATCH/plan"
}

command_explain() {
    knob_known "$KNOB"
    knob_table
    CHOSEN=$KNOB
    knobs_collect "$KNOB"
    say "$KNOB: $(knob_text "$KNOB" title)"
    say
    local field text
    for field in why evidence risk check; do
        text=$(knob_text "$KNOB" $field)
        [ -z "$text" ] || say "$field: $text"
    done
    knob_fact "$KNOB" 2 && say "tier: $R"
    knob_fact "$KNOB" 5 && say "profiles: ${R:-none; by name only}"
    knob_fact "$KNOB" 4 && say "needs a reboot: $R"
    proof_of "$KNOB" && say "proved here: $R"
    say
    say "On this host:"
    explain_items
    exit 0
}
explain_items() {
    local knob kind target old new state hook note shown=0 more=0
    while IFS=$TAB read -r knob kind target old new state hook note; do
        decode "$note" && note=$R
        decode "$old" && old=$R
        decode "$new" && new=$R
        case $kind in
            skip) say "  nothing: $note" ;;
            advice) say "  now $old, better $new: $note" ;;
            *)
                shown=$((shown + 1))
                [ "$shown" -le 12 ] || { more=$((more + 1)) && continue; }
                item_command "$kind" "$target" "$new" "$hook"
                case $state in
                    same) say "  as wanted: $R" ;;
                    unknown) say "  cannot tell ($note): $R" ;;
                    *) say "  now ${old:-empty}: $R" ;;
                esac
                ;;
        esac
    done <"$SCRATCH/plan"
    [ "$more" -eq 0 ] || say "  and $more more of the kind"
}

# What became of each item of the journal.
command_status() {
    journal_check
    [ -e "$JOURNAL" ] || { status_none && exit 0; }
    local number boot knob kind target old new hook answer older now state note found=0 awry=0
    : >"$SCRATCH/status"
    journal_items >"$SCRATCH/items"
    # Only the newest item of a target says what is wanted.
    older=$(awk -F "$TAB" '$5 in newest { printf "%s ", newest[$5] } { newest[$5] = $1 }' "$SCRATCH/items")
    while IFS=$TAB read -r number boot knob kind target old new hook answer; do
        decode "$target" && target=$R
        decode "$new" && new=$R
        decode "$old" && old=$R
        if [ "$kind" = text ]; then
            case $new in *.new) new=$STATE/$new ;; esac
            case $old in *.old) old=$STATE/$old ;; esac
        fi
        if among "$number" "$older"; then continue; fi
        found=$((found + 1))
        status_item
        case $state in kept | waits) ;; *) awry=$((awry + 1)) ;; esac
        encode "$now" && now=$R
        printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$knob" "$state" "$target" "$now" "$new" "$note" >>"$SCRATCH/status"
    done <"$SCRATCH/items"
    note=
    journal_whole || note="the last apply did not come to its end: apply or revert"
    awk -F "$TAB" -v json="$JSON" -v whole="$note" -v found="$found" -v awry="$awry" -f "$HOME_DIR/lib/status.awk" "$SCRATCH/status"
    [ "$awry" -eq 0 ] && [ -z "$note" ] || exit 1
    exit 0
}
status_none() {
    if [ -n "$JSON" ]; then
        say '{"applied":false,"whole":true,"drifted":0,"items":[]}'
    else
        say "nothing is applied"
    fi
}
# state of one item: kept, drifted, half (not known to be done), gone, reboot (the boot undid it), waits (for a reboot).
status_item() {
    now='' note=
    if volatile "$kind" "$target" && [ "$boot" != "$BOOT_ID" ]; then
        state=reboot note="the reboot undid it: apply again, or apply --persist"
        return
    fi
    if ! item_read "$kind" "$target"; then
        state=gone note=$WHY
        return
    fi
    now=$R
    if item_same "$kind" "$now" "$new" || { [ "$answer" != - ] && [ "$kind" != text ] && item_same "$kind" "$now" "$answer"; }; then
        state=kept
        knob_table
        knob_fact "$knob" 4
        if [ "$R" = yes ] && ! boot_running; then state=waits note="takes effect at the next boot"; fi
    elif item_same "$kind" "$now" "$old" || [ "$now" = "$old" ]; then
        state=half note="it is as before: apply again"
    else
        state=drifted note=$(status_suspect)
    fi
    if [ "$kind" = text ]; then
        case $state in kept | waits) now="as applied" ;; half) now="as before" ;; *) now="another content" ;; esac
    fi
}
# Whether the kernel runs with the argument that this item put into its boot entry.
boot_running() {
    local arg
    # shellcheck disable=SC2016 # GRUB's variable, not ours
    case $kind in
        arg) arg=${target#*:} ;;
        text) arg=$(sed -n 's/^GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX \(.*\)"$/\1/p' "$new") ;;
        *) return 0 ;;
    esac
    [ -z "$arg" ] || case $CMDLINE in *" $arg "*) return 0 ;; *) return 1 ;; esac
}
status_suspect() {
    local unit
    [ -n "$SYSTEMD" ] || { printf 'somebody changed it' && return; }
    for unit in tuned irqbalance power-profiles-daemon thermald ksmtuned; do
        if [ "$(systemctl is-active $unit 2>/dev/null)" = active ]; then
            printf 'somebody changed it; %s runs here' $unit
            return
        fi
    done
    printf 'somebody changed it'
}
