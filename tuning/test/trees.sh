# shellcheck shell=dash
# The whole way on nine hosts, and what is decided there.

there_and_back() { # DISTRO SHAPE
    local name="$1 $2"
    tree "$1" "$2"
    exits 0 "$name: apply" apply
    exits 0 "$name: apply again" apply
    says '^nothing to do'
    exits 0 "$name: revert" revert
    same "$name: revert"
}
whole_way() { # DISTRO SHAPE
    local name="$1 $2"
    tree "$1" "$2"
    exits 1 "$name: check finds differences" check
    same "$name: check changes nothing"
    exits 1 "$name: check as JSON" check --json
    if command -v jq >/dev/null; then ok "$name: JSON" jq -e '.knobs | length > 40' "$WORK/out"; fi
    exits 0 "$name: dry run" apply --dry-run
    cp "$WORK/out" "$WORK/dry"
    same "$name: a dry run changes nothing"
    exits 0 "$name: script" apply --script
    ok "$name: the script can be parsed" dash -n "$WORK/out"
    same "$name: a script changes nothing"
    exits 0 "$name: apply" apply
    grep -v '^ringmill-tune' "$WORK/out" | head -n "$(wc -l <"$WORK/dry")" >"$WORK/begin"
    ok "$name: apply prints first what the dry run printed" cmp "$WORK/dry" "$WORK/begin"
    exits 0 "$name: check is content" check
    cp -a "$ROOT" "$WORK/applied"
    exits 0 "$name: apply again" apply
    says '^nothing to do'
    ok "$name: apply twice is apply once" diff -r -x ringmill-tune --no-dereference "$WORK/applied" "$ROOT"
    rm -rf "$WORK/applied"
    exits 0 "$name: status" status
    says ' 0 not as applied'
    exits 0 "$name: revert" revert
    same "$name: revert"
    exits 0 "$name: revert again" revert
    says '^nothing is applied'
    exits 0 "$name: status of nothing" status
}

if group trees; then
    whole_way debian12 vm
    there_and_back debian12 metal
    there_and_back debian12 container
    SH=busybox_sh
    whole_way ubuntu2404 metal
    there_and_back ubuntu2404 vm
    whole_way ubuntu2404 container
    SH=bash_sh
    there_and_back rhel9 vm
    there_and_back rhel9 metal
    there_and_back rhel9 container
    SH=dash
    tree debian12 metal
    exits 0 "profile throughput" apply --profile throughput
    silent 'cpuset.cpus.partition'
    silent pm_qos
    exits 0 "revert of throughput" revert
    same "profile throughput"
fi

if group decisions; then
    tree debian12 metal
    exits 0 "apply" apply
    # Queues on the card's node only, the system's CPUs on both nodes, siblings idle.
    is /proc/irq/65/smp_affinity_list 9
    is /proc/irq/64/smp_affinity_list 0,8,16-17,24
    is /proc/irq/1/smp_affinity_list 0,8,16-17,24
    is /proc/irq/40/smp_affinity_list 0
    is /sys/class/net/eth0/queues/tx-1/xps_cpus 00000400
    is /.ethtool/eth0.channels "combined 7${NL:=
}maximum 16"
    is /sys/fs/cgroup/ringmill.slice/cpuset.cpus.partition isolated
    is /sys/fs/cgroup/ringmillidle.slice/cpuset.cpus 18-23,25-31
    is /sys/devices/system/cpu/cpu9/power/pm_qos_resume_latency_us 2
    is /sys/devices/system/cpu/cpu0/power/pm_qos_resume_latency_us 0
    is /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor powersave
    is /sys/devices/system/machinecheck/machinecheck3/ignore_ce 0
    ok "GRUB knows skew_tick" grep -q 'skew_tick=1' "$ROOT/boot/grub/grub.cfg"
    ok "no isolcpus beside a partition" sh -c "! grep -rq isolcpus '$ROOT/etc'"
    tree debian12 metal
    exits 0 "split" apply --only nic-irqs --layout split
    is /proc/irq/65/smp_affinity_list 0
    exits 0 "isolcpus by name" apply --only isolcpus
    ok "isolcpus in GRUB" grep -q 'isolcpus=managed_irq,domain,2-7,9-15,18-23,25-31' "$ROOT/boot/grub/grub.cfg"
    exits 0 "waits for the boot" status
    says waits
    exits 0 "one knob back" revert --only isolcpus
    is /proc/irq/65/smp_affinity_list 0
    exits 0 "all back" revert
    same "revert knob by knob"
    tree rhel9 metal
    exits 0 "boot entries" apply --only isolcpus,smt,turbo,machinecheck,soft-watchdog,hugepages --set hugepages=64
    ok "an argument in each entry" grep -q 'options root=UUID=1 ro quiet isolcpus=' "$ROOT/boot/loader/entries/m-older.conf"
    ok "none in the rescue entry" sh -c "! grep -q isolcpus '$ROOT/boot/loader/entries/m-0-rescue.conf'"
    is /etc/kernel/cmdline 'root=UUID=1 ro quiet isolcpus=managed_irq,domain,2-7,9-15,18-23,25-31'
    is /sys/devices/system/cpu/cpu18/online 0
    is /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages 64
    exits 0 "boot entries back" revert
    same "boot entries"
    tree ubuntu2404 vm
    sed -i 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="skew_tick=1"/' "$ROOT/etc/default/grub"
    exits 0 "somebody's own argument is left" apply --only skew-tick
    says 'nothing to do'
    echo 5000000 >"$ROOT/proc/sys/vm/dirty_bytes"
    exits 0 "bytes set by somebody are left" apply --only dirty
    says 'nothing to do'
    tree debian12 vm
    rm -rf "$ROOT/run/systemd"
    exits 0 "partition without systemd" apply --only partition
    is /sys/fs/cgroup/cgroup.subtree_control 'cpuset cpu io memory pids'
    is /sys/fs/cgroup/ringmill.slice/cpuset.cpus 1-3
    exits 0 "back" revert
    ok "partition without systemd" diff -r "$ORIG/sys" "$ROOT/sys"
    tree ubuntu2404 vm
    echo 2 >"$ROOT/proc/sys/kernel/io_uring_disabled"
    echo -1 >"$ROOT/proc/sys/kernel/io_uring_group"
    exits 2 "no group" apply --only io-uring
    echo 'ringmill:x:998:' >"$ROOT/etc/group"
    exits 0 "io_uring for one group" apply --only io-uring
    is /proc/sys/kernel/io_uring_disabled 1
    is /proc/sys/kernel/io_uring_group 998
fi

if group persist; then
    tree debian12 vm
    exits 0 "persist" apply --persist --only swappiness,limits --set swappiness=1
    is /proc/sys/vm/swappiness 1
    ok "unit" grep -q 'ExecStart=.*/ringmill-tune apply --only swappiness,limits --set swappiness=1$' "$ROOT/etc/systemd/system/ringmill-tune.service"
    ok "enabled" test -L "$ROOT/etc/systemd/system/multi-user.target.wants/ringmill-tune.service"
    reboot
    exits 1 "the boot undid it" status
    says 'reboot'
    exits 0 "as the unit does" apply --only swappiness,limits --set swappiness=1
    is /proc/sys/vm/swappiness 1
    exits 0 "kept" status
    exits 0 "all back" revert
    echo 11111111-2222-3333-4444-555555555555 >"$ROOT/proc/sys/kernel/random/boot_id"
    same "persist"
fi

if group script; then
    # The script by itself does what apply does; its paths are moved under the tree.
    tree rhel9 vm
    exits 0 "script" apply --script --only limits,swappiness,dirty,xps,skew-tick
    sed -e "s#\([> ]\)/\(etc\|proc\|sys\|boot\)/#\1$ROOT/\2/#g" -e '/^systemctl/d' "$WORK/out" >"$WORK/script"
    ok "it runs" dash -e "$WORK/script"
    cp -a "$ROOT" "$WORK/scripted"
    tree rhel9 vm
    exits 0 "apply" apply --only limits,swappiness,dirty,xps,skew-tick
    rm -rf "$ROOT/var/lib/ringmill-tune"
    ok "script and apply agree" diff -r "$WORK/scripted" "$ROOT"
    rm -rf "$WORK/scripted"
fi
