# shellcheck shell=dash
# What the host is, and the plan for it: which CPUs are the shards', which everything else's. Only reads.

KERNEL_MIN=5.14

host_look() {
    slurp /proc/sys/kernel/osrelease || die "no /proc/sys/kernel/osrelease: mount proc on ${ROOT}/proc"
    KERNEL=$R
    kernel_at_least "$KERNEL_MIN" ||
        die "kernel $KERNEL is too old: $KERNEL_MIN or newer is needed (the server itself wants 5.19); nothing was changed"
    [ -d "$ROOT/sys/devices/system/cpu" ] || die "no ${ROOT}/sys/devices/system/cpu: mount sysfs on ${ROOT}/sys"
    slurp /proc/sys/kernel/random/boot_id || R=none
    BOOT_ID=$R
    slurp /etc/machine-id || R=none
    MACHINE_ID=$R
    slurp /proc/cmdline || R=
    CMDLINE=" $R "
    DISTRO=$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$ROOT/etc/os-release" 2>/dev/null)
    host_kind
    host_cgroups
    host_loader
    if [ -d "$ROOT/run/systemd/system" ] && tool systemctl; then SYSTEMD=1; else SYSTEMD=; fi
    host_cpus
    host_devices
    profile_choose
    plan_make
}

kernel_at_least() { # MAJOR.MINOR
    local major=${KERNEL%%.*} rest=${KERNEL#*.}
    local minor=${rest%%[!0-9]*}
    [ "$major" -gt "${1%.*}" ] || { [ "$major" -eq "${1%.*}" ] && [ "${minor:-0}" -ge "${1#*.}" ]; }
}

# KIND: metal, vm or container.
host_kind() {
    local file vendor=
    KIND=metal
    for file in sys_vendor product_name; do
        ! slurp "/sys/class/dmi/id/$file" || vendor="$vendor $R"
    done
    case $vendor in
        *.metal*) ;;
        *QEMU* | *KVM* | *VMware* | *Xen* | *VirtualBox* | *"Virtual Machine"* | *"Amazon EC2"* | *Google* | *OpenStack* | *Bochs*)
            KIND=vm
            ;;
        *) ! grep -q '^flags.*[[:space:]]hypervisor' "$ROOT/proc/cpuinfo" 2>/dev/null || KIND=vm ;;
    esac
    MACHINE_KIND=$KIND
    if [ -e "$ROOT/.dockerenv" ] || [ -e "$ROOT/run/.containerenv" ] || [ -e "$ROOT/run/systemd/container" ] ||
        [ -d "$ROOT/var/run/secrets/kubernetes.io" ]; then
        KIND=container
    fi
    [ -z "$AS_HOST" ] || KIND=$MACHINE_KIND
}

host_cgroups() {
    if [ -e "$ROOT/sys/fs/cgroup/cgroup.controllers" ]; then
        CGROUPS=v2
    elif [ -d "$ROOT/sys/fs/cgroup" ]; then
        CGROUPS=v1
    else
        CGROUPS=none
    fi
}

# LOADER: grub (drop-ins and update-grub), entries (files that name a kernel and its arguments: systemd-boot, and
# GRUB on RHEL), none. ENTRIES: those files.
host_loader() {
    local dir file
    LOADER=none ENTRIES=
    for dir in /boot/loader/entries /boot/efi/loader/entries /efi/loader/entries; do
        for file in "$ROOT$dir"/*.conf; do
            case $file in *rescue*) continue ;; esac
            [ ! -f "$file" ] || ENTRIES="$ENTRIES${file#"$ROOT"} "
        done
    done
    if [ -n "$ENTRIES" ]; then
        LOADER=entries
        [ ! -f "$ROOT/etc/kernel/cmdline" ] || ENTRIES="$ENTRIES/etc/kernel/cmdline"
    elif [ -f "$ROOT/etc/default/grub" ] && tool update-grub; then
        LOADER=grub
    fi
}

# ONLINE, NODES (of memory), CORES (the first thread of each physical core), THREADS (a word `cpu:0,16` a core).
host_cpus() {
    local cpu siblings dir
    slurp /sys/devices/system/cpu/online || die "cannot read /sys/devices/system/cpu/online: is this sysfs?"
    expand "$R" || die "/sys/devices/system/cpu/online says \`$R\`, which is no list of CPUs"
    ONLINE=$R CORES='' THREADS=
    slurp /sys/devices/system/cpu/isolated || R=
    expand "$R"
    ISOLATED=$R
    for cpu in $ONLINE; do
        siblings=$cpu
        if slurp "/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list" && expand "$R"; then
            common "$R" "$ONLINE"
            siblings=$R
        fi
        [ "${siblings%% *}" = "$cpu" ] || continue
        CORES="$CORES$cpu "
        compress "$siblings"
        THREADS="$THREADS$cpu:$R "
    done
    NODES=
    for dir in "$ROOT"/sys/devices/system/node/node[0-9]*; do
        [ ! -d "$dir" ] || NODES="$NODES${dir##*node} "
    done
    [ -n "$NODES" ] || NODES=0
}

# The CPUs of node $1.
node_cpus() {
    if slurp "/sys/devices/system/node/node$1/cpulist"; then
        expand "$R"
        common "$R" "$ONLINE"
    else
        R=$ONLINE
    fi
}

# NICS and DISKS: real devices that are there, unless they were named.
host_devices() {
    local dir name found=
    for name in $(words "$NICS"); do
        [ -d "$ROOT/sys/class/net/$name" ] || die "--nic $name: there is none in /sys/class/net; nothing was changed"
    done
    for name in $(words "$DISKS"); do
        [ -d "$ROOT/sys/block/$name/queue" ] || die "--disk $name: there is none in /sys/block; nothing was changed"
    done
    if [ -z "$NICS" ]; then
        for dir in "$ROOT"/sys/class/net/*; do
            [ -e "$dir/device" ] || continue
            slurp "/sys/class/net/${dir##*/}/operstate" || R=unknown
            [ "$R" = down ] || found="$found${dir##*/} "
        done
        NICS=$found
    fi
    found=
    if [ -z "$DISKS" ]; then
        for dir in "$ROOT"/sys/block/*; do
            name=${dir##*/}
            case $name in loop* | ram* | zram* | dm-* | md* | sr* | fd* | nbd*) continue ;; esac
            [ ! -e "$dir/device" ] || [ ! -d "$dir/queue" ] || found="$found$name "
        done
        DISKS=$found
    fi
    NICS=$(words "$NICS") DISKS=$(words "$DISKS")
}
words() {
    printf '%s' "$1" | sed 's/[,[:space:]]\{1,\}/ /g; s/^ //; s/ $//'
}

profile_choose() {
    local fit=latency
    case $KIND in
        vm) fit=vm ;;
        container) fit=container ;;
    esac
    case $PROFILE in
        '') PROFILE=$fit ;;
        latency | throughput | vm | container) ;;
        *) die "unknown profile \`$PROFILE\`; there are latency, throughput, vm and container; nothing was changed" ;;
    esac
}

# HOUSE the system's CPUs, HELPER those of the server's other threads, EXEC one a shard, IDLE their siblings.
plan_make() {
    case $LAYOUT in auto | local | split) ;; *) die "--layout $LAYOUT: local, split or auto" ;; esac
    case $ISOLATION in auto | partition | isolcpus | none) ;; *) die "--isolation $ISOLATION: partition, isolcpus, none or auto" ;; esac
    journal_plan
    local given=$EXECUTORS
    PLAN_WHY=chosen
    [ -z "$EXECUTORS" ] || PLAN_WHY="as named"
    if [ -z "$EXECUTORS" ] && [ -n "$PLANNED" ]; then
        given=$PLANNED PLAN_WHY="as applied before"
    elif [ -z "$EXECUTORS" ] && [ -n "$ISOLATED" ]; then
        compress "$ISOLATED"
        given=$R PLAN_WHY="isolated already"
    fi
    HELPER=
    if [ -n "$given" ]; then
        expand "$given" || die "--executors $given is no list of CPUs; write it like 2-7,10"
        EXEC=$R
        without "$EXEC" "$ONLINE"
        [ -z "$R" ] || [ -z "$EXECUTORS" ] || die "--executors $given: not online: $R; nothing was changed"
        # One that went offline since is no reason to refuse what is left, least of all to revert.
        common "$EXEC" "$ONLINE"
        EXEC=$R
        [ -n "$EXEC" ] || plan_executors
    else
        plan_executors
    fi
    plan_rest
    plan_isolation
}

# One core in eight, and one of each node, stays the system's; the next one is for the server's other threads.
plan_executors() {
    local n node kept=0 want=0 cpus
    count "$CORES"
    n=$R
    if [ "$n" -le 1 ]; then
        EXEC=$ONLINE
        return
    fi
    HOUSE=
    for node in $NODES; do
        node_cpus "$node"
        common "$CORES" "$R"
        cpus=$R
        count "$cpus"
        want=$(((R + 7) / 8)) kept=0
        # A node keeps at least one core, but two cores in all are shared between system and shards.
        for cpus in $cpus; do
            [ "$kept" -ge "$want" ] || HOUSE="$HOUSE$cpus "
            kept=$((kept + 1))
        done
    done
    without "$CORES" "$HOUSE"
    EXEC=$R
    if [ -z "$EXEC" ]; then
        EXEC=${HOUSE#* } HOUSE=${HOUSE%% *}
        EXEC=${EXEC% }
    fi
    count "$EXEC"
    if [ "$R" -ge 3 ]; then
        HELPER=${EXEC%% *} EXEC=${EXEC#* }
    fi
}

plan_rest() {
    local word cpu all=
    if [ -n "$PLANNED_HELPER" ] && [ "$PLAN_WHY" = "as applied before" ]; then HELPER=$PLANNED_HELPER; fi
    IDLE=
    for word in $THREADS; do
        expand "${word#*:}"
        for cpu in $EXEC; do
            among "$cpu" "$R" || continue
            all="$all$R "
            break
        done
    done
    without "$all" "$EXEC"
    IDLE=$R
    without "$ONLINE" "$EXEC $IDLE $HELPER"
    HOUSE=$R
    [ -n "$HOUSE" ] || HOUSE=$ONLINE
    if [ -z "$HELPER" ] && [ -n "$EXECUTORS" ]; then
        count "$HOUSE"
        [ "$R" -lt 3 ] || { HELPER=${HOUSE##* } && without "$HOUSE" "$HELPER" && HOUSE=$R; }
    fi
    compress "$EXEC" && EXEC_LIST=$R
    compress "$HOUSE" && HOUSE_LIST=$R
    compress "$IDLE" && IDLE_LIST=$R
    sorted_union "$HELPER $EXEC" && compress "$R" && PART_LIST=$R
    sorted_union "$HOUSE $HELPER" && compress "$R" && OTHER_LIST=$R
}
sorted_union() {
    local cpu out=
    for cpu in $ONLINE; do ! among "$cpu" "$1" || out="$out$cpu "; done
    R=${out% }
}

# ISOLATION: how the shards' CPUs are kept free. A partition works at once; it needs cgroup v2, kernel 6.1 and a
# CPU for the server's other threads, for all of them live inside.
plan_isolation() {
    local cpu
    APART=1
    for cpu in $EXEC; do
        if among "$cpu" "$HOUSE"; then APART=; fi
    done
    [ "$ISOLATION" = auto ] || return 0
    if [ -z "$APART" ]; then
        ISOLATION=none
    elif [ -n "$ISOLATED" ] && [ -z "$PLANNED" ]; then
        ISOLATION=isolcpus
    elif [ "$CGROUPS" = v2 ] && kernel_at_least 6.1 && [ -n "$HELPER" ]; then
        ISOLATION=partition
    else
        ISOLATION=isolcpus
    fi
}
