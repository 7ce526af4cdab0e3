//! What `ringmill-tune` would have of a host, and what there is: the knobs of its profiles, read again by code of our
//! own. `tuning/knobs.txt` says of both which profile holds a knob, why, and at what risk; what a knob wants of which
//! file stands twice, in `tuning/lib/knobs-*.sh` and here, and `tests/doctor.rs` holds one against the other.
//!
//! Nothing is judged here (that is [`super::judge`]) and nothing changed.
mod cpu;
mod irq;
mod mem;
mod net;

use super::host::{Host, Kind, Loader};
use super::look::Look;
use crate::sys::topology::parse_list;

/// Names, profiles and reasons, as `ringmill-tune` reads them.
const TEXT: &str = include_str!("../../../tuning/knobs.txt");

/// What kind of thing is turned: how its values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line of the kernel's; of a choice the word in brackets.
    File,
    /// A list of CPUs.
    List,
    /// A mask of CPUs.
    Mask,
    /// A setting of a network card.
    Device,
    /// A whole file, judged by what it says: `now` is `as wanted`, `absent` or `another content`.
    Text,
    /// A kernel argument in a boot entry, `present` or `absent`.
    Argument,
    /// A folder of control groups, `there` or `absent`.
    Folder,
}

/// One thing of a knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// How it is compared.
    pub form: Form,
    /// Where: a path, or device, group and name.
    pub target: String,
    /// What is there; `None` when it could not be read.
    pub now: Option<String>,
    /// What should be.
    pub wanted: String,
}

impl Item {
    /// Whether it is as wanted; `None` when it could not be read.
    pub fn same(&self) -> Option<bool> {
        let now = self.now.as_deref()?;
        Some(match self.form {
            Form::File => chosen(now) == chosen(&self.wanted),
            Form::List => parse_list(now).is_ok() && parse_list(now) == parse_list(&self.wanted),
            Form::Mask => mask(now).is_some() && mask(now) == mask(&self.wanted),
            _ => now == self.wanted,
        })
    }
}

/// What a knob is like on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As wanted.
    Ok,
    /// Not.
    Differs,
    /// Something could not be read.
    Unknown,
    /// Somebody else has decided.
    Advice,
    /// Not for this host.
    Skip,
}

impl State {
    /// The word that `ringmill-tune check` uses.
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Differs => "differs",
            State::Unknown => "unknown",
            State::Advice => "advice",
            State::Skip => "skip",
        }
    }
}

/// A knob on a host.
#[derive(Clone, Debug)]
pub struct Knob {
    /// Its name.
    pub name: &'static str,
    /// What it turns here.
    pub items: Vec<Item>,
    /// Somebody else has set it, or must: what.
    pub advice: Option<String>,
}

impl Knob {
    /// As `ringmill-tune check` sums it up.
    pub fn state(&self) -> State {
        let states: Vec<Option<bool>> = self.items.iter().map(Item::same).collect();
        match () {
            () if states.contains(&Some(false)) => State::Differs,
            () if states.contains(&None) => State::Unknown,
            () if !states.is_empty() => State::Ok,
            () if self.advice.is_some() => State::Advice,
            () => State::Skip,
        }
    }

    /// A line of its entry in `knobs.txt`: `title`, `why`, `risk`, `scope`.
    pub fn says(&self, field: &str) -> &'static str {
        says(self.name, field)
    }

    /// Whether `ringmill-tune` turns it in that profile.
    pub fn is_in(&self, profile: &str) -> bool {
        self.says("profiles").split(' ').any(|word| word == profile)
    }

    /// Whether a container may turn it for itself.
    pub fn is_own(&self) -> bool {
        self.says("scope") != "host"
    }

    /// Whether it takes a boot to have an effect.
    pub fn needs_boot(&self) -> bool {
        self.says("reboot") == "yes"
    }
}

/// Names of all knobs, in the order in which they are turned.
pub fn names() -> impl Iterator<Item = &'static str> {
    TEXT.lines().filter_map(|line| line.strip_prefix("knob: "))
}

/// A field of a knob's entry; empty where it has none.
pub fn says(name: &str, field: &str) -> &'static str {
    let entries = TEXT.split("\n\n");
    let entry =
        entries.into_iter().find(|entry| entry.lines().any(|line| line.strip_prefix("knob: ") == Some(name)));
    let value = |line: &'static str| line.strip_prefix(field)?.strip_prefix(':').map(str::trim);
    entry.and_then(|entry| entry.lines().find_map(value)).unwrap_or_default()
}

/// Every knob of a profile, and those that the server needs whatever the profile, in their order.
pub fn collect(look: &dyn Look, host: &Host) -> Vec<Knob> {
    let of = |name| {
        let mut wants = Wants { look, host, knob: Knob { name, items: Vec::new(), advice: None } };
        find(name)?(&mut wants);
        Some(wants.knob)
    };
    names().filter_map(of).collect()
}

fn find(name: &str) -> Option<fn(&mut Wants<'_>)> {
    Some(match name {
        "plan" => cpu::plan,
        "partition" => cpu::partition,
        "cstates" => cpu::cstates,
        "governor" => cpu::governor,
        "workqueues" => cpu::workqueues,
        "isolcpus" => cpu::isolcpus,
        "irqaffinity" => cpu::irqaffinity,
        "skew-tick" => cpu::skew_tick,
        "irqbalance" => irq::irqbalance,
        "irq-default" => irq::default,
        "nic-irqs" => irq::nics,
        "irqs" => irq::others,
        "queues" => net::queues,
        "coalesce" => net::coalesce,
        "xps" => net::xps,
        "rps" => net::rps,
        "rfs" => net::rfs,
        "busy-poll" => net::busy_poll,
        "backlog" => net::backlog,
        "limits" => mem::limits,
        "thp" => mem::thp,
        "numa" => mem::numa,
        "swappiness" => mem::swappiness,
        "dirty" => mem::dirty,
        "stat-interval" => mem::stat_interval,
        "timers" => mem::timers,
        "nmi-watchdog" => mem::nmi_watchdog,
        "clocksource" => mem::clocksource,
        "disk" => mem::disk,
        "io-uring" => mem::io_uring,
        _ => return None,
    })
}

/// What a knob is asked with, and where its answer goes.
struct Wants<'a> {
    look: &'a dyn Look,
    host: &'a Host,
    knob: Knob,
}

impl Wants<'_> {
    fn line(&self, path: &str) -> Option<String> {
        self.look.line(path)
    }

    fn there(&self, path: &str) -> bool {
        self.look.there(path)
    }

    fn item(
        &mut self,
        form: Form,
        target: impl Into<String>,
        now: Option<String>,
        wanted: impl Into<String>,
    ) {
        self.knob.items.push(Item { form, target: target.into(), now, wanted: wanted.into() });
    }

    /// A file that is there; unknown when it cannot be read.
    fn want(&mut self, form: Form, path: &str, wanted: impl Into<String>) {
        self.item(form, path, self.line(path), wanted);
    }

    fn file(&mut self, path: &str, wanted: impl Into<String>) {
        self.want(Form::File, path, wanted);
    }

    /// The same of a setting that this kernel need not have.
    fn file_if_there(&mut self, path: &str, wanted: impl Into<String>) {
        if self.there(path) {
            self.file(path, wanted);
        }
    }

    /// What only exists when another item is as wanted.
    fn later(&mut self, form: Form, path: &str, wanted: impl Into<String>) {
        let now = self.line(path).or_else(|| (!self.there(path)).then(String::new));
        self.item(form, path, now, wanted);
    }

    fn sysctl(&mut self, name: &str, wanted: &str) {
        self.file_if_there(&format!("/proc/sys/{}", name.replace('.', "/")), wanted);
    }

    /// A bound that may be higher already.
    fn least(&mut self, path: &str, least: u64) {
        let Some(now) = self.line(path) else { return };
        match now.parse::<u64>() {
            Ok(have) if have >= least => self.file(path, now),
            Ok(_) => self.file(path, least.to_string()),
            Err(_) => {}
        }
    }

    /// A file of ours, which says all of `lines`.
    fn says(&mut self, path: &str, lines: &[String]) {
        let now = match self.look.text(path) {
            None => "absent",
            Some(text) if lines.iter().all(|line| text.lines().any(|have| have == line)) => "as wanted",
            Some(_) => "another content",
        };
        self.item(Form::Text, path, Some(now.into()), "as wanted");
    }

    fn advise(&mut self, what: impl Into<String>) {
        self.knob.advice = Some(what.into());
    }

    /// Which argument the kernel is to be told at the next boot. What somebody else has set is left alone.
    fn boot(&mut self, argument: &str) {
        let key = argument.split('=').next().unwrap_or_default();
        let is = |word: &&String| word.as_str() == key || word.starts_with(&format!("{key}="));
        let running = self.host.arguments.iter().find(is).cloned();
        match running {
            Some(set) if set == argument && self.host.ours(self.knob.name, argument) => {}
            Some(set) => return self.advise(format!("the kernel runs with {set}, set by somebody else")),
            None => {}
        }
        match &self.host.loader {
            Loader::Grub => {
                if self.taken(key) {
                    return self.advise(format!("/etc/default/grub sets {key}: change it there"));
                }
                let path = format!("/etc/default/grub.d/90-ringmill-{}-{key}.cfg", self.knob.name);
                self.says(&path, &[format!("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {argument}\"")]);
            }
            Loader::Entries(entries) => {
                for entry in entries {
                    let now = self.entry_has(entry, argument);
                    self.item(Form::Argument, format!("{entry}:{argument}"), now, "present");
                }
            }
            Loader::None => {}
        }
    }

    /// Whether the system's own GRUB configuration sets the same.
    fn taken(&self, key: &str) -> bool {
        let text = self.look.text("/etc/default/grub").unwrap_or_default();
        let parted = |line: &str| {
            let is = |word: &str| word == key || word.starts_with(&format!("{key}="));
            line.split(['"', ' ']).skip(1).any(is)
        };
        text.lines().any(|line| line.starts_with("GRUB_CMDLINE_LINUX") && parted(line))
    }

    fn entry_has(&self, entry: &str, argument: &str) -> Option<String> {
        let text = self.look.text(entry)?;
        let whole = entry.ends_with("/cmdline");
        let mut options =
            text.lines().filter(|line| whole || line.split(' ').next() == Some("options")).peekable();
        options.peek()?;
        let has = options.any(|line| line.split_ascii_whitespace().any(|word| word == argument));
        Some(if has { "present" } else { "absent" }.into())
    }

    /// No CPU can be spared: most of what keeps them free makes no sense.
    fn crowded(&self) -> bool {
        !self.host.plan.apart
    }
}

/// Of `always [madvise] never` the choice; anything else without space around.
pub fn chosen(text: &str) -> &str {
    let inner = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or(text.trim_matches(' '), |(word, _)| word)
}

/// The CPUs of a mask, as the kernel writes it: groups of 32 bits, the highest first.
pub fn mask(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for (group, digits) in text.rsplit(',').enumerate() {
        let bits = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 8)?;
        cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| group * 32 + bit));
    }
    Some(cpus)
}

/// A mask of these CPUs, as `ringmill-tune` writes it.
fn to_mask(cpus: &[usize]) -> String {
    let groups = cpus.iter().max().map_or(1, |top| top / 32 + 1);
    let bits = |group: usize| {
        cpus.iter().filter(|&&cpu| cpu / 32 == group).fold(0u32, |bits, cpu| bits | 1 << (cpu % 32))
    };
    (0..groups).rev().map(|group| format!("{:08x}", bits(group))).collect::<Vec<_>>().join(",")
}

/// Whether a knob's value is seen from inside a container: files of the kernel are, the host's own files are not.
pub fn is_visible(knob: &Knob, kind: Kind) -> bool {
    kind != Kind::Container
        || knob
            .items
            .iter()
            .all(|item| matches!(item.form, Form::File | Form::List | Form::Mask | Form::Device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::look::testing::Recorded;
    use crate::sys::topology::format_list;

    #[test]
    fn every_knob_of_a_profile_is_known() {
        assert!(names().count() > 40);
        for name in names() {
            let wanted = !says(name, "profiles").is_empty() || name == "io-uring";
            assert_eq!(find(name).is_some(), wanted, "{name}");
            assert!(!says(name, "why").is_empty() && !says(name, "title").is_empty(), "{name}");
        }
        assert_eq!(says("thp", "tier"), "free");
        assert_eq!((says("thp", "nonsense"), says("nonsense", "why")), ("", ""));
    }

    #[test]
    fn values_are_compared_by_what_they_mean() {
        for (form, now, wanted, same) in [
            (Form::File, "always [madvise] never", "madvise", Some(true)),
            (Form::File, "[always] madvise never", "madvise", Some(false)),
            (Form::File, " 10 ", "10", Some(true)),
            (Form::List, "0,1,2", "0-2", Some(true)),
            (Form::List, "isolated", "isolated", Some(false)),
            (Form::Mask, "f", "00000000,0000000f", Some(true)),
            (Form::Mask, "1,00000000", "00000001,00000000", Some(true)),
            (Form::Mask, "0000001g", "0000001g", Some(false)),
            (Form::Device, "off", "on", Some(false)),
        ] {
            let item = Item { form, target: String::new(), now: Some(now.into()), wanted: wanted.into() };
            assert_eq!(item.same(), same, "{now} {wanted}");
            assert_eq!(Item { now: None, ..item }.same(), None);
        }
        for (cpus, text) in [(&[0, 1, 35][..], "00000008,00000003"), (&[], "00000000"), (&[31], "80000000")] {
            assert_eq!(to_mask(cpus), text);
            assert_eq!(mask(text).unwrap(), cpus);
        }
        assert_eq!(mask("123456789"), None);
        assert_eq!(format_list(&mask("ff").unwrap()), "0-7");
    }

    #[test]
    fn a_knob_is_as_bad_as_its_worst_item() {
        let item = |now: Option<&str>| Item {
            form: Form::File,
            target: String::new(),
            now: now.map(str::to_string),
            wanted: "1".into(),
        };
        for (items, advice, state) in [
            (vec![item(Some("1")), item(Some("0")), item(None)], None, State::Differs),
            (vec![item(Some("1")), item(None)], Some("x"), State::Unknown),
            (vec![item(Some("1"))], Some("x"), State::Ok),
            (vec![], Some("x"), State::Advice),
            (vec![], None, State::Skip),
        ] {
            let knob = Knob { name: "thp", items, advice: advice.map(str::to_string) };
            assert_eq!(knob.state(), state);
        }
    }

    #[test]
    fn a_boot_argument_of_somebody_else_is_left_alone() {
        let base = [("/proc/sys/kernel/osrelease", "6.1.0"), ("/sys/devices/system/cpu/online", "0-3")];
        let grub = ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet skew_tick=1\"");
        let plain = ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet\"");
        let entry = ("/boot/loader/entries/a.conf", "title x\noptions root=1 skew_tick=1\n");
        let bare = ("/boot/loader/entries/a.conf", "title skew_tick=1\n");
        let journal = (
            "/var/lib/ringmill-tune/journal",
            "want\t1\tb\tskew-tick\ttext\t/etc/default/grub.d/90-ringmill-skew-tick-skew_tick.cfg\t.\n",
        );
        let drop_in = (
            "/etc/default/grub.d/90-ringmill-skew-tick-skew_tick.cfg",
            "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX skew_tick=1\"",
        );
        for (files, state) in [
            (vec![], State::Skip),
            (vec![grub], State::Advice),
            (vec![plain], State::Differs),
            (vec![plain, drop_in], State::Ok),
            (vec![plain, drop_in, ("/proc/cmdline", "quiet skew_tick=1")], State::Advice),
            (vec![plain, drop_in, journal, ("/proc/cmdline", "quiet skew_tick=1")], State::Ok),
            (vec![plain, ("/proc/cmdline", "skew_tick=0")], State::Advice),
            (vec![entry], State::Ok),
            (vec![bare], State::Unknown),
        ] {
            let look = Recorded::new(&[&base[..], &files].concat());
            let host = Host::read(&look, None).unwrap();
            let knobs = collect(&look, &host);
            let knob = knobs.iter().find(|knob| knob.name == "skew-tick").unwrap();
            assert_eq!(knob.state(), state, "{files:?}: {knob:?}");
        }
    }
}
