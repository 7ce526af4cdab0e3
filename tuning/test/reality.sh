# shellcheck shell=dash
# Hosts that do not do as they are told.

if group deaf; then
    tree debian12 vm
    echo /proc/sys/vm/swappiness >"$ROOT/.deaf"
    exits 1 "what does not read back is not claimed" apply --only swappiness,stat-interval
    says 'so it is not claimed'
    exits 0 "the other is" status
    silent swappiness
    says 'stat-interval *kept'
    exits 0 "revert" revert
    rm "$ROOT/.deaf"
    same "deaf"
    tree debian12 vm
    : >"$ROOT/.grub-fails"
    exits 1 "update-grub fails" apply --only skew-tick
    says 'update-grub` failed: grub-mkconfig: cannot find a device'
    rm "$ROOT/.grub-fails"
    tune revert
    same "update-grub fails"
    tree debian12 vm
    tune apply --only skew-tick
    : >"$ROOT/.grub-fails"
    exits 1 "update-grub fails in revert" revert
    rm "$ROOT/.grub-fails"
    exits 0 "and is tried again" revert
    same "update-grub fails in revert"
fi

if group drift; then
    tree debian12 vm
    tune apply --only swappiness,thp,irqbalance
    echo 30 >"$ROOT/proc/sys/vm/swappiness"
    echo '# mine' >>"$ROOT/etc/default/irqbalance"
    : >"$ROOT/run/systemd/active-tuned"
    exits 1 "drift" status
    says 'swappiness *drifted'
    says 'irqbalance *drifted'
    says 'tuned runs here'
    exits 1 "as JSON" status --json
    ! command -v jq >/dev/null || ok "JSON" jq -e '.drifted == 2' "$WORK/out"
    exits 1 "what somebody changed is left" revert
    says 'somebody changed it since; revert --force'
    is /proc/sys/vm/swappiness 30
    is /sys/kernel/mm/transparent_hugepage/enabled '[always] madvise never'
    exits 0 "unless forced" revert --force
    rm "$ROOT/run/systemd/active-tuned"
    same "drift"
    # Somebody put it back by hand: then there is nothing to do, and that is no quarrel.
    tune apply --only swappiness
    echo 60 >"$ROOT/proc/sys/vm/swappiness"
    exits 1 "half" status
    exits 0 "back by hand" revert
    same "back by hand"
fi

if group busy; then
    # The server runs in the slice: taking that away would end it.
    tree debian12 vm
    tune apply --only partition,swappiness
    echo 'populated 1' >"$ROOT/sys/fs/cgroup/ringmill.slice/cgroup.events"
    exits 1 "a slice with processes is left" revert
    says 'systemctl stop ringmill first'
    is /sys/fs/cgroup/ringmill.slice/cpuset.cpus.partition member
    is /proc/sys/vm/swappiness 60
    echo 'populated 0' >"$ROOT/sys/fs/cgroup/ringmill.slice/cgroup.events"
    exits 0 "and put back later" revert
    same "busy"
fi

if group gone; then
    tree debian12 metal
    tune apply --only nic-irqs,xps,queues
    # The card was reset: its queues are others.
    rm -rf "$ROOT/proc/irq/70" "$ROOT/sys/class/net/eth0/queues/tx-5"
    exits 1 "gone" status
    says gone
    tune revert
    ends 0 "revert of what is gone"
    ok "nothing stays in the journal" test ! -e "$ROOT/var/lib/ringmill-tune/journal"
fi

if group offline; then
    # A shard's CPU went offline since: status and revert work, another apply takes those that are left.
    tree debian12 vm
    tune apply --only plan,swappiness
    echo 0-2 >"$ROOT/sys/devices/system/cpu/online"
    exits 0 "status with a CPU less" status
    exits 0 "apply with a CPU less" apply --only plan,swappiness
    ok "without it" grep -qx 'RINGMILL_CORES=2' "$ROOT/etc/ringmill/cores.env"
    exits 0 "revert with a CPU less" revert
    echo 0-3 >"$ROOT/sys/devices/system/cpu/online"
    same "offline"
fi

if group again; then
    # Two applies with other wishes: both are undone.
    tree debian12 vm
    exits 0 "first" apply --set swappiness=20 --only swappiness
    exits 0 "second" apply --set swappiness=5 --only swappiness
    is /proc/sys/vm/swappiness 5
    exits 0 "status sees the newest" status
    exits 0 "both back" revert
    same "two applies"
    # A plan once made stays: the second apply does not choose again.
    tree debian12 vm
    exits 0 "named" apply --executors 3 --only plan
    exits 0 "kept" apply
    is /etc/ringmill/cores.env "# By ringmill-tune; \`ringmill-tune revert --only plan\` takes it back.
RINGMILL_CORES=3"
    exits 0 "back" revert
    same "plan"
fi

if group here; then
    # This host: only looked at.
    unset RINGMILL_TUNE_ROOT
    for shell in dash 'busybox sh' 'bash --posix'; do
        # shellcheck disable=SC2086
        RINGMILL_TUNE_STATE=$WORK/none $shell "$TUNE" check --json >"$WORK/out" 2>"$WORK/err"
        if [ $? -le 2 ] && [ ! -s "$WORK/err" ]; then pass; else fail "check of this host in $shell: $(cat "$WORK/err")"; fi
        ! command -v jq >/dev/null || ok "JSON of this host" jq -e '.host.kernel' "$WORK/out"
    done
fi
