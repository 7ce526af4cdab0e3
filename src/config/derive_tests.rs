//! Every refusal with its text, and what is derived from which machine.
use super::*;
use crate::sys::topology::Core;

const GIB: u64 = 1 << 30;

/// Cores 0–3, two of which share one physical core; everything allowed.
pub(crate) fn machine() -> Machine {
    let core = |core: usize| Core {
        core,
        siblings: if core >= 2 { vec![5 - core] } else { vec![] },
        node: Some(core / 2),
    };
    Machine {
        online: vec![0, 1, 2, 3],
        affinity: vec![0, 1, 2, 3],
        isolated: vec![],
        partition: vec![],
        reachable: (0..4).map(core).collect(),
        memlock_bytes: u64::MAX,
        memlock_exempt: false,
        files_max: 1 << 20,
        memory_bytes: Some(64 * GIB),
        uring: Uring::Full,
    }
}

pub(crate) fn raw(toml: &str) -> Raw {
    Raw::from_toml(toml, "a.toml").unwrap_or_else(|errors| panic!("{toml}: {errors:?}"))
}

pub(crate) fn derive(toml: &str) -> Plan {
    Plan::derive(&raw(toml), &machine()).unwrap_or_else(|errors| panic!("{toml}: {errors:?}"))
}

pub(crate) fn refused(toml: &str, machine: &Machine) -> String {
    let errors = Plan::derive(&raw(toml), machine).expect_err(toml);
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn shards(plan: &Plan) -> Vec<usize> {
    plan.cores.shards.iter().map(|core| core.core).collect()
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let plan = derive("");
    assert_eq!(Plan::join(&plan.listen), "127.0.0.1:8080");
    assert_eq!(Plan::join(&plan.listen_lines), "-");
    assert_eq!(Plan::join(plan.admin), "127.0.0.1:9090");
    assert_eq!(plan.sink.to_string(), "segments:./data");
    assert_eq!(plan.ack, Ack::Durable);
    assert_eq!(shards(&plan), [1, 2, 3]);
    assert_eq!(plan.cores.housekeeping, [0]);
    assert_eq!((plan.driver, plan.driver_forced, plan.poll), (Driver::Uring, false, false));
    assert_eq!(plan.limits.connections_max, 1024);
    assert_eq!(plan.limits.arena_bytes, 9 * MIB);
    assert_eq!(plan.segments.segment_bytes, 256 * MIB);
    assert_eq!(plan.segments.retention_bytes, None);
    assert_eq!(plan.limits.linger, Duration::ZERO);
    assert_eq!(plan.limits.idle_timeout, Duration::from_secs(60));
    assert_eq!(plan.memory.shards, 3);
    assert_eq!(plan.warnings, ["shards on cores 2 and 3 share one physical core: tail latency suffers"]);
}

#[test]
fn connections_are_spread_where_there_are_several_shards() {
    for (toml, spread) in [
        ("", true),
        ("cores = \"0\"", false),
        ("cores = \"0\"\nconnections_balance = true", false),
        ("connections_balance = false", false),
    ] {
        let plan = derive(toml);
        assert_eq!(plan.limits.connections_balance, spread, "{toml}");
        assert_eq!(plan.to_string().contains("new ones spread by load"), spread, "{toml}");
        let terms = plan.memory.per_shard.iter().filter(|term| term.name == "neighbours").count();
        assert_eq!(terms, usize::from(spread), "{toml}");
    }
}

#[test]
fn good_values_are_taken() {
    let plan = derive(
        "listen = [\"[::1]:0\", \"127.0.0.1:0\", \"localhost:1\"]\nlisten-lines = \"unix:/run/x,127.0.0.1:0\"\nadmin = \"none\"\n\
         sink = \"null\"\ncores = \"0\"\ndriver = \"glommio\"\nlinger_us = \"2ms\"\nretention_bytes = \"1GiB\"\n\
         retention_age_s = \"7d\"\npoll = \"on\"\nlog_level = \"debug\"\nlog_format = \"json\"\nlines.replies = true",
    );
    assert_eq!(Plan::join(&plan.listen), "[::1]:0,127.0.0.1:0,127.0.0.1:1");
    assert_eq!(Plan::join(&plan.listen_lines), "unix:/run/x,127.0.0.1:0");
    assert_eq!((plan.admin, plan.sink.clone(), plan.ack), (None, Sink::Null, Ack::Accepted));
    assert_eq!((plan.driver, plan.driver_forced, plan.poll), (Driver::Glommio, true, true));
    assert_eq!(plan.limits.linger, Duration::from_millis(2));
    assert_eq!(plan.segments.retention_bytes, Some(GIB));
    assert_eq!(plan.segments.retention_age, Some(Duration::from_secs(7 * 86400)));
    assert_eq!((plan.log_format, plan.log_level), (log::Format::Json, log::LevelFilter::Debug));
    assert!(plan.limits.lines_replies);
    assert_eq!(derive("listen = \"none\"\nlisten_lines = \"127.0.0.1:0\"").listen, []);
    assert_eq!(derive("ack = \"accepted\"").ack, Ack::Accepted);
}

#[test]
fn each_refusal_names_key_value_bound_and_line() {
    for (toml, text) in [
        (
            "listen = \"8080\"",
            "listen = 8080 (a.toml line 1): `8080`: not an address; `127.0.0.1:8080` for this machine only, `0.0.0.0:8080` for all",
        ),
        (
            "listen = \"host:80\"",
            "listen = host:80 (a.toml line 1): `host:80`: not an address; expected IP:PORT such as `127.0.0.1:8080` or `[::1]:8080`",
        ),
        (
            "listen = \"127.0.0.1:99999\"",
            "listen = 127.0.0.1:99999 (a.toml line 1): `127.0.0.1:99999`: not an address; expected IP:PORT such as `127.0.0.1:8080` or `[::1]:8080`",
        ),
        (
            "listen = \"unix:/x\"",
            "listen = unix:/x (a.toml line 1): `unix:/x`: Unix sockets take lines only: use listen_lines",
        ),
        ("listen_lines = \"unix:\"", "listen_lines = unix: (a.toml line 1): `unix:`: no path behind `unix:`"),
        ("listen = \"127.0.0.1:9090\"", "admin = (default) (the default): 127.0.0.1:9090 is given twice"),
        (
            "listen = \"none\"",
            "listen = none (a.toml line 1): nothing would be listened to: give an address here or in listen_lines",
        ),
        (
            "admin = \"x\"",
            "admin = x (a.toml line 1): not an address; expected IP:PORT such as `127.0.0.1:8080` or `[::1]:8080`",
        ),
        ("sink = \"segments:\"", "sink = segments: (a.toml line 1): no directory behind `segments:`"),
        (
            "sink = \"file\"",
            "sink = file (a.toml line 1): not a sink; expected segments:DIR, kafka:HOST:PORT/TOPIC, http://HOST/PATH or null",
        ),
        (
            "sink = \"null\"\nack = \"durable\"",
            "ack = durable (a.toml line 2): the sink null reaches `accepted` at most",
        ),
        (
            "ack = \"replicated\"",
            "ack = replicated (a.toml line 1): the sink segments:./data reaches `durable` at most",
        ),
        (
            "ack = \"sure\"",
            "ack = sure (a.toml line 1): not a level; expected `accepted`, `written`, `durable` or `replicated`",
        ),
        (
            "sink = \"x\"\nack = \"durable\"",
            "sink = x (a.toml line 1): not a sink; expected segments:DIR, kafka:HOST:PORT/TOPIC, http://HOST/PATH or null",
        ),
        ("cores = 7", "cores = 7 (a.toml line 1): core 7 is not online; online are 0-3"),
        ("cores = \"1-\"", "cores = 1- (a.toml line 1): `` is not a core number"),
        (
            "cores = \"\"",
            "cores =  (a.toml line 1): no core is named; expected a list such as `0-3,5`, or `auto`",
        ),
        ("driver = \"epoll\"", "driver = epoll (a.toml line 1): expected `uring`, `glommio` or `auto`"),
        (
            "log_level = \"loud\"",
            "log_level = loud (a.toml line 1): expected `off`, `error`, `warn`, `info`, `debug` or `trace`",
        ),
        ("connections_max = 0", "connections_max = 0 (a.toml line 1): at least 1 is needed"),
        ("connections_max = 70_000", "connections_max = 70000 (a.toml line 1): at most 65536 is allowed"),
        (
            "connections_max = -1",
            "connections_max = -1 (a.toml line 1): not a count; a count is a whole number, with or without k, M",
        ),
        (
            "receive_buffers = 1000",
            "receive_buffers = 1000 (a.toml line 1): a power of two is needed, such as 1024",
        ),
        (
            "body_budget_bytes = \"8MiB\"",
            "body_budget_bytes = 8MiB (a.toml line 1): at least 17 MiB is needed",
        ),
        ("batch_bytes_max = \"1G\"", "batch_bytes_max = 1G (a.toml line 1): at most 64 MiB is allowed"),
        ("linger_us = \"2s\"", "linger_us = 2s (a.toml line 1): at most 1s is allowed"),
        (
            "head_timeout_s = \"soon\"",
            "head_timeout_s = soon (a.toml line 1): not a time; a time is a whole number of s, or one with us, ms, s, m, h, d",
        ),
        ("drain_timeout_s = 31", "drain_timeout_s = 31 (a.toml line 1): at most 30s is allowed"),
        ("segment_bytes = \"1MiB\"", "segment_bytes = 1MiB (a.toml line 1): at least 10 MiB is needed"),
        (
            "quarantine = \"/q\"",
            "quarantine = /q (a.toml line 1): segments, of the sink or the spill, have their quarantine beside them: leave it out, or say `none`",
        ),
        ("quarantine_bytes = 5", "quarantine_bytes = 5 (a.toml line 1): at least 2 MiB is needed"),
        (
            "retention_bytes = \"1GiB\"",
            "retention_bytes = 1GiB (a.toml line 1): at least 1536 MiB is needed, two segments for each of 3 shard(s); 0 keeps everything",
        ),
        (
            "memory = \"lots\"",
            "memory = lots (a.toml line 1): not a size; a size is a whole number of bytes, with or without k, M, G, KiB, MiB, GiB",
        ),
        (
            "poll = \"x\"\nidle_timeout_s = 0",
            "poll = x (a.toml line 1): expected `on`, `off` or `auto`\nidle_timeout_s = 0 (a.toml line 2): at least 10ms is needed",
        ),
    ] {
        assert_eq!(refused(toml, &machine()), text, "{toml}");
    }
}

#[test]
fn cores_are_chosen() {
    let isolated = Machine { affinity: vec![0, 1], isolated: vec![2, 3], ..machine() };
    let partition = Machine { affinity: vec![2, 3], partition: vec![2, 3], ..machine() };
    let single = Machine { affinity: vec![1], ..machine() };
    for (machine, toml, chosen, housekeeping, apart) in [
        (&machine(), "", vec![1, 2, 3], vec![0], false),
        (&machine(), "cores = \"0-3\"", vec![0, 1, 2, 3], vec![0, 1, 2, 3], false),
        (&machine(), "cores = [3, 1]", vec![1, 3], vec![0, 2], false),
        (&isolated, "", vec![2, 3], vec![0, 1], true),
        (&isolated, "cores = 2", vec![2], vec![0, 1], true),
        (&isolated, "cores = \"1,2\"", vec![1, 2], vec![0], false),
        (&partition, "", vec![3], vec![2], true),
        (&single, "", vec![1], vec![0, 2, 3], false),
    ] {
        let plan = Plan::derive(&raw(toml), machine).unwrap();
        assert_eq!(shards(&plan), chosen, "{toml} {machine:?}");
        assert_eq!(plan.cores.housekeeping, housekeeping, "{toml} {machine:?}");
        assert_eq!((plan.cores.isolated, plan.poll), (apart, apart), "{toml} {machine:?}");
    }
    let caged = Machine { reachable: machine().reachable[..1].to_vec(), affinity: vec![0], ..machine() };
    assert!(refused("cores = 1", &caged).contains("core 1 is outside the cpuset of this process"));
    assert!(refused("cores = 0", &single).contains("core 0 is outside the affinity of this process, 1: "));
}

#[test]
fn what_the_machine_lacks_is_said() {
    let denied = Machine { uring: Uring::Denied("switched off".into()), ..machine() };
    assert_eq!(refused("", &denied), "switched off");
    let basic = Machine { uring: Uring::Basic("old kernel".into()), ..machine() };
    let plan = Plan::derive(&raw(""), &basic).unwrap();
    assert_eq!((plan.driver, plan.driver_why.as_str()), (Driver::Glommio, "old kernel"));
    assert_eq!(
        refused("driver = \"uring\"", &basic),
        "driver = uring (a.toml line 1): old kernel; `glommio` or `auto` would do"
    );
    let locked = Machine { memlock_bytes: 65536, ..machine() };
    assert!(refused("", &locked).starts_with("RLIMIT_MEMLOCK is 64 KiB, but"));
    let tight = Machine { memlock_bytes: 8 * MIB, ..machine() };
    assert!(Plan::derive(&raw(""), &tight).unwrap().executor_io_bytes < MIB);
    let few = Machine { files_max: 1024, ..machine() };
    let plan = Plan::derive(&raw("cores = 1"), &few).unwrap();
    assert_eq!(plan.limits.connections_max, 1024 - 96 - 32 - 1);
    assert!(plan.warnings[0].starts_with("RLIMIT_NOFILE of 1024 leaves 895 connections a shard"));
    assert!(
        refused("cores = 1\nconnections_max = 896", &few).starts_with(
            "connections_max = 896 (a.toml line 2): RLIMIT_NOFILE of 1024 leaves 895 connections"
        )
    );
    let small = Machine { memory_bytes: Some(GIB / 4), ..machine() };
    let plan = Plan::derive(&raw("cores = 1"), &small).unwrap();
    assert!(plan.memory.total_bytes() <= GIB / 5 && plan.warnings.len() == 1);
    assert!(refused("", &small).contains("3 shard(s) need "));
}

#[test]
fn memory_is_a_bound() {
    for mib in [150, 200, 250, 1000] {
        let plan = derive(&format!("cores = 1\nmemory = \"{mib}MiB\""));
        assert!(plan.memory.total_bytes() <= mib * MIB);
    }
    assert_eq!(derive("cores = 1\nmemory = \"1G\"").memory, derive("cores = 1").memory);
    let text = refused("cores = 1\nmemory = \"64MiB\"", &machine());
    assert!(text.starts_with("memory = 64MiB (a.toml line 2): at least "), "{text}");
    let least: u64 = text.split("at least ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(derive(&format!("cores = 1\nmemory = {least}")).memory.total_bytes(), least);
    refused(&format!("cores = 1\nmemory = {}", least - 1), &machine());
}

#[test]
fn the_printed_plan_names_everything() {
    let text = derive("").to_string();
    for needle in
        ["http             127.0.0.1:8080\n", "shard 2          core 3 node 1 siblings 2\n", "  total "]
    {
        assert!(text.contains(needle), "{needle}\n{text}");
    }
}

#[test]
fn a_spill_stands_beside_kafka_only_and_is_counted() {
    const KAFKA: &str = "cores = \"0\"\nsink = \"kafka:a:1/t\"\n";
    let plan = derive(&format!("{KAFKA}spill = \"segments:/s\"\nspill_after_ms = \"3s\""));
    let spill = plan.spill.as_ref().unwrap();
    assert_eq!((spill.to_string().as_str(), spill.after), ("segments:/s", Duration::from_secs(3)));
    assert_eq!(plan.segments_dir(), Some(std::path::Path::new("/s")));
    assert_eq!((plan.ack, plan.segments.segment_bytes), (Ack::Replicated, 64 * MIB));
    assert!(plan.to_string().contains("spill            segments:/s after 3s, files of 64 MiB\n"), "{plan}");
    let without = derive(KAFKA);
    assert_eq!((without.spill.as_ref(), without.segments_dir()), (None, None));
    let term = |plan: &Plan, name: &str| {
        let terms = plan.memory.per_shard.iter().chain(&plan.memory.fixed);
        terms.filter(|term| term.name == name).map(memory::Term::bytes).sum::<u64>()
    };
    assert_eq!((term(&plan, "spill arenas"), term(&without, "spill arenas")), (18 * MIB, 0));
    assert!(term(&plan, "replayer") > 24 * MIB && term(&without, "replayer") == 0);
    for (toml, why) in [
        (
            "spill = \"segments:/s\"".into(),
            "spill = segments:/s (a.toml line 1): of use only with a Kafka sink; events go to segments:./data",
        ),
        (
            "sink = \"null\"\nspill = \"segments:/s\"".into(),
            "of use only with a Kafka sink; events go to null",
        ),
        (
            format!("{KAFKA}spill = \"/s\""),
            "spill = /s (a.toml line 3): not a spill; expected segments:DIR or none",
        ),
        (format!("{KAFKA}spill = \"segments:\""), "no directory behind `segments:`"),
        (format!("{KAFKA}spill_after_ms = 500"), "of no use without a spill: give spill = segments:DIR"),
        (
            format!("{KAFKA}spill = \"segments:/s\"\nspill_after_ms = 5"),
            "spill_after_ms = 5 (a.toml line 4):",
        ),
        (
            format!("{KAFKA}spill = \"segments:/s\"\nretention_bytes = \"1GiB\""),
            "would delete events of the spill that are not with the sink yet",
        ),
        (
            format!("{KAFKA}spill = \"segments:/s\"\nretention_age_s = \"1h\""),
            "would delete events of the spill",
        ),
    ] {
        let found = refused(&toml, &machine());
        assert!(found.contains(why), "{toml}: {found}");
    }
}
