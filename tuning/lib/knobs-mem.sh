# shellcheck shell=dash
# Memory: huge pages, what moves pages about, when dirty ones are written.

knob_thp() {
    chosen_value madvise
    case $R in always | madvise | never) ;; *) die "--set thp=$R: always, madvise or never; nothing was changed" ;; esac
    if [ -e "$ROOT/sys/kernel/mm/transparent_hugepage/enabled" ]; then
        want file /sys/kernel/mm/transparent_hugepage/enabled "$R"
        # Without waiting for memory to be moved together, except where it was asked for.
        want file /sys/kernel/mm/transparent_hugepage/defrag madvise
    else
        skip "this kernel has no transparent huge pages"
    fi
}
knob_hugepages() {
    local node pages path size=2048
    chosen_value ''
    if [ -z "$R" ]; then
        slurp /proc/sys/vm/nr_hugepages || R='none'
        advise "$R" "as they are" "the server asks for transparent ones (MADV_HUGEPAGE); a pool a node is made by --set hugepages=N"
        return
    fi
    chosen_number 0
    pages=$R
    for node in $NODES; do
        path=/sys/devices/system/node/node$node/hugepages/hugepages-${size}kB/nr_hugepages
        [ -e "$ROOT$path" ] || { skip "no pool of $size kB pages on node $node" && continue; }
        want file "$path" "$pages"
    done
}
knob_numa() {
    want_sysctl kernel.numa_balancing 0
    want_sysctl vm.zone_reclaim_mode 0
    # 2 would unmerge all at once; 0 stops, and leaves what is merged.
    if [ -e "$ROOT/sys/kernel/mm/ksm/run" ]; then want file /sys/kernel/mm/ksm/run 0; fi
}
knob_swappiness() {
    chosen_number 10
    want_sysctl vm.swappiness "$R"
}
# Setting one of ratio and bytes erases the other, so whoever set bytes is not overruled.
knob_dirty() {
    local name
    for name in dirty_bytes dirty_background_bytes; do
        slurp /proc/sys/vm/$name || R=0
        [ "$R" = 0 ] || { advise "vm.$name = $R" "as it is" "set in bytes by somebody; changing the ratio would erase it" && return; }
    done
    want_sysctl vm.dirty_ratio 10
    want_sysctl vm.dirty_background_ratio 3
}
knob_stat_interval() {
    want_sysctl vm.stat_interval 10
}
