# shellcheck shell=dash
# apply: prints the commands, then does them one by one, each noted in the journal before. A value that does not
# read back is put back and not claimed.

command_apply() {
    knobs_choose
    [ -z "$DRY$SCRIPT" ] || { apply_show && exit 0; }
    apply_allowed
    journal_lock
    apply_all
    exit "$APPLY"
}

apply_show() {
    apply_harmful
    knobs_collect "$CHOSEN"
    if [ -n "$SCRIPT" ]; then
        say "#!/bin/sh"
        say "# By ringmill-tune for $(cat "$ROOT/proc/sys/kernel/hostname" 2>/dev/null || echo this host), profile $PROFILE; it keeps no journal: nothing takes it back."
        say "set -u"
    fi
    plan_commands
}

# Everything that can forbid it is asked before anything is changed.
apply_allowed() {
    need_root
    local name scope
    if [ "$KIND" = container ]; then
        [ "$PROFILE" = container ] ||
            die "this is a container: profile $PROFILE is for its host. Run it there (ringmill-tune apply --profile $PROFILE), or say --as-host if the machine is yours; nothing was changed"
        for name in $CHOSEN; do
            knob_fact "$name" 3 && scope=$R
            [ "$scope" = netns ] ||
                die "$name is the host's, not the container's: run \`ringmill-tune apply --only $name\` on the host, or say --as-host if the machine is yours; nothing was changed"
        done
    fi
    apply_harmful
    for name in $CHOSEN; do
        knob_fact "$name" 2
        case $R:$name in
            security:io-uring) ;;
            security:* | advice:*)
                [ -n "$SETS" ] && case $SETS in *" $name="*) continue ;; esac
                die "$name is explained, never set by this tool: see \`ringmill-tune explain $name\`; nothing was changed"
                ;;
        esac
    done
}

# Takes away from CHOSEN what `prove` found to harm.
apply_harmful() {
    local name kept=
    for name in $CHOSEN; do
        if [ -z "$ACCEPT" ] && proof_harms "$name"; then
            warn "$name is left out: $R (apply --accept-harm takes it all the same)"
            REFUSED=1
        else
            kept="$kept$name "
        fi
    done
    CHOSEN=${kept% }
}

# Prints the commands of all items in SCRATCH/plan that differ; false when there are none.
plan_commands() {
    local knob kind target old new state hook note last='' any=1
    while IFS=$TAB read -r knob kind target old new state hook note; do
        [ "$state" = differs ] || continue
        any=0
        if [ "$knob" != "$last" ]; then say "# $knob: $(knob_text "$knob" title)"; fi
        last=$knob
        decode "$target" && target=$R
        decode "$new" && new=$R
        item_command "$kind" "$target" "$new" "$hook"
        say "$R"
    done <"$SCRATCH/plan"
    return $any
}

# Whether all that differs can be written, as far as that can be seen beforehand.
plan_writable() {
    local knob kind target old new state hook note path
    while IFS=$TAB read -r knob kind target old new state hook note; do
        if [ "$state" = unknown ] && [ -n "$ONLY" ]; then
            decode "$note"
            die "$knob: $R; nothing was changed"
        fi
        [ "$state" = differs ] || continue
        decode "$target" && path=$R
        case $kind in
            file | list | mask) [ ! -e "$ROOT$path" ] || writable "$path" || read_only "$path" ;;
            arg | controller) writable "${path%%:*}" || read_only "${path%%:*}" ;;
            text | dir | link)
                path=${path%/*}
                while [ ! -d "$ROOT$path" ]; do path=${path%/*}; done
                writable "$path/" || read_only "$path"
                ;;
        esac
    done <"$SCRATCH/plan"
}
read_only() {
    case $1 in
        /sys/* | /proc/*) die "$ROOT$1 cannot be written: it is mounted read-only, as in a container; run this on the host, or mount -o remount,rw ${ROOT}/${1#/}; nothing was changed" ;;
        *) die "$ROOT$1 cannot be written: its file system is read-only; --except the knob, or remount it; nothing was changed" ;;
    esac
}

# Applies CHOSEN. What one round changes may make room for more (new queues have interrupts), so there are several.
apply_all() {
    local round=1 left
    APPLY=0 APPLIED=0 FAILED=0 MANAGED=0
    rm -f "$SCRATCH/failed"
    knobs_collect "$CHOSEN"
    [ -z "$PERSIST" ] || persist_want
    plan_writable
    while [ "$round" -le 4 ] && plan_commands >"$SCRATCH/commands"; do
        [ -n "$QUIET" ] || cat "$SCRATCH/commands"
        [ "$round" -gt 1 ] || journal_open
        apply_items
        knobs_collect "$CHOSEN"
        [ -z "$PERSIST" ] || persist_want
        plan_drop_failed
        round=$((round + 1))
    done
    # What is still not as wanted and was not refused either: its folder never came, or somebody changes it back.
    left=$(awk -F "$TAB" '$6 == "differs" { print $1 ": " $3 }' "$SCRATCH/plan")
    if [ -n "$left" ]; then
        warn "not as wanted after $((round - 1)) rounds: $left"
        FAILED=$((FAILED + 1))
    fi
    [ "$round" -eq 1 ] || { step && journal_note end && flush "$JOURNAL"; }
    journal_close
    apply_said
}
QUIET=
REFUSED=

# Those that failed once are not tried again in the next round.
plan_drop_failed() {
    [ -e "$SCRATCH/failed" ] || return 0
    awk -F "$TAB" 'FNR == NR { failed[$0] = 1; next } !(($2 FS $3) in failed)' "$SCRATCH/failed" "$SCRATCH/plan" >"$SCRATCH/plan.new"
    mv "$SCRATCH/plan.new" "$SCRATCH/plan"
}

apply_items() {
    local knob kind target old new state hook note raw
    # The plan is read from a copy: reading items may collect texts.
    cp "$SCRATCH/plan" "$SCRATCH/todo"
    while IFS=$TAB read -r knob kind target old new state hook note; do
        [ "$state" = differs ] || continue
        raw=$target
        decode "$target" && target=$R
        decode "$new" && new=$R
        apply_item || printf '%s\t%s\n' "$kind" "$raw" >>"$SCRATCH/failed"
    done <"$SCRATCH/todo"
}

apply_item() {
    case $kind in
        # Gone with a queue, or not come yet: the next round sees.
        file | list | mask) [ -e "$ROOT$target" ] || return 0 ;;
    esac
    if ! item_read "$kind" "$target"; then
        FAILED=$((FAILED + 1))
        warn "$knob: $ROOT$target: ${WHY:-cannot be read}; left as it is"
        return 1
    fi
    old=$R
    ! item_same "$kind" "$old" "$new" || return 0
    step
    journal_want "$knob" "$kind" "$target" "$old" "$new" "$hook"
    [ "$kind" != text ] || [ "$old" = absent ] || old=$STATE/$NUMBER.old
    step
    if item_write "$kind" "$target" "$new" "$hook"; then
        step
        if item_read "$kind" "$target" && item_same "$kind" "$R" "$new"; then
            if [ "$kind" = text ]; then journal_done "$NUMBER.new"; else journal_done "$R"; fi
            step
            APPLIED=$((APPLIED + 1))
            return 0
        fi
        WHY="it reads back as \`$R\`, so it is not claimed"
    fi
    apply_failed
    return 1
}
# Puts back what was there.
apply_failed() {
    local why=$WHY
    case $why in
        # Managed interrupts: EIO, and EPERM from newer kernels.
        *[Ii]nput/output* | *"not permitted"*)
            MANAGED=$((MANAGED + 1))
            case $target in
                /proc/irq/*)
                    why="the kernel manages this interrupt itself"
                    journal_note "managed$TAB$BOOT_ID$TAB$target"
                    ;;
                *) FAILED=$((FAILED + 1)) MANAGED=$((MANAGED - 1)) ;;
            esac
            ;;
        *) FAILED=$((FAILED + 1)) ;;
    esac
    if item_read "$kind" "$target" && ! item_same "$kind" "$R" "$old"; then
        item_write "$kind" "$target" "$old" "$hook" || :
        item_read "$kind" "$target" || R=
    fi
    if item_same "$kind" "$R" "$old"; then
        journal_undone "$NUMBER" "$why"
        if [ -z "$QUIET" ] || [ "$FAILED" -gt 0 ]; then warn "$knob: $target: $why; left at $old"; fi
    else
        warn "$knob: $target: $why; now \`$R\`, was \`$old\`: revert will try again"
    fi
}

apply_said() {
    [ "$FAILED" -eq 0 ] && [ -z "$REFUSED" ] || APPLY=1
    [ -z "$QUIET" ] || return 0
    if [ "$APPLIED$FAILED$MANAGED" = 000 ]; then
        say "nothing to do: profile $PROFILE is as wanted"
    else
        say
        say "$APPLIED changed, $FAILED failed, $MANAGED kept by the kernel. Taken back by: ringmill-tune revert"
    fi
    if [ "$APPLIED" -gt 0 ] && [ -e "$JOURNAL" ] && reboot_needed; then
        say "some of it takes effect at the next boot"
    fi
    if [ "$KIND" = container ]; then
        say "The rest is the host's to do; there: ringmill-tune apply"
    fi
}
reboot_needed() {
    local name
    # shellcheck disable=SC2013 # names of knobs have no spaces
    for name in $(awk -F "$TAB" '$1 == "want" { print $4 }' "$JOURNAL" | sort -u); do
        knob_fact "$name" 4
        [ "$R" != yes ] || return 0
    done
    return 1
}

# A unit that applies the same at each boot, before the server. It is an item like any other.
persist_want() {
    [ -n "$SYSTEMD" ] || die "--persist needs systemd here; run \`ringmill-tune apply\` from whatever starts this system; nothing was changed"
    CURRENT=plan
    want_text /etc/systemd/system/ringmill-tune.service reload <<END
# By ringmill-tune; \`ringmill-tune revert\` takes it back.
[Unit]
Description=Tune this host for ringmill
Before=ringmill.service
After=local-fs.target systemd-modules-load.service network.target irqbalance.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$HOME_DIR/ringmill-tune apply$APPLY_ARGS

[Install]
WantedBy=multi-user.target
END
    want_dirs /etc/systemd/system/multi-user.target.wants
    want link /etc/systemd/system/multi-user.target.wants/ringmill-tune.service ../ringmill-tune.service
}
