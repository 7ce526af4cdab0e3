# shellcheck shell=dash
# The network: queues, steering, coalescing, polling, queues of connections.

want_ethtool() { # DEVICE GROUP NAME VALUE
    if ! tool ethtool; then
        plan_line ethtool "$1 $2 $3" "" "$4" unknown - "ethtool is missing: install the package ethtool"
        return
    fi
    ethtool_show "$1" "$2"
    case $(ethtool_pick "$3" current) in
        '' | n/a) skip "$1 has no such setting: $3" ;;
        *) want ethtool "$1 $2 $3" "$4" ;;
    esac
}
each_nic() { # FUNCTION
    local nic
    [ -n "$NICS" ] || { skip "no network device of its own is here" && return; }
    for nic in $NICS; do "$1" "$nic"; done
}

knob_queues() { each_nic nic_queue_count; }
nic_queue_count() {
    local most near
    nic_cpus "$1"
    count "$R"
    near=$R
    if tool ethtool; then
        ethtool_show "$1" channels
        most=$(ethtool_pick combined maximum)
        case $most in '' | *[!0-9]*) skip "$1 has no combined channels" && return ;; esac
        [ "$near" -le "$most" ] || near=$most
    fi
    chosen_number "$near"
    want_ethtool "$1" channels combined "$R"
}

knob_rings() { each_nic nic_rings; }
nic_rings() {
    chosen_value ''
    if [ -n "$R" ]; then
        local name length
        chosen_number 0
        length=$R
        for name in rx tx; do want_ethtool "$1" rings $name "$length"; done
    elif tool ethtool; then
        ethtool_show "$1" rings
        advise "$1 rx $(ethtool_pick rx current) of $(ethtool_pick rx maximum)" "to be tried" "larger rings hide stalls: \`prove rings --set rings=N\`"
    else
        skip "ethtool is missing: install the package ethtool"
    fi
}

knob_coalesce() { each_nic nic_coalesce; }
nic_coalesce() {
    local name wait
    for name in adaptive-rx adaptive-tx; do want_ethtool "$1" coalesce $name off; done
    chosen_number 0
    wait=$R
    for name in rx-usecs tx-usecs; do want_ethtool "$1" coalesce $name "$wait"; done
}

# Sending: queue i from shard i. Receiving by software is only for too few queues; otherwise it is switched off.
knob_xps() { each_nic nic_xps; }
nic_xps() {
    local dir n=0 cpus i
    nic_cpus "$1"
    cpus=$R
    count "$cpus"
    n=$R
    for dir in "$ROOT/sys/class/net/$1/queues"/tx-*; do
        [ -e "$dir/xps_cpus" ] || continue
        i=${dir##*tx-}
        # One queue for all, or more queues than shards: the kernel's own choice is as good.
        slurp "${dir#"$ROOT"}/xps_cpus" || { skip "$1 sends with one queue" && continue; }
        [ "$i" -lt "$n" ] || continue
        nth "$cpus" "$i"
        to_mask "$R"
        want mask "${dir#"$ROOT"}/xps_cpus" "$R"
    done
}
knob_rps() { each_nic nic_rps; }
nic_rps() {
    local dir queues near mask
    nic_queues "$1"
    queues=$R
    nic_cpus "$1"
    near=$R
    count "$near"
    if [ "$queues" -lt "$R" ]; then to_mask "$near"; else R=00000000; fi
    mask=$R
    for dir in "$ROOT/sys/class/net/$1/queues"/rx-*; do
        [ ! -e "$dir/rps_cpus" ] || want mask "${dir#"$ROOT"}/rps_cpus" "$mask"
    done
}
knob_rfs() {
    local nic dir
    want_sysctl net.core.rps_sock_flow_entries 0
    for nic in $NICS; do
        for dir in "$ROOT/sys/class/net/$nic/queues"/rx-*; do
            [ ! -e "$dir/rps_flow_cnt" ] || want file "${dir#"$ROOT"}/rps_flow_cnt" 0
        done
    done
}

knob_busy_poll() {
    chosen_number 50
    local long=$R
    want_sysctl net.core.busy_poll "$long"
    want_sysctl net.core.busy_read "$long"
}
knob_napi_defer() { each_nic nic_defer; }
nic_defer() {
    local dir=/sys/class/net/$1
    [ -e "$ROOT$dir/napi_defer_hard_irqs" ] || { skip "this kernel has no napi_defer_hard_irqs" && return; }
    want file "$dir/napi_defer_hard_irqs" 2
    want file "$dir/gro_flush_timeout" 200000
}
knob_backlog() {
    chosen_number 4096
    local bound=$R
    want_least /proc/sys/net/core/somaxconn "$bound"
    want_least /proc/sys/net/ipv4/tcp_max_syn_backlog "$bound"
}

knob_reuseport() {
    advise "the server's own" "by CPU in the local layout" "connections go to the shard on whose CPU they arrive (SO_ATTACH_REUSEPORT_CBPF); nothing to set on the host"
}
knob_conntrack() {
    if [ -e "$ROOT/proc/sys/net/netfilter/nf_conntrack_count" ]; then
        slurp /proc/sys/net/netfilter/nf_conntrack_count || R='?'
        advise "$R tracked" "NOTRACK for the ingest port" "whoever owns the firewall decides: nft add rule inet raw prerouting tcp dport 8080 notrack, and the same for output"
    else
        advise "off" "off" "no connection tracking here"
    fi
}
