//! The server under a service manager, from outside: `tests/play_systemd.py` plays systemd, each test is a scenario.
mod common;

use common::TempDir;
use std::process::Command;

fn play(scenario: &str) {
    let dir = TempDir::new(&format!("systemd-{scenario}"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/play_systemd.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(common::ringmill().get_program()).arg(dir.path()).arg(scenario);
    let output = common::run_within(command, common::PATIENCE * 3);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("as promised"), "{out}{err}");
}

#[test]
fn it_says_when_it_is_ready_alive_and_stopping() {
    play("tells");
}

#[test]
fn what_is_for_another_process_has_no_effect() {
    play("without-watchdog");
}

#[test]
fn connections_during_a_restart_are_answered_by_the_next_server() {
    play("restart");
}

#[test]
fn connections_after_a_crash_are_answered_by_the_next_server() {
    play("crash");
}

#[test]
fn more_or_fewer_shards_take_over_every_socket() {
    play("other-shards");
}

#[test]
fn a_socket_without_an_address_is_given_up() {
    play("given-up");
}

#[test]
fn sockets_of_a_socket_unit_are_served() {
    play("socket-unit");
}

#[test]
fn what_cannot_be_served_is_refused() {
    play("refused");
}
