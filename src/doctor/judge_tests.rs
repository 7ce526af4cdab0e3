//! Tables: what is seen, what is said first.
use super::host::Host;
use super::judge::*;
use super::knobs::{Form, Item, Knob};
use super::look::testing::Recorded;
use super::storage::{Device, Storage};
use crate::sys::limits::Uring;
use std::cmp::Reverse;

const MS: u64 = 1_000_000;

/// A host of four CPUs on which nothing is wrong.
fn fit() -> Observed {
    let files = [
        ("/proc/sys/kernel/osrelease", "6.1.0"),
        ("/sys/devices/system/cpu/online", "0-3"),
        ("/sys/devices/system/cpu/isolated", "2-3"),
    ];
    let look = Recorded::new(&files);
    Observed {
        host: Host::read(&look, None).unwrap(),
        knobs: Vec::new(),
        harmful: Vec::new(),
        storage: Some(Storage {
            dir: "/d".into(),
            mount: "/".into(),
            kind: "ext4".into(),
            ..Storage::default()
        }),
        quotas: Vec::new(),
        unit: false,
        measured: Some(measured()),
        tool: "tune".into(),
    }
}

fn measured() -> Measured {
    Measured {
        uring: Uring::Full,
        memlock_bytes: u64::MAX,
        memlock_exempt: false,
        files_max: 1 << 20,
        slack_ns: Some(50_000),
        wake_ns: Some((50_000, 60_000)),
        jitter: vec![idle(2), idle(3)],
        flush: Ok(Flush {
            count: 100,
            p50_ns: 90_000,
            p99_ns: 300_000,
            longest_ns: MS,
            write_p50_ns: 60_000,
            direct: true,
        }),
        loopback: Ok(Loopback { core: 2, count: 1000, p50_ns: 30_000, p99_ns: 90_000, longest_ns: MS }),
    }
}

fn idle(core: usize) -> Jitter {
    Jitter {
        core,
        p999_ns: 0,
        longest_ns: 8_000,
        spun_ns: 1_000 * MS,
        ran_others_ns: 0,
        stolen_ns: 0,
        interrupt: Some(("Local timer interrupts".into(), 1000)),
    }
}

fn knob(name: &'static str, items: &[(&str, Option<&str>, &str)]) -> Knob {
    let item = |&(target, now, wanted): &(&str, Option<&str>, &str)| Item {
        form: Form::File,
        target: target.into(),
        now: now.map(str::to_string),
        wanted: wanted.into(),
    };
    Knob { name, items: items.iter().map(item).collect(), advice: None }
}

#[test]
fn a_fit_host_is_fit() {
    let judged = judge(&fit());
    assert_eq!((judged.verdict, judged.findings, judged.untold), (Verdict::Fit, vec![], vec![]));
    let unmeasured = Observed { measured: None, ..fit() };
    assert_eq!(judge(&unmeasured).verdict, Verdict::Fit);
}

type Plant = fn(&mut Observed);

/// The measurements, to be changed.
fn m(seen: &mut Observed) -> &mut Measured {
    seen.measured.as_mut().unwrap()
}

#[test]
fn each_fault_is_named_with_its_weight_and_its_mend() {
    let costs = |ns: u64| Weight::Costs(Reverse(ns));
    let table: Vec<(Plant, &str, Weight, Option<&str>)> = vec![
        (
            |s| s.knobs.push(knob("thp", &[("e", Some("[always] madvise"), "madvise")])),
            "thp",
            costs(1_000 * MS),
            Some("sudo tune apply --only thp"),
        ),
        (
            |s| s.knobs.push(knob("skew-tick", &[("e", Some("absent"), "present")])),
            "skew-tick",
            Weight::Little,
            Some("sudo tune apply --only skew-tick"),
        ),
        (
            |s| s.knobs.push(knob("skew-tick", &[("e", Some("1"), "1")])),
            "skew-tick",
            Weight::Little,
            Some("sudo systemctl reboot"),
        ),
        (
            |s| {
                s.knobs.push(knob(
                    "coalesce",
                    &[
                        ("eth0 coalesce adaptive-rx", Some("on"), "off"),
                        ("eth0 coalesce rx-usecs", Some("128"), "0"),
                    ],
                ))
            },
            "coalesce",
            costs(128_000),
            Some("sudo tune apply --only coalesce"),
        ),
        (
            |s| {
                s.knobs.push(Knob { advice: Some("290".into()), ..knob("cstates", &[("q", Some("0"), "2")]) })
            },
            "cstates",
            costs(290_000),
            Some("sudo tune apply --only cstates"),
        ),
        (
            |s| s.knobs.push(knob("io-uring", &[("d", Some("2"), "1")])),
            "io-uring",
            Weight::Stops,
            Some("sudo tune apply --only io-uring"),
        ),
        (|s| s.host.isolated.clear(), "cores", costs(17 * MS), None),
        (|s| s.host.plan.apart = false, "cores", costs(17 * MS), None),
        (
            |s| s.quotas.push(Quota { group: "/g".into(), quota_us: 1, period_us: 100_000 }),
            "quota",
            costs(100 * MS),
            None,
        ),
        (
            |s| {
                s.quotas.push(Quota {
                    group: "/ringmill.slice/ringmill.service".into(),
                    quota_us: 1,
                    period_us: 20_000,
                })
            },
            "quota",
            costs(20 * MS),
            Some("sudo systemctl set-property ringmill.service CPUQuota="),
        ),
        (|s| s.storage.as_mut().unwrap().kind = "tmpfs".into(), "memory-disk", Weight::Loses, None),
        (
            |s| s.storage.as_mut().unwrap().options.push("nobarrier".into()),
            "barrier",
            Weight::Loses,
            Some("sudo mount -o remount,barrier=1 /"),
        ),
        (
            |s| {
                s.storage.as_mut().unwrap().devices.push(Device {
                    name: "sda".into(),
                    write_cache: Some("write through".into()),
                    claimed: Some("write back".into()),
                    ..Device::default()
                })
            },
            "write-cache",
            Weight::Loses,
            Some("echo write back | sudo tee /sys/block/sda/queue/write_cache"),
        ),
        (
            |s| {
                s.storage.as_mut().unwrap().devices.push(Device {
                    name: "sda".into(),
                    rotational: true,
                    ..Device::default()
                })
            },
            "rotational",
            costs(10 * MS),
            None,
        ),
        (|s| s.storage.as_mut().unwrap().kind = "nfs4".into(), "file-system", Weight::Little, None),
        (|s| m(s).uring = Uring::Denied("no".into()), "io_uring", Weight::Stops, None),
        (|s| m(s).uring = Uring::Basic("old".into()), "io_uring", costs(100_000), None),
        (|s| m(s).memlock_bytes = 65_536, "memlock", Weight::Stops, Some("sudo tune apply --only limits")),
        (|s| m(s).files_max = 1024, "nofile", costs(1_000 * MS), Some("sudo tune apply --only limits")),
        (|s| m(s).slack_ns = Some(4 * MS), "timer-slack", costs(4 * MS), None),
        (
            |s| m(s).jitter[1] = Jitter { p999_ns: 60_000, longest_ns: 2 * MS, ran_others_ns: MS, ..idle(3) },
            "jitter",
            costs(60_000),
            None,
        ),
        (
            |s| m(s).jitter[1] = Jitter { longest_ns: 2 * MS, ..idle(3) },
            "jitter",
            Weight::Little,
            Some("sudo hwlatdetect --duration=60"),
        ),
        (
            |s| m(s).flush = Ok(Flush { p50_ns: 3_000, p99_ns: 9_000, ..*m(s).flush.as_ref().unwrap() }),
            "flush",
            Weight::Loses,
            None,
        ),
        (
            |s| m(s).flush = Ok(Flush { p99_ns: 5 * MS, ..*m(s).flush.as_ref().unwrap() }),
            "flush-slow",
            costs(5 * MS),
            None,
        ),
        (
            |s| m(s).flush = Ok(Flush { direct: false, ..*m(s).flush.as_ref().unwrap() }),
            "direct",
            Weight::Little,
            None,
        ),
        (
            |s| m(s).loopback = Ok(Loopback { p99_ns: 3 * MS, ..*m(s).loopback.as_ref().unwrap() }),
            "loopback",
            costs(3 * MS),
            None,
        ),
    ];
    for (plant, id, weight, mend) in table {
        let mut seen = fit();
        plant(&mut seen);
        let judged = judge(&seen);
        assert_eq!(judged.findings.len(), 1, "{id}: {judged:?}");
        let finding = &judged.findings[0];
        assert_eq!((finding.id.as_str(), finding.weight), (id, weight), "{finding:?}");
        assert_eq!(finding.mend.as_deref(), mend, "{finding:?}");
        assert!(finding.mend.is_some() || finding.note.is_some(), "no way out: {finding:?}");
        assert!(!finding.what.is_empty() && !finding.why.is_empty(), "{finding:?}");
        let verdict = if weight == Weight::Little { Verdict::Fit } else { Verdict::Unfit };
        assert_eq!(judged.verdict, verdict, "{id}");
    }
}

#[test]
fn the_most_important_comes_first() {
    let mut seen = fit();
    seen.knobs.push(knob("timers", &[("t", Some("1"), "0")]));
    seen.knobs.push(knob("skew-tick", &[("e", Some("absent"), "present")]));
    seen.knobs.push(knob("thp", &[("e", Some("always"), "madvise")]));
    m(&mut seen).memlock_bytes = 0;
    seen.storage.as_mut().unwrap().kind = "ramfs".into();
    seen.host.isolated.clear();
    let ids: Vec<String> = judge(&seen).findings.into_iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["memlock", "memory-disk", "thp", "cores", "timers", "skew-tick"]);
}

#[test]
fn what_is_not_known_is_not_called_fit() {
    let table: [(Plant, &str); 5] = [
        (|s| s.storage = None, "mountinfo"),
        (
            |s| s.knobs.push(knob("coalesce", &[("eth0 coalesce rx-usecs", None, "0")])),
            "eth0 coalesce rx-usecs",
        ),
        (|s| m(s).flush = Err("full".into()), "the disk: full"),
        (|s| m(s).loopback = Err("gone".into()), "gone"),
        (|s| m(s).jitter.clear(), "idle jitter"),
    ];
    for (plant, needle) in table {
        let mut seen = fit();
        plant(&mut seen);
        let judged = judge(&seen);
        assert_eq!((judged.verdict, judged.findings.len()), (Verdict::Untold, 0), "{needle}");
        assert!(judged.untold[0].contains(needle), "{:?}", judged.untold);
        // What was found counts more than what was not seen.
        seen.quotas.push(Quota { group: "/g".into(), quota_us: 1, period_us: 100_000 });
        assert_eq!(judge(&seen).verdict, Verdict::Unfit);
    }
}

#[test]
fn what_harms_or_belongs_elsewhere_is_left() {
    let mut seen = fit();
    seen.knobs.push(knob("thp", &[("e", Some("always"), "madvise")]));
    seen.harmful.push("thp".into());
    assert_eq!(judge(&seen).findings, []);
    // Limits of this shell say nothing about a unit.
    let mut seen = Observed { unit: true, ..fit() };
    m(&mut seen).memlock_bytes = 0;
    assert_eq!(judge(&seen).findings, []);
    // A knob of no profile of this kind of host.
    let mut seen = fit();
    seen.host.machine = super::host::Kind::Vm;
    seen.host.kind = super::host::Kind::Vm;
    seen.knobs.push(knob("cstates", &[("q", Some("0"), "2")]));
    assert_eq!(judge(&seen).findings, []);
    // In a container the host's values are seen, and are the host's to mend.
    let mut seen = fit();
    seen.host.kind = super::host::Kind::Container;
    seen.knobs.push(knob("thp", &[("e", Some("always"), "madvise")]));
    let judged = judge(&seen);
    assert!(judged.findings[0].on_host);
    assert_eq!(judged.findings[0].mend.as_deref(), Some("sudo ringmill-tune apply --only thp"));
}

#[test]
fn stalls_are_blamed_on_who_had_the_core() {
    let long = |jitter: Jitter| Jitter { p999_ns: 900_000, longest_ns: 4 * MS, ..jitter };
    for (machine, jitter, needle) in [
        (super::host::Kind::Vm, Jitter { stolen_ns: 10 * MS, ..idle(3) }, "hypervisor had it for 10 ms"),
        (
            super::host::Kind::Vm,
            Jitter { ran_others_ns: 3 * MS, ..idle(3) },
            "other threads of this host ran there for 3 ms",
        ),
        (super::host::Kind::Vm, idle(3), "Local timer interrupts, 1000 times"),
        (super::host::Kind::Metal, idle(3), "no thread of this host"),
    ] {
        let mut seen = fit();
        (seen.host.machine, seen.host.kind) = (machine, machine);
        m(&mut seen).jitter = vec![idle(2), long(jitter)];
        let judged = judge(&seen);
        assert!(judged.findings[0].why.contains(needle), "{:?}", judged.findings);
        assert!(judged.findings[0].what.contains("core 3"));
    }
}

#[test]
fn waiting_for_a_core_that_is_away() {
    // Of 1 ms in all, one gap of 11 us: for 1 us of it more than 10 us are still to go.
    for (gaps, total, q, expected) in [
        (vec![], 1_000_000, 0.999, 0),
        (vec![11_000], 1_000_000, 0.999, 10_000),
        (vec![1_000], 1_000_000, 0.999, 0),
        (vec![900], 1_000_000, 0.999, 0),
        (vec![3_000, 2_000], 1_000_000, 0.999, 2_000),
        (vec![2_000, 3_000, 3_000], 1_000_000, 0.999, 2_500),
        (vec![1_000; 1000], 1_000_000, 0.999, 999),
    ] {
        assert_eq!(delay_quantile(&mut gaps.clone(), total, q), expected, "{gaps:?}");
    }
}

#[test]
fn times_are_short() {
    for (ns, text) in [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1 us"),
        (1_500, "1.5 us"),
        (64_400, "64 us"),
        (17 * MS, "17 ms"),
        (1_000 * MS, "1 s"),
        (2_340 * MS, "2.3 s"),
    ] {
        assert_eq!(time(ns), text);
    }
}
