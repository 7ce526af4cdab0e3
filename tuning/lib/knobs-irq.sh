# shellcheck shell=dash
# Interrupts: the network's queues to the CPUs that serve them, everything else to the system's.

# The interrupts of device $1 in order, `IRQ:QUEUE` each; QUEUE is - for those that are no queue.
nic_irqs() {
    local dir irq name queue next=0 out='' list=
    for dir in "$ROOT/sys/class/net/$1/device/msi_irqs" "$ROOT/sys/class/net/$1/device/../msi_irqs"; do
        [ -d "$dir" ] || continue
        list=$(cd -P "$dir" && printf '%s\n' * | sort -n)
        break
    done
    for irq in $list; do
        irq_name "$irq" || continue
        name=${R%%@*}
        case $name in
            *config* | *mgmnt* | *mgmt* | *async* | *control* | *ctrl* | *cmd* | *event* | *fdir*) queue=- ;;
            *[0-9])
                queue=${name##*[!0-9]}
                # Names as virtio0 end with the device's number, not the queue's.
                case $name in virtio[0-9] | virtio[0-9][0-9]) queue=- ;; esac
                ;;
            *) queue=$next && next=$((next + 1)) ;;
        esac
        out="$out$irq:$queue "
    done
    R=$out
}
# The name under which interrupt $1 is handled, if it is.
irq_name() {
    local dir
    for dir in "$ROOT/proc/irq/$1"/*/; do
        [ -d "$dir" ] || continue
        dir=${dir%/}
        R=${dir##*/}
        return 0
    done
    return 1
}

# The shards' CPUs in the order in which queues of device $1 are given to them: those of its node first.
nic_cpus() {
    local node near
    slurp "/sys/class/net/$1/device/numa_node" || R=-1
    node=$R
    case $node in '' | -*) R=$EXEC && return ;; esac
    node_cpus "$node"
    common "$EXEC" "$R"
    near=$R
    [ -n "$near" ] || near=$EXEC
    R=$near
}

# local or split for device $1: local when there is a queue for each shard that is near it.
nic_layout() {
    local queues
    R=$LAYOUT
    [ "$LAYOUT" = auto ] || return 0
    nic_queues "$1"
    queues=$R
    nic_cpus "$1"
    count "$R"
    if [ "$queues" -ge "$R" ]; then R="local"; else R="split"; fi
}
# How many queues device $1 receives on, after knob `queues` had its way.
nic_queues() {
    local dir n=0
    for dir in "$ROOT/sys/class/net/$1/queues"/rx-*; do
        [ ! -d "$dir" ] || n=$((n + 1))
    done
    R=$n
}

knob_irq_default() {
    [ -n "$APART" ] || { skip "no CPU can be spared" && return; }
    [ -e "$ROOT/proc/irq/default_smp_affinity" ] || { skip "no /proc/irq here" && return; }
    to_mask "$HOUSE"
    want mask /proc/irq/default_smp_affinity "$R"
}

knob_nic_irqs() {
    local nic pair cpus n=0 found='' layout
    for nic in $NICS; do
        nic_layout "$nic"
        layout=$R
        if [ "$layout" = local ]; then nic_cpus "$nic"; else R=$HOUSE; fi
        cpus=$R
        count "$cpus"
        n=$R
        nic_irqs "$nic"
        for pair in $R; do
            [ -e "$ROOT/proc/irq/${pair%:*}/smp_affinity_list" ] || continue
            found=1
            case ${pair#*:} in
                -) R=$HOUSE_LIST ;;
                *) nth "$cpus" $((${pair#*:} % n)) ;;
            esac
            want list "/proc/irq/${pair%:*}/smp_affinity_list" "$R"
        done
    done
    [ -n "$found" ] || skip "no network device with interrupts of its own"
}

# Interrupts that the kernel manages itself (NVMe) refuse to move; that is reported, and no failure.
knob_irqs() {
    local dir irq nic mine=
    [ -n "$APART" ] || { skip "no CPU can be spared" && return; }
    for nic in $NICS; do
        nic_irqs "$nic"
        mine="$mine$R"
    done
    for dir in "$ROOT"/proc/irq/[0-9]*; do
        irq=${dir##*/}
        case " $mine" in *" $irq:"*) continue ;; esac
        [ -e "$dir/smp_affinity_list" ] || continue
        irq_name "$irq" || continue
        if among "/proc/irq/$irq/smp_affinity_list" "$KEPT"; then
            skip "$irq ($R): the kernel manages this interrupt itself"
            continue
        fi
        want list "/proc/irq/$irq/smp_affinity_list" "$HOUSE_LIST"
    done
}

# irqbalance would undo all of this: it is told to leave the shards' CPUs and the network's interrupts alone. Which
# variable its unit hands on as arguments differs between distributions, so the unit is asked.
knob_irqbalance() {
    local file='' unit variable=IRQBALANCE_ARGS args='' nic pair bans=
    for file in /etc/default/irqbalance /etc/sysconfig/irqbalance ''; do
        [ -z "$file" ] || [ ! -e "$ROOT$file" ] || break
    done
    [ -n "$file" ] || { skip "irqbalance is not installed" && return; }
    [ -n "$APART" ] || { skip "no CPU can be spared" && return; }
    for unit in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        [ -e "$ROOT$unit/irqbalance.service" ] || continue
        R=$(sed -n 's/^ExecStart=.*\$[{]\{0,1\}\([A-Z_][A-Z_]*\).*/\1/p' "$ROOT$unit/irqbalance.service")
        [ -z "$R" ] || variable=$R
        break
    done
    args=$(sed -n '/^# ringmill-tune: begin/,/^# ringmill-tune: end/d; s/^'"$variable"'=//p' "$ROOT$file" | tail -n 1 | tr -d "\"'")
    for nic in $NICS; do
        nic_irqs "$nic"
        for pair in $R; do bans="$bans --banirq=${pair%:*}"; done
    done
    TEXTS=$((TEXTS + 1))
    sorted_union "$EXEC $IDLE"
    compress "$R"
    cp -p "$ROOT$file" "$SCRATCH/text.$TEXTS"
    {
        sed '/^# ringmill-tune: begin/,/^# ringmill-tune: end/d' "$ROOT$file"
        echo "# ringmill-tune: begin"
        echo "IRQBALANCE_BANNED_CPULIST=$R"
        args=$args$bans
        echo "$variable=\"${args# }\""
        echo "# ringmill-tune: end"
    } >"$SCRATCH/text.$TEXTS"
    want text "$file" "$SCRATCH/text.$TEXTS" irqbalance
}
