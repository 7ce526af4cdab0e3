# shellcheck shell=dash
# Timers, watchdogs, clocks, disks, limits, and what is only explained.

knob_timers() {
    want_sysctl kernel.timer_migration 0
}
knob_nmi_watchdog() {
    want_sysctl kernel.nmi_watchdog 0
}
knob_soft_watchdog() {
    want_sysctl kernel.soft_watchdog 0
}
knob_rt_runtime() {
    slurp /proc/sys/kernel/sched_rt_runtime_us || R='not shown'
    advise "$R" "950000" "left: with -1 a spinning real-time thread starves the kernel's own"
}
knob_clocksource() {
    local dir=/sys/devices/system/clocksource/clocksource0
    slurp "$dir/available_clocksource" || { skip "no clock sources are shown here" && return; }
    if among tsc "$R"; then
        want file "$dir/current_clocksource" tsc
    else
        local have=$R
        slurp "$dir/current_clocksource" || R='?'
        case $R in
            arch_sys_counter) advise "$R" "$R" "right for Arm" ;;
            *) advise "$R" "tsc" "the kernel offers only $have: the TSC was found unstable, or the hypervisor hides it" ;;
        esac
    fi
}

# NVMe and virtio need no scheduler; completions come to the CPU that asked; writes are not held back.
knob_disk() {
    local disk dir
    [ -n "$DISKS" ] || { skip "no disk of its own is here" && return; }
    for disk in $DISKS; do
        dir=/sys/block/$disk/queue
        slurp "$dir/rotational" || R=0
        case $R:$disk in
            1:sd* | 1:hd*) skip "$disk turns: its scheduler is left" && continue ;;
        esac
        slurp "$dir/scheduler" || R=
        case " $R " in *none*) want file "$dir/scheduler" none ;; esac
        [ ! -e "$ROOT$dir/rq_affinity" ] || want file "$dir/rq_affinity" 2
        if slurp "$dir/wbt_lat_usec"; then want file "$dir/wbt_lat_usec" 0; fi
        [ ! -e "$ROOT$dir/add_random" ] || want file "$dir/add_random" 0
    done
}

# Locked memory for the rings, descriptors for the connections: for the unit, and for who logs in as its user.
knob_limits() {
    want_least /proc/sys/fs/nr_open 1048576
    if [ -d "$ROOT/etc/systemd/system" ]; then
        want_text /etc/systemd/system/ringmill.service.d/90-ringmill-tune.conf reload <<'END'
# By ringmill-tune; `ringmill-tune revert --only limits` takes it back.
[Service]
LimitMEMLOCK=infinity
LimitNOFILE=1048576
END
    fi
    want_text /etc/security/limits.d/90-ringmill-tune.conf <<'END'
# By ringmill-tune; `ringmill-tune revert --only limits` takes it back.
ringmill soft memlock unlimited
ringmill hard memlock unlimited
ringmill soft nofile 1048576
ringmill hard nofile 1048576
END
}
knob_io_uring() {
    local path=/proc/sys/kernel/io_uring_disabled now group
    slurp $path || { advise "allowed" "allowed" "this kernel has no switch for it (6.6 has)" && return; }
    now=$R
    if ! among io-uring "$(words "$ONLY")"; then
        case $now in
            0) advise 0 0 "allowed to everybody" ;;
            1) advise 1 1 "allowed to the group kernel.io_uring_group; the server's user must be in it" ;;
            *) advise "$now" 1 "forbidden to all: the server cannot run. Whoever owns the risk decides: apply --only io-uring" ;;
        esac
        return
    fi
    [ "$now" = 2 ] || { skip "allowed already ($now)" && return; }
    group=$(awk -F : '$1 == "ringmill" { print $3 }' "$ROOT/etc/group" 2>/dev/null)
    [ -n "$group" ] || die "io-uring: there is no group ringmill to allow it to; install the package first; nothing was changed"
    want_sysctl kernel.io_uring_group "$group"
    want_sysctl kernel.io_uring_disabled 1
}
knob_seccomp() {
    advise "per container" "three io_uring calls allowed" "Docker 25, containerd 2 and Podman block io_uring: run with the profile in deploy/"
}
knob_audit() {
    local now=off
    if [ -d "$ROOT/etc/audit" ]; then now="auditd is installed"; fi
    case $CMDLINE in *" audit=0 "*) now="audit=0" ;; esac
    advise "$now" "no rules on system calls" "whoever answers for compliance decides: auditctl -l lists the rules"
}
