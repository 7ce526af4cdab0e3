# shellcheck shell=dash
# What is refused: it says what and how to mend it, ends with 2, and changes nothing.

refused() { # WORDS ARGS…
    local words=$1
    shift
    exits 2 "$words" "$@"
    says "$words"
    same "refused: $*"
}

if group bad; then
    tree debian12 vm
    refused 'unknown command' aply
    refused 'unknown option' apply --fast
    refused 'needs a value' apply --only
    refused 'unknown knob `thb`' apply --only thb
    refused 'did you mean thp' explain thpp
    refused 'unknown knob' check --except nothing
    refused 'unknown knob' prove nothing
    refused 'unknown profile `fast`' apply --profile fast
    refused 'one word too many' explain thp numa
    refused 'did you mean --only thp' apply thp
    refused 'is no list of CPUs' apply --executors x
    refused 'not online: 9' apply --executors 2,9
    refused 'local, split or auto' apply --layout round
    refused 'partition, isolcpus' apply --isolation full
    refused 'there is none in /sys/class/net' apply --nic eth7
    refused 'there is none in /sys/block' apply --disk sdq
    refused 'a whole number is expected' apply --set swappiness=low
    refused 'expected KNOB=VALUE' apply --set swappiness
    refused 'has a character' apply --only 'thp;reboot'
    refused 'always, madvise or never' apply --set thp=sometimes
    refused 'from 3 to 100' prove thp --pairs 1
    refused 'needs the program ringmill' prove thp --ringmill /nowhere
    for name in mitigations conntrack audit seccomp firmware; do
        refused 'never set by this tool' apply --only $name
    done
    tune
    ends 2 "no command"
    exits 0 "help" --help
fi

if group container; then
    tree ubuntu2404 container
    refused 'this is a container' apply --profile latency
    refused "is the host's, not the container's" apply --only thp
    exits 0 "with the machine in our hands" apply --profile vm --as-host
    exits 0 "back" revert
    same "--as-host"
fi

if group versions; then
    tree debian12 vm
    echo 4.18.0-553.el8 >"$ROOT/proc/sys/kernel/osrelease"
    exits 2 "kernel too old" apply
    says 'kernel 4.18.0-553.el8 is too old: 5.14 or newer'
    echo 6.1.0-18-amd64 >"$ROOT/proc/sys/kernel/osrelease"
    same "kernel too old"
    rm "$ROOT/proc/sys/kernel/osrelease"
    exits 2 "no proc" check
    says 'mount proc'
fi

if group journal; then
    tree debian12 vm
    tune apply --only swappiness
    cp "$ROOT/var/lib/ringmill-tune/journal" "$WORK/journal"
    cp -a "$ROOT" "$WORK/before"
    for command in apply revert status; do
        printf 'hello\tworld\n' >"$ROOT/var/lib/ringmill-tune/journal"
        exits 2 "not a journal" $command
        says 'no journal of this tool; move it away'
        sed '1s/	1	/	7	/' "$WORK/journal" >"$ROOT/var/lib/ringmill-tune/journal"
        exits 2 "a later journal" $command
        says 'has format 7'
        sed '1s/0123456789abcdef/fedcba9876543210/' "$WORK/journal" >"$ROOT/var/lib/ringmill-tune/journal"
        exits 2 "another machine's" $command
        says 'a cloned disk?'
    done
    is /proc/sys/vm/swappiness 10
    cp "$WORK/journal" "$ROOT/var/lib/ringmill-tune/journal"
    exits 0 "revert" revert
    same "foreign journals"
    rm -rf "$WORK/before"
fi

if group two; then
    tree debian12 vm
    mkdir -p "$ROOT/var/lib/ringmill-tune"
    : >"$ROOT/var/lib/ringmill-tune/lock"
    flock -o "$ROOT/var/lib/ringmill-tune/lock" sleep 30 &
    holder=$!
    sleep 0.2
    exits 2 "two at a time" apply
    says 'another ringmill-tune is at work'
    ok "nothing was changed" diff -r "$ORIG/proc" "$ROOT/proc"
    kill $holder
    wait $holder 2>/dev/null
    exits 0 "after it" apply --only swappiness
    exits 0 "revert" revert
    same "two at a time"
fi

if group tools; then
    tree debian12 vm
    mkdir -p "$WORK/few"
    for tool in sed grep cat cp mv rm rmdir mkdir mktemp chmod readlink head tail sort tr od date cmp sync id flock; do
        ln -sf "$(command -v $tool)" "$WORK/few/$tool"
    done
    PATH=$WORK/few /bin/dash "$TUNE" check >"$WORK/out" 2>&1
    ends 2 "without awk"
    says 'missing tools: awk; install'
    ln -sf "$(command -v awk)" "$WORK/few/awk"
    PATH=$WORK/few /bin/dash "$TUNE" apply --only coalesce >"$WORK/out" 2>&1
    ends 2 "without ethtool"
    says 'ethtool is missing: install the package ethtool'
    same "without tools"
    PATH=$WORK/few /bin/dash "$TUNE" check --only coalesce >"$WORK/out" 2>&1
    ends 2 "check cannot tell"
fi

if group rights; then
    # Without root, and with a read-only sysfs: on this host, for a tree cannot show them. Nothing can be changed.
    if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
        chmod 755 "$WORK"
        (unset RINGMILL_TUNE_ROOT && setpriv --reuid=65534 --regid=65534 --clear-groups dash "$TUNE" apply --as-host --only swappiness) >"$WORK/out" 2>&1
        ends 2 "without root"
        says 'must be root: sudo ringmill-tune apply'
        tree debian12 vm
        if unshare -m mount --bind -o ro "$ROOT/sys" "$ROOT/sys" 2>/dev/null; then
            # shellcheck disable=SC2016
            unshare -m sh -c 'mount --bind "$RINGMILL_TUNE_ROOT/sys" "$RINGMILL_TUNE_ROOT/sys" && mount -o remount,bind,ro "$RINGMILL_TUNE_ROOT/sys" && dash "$0" apply' "$TUNE" >"$WORK/out" 2>&1
            ends 2 "read-only sysfs"
            says 'it is mounted read-only'
            same "read-only sysfs"
            # A disk that fills up in the middle: what was done until then is put back when there is room.
            tree debian12 vm
            mkdir -p "$WORK/small"
            # shellcheck disable=SC2016
            unshare -m sh -c 'mount -t tmpfs -o size=12k tmpfs "$1" && RINGMILL_TUNE_STATE=$1 dash "$0" apply --except partition; echo $? >"$2"
                mount -o remount,size=1m "$1" && RINGMILL_TUNE_STATE=$1 dash "$0" revert' "$TUNE" "$WORK/small" "$WORK/code" >"$WORK/out" 2>&1
            ends 0 "revert after a full disk"
            if [ "$(cat "$WORK/code")" = 2 ]; then pass; else fail "a full disk: $(cat "$WORK/code")"; fi
            says 'is the disk full'
            same "a full disk"
        else
            echo "  no mount namespaces here: a read-only sysfs is left out"
        fi
    else
        echo "  not root: left out"
    fi
fi
