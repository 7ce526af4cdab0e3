//! Who may be harmed, when, and that everything is set right again.
use super::*;
use std::process::{Child, Command};

fn fault(at_ns: u64, pid: u32, what: What) -> Fault {
    Fault { at_ns, pid, what }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn end(mut child: Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

/// Whether the process gets into that state; waited for with a bound.
fn becomes(pid: u32, stopped: bool) -> bool {
    (0..4000).any(|_| {
        thread::sleep(Duration::from_millis(1));
        stat(Path::new("/"), pid).is_some_and(|fields| (fields[0] == "T") == stopped)
    })
}

#[test]
fn nobody_is_harmed_who_must_not_be() {
    let stop = What::Stop { for_ns: 1 };
    let parent = lineage(Path::new("/"))[1];
    for (pid, needle) in [
        (1, "keeps the whole machine"),
        (std::process::id(), "this very load tester"),
        (parent, "started by it"),
        (0, "no such process"),
        (u32::MAX, "no such process"),
        (3_999_999, "no such process"),
    ] {
        let refused = subjects(vec![fault(0, pid, stop)], 10).err().unwrap_or_default();
        assert!(refused.contains(needle), "{pid}: {refused}");
        assert!(refused.starts_with(&format!("--fault: `stop {pid} ")), "{refused}");
    }
    let late = subjects(vec![fault(10, 1, stop)], 10).err().unwrap_or_default();
    assert!(late.contains("the run ends at 10ns"), "{late}");
}

#[test]
fn owners_kernel_threads_and_threads_are_told_from_recorded_processes() {
    let root = std::env::temp_dir().join(format!("ringmill-faults-{}", std::process::id()));
    let ours = effective_user();
    for (pid, flags, tgid, uid, needle) in [
        (50, 0x40_0000, 50, ours, None),
        (51, PF_KTHREAD, 51, ours, Some("kernel")),
        (52, 0, 50, ours, Some("name its process")),
        (53, 0, 53, ours + 1, Some("belongs to user")),
    ] {
        let folder = root.join(format!("proc/{pid}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stat"), format!("{pid} (a) b) S 1 1 1 0 -1 {flags} 0 0\n")).unwrap();
        fs::write(folder.join("status"), format!("Name:\ta\nTgid:\t{tgid}\nUid:\t{uid}\t{uid}\t{uid}\n"))
            .unwrap();
        let verdict = may_be_harmed(&root, pid);
        match needle {
            None => assert_eq!(verdict, Ok(()), "{pid}"),
            Some(needle) => assert!(verdict.unwrap_err().contains(needle), "{pid}"),
        }
    }
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn begins_and_ends_are_in_order() {
    let faults = [
        fault(10, 5, What::Stop { for_ns: 10 }),
        fault(20, 5, What::Stop { for_ns: 5 }),
        fault(12, 6, What::Kill),
    ];
    let order: Vec<_> = schedule(&faults).iter().map(|step| (step.at_ns, step.fault, step.begins)).collect();
    assert_eq!(order, [(10, 0, true), (12, 2, true), (20, 0, false), (20, 1, true), (25, 1, false)]);
}

/// One test for all that pends, for what pends is one list for the process.
#[test]
fn faults_are_done_undone_and_undone_early() {
    let (short, long, killed) = (sleeper(), sleeper(), sleeper());
    let hour = 3_600_000_000_000;
    let list = vec![
        fault(0, short.id(), What::Stop { for_ns: 50_000_000 }),
        fault(1, long.id(), What::Stop { for_ns: hour }),
        fault(2, killed.id(), What::Kill),
        fault(200_000_000, killed.id(), What::Stop { for_ns: 1 }),
    ];
    let faults = Faults::start(subjects(list, hour).unwrap(), Instant::now()).unwrap();
    assert!(becomes(long.id(), true));
    assert!(becomes(short.id(), false));
    let mut happened = Vec::new();
    // The killed child is a zombie until it is waited for; its end must be seen before the fourth fault.
    end(killed);
    for _ in 0..4000 {
        happened.extend(faults.happened());
        if happened.len() == 4 {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let failed: Vec<_> = happened.iter().map(|one| (one.number, one.failed.is_some())).collect();
    assert_eq!(failed, [(0, false), (1, false), (2, false), (3, true)], "{happened:?}");
    assert!(happened[3].failed.as_ref().unwrap().contains("has ended"));
    assert_eq!(faults.finish(), (vec![], vec![]));
    assert!(becomes(long.id(), false), "set right at the end, an hour early");
    end(short);
    end(long);
}
