# shellcheck shell=dash
# CPUs: who may run on them, how deep they sleep, how fast they go.

# Which CPUs are whose, for the server's unit.
knob_plan() {
    want_text /etc/ringmill/cores.env <<END
# By ringmill-tune; \`ringmill-tune revert --only plan\` takes it back.
RINGMILL_CORES=$EXEC_LIST
END
}

knob_partition() {
    if [ "$ISOLATION" != partition ]; then
        skip "the CPUs are kept free by: $ISOLATION (see --isolation)"
    elif [ "$CGROUPS" != v2 ]; then
        skip "cgroups are $CGROUPS here: a partition needs v2 (boot with systemd.unified_cgroup_hierarchy=1, or use --isolation isolcpus)"
    elif ! kernel_at_least 6.1; then
        skip "kernel $KERNEL has no isolated partitions (6.1 has): use --isolation isolcpus"
    elif [ -z "$HELPER" ]; then
        skip "too few CPUs: the server's other threads live in the partition as well and need one of their own"
    else
        partition_of ringmill "$PART_LIST" "The CPUs of ringmill, kept free of everything else"
        [ -z "$IDLE" ] || partition_of ringmillidle "$IDLE_LIST" "The siblings of ringmill's CPUs, on which nothing runs"
    fi
}
# A slice of its own. systemd takes back what it did not make itself, so where it rules it makes it.
# No `-` in the names: for systemd that would put one slice into the other.
partition_of() { # NAME CPUS DESCRIPTION
    local slice=$1.slice base=/sys/fs/cgroup
    if [ -n "$SYSTEMD" ]; then
        want_text "/etc/systemd/system/$slice" reload <<END
# By ringmill-tune; \`ringmill-tune revert --only partition\` takes it back.
[Unit]
Description=$3

[Slice]
AllowedCPUs=$2
END
        want unit "$slice" active
        want_there list "$base/$slice/cpuset.cpus" "$2"
    else
        want controller $base/cgroup.subtree_control:cpuset present
        want dir "$base/$slice" there
        want_there list "$base/$slice/cpuset.cpus" "$2"
    fi
    want_there file "$base/$slice/cpuset.cpus.partition" isolated
}
# Something that only exists after an item before it.
want_there() { # KIND TARGET VALUE
    if [ -e "$ROOT$2" ]; then want "$@"; else plan_line "$1" "$2" "" "$3" differs - "comes with its folder"; fi
}

knob_smt() {
    local cpu
    [ -n "$IDLE" ] || { skip "no sibling threads beside the shards" && return; }
    for cpu in $IDLE; do want file "/sys/devices/system/cpu/cpu$cpu/online" 0; done
}

# The largest exit latency allowed, on the shards' CPUs only: that of C1. 0 would say: whatever you like.
knob_cstates() {
    local cpu state latency deepest dir=/sys/devices/system/cpu
    if [ ! -d "$ROOT$dir/cpu0/cpuidle/state1" ]; then
        skip "no idle states are shown here (in a virtual machine the host has them)"
        return
    fi
    for cpu in $EXEC; do
        deepest=1
        for state in "$ROOT$dir/cpu$cpu/cpuidle"/state[1-9]*; do
            slurp "${state#"$ROOT"}/name" || R=
            case $R in C1 | C1E | C1_ACPI | POLL | *HLT* | WFI | haltpoll*) ;; *) continue ;; esac
            [ "$R" != C1E ] || continue
            slurp "${state#"$ROOT"}/latency" || continue
            latency=$R
            [ "$latency" -le "$deepest" ] || deepest=$latency
        done
        chosen_number "$deepest"
        want file "$dir/cpu$cpu/power/pm_qos_resume_latency_us" "$R"
    done
}

knob_governor() {
    local cpu dir found=
    for cpu in $EXEC; do
        dir=/sys/devices/system/cpu/cpu$cpu/cpufreq
        [ -e "$ROOT$dir/scaling_governor" ] || continue
        found=1
        want file "$dir/scaling_governor" performance
        if [ -e "$ROOT$dir/energy_performance_preference" ]; then
            want file "$dir/energy_performance_preference" performance
        fi
    done
    [ -n "$found" ] || skip "no frequency scaling is shown here (in a virtual machine the host has it)"
}

knob_turbo() {
    local dir=/sys/devices/system/cpu
    chosen_value off
    case $R in on | off) ;; *) die "--set turbo=$R: on or off; nothing was changed" ;; esac
    if [ -e "$ROOT$dir/intel_pstate/no_turbo" ]; then
        if [ "$R" = off ]; then want file $dir/intel_pstate/no_turbo 1; else want file $dir/intel_pstate/no_turbo 0; fi
    elif [ -e "$ROOT$dir/cpufreq/boost" ]; then
        if [ "$R" = off ]; then want file $dir/cpufreq/boost 0; else want file $dir/cpufreq/boost 1; fi
    else
        skip "no turbo switch is shown here"
    fi
}

knob_workqueues() {
    local file mask found=
    [ -n "$APART" ] || { skip "no CPU can be spared" && return; }
    to_mask "$HOUSE"
    mask=$R
    for file in /sys/devices/virtual/workqueue/cpumask /sys/devices/virtual/workqueue/writeback/cpumask; do
        [ -e "$ROOT$file" ] || continue
        found=1
        want mask $file "$mask"
    done
    [ -n "$found" ] || skip "this kernel shows no masks of workqueues"
}

knob_machinecheck() {
    local dir found=
    for dir in "$ROOT"/sys/devices/system/machinecheck/machinecheck[0-9]*; do
        [ -e "$dir/ignore_ce" ] || continue
        found=1
        want file "${dir#"$ROOT"}/ignore_ce" 1
    done
    [ -n "$found" ] || skip "no machine check settings are shown here"
}

knob_mitigations() {
    local file bad=0 now=
    for file in "$ROOT"/sys/devices/system/cpu/vulnerabilities/*; do
        [ -e "$file" ] || continue
        slurp "${file#"$ROOT"}" || continue
        case $R in Vulnerable*) bad=$((bad + 1)) ;; esac
    done
    case $CMDLINE in *" mitigations="*) now=${CMDLINE#* mitigations=} && now="mitigations=${now%% *}, " ;; esac
    advise "${now}$bad unmitigated" "as they are" "whoever owns the risk decides, and sets mitigations= by hand"
}
knob_firmware() {
    local file now=
    for file in bios_vendor bios_version bios_date; do
        ! slurp "/sys/class/dmi/id/$file" || now="$now$R "
    done
    advise "${now:-not shown}" "performance" "power profile, sub-NUMA and SMIs are set in the firmware; \`hwlatdetect\` finds SMIs"
}
