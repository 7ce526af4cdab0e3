//! `ringmill doctor` from outside: on recorded hosts with one fault each, and held against `ringmill-tune check`.
//!
//! The hosts are those of `tuning/test/make-tree`, made fit by `ringmill-tune apply` under its fake kernel, and as they
//! are after a boot. So the two, which share no code, have to agree on what is wanted.
mod common;

use common::TempDir;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TUNING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning");
const MOUNTS: &str = "22 1 259:1 / / rw,relatime - ext4 /dev/nvme0n1p1 rw,errors=remount-ro\n\
                      31 22 0:25 / /dev/shm rw - tmpfs tmpfs rw\n";

/// Runs a program of `tuning/` under the fake kernel of a tree.
fn tuning(program: &str, root: &Path, args: &[&str]) -> Output {
    let path = format!("{TUNING}/test/bin:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(format!("{TUNING}/{program}"));
    command.args(args).env("PATH", path).env("RINGMILL_TUNE_ROOT", root);
    command.env("RINGMILL_TUNE_KERNEL", format!("{TUNING}/test/fake-kernel"));
    command.output().unwrap()
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A host as a distribution leaves it, with what every host shows besides what `ringmill-tune` reads.
fn tree(dir: &TempDir, distro: &str, shape: &str) -> PathBuf {
    let root = dir.join(&format!("{distro}-{shape}"));
    let made = tuning("test/make-tree", &root, &[distro, shape, root.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    write(&root, "proc/self/mountinfo", MOUNTS);
    write(&root, "proc/self/cgroup", "0::/user.slice\n");
    write(&root, "sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
    write(&root, "sys/block/nvme0n1/queue/write_cache", "write through\n");
    write(&root, "sys/block/nvme0n1/queue/fua", "0\n");
    root
}

fn apply(root: &Path) {
    let applied = tuning("ringmill-tune", root, &["apply"]);
    assert!(applied.status.success(), "{applied:?}");
}

/// The kernel after the boot that `apply` asked for: what GRUB's drop-ins say.
fn boot(root: &Path) {
    let mut line = fs::read_to_string(root.join("proc/cmdline")).unwrap().trim_end().to_string();
    for entry in fs::read_dir(root.join("etc/default/grub.d")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let argument = text.split("$GRUB_CMDLINE_LINUX ").nth(1).unwrap();
        line = format!("{line} {}", argument.trim_end().trim_end_matches('"'));
    }
    fs::write(root.join("proc/cmdline"), line + "\n").unwrap();
}

fn doctor(args: &[&OsStr]) -> Output {
    common::run({
        let mut command = common::ringmill();
        command.arg("doctor").args(args);
        command
    })
}

/// Exit code and what is said, for programs.
fn judged(root: &Path) -> (i32, Value) {
    let said = doctor(&["--root".as_ref(), root.as_ref(), "--json".as_ref()]);
    let text = String::from_utf8(said.stdout).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text} {:?}", said.stderr));
    (said.status.code().unwrap(), json)
}

fn findings(json: &Value) -> Vec<(String, String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let rows = json["findings"].as_array().unwrap().iter();
    rows.map(|row| (text(&row["id"]).unwrap(), text(&row["severity"]).unwrap(), text(&row["command"])))
        .collect()
}

/// A fault: the file, what stands in it then (`None`: it is not there), and what is to be said first.
struct Fault {
    path: &'static str,
    text: Option<&'static str>,
    id: &'static str,
    severity: &'static str,
    command: Option<&'static str>,
}

const fn fault(
    path: &'static str,
    text: Option<&'static str>,
    id: &'static str,
    severity: &'static str,
    command: Option<&'static str>,
) -> Fault {
    Fault { path, text, id, severity, command }
}

const FAULTS: [Fault; 16] = [
    fault(
        "sys/kernel/mm/transparent_hugepage/enabled",
        Some("[always] madvise never"),
        "thp",
        "limits",
        Some("sudo ringmill-tune apply --only thp"),
    ),
    fault(
        "sys/devices/system/cpu/cpu9/power/pm_qos_resume_latency_us",
        Some("0"),
        "cstates",
        "limits",
        Some("sudo ringmill-tune apply --only cstates"),
    ),
    fault(
        "sys/devices/system/cpu/cpu9/cpufreq/scaling_governor",
        Some("powersave"),
        "governor",
        "limits",
        Some("sudo ringmill-tune apply --only governor"),
    ),
    fault(
        "proc/irq/65/smp_affinity_list",
        Some("0-31"),
        "nic-irqs",
        "limits",
        Some("sudo ringmill-tune apply --only nic-irqs"),
    ),
    fault(
        "proc/irq/8/smp_affinity_list",
        Some("9"),
        "irqs",
        "limits",
        Some("sudo ringmill-tune apply --only irqs"),
    ),
    fault(
        "proc/sys/kernel/io_uring_disabled",
        Some("2"),
        "io-uring",
        "stops",
        Some("sudo ringmill-tune apply --only io-uring"),
    ),
    fault(
        "sys/block/nvme1n1/queue/scheduler",
        Some("none [mq-deadline]"),
        "disk",
        "limits",
        Some("sudo ringmill-tune apply --only disk"),
    ),
    fault(
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        Some("hpet"),
        "clocksource",
        "limits",
        Some("sudo ringmill-tune apply --only clocksource"),
    ),
    fault(
        "sys/fs/cgroup/ringmill.slice/cpuset.cpus.partition",
        Some("isolated invalid (Cpu list in cpuset.cpus not exclusive)"),
        "partition",
        "limits",
        Some("sudo ringmill-tune apply --only partition"),
    ),
    fault(
        "proc/sys/net/core/somaxconn",
        Some("128"),
        "backlog",
        "limits",
        Some("sudo ringmill-tune apply --only backlog"),
    ),
    fault(
        ".ethtool/eth0.coalesce",
        Some("adaptive-rx off\nadaptive-tx off\nrx-usecs 20\ntx-usecs 64"),
        "coalesce",
        "limits",
        Some("sudo ringmill-tune apply --only coalesce"),
    ),
    fault(
        "etc/systemd/system/ringmill.service.d/90-ringmill-tune.conf",
        Some("[Service]\nLimitMEMLOCK=64K"),
        "limits",
        "limits",
        Some("sudo ringmill-tune apply --only limits"),
    ),
    fault("etc/ringmill/cores.env", None, "plan", "limits", Some("sudo ringmill-tune apply --only plan")),
    fault(
        "proc/self/mountinfo",
        Some("22 1 259:1 / / rw - ext4 /dev/nvme0n1p1 rw,nobarrier"),
        "barrier",
        "loses",
        Some("sudo mount -o remount,barrier=1 /"),
    ),
    fault("sys/fs/cgroup/user.slice/cpu.max", Some("150000 100000"), "quota", "limits", None),
    fault("proc/cmdline", Some("quiet"), "irqaffinity", "little", Some("sudo systemctl reboot")),
];

#[test]
fn bad_hosts_are_told_by_their_faults_and_a_fit_one_is_fit() {
    each_is_told(&FAULTS[..4]);
}

#[test]
fn bad_hosts_are_told_by_their_faults_second_part() {
    each_is_told(&FAULTS[4..8]);
}

#[test]
fn bad_hosts_are_told_by_their_faults_third_part() {
    each_is_told(&FAULTS[8..12]);
}

#[test]
fn bad_hosts_are_told_by_their_faults_last_part() {
    each_is_told(&FAULTS[12..]);
}

fn each_is_told(faults: &[Fault]) {
    let dir = TempDir::new("doctor-faults");
    let root = tree(&dir, "debian12", "metal");
    apply(&root);
    boot(&root);
    let (code, json) = judged(&root);
    assert_eq!((code, &json["verdict"], findings(&json)), (0, &"fit".into(), vec![]), "{json:#}");
    assert_eq!(json["measured"], Value::Null);
    for &Fault { path, text, id, severity, command } in faults {
        let path = root.join(path);
        let before = fs::read(&path);
        match text {
            Some(text) => fs::write(&path, format!("{text}\n")).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let (code, json) = judged(&root);
        let found = findings(&json);
        let first = found.first().unwrap_or_else(|| panic!("{id} is not found"));
        assert_eq!(
            (first.0.as_str(), first.1.as_str(), first.2.as_deref()),
            (id, severity, command),
            "{json:#}"
        );
        // Without boot arguments there are two knobs that wait.
        assert!(found.len() == 1 || id == "irqaffinity", "{id}: {found:?}");
        let little = severity == "little";
        assert_eq!(
            (code, &json["verdict"]),
            (!little as i32, &if little { "fit" } else { "unfit" }.into()),
            "{id}"
        );
        // The command that is named mends it.
        if let Some(only) =
            command.and_then(|command| command.strip_prefix("sudo ringmill-tune apply --only "))
            && id != "io-uring"
        {
            let mended = tuning("ringmill-tune", &root, &["apply", "--only", only]);
            assert!(mended.status.success(), "{id}: {mended:?}");
            assert_eq!(judged(&root).0, 0, "{id} is mended");
        }
        match before {
            Ok(before) => fs::write(&path, before).unwrap(),
            Err(_) => fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(judged(&root).0, 0);
}

#[test]
fn people_are_told_in_80_columns_without_colour() {
    let dir = TempDir::new("doctor-text");
    let root = tree(&dir, "debian12", "metal");
    let said = doctor(&["--root".as_ref(), root.as_ref()]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(1));
    for needle in [
        "NOT FIT: ",
        " 1     1 s limits: ",
        "$ sudo ringmill-tune apply --only thp",
        "Matters little",
        "All of ringmill-tune's at once: sudo ringmill-tune apply",
        "Nothing was measured",
        "shards 2-7,9-15",
    ] {
        assert!(text.contains(needle), "no `{needle}` in\n{text}");
    }
    assert!(!text.contains('\x1b'), "colour in a pipe");
    // A path or a command is one word and may be longer.
    let long = text.lines().find(|line| line.chars().count() > 80 && !line.contains(['/', '$']));
    assert_eq!(long, None, "{text}");
}

#[test]
fn what_is_asked_wrongly_or_cannot_be_told_is_2() {
    let dir = TempDir::new("doctor-bad");
    let bad = |args: &[&OsStr], needle: &str| {
        let said = doctor(args);
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(needle), "{args:?}: {error}");
    };
    bad(&["--root".as_ref(), dir.path().as_ref()], "mount proc");
    bad(&["--cores".as_ref(), "a".as_ref()], "not a core number");
    bad(&["--no-measure".as_ref(), "--cores".as_ref(), "8000".as_ref()], "CPU 8000 is not online");
    bad(&["--jsn".as_ref()], "--json");
    // A tree that does not say all: fit as far as it goes is not fit.
    let root = tree(&dir, "debian12", "metal");
    apply(&root);
    boot(&root);
    fs::remove_file(root.join("proc/self/mountinfo")).unwrap();
    let (code, json) = judged(&root);
    assert_eq!((code, &json["verdict"]), (2, &"untold".into()), "{json:#}");
    assert!(json["untold"][0].as_str().unwrap().contains("mountinfo"));
}

#[test]
fn this_machine_is_measured() {
    let dir = TempDir::new("doctor-here");
    let data: &OsStr = dir.path().as_ref();
    let said =
        doctor(&["--json".as_ref(), "--data".as_ref(), data, "--cores".as_ref(), common::core().as_ref()]);
    let json: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|why| panic!("{why}: {said:?}"));
    let verdict = ["fit", "unfit", "untold"][said.status.code().unwrap() as usize];
    assert_eq!(json["verdict"], verdict);
    let measured = &json["measured"];
    for path in [
        "/commit/p99_us",
        "/loopback/p99_us",
        "/idle_cores/0/longest_us",
        "/timer_slack_us",
        "/late_after_sleep_us/p99",
    ] {
        assert!(
            measured.pointer(path).and_then(Value::as_f64).is_some_and(|us| us > 0.0),
            "{path}: {measured:#}"
        );
    }
    assert_eq!(measured["io_uring"]["state"], "full");
    assert_eq!(json["plan"]["executors"], common::core().as_str());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing behind");
    // Only read, it takes no time and leaves the measured part out.
    let said = doctor(&["--json".as_ref(), "--no-measure".as_ref(), "--data".as_ref(), data]);
    let json: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(json["measured"], Value::Null);
}

/// State of each knob, and of its items those that are one value in one place.
type Wanted = BTreeMap<String, (String, BTreeMap<String, (String, bool)>)>;

fn wanted(json: &Value, of: impl Fn(&Value) -> Option<(String, bool)>) -> Wanted {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let items = |knob: &Value| {
        let items = knob["items"].as_array().unwrap().iter();
        items.filter_map(|item| Some((text(&item["target"]), of(item)?))).collect()
    };
    let knobs = json["knobs"].as_array().unwrap().iter();
    knobs.map(|knob| (text(&knob["knob"]), (text(&knob["state"]), items(knob)))).collect()
}

/// Says of every knob of `root` that both mean the same.
fn agree(root: &Path, name: &str) {
    let said = tuning("ringmill-tune", root, &["check", "--json"]);
    let tune: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|why| panic!("{why}: {said:?}"));
    let (_, ours) = judged(root);
    for field in ["executors", "helper", "idle", "system"] {
        assert_eq!(tune["plan"][field], ours["plan"][field], "{name}: {field}");
    }
    assert_eq!(tune["plan"]["profile"], ours["host"]["profile"], "{name}");
    // Contents of whole files are judged by their meaning: only the knob's state has to agree.
    let single = |target: &str| {
        (target.starts_with("/proc/")
            || target.starts_with("/sys/")
            || target.contains(" co")
            || target.contains(" ch"))
            && !target.ends_with(".slice")
            && !target.ends_with(":cpuset")
    };
    let theirs = wanted(&tune, |item| {
        let kind = item["kind"].as_str().unwrap();
        let single = matches!(kind, "file" | "list" | "mask" | "ethtool");
        single.then(|| (item["wanted"].as_str().unwrap().to_string(), item["state"] == "same"))
    });
    let mine = wanted(&ours, |item| {
        let wanted = item["wanted"].as_str().unwrap().to_string();
        single(item["target"].as_str().unwrap()).then(|| (wanted, item["same"] == true))
    });
    assert!(mine.len() >= 28, "{}", mine.len());
    let mut compared = 0;
    for (knob, (state, items)) in &mine {
        // Never of a profile; the tool only explains it, the server cannot run without.
        if knob == "io-uring" {
            continue;
        }
        let (their_state, their_items) = &theirs[knob];
        // What is told beside a value is advice to the one and nothing to the other.
        let told = |state: &String| if state == "advice" { "skip".to_string() } else { state.clone() };
        assert_eq!(told(state), told(their_state), "{name}: {knob}: {items:?} {their_items:?}");
        assert_eq!(items, their_items, "{name}: {knob}");
        compared += items.len();
    }
    assert!(compared > 5, "{name}: {compared}");
    // What its profile turns is all known here.
    for knob in tune["knobs"].as_array().unwrap().iter().filter(|knob| knob["in_profile"] == true) {
        assert!(mine.contains_key(knob["knob"].as_str().unwrap()), "{name}: {knob}");
    }
}

fn agree_on(distro: &str, shape: &str) {
    let dir = TempDir::new("doctor-agree");
    let root = tree(&dir, distro, shape);
    agree(&root, &format!("{distro} {shape}"));
    apply(&root);
    agree(&root, &format!("{distro} {shape}, applied"));
}

#[test]
fn doctor_and_tune_agree_on_debian_metal() {
    agree_on("debian12", "metal");
}

#[test]
fn doctor_and_tune_agree_on_debian_in_a_guest_and_a_container() {
    agree_on("debian12", "vm");
    agree_on("debian12", "container");
}

#[test]
fn doctor_and_tune_agree_on_rhel_metal() {
    agree_on("rhel9", "metal");
}

#[test]
fn doctor_and_tune_agree_on_rhel_in_a_guest_and_a_container() {
    agree_on("rhel9", "vm");
    agree_on("rhel9", "container");
}

#[test]
fn doctor_and_tune_agree_on_ubuntu_metal() {
    agree_on("ubuntu2404", "metal");
}

#[test]
fn doctor_and_tune_agree_on_ubuntu_in_a_guest_and_a_container() {
    agree_on("ubuntu2404", "vm");
    agree_on("ubuntu2404", "container");
}

#[test]
fn doctor_and_tune_agree_where_a_host_is_odd() {
    let dir = TempDir::new("doctor-odd");
    let root = tree(&dir, "debian12", "metal");
    for (path, text) in [
        ("sys/devices/system/cpu/isolated", "4-7"),
        ("proc/sys/vm/dirty_bytes", "5000000"),
        ("proc/sys/net/core/somaxconn", "65535"),
        ("sys/devices/system/clocksource/clocksource0/available_clocksource", "xen hpet"),
        ("proc/cmdline", "quiet skew_tick=0 irqaffinity=0"),
        ("sys/class/net/eth0/operstate", "down"),
        ("sys/block/nvme1n1/queue/scheduler", "[mq-deadline] kyber"),
    ] {
        let before = fs::read_to_string(root.join(path)).unwrap();
        write(&root, path, &format!("{text}\n"));
        agree(&root, path);
        write(&root, path, &before);
    }
    fs::remove_dir_all(root.join("run/systemd")).unwrap();
    agree(&root, "no systemd");
    fs::remove_file(root.join("sys/fs/cgroup/cgroup.controllers")).unwrap();
    agree(&root, "cgroups v1");
}
