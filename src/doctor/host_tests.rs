//! Tables: what a host shows, what is made of it.
use super::host::*;
use super::look::testing::Recorded;

fn host(files: &[(&str, &str)], cores: Option<&[usize]>) -> Result<Host, String> {
    let mut all =
        vec![("/proc/sys/kernel/osrelease", "6.1.0-18-amd64"), ("/sys/devices/system/cpu/online", "0-3")];
    all.extend(files);
    Host::read(&Recorded::new(&all), cores)
}

#[test]
fn cpus_are_given_out_as_ringmill_tune_does() {
    let smt = [
        ("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2"),
        ("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3"),
        ("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2"),
        ("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3"),
    ];
    let isolated = [("/sys/devices/system/cpu/isolated", "3")];
    let planned = [("/var/lib/ringmill-tune/journal", "plan\t2-3\t1\t\t.\nplan\t0\t1\t\t")];
    for (name, files, cores, exec, house, helper, idle) in [
        ("plain", &[][..], None, vec![2, 3], vec![0], Some(1), vec![]),
        ("threads", &smt, None, vec![1], vec![0, 2], None, vec![3]),
        ("isolated", &isolated, None, vec![3], vec![0, 1, 2], None, vec![]),
        ("planned", &planned, None, vec![2, 3], vec![0], Some(1), vec![]),
        ("named", &isolated, Some(&[1][..]), vec![1], vec![0, 2], Some(3), vec![]),
        ("all", &[], Some(&[0, 1, 2, 3]), vec![0, 1, 2, 3], vec![0, 1, 2, 3], None, vec![]),
    ] {
        let plan = host(files, cores).unwrap().plan;
        let wanted = Plan { apart: exec != house, exec, house, helper, idle };
        // With `all`, the helper is the last of those that are left, which are all.
        let wanted =
            if name == "all" { Plan { helper: Some(3), house: vec![0, 1, 2], ..wanted } } else { wanted };
        assert_eq!(plan, wanted, "{name}");
    }
}

#[test]
fn what_cannot_be_told_is_said() {
    let none = Recorded::new(&[]);
    assert!(Host::read(&none, None).unwrap_err().contains("mount proc"));
    let half = Recorded::new(&[("/proc/sys/kernel/osrelease", "6.1.0")]);
    assert!(Host::read(&half, None).unwrap_err().contains("mount sysfs"));
}

#[test]
fn machines_are_told_apart() {
    for (files, kind, machine) in [
        (&[("/sys/class/dmi/id/sys_vendor", "Dell Inc.")][..], Kind::Metal, Kind::Metal),
        (&[("/sys/class/dmi/id/sys_vendor", "QEMU")], Kind::Vm, Kind::Vm),
        (
            &[("/sys/class/dmi/id/product_name", "c5.metal"), ("/sys/class/dmi/id/sys_vendor", "Amazon EC2")],
            Kind::Metal,
            Kind::Metal,
        ),
        (&[("/proc/cpuinfo", "flags\t\t: fpu hypervisor sse\n")], Kind::Vm, Kind::Vm),
        (&[("/.dockerenv", ""), ("/proc/cpuinfo", "flags: fpu hypervisors\n")], Kind::Container, Kind::Metal),
    ] {
        let host = host(files, None).unwrap();
        assert_eq!((host.kind, host.machine), (kind, machine), "{files:?}");
    }
}

#[test]
fn the_journal_counts_line_by_line_and_for_this_boot() {
    let text = "ringmill-tune\t1\tm\t.\nplan\t1-3\t\t\t.\nmanaged\tb1\t/proc/irq/40/x\t.\nmanaged\tb2\t/y\t.\nmanaged\tb1\t/z\t\n";
    let files = [("/var/lib/ringmill-tune/journal", text), ("/proc/sys/kernel/random/boot_id", "b1")];
    let host = host(&files, None).unwrap();
    assert_eq!(host.journal.plan, Some((vec![1, 2, 3], None)));
    assert_eq!(host.journal.managed, ["/proc/irq/40/x"]);
    let look = Recorded::new(&[(
        "/var/lib/ringmill-tune/proofs",
        "thp\tharms\t1\na\thelps\t2\nb\tharms\nb\thelps\n",
    )]);
    assert_eq!(harmful(&look), ["thp"]);
}
