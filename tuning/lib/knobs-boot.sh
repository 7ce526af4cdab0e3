# shellcheck shell=dash
# Kernel arguments. Each knob has a drop-in of its own for GRUB, or a word in each boot entry, so that one can be
# taken back without the others. Arguments that somebody else has set are left alone.

want_boot() { # ARGUMENT
    local file key=${1%%=*}
    case $CMDLINE in
        *" $1 "*) if ! boot_ours "$1"; then advise "$1" "$1" "set already, and not by this tool" && return; fi ;;
        *" $key="* | *" $key "*)
            advise "${CMDLINE#* "$key"}" "$1" "the kernel runs with another $key, which is not ours: change it where it was set"
            return
            ;;
    esac
    case $LOADER in
        grub)
            boot_taken "$key" && return
            want_text "/etc/default/grub.d/90-ringmill-$CURRENT-$key.cfg" grub <<END
# By ringmill-tune; \`ringmill-tune revert --only $CURRENT\` takes it back.
GRUB_CMDLINE_LINUX="\$GRUB_CMDLINE_LINUX $1"
END
            ;;
        entries) for file in $ENTRIES; do want arg "$file:$1" present; done ;;
        none) skip "no GRUB drop-ins and no boot entries are here: add \`$1\` to the kernel's arguments by hand" ;;
    esac
}
boot_ours() {
    [ -e "$JOURNAL" ] && grep -q -F -e ":$1$TAB" -e "90-ringmill-$CURRENT-${1%%=*}.cfg$TAB" "$JOURNAL"
}
# The same argument in the system's own GRUB configuration.
boot_taken() {
    grep -q "^GRUB_CMDLINE_LINUX.*[\" ]$1[= \"]" "$ROOT/etc/default/grub" 2>/dev/null || return 1
    advise "in /etc/default/grub" "one $1" "/etc/default/grub sets $1 already: change it there"
}

knob_isolcpus() {
    if [ "$ISOLATION" != isolcpus ] && ! among isolcpus "$(words "$ONLY")"; then
        skip "the CPUs are kept free by: $ISOLATION (see --isolation)"
    elif [ -z "$APART" ]; then
        skip "no CPU can be spared"
    elif [ -n "$ISOLATED" ] && [ -z "$PLANNED" ]; then
        compress "$ISOLATED"
        advise "$R" "$R" "isolated already"
    else
        sorted_union "$EXEC $IDLE"
        compress "$R"
        want_boot "isolcpus=managed_irq,domain,$R"
    fi
}
knob_irqaffinity() {
    if [ -z "$APART" ]; then skip "no CPU can be spared"; else want_boot "irqaffinity=$OTHER_LIST"; fi
}
knob_nohz_full() {
    if [ -z "$APART" ]; then
        skip "no CPU can be spared"
    else
        want_boot "nohz_full=$EXEC_LIST"
        want_boot "rcu_nocbs=$EXEC_LIST"
    fi
}
knob_skew_tick() {
    want_boot skew_tick=1
}
