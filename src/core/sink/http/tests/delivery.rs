//! One target, scripted: whose turn it is, what each status does, how long is waited, and how it ends.
use super::*;
use alloc::vec;

const S: u64 = 1000 * MS;
const RULES: Rules =
    Rules { lanes: 2, request_timeout_ns: 30 * S, delivery_timeout_ns: 120 * S, idle_ns: 4 * S, seed: 3 };

/// A delivery, and the time.
struct Desk {
    delivery: Delivery,
    now_ns: u64,
}

impl Desk {
    fn new(rules: Rules) -> Desk {
        Desk { delivery: Delivery::new(rules, 16), now_ns: 7 * S }
    }

    /// With its first connection made, and so many parcels.
    fn with(rules: Rules, parcels: usize) -> Desk {
        let mut desk = Desk::new(rules);
        assert_eq!(desk.commands(), [Command::Dial(0)]);
        desk.handle(Input::Up(0));
        desk.delivery.submit(desk.now_ns, parcels);
        desk
    }

    fn commands(&mut self) -> Vec<Command> {
        core::iter::from_fn(|| self.delivery.next_command(self.now_ns)).collect()
    }

    fn handle(&mut self, input: Input) {
        self.delivery.handle(self.now_ns, input);
    }

    fn answer(&mut self, lane: LaneId, status: u16, rest_ns: Option<u64>) {
        let answer = Answer { status, rest_ns, reusable: true, idle_ns: None };
        self.handle(Input::Answered(lane, answer));
    }

    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.delivery.tick(self.now_ns);
    }

    /// To when something is due; how long that took.
    fn pass_to_deadline(&mut self) -> u64 {
        let due_ns = self.delivery.deadline_ns().expect("something is due");
        assert!(due_ns > self.now_ns, "due in the past: the driver would spin");
        let waited_ns = due_ns - self.now_ns;
        self.pass(waited_ns);
        waited_ns
    }

    fn done(&mut self) -> Vec<(usize, Done)> {
        core::iter::from_fn(|| self.delivery.next_done()).collect()
    }
}

fn lost(trouble: Trouble) -> Why {
    Why::Trouble(trouble)
}

#[test]
fn parcels_go_out_in_order_over_as_many_connections_as_may_be() {
    let mut desk = Desk::with(RULES, 3);
    assert_eq!(desk.commands(), [Command::Post(0, 0), Command::Dial(1)]);
    desk.handle(Input::Up(1));
    assert_eq!(desk.commands(), [Command::Post(1, 1)]);
    desk.answer(1, 204, None);
    assert_eq!(desk.commands(), [Command::Post(1, 2)]);
    desk.answer(1, 200, None);
    desk.answer(0, 201, None);
    assert_eq!(desk.done(), [0, 1, 2].map(|parcel| (parcel, Done::Taken)));
    assert_eq!((desk.commands(), desk.done()), (vec![], vec![]));
    assert_eq!(desk.delivery.totals().taken, 3);
}

#[test]
fn idle_connections_are_let_go_of_and_made_again() {
    let mut desk = Desk::with(RULES, 0);
    assert_eq!(desk.pass_to_deadline(), RULES.idle_ns);
    assert_eq!(desk.commands(), [Command::HangUp(0)]);
    assert_eq!(desk.delivery.deadline_ns(), None, "nothing to wait for");
    assert_eq!(desk.delivery.ready(), Ok(()), "an idle target is no unreachable one");
    desk.delivery.submit(desk.now_ns, 1);
    assert_eq!(desk.commands(), [Command::Dial(0)]);
    desk.handle(Input::Up(0));
    assert_eq!(desk.commands(), [Command::Post(0, 0)]);
    // As long as the target says, if that is less.
    let answer = Answer { status: 200, rest_ns: None, reusable: true, idle_ns: Some(S) };
    desk.handle(Input::Answered(0, answer));
    assert_eq!(desk.pass_to_deadline(), S);
    assert_eq!(desk.commands(), [Command::HangUp(0)]);
}

#[test]
fn what_is_tried_again_rests_longer_each_time() {
    let mut desk = Desk::with(Rules { lanes: 1, idle_ns: 600 * S, ..RULES }, 1);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(desk.commands(), [Command::Post(0, 0)]);
        desk.answer(0, 503, None);
        assert_eq!(desk.commands(), [], "rests");
        waits.push(desk.pass_to_deadline());
    }
    assert!(waits.is_sorted() && waits[0] <= 120 * MS && waits[7] > 7 * S, "{waits:?}");
    assert_eq!(desk.commands(), [Command::Post(0, 0)]);
    desk.answer(0, 200, None);
    // What went well ends the series.
    desk.delivery.next_done();
    desk.delivery.submit(desk.now_ns, 1);
    desk.commands();
    desk.answer(0, 503, None);
    assert!(desk.pass_to_deadline() <= 120 * MS);
}

#[test]
fn a_rest_that_the_target_asks_for_is_kept_by_all_connections() {
    let mut desk = Desk::with(Rules { idle_ns: 60 * S, ..RULES }, 2);
    desk.commands();
    desk.handle(Input::Up(1));
    desk.commands();
    desk.answer(0, 429, Some(10 * S));
    desk.answer(1, 200, None);
    assert_eq!(desk.commands(), []);
    assert_eq!(desk.pass_to_deadline(), 10 * S);
    assert!(matches!(desk.commands()[..], [Command::Post(_, 0)]));
}

#[test]
fn what_is_never_taken_is_given_up_and_the_truth_is_told() {
    for (status, unsure) in [(429, false), (503, false), (500, true), (504, true)] {
        let mut desk = Desk::with(RULES, 1);
        let began_ns = desk.now_ns;
        loop {
            for command in desk.commands() {
                match command {
                    Command::Dial(lane) => desk.handle(Input::Up(lane)),
                    Command::Post(lane, 0) => desk.answer(lane, status, None),
                    _ => {}
                }
            }
            if let [done] = desk.done()[..] {
                assert_eq!(done, (0, Done::Lost { why: Why::Status(status), unsure }));
                break;
            }
            desk.pass_to_deadline();
        }
        assert_eq!(desk.now_ns - began_ns, RULES.delivery_timeout_ns);
    }
}

#[test]
fn a_lost_connection_makes_unsure_only_what_may_have_left() {
    for (begun, unsure) in [(false, false), (true, true)] {
        let mut desk = Desk::with(Rules { delivery_timeout_ns: S, ..RULES }, 1);
        desk.commands();
        desk.handle(Input::Down { lane: 0, trouble: Trouble::Closed, begun });
        desk.pass(S);
        assert_eq!(desk.done(), [(0, Done::Lost { why: lost(Trouble::Closed), unsure })]);
    }
    // A connection that was used before may have been closed for resting: at once, over a new one.
    let mut desk = Desk::with(RULES, 2);
    desk.commands();
    desk.answer(0, 200, None);
    assert_eq!(desk.commands(), [Command::Post(0, 1)]);
    desk.handle(Input::Down { lane: 0, trouble: Trouble::Closed, begun: true });
    // One was being made for the second parcel; that one takes it.
    desk.handle(Input::Up(1));
    assert_eq!(desk.commands(), [Command::Post(1, 1)]);
    desk.handle(Input::Down { lane: 1, trouble: Trouble::Closed, begun: true });
    assert!(!desk.commands().iter().any(|command| matches!(command, Command::Post(..))), "now it rests");
}

#[test]
fn who_does_not_answer_is_hung_up_on_but_progress_counts() {
    let mut desk = Desk::with(RULES, 1);
    desk.commands();
    for _ in 0..3 {
        desk.pass(20 * S);
        desk.handle(Input::Progress(0));
        assert_eq!(desk.commands(), []);
    }
    assert_eq!(desk.pass_to_deadline(), 30 * S);
    let commands = desk.commands();
    assert!(commands.contains(&Command::HangUp(0)), "{commands:?}");
    // However slow: the parcel's own deadline holds.
    let mut desk = Desk::with(RULES, 1);
    desk.commands();
    for _ in 0..12 {
        desk.pass(10 * S);
        desk.handle(Input::Progress(0));
    }
    assert_eq!(desk.done(), [(0, Done::Lost { why: lost(Trouble::Timeout), unsure: true })]);
    assert_eq!(desk.commands(), [Command::HangUp(0)]);
}

#[test]
fn the_unreachable_is_dialed_again_and_again_with_nothing_to_send() {
    let mut desk = Desk::new(RULES);
    assert_eq!(desk.delivery.ready(), Err(NotReady::Starting));
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(desk.commands(), [Command::Dial(0)]);
        desk.handle(Input::Down { lane: 0, trouble: Trouble::Refused, begun: false });
        assert_eq!(desk.delivery.ready(), Err(NotReady::Unreachable(Trouble::Refused)));
        assert_eq!(desk.commands(), []);
        waits.push(desk.pass_to_deadline());
    }
    assert!(waits[0] <= 120 * MS && waits[11] <= 12 * S && waits[11] > 7 * S, "{waits:?}");
    assert_eq!(desk.commands(), [Command::Dial(0)]);
    // A connect that is never answered ends, too.
    desk.pass(CONNECT_NS_MAX);
    assert_eq!(desk.delivery.ready(), Err(NotReady::Unreachable(Trouble::Timeout)));
    assert_eq!(desk.commands(), [Command::HangUp(0)]);
    desk.pass_to_deadline();
    desk.commands();
    desk.handle(Input::Up(0));
    assert_eq!(desk.delivery.ready(), Ok(()));
}

#[test]
fn what_is_refused_for_its_content_can_go_on_as_halves() {
    for status in [400, 409, 413, 422] {
        let mut desk = Desk::with(RULES, 1);
        desk.commands();
        desk.answer(0, status, None);
        assert_eq!(desk.done(), [(0, Done::Content(Why::Status(status)))]);
        desk.delivery.resubmit(0);
        desk.delivery.submit_half(0);
        assert_eq!(desk.commands(), [Command::Post(0, 0), Command::Dial(1)]);
        desk.answer(0, 200, None);
        assert_eq!(desk.commands(), [Command::Post(0, 1)]);
        desk.answer(0, 200, None);
        assert_eq!(desk.done(), [(0, Done::Taken), (1, Done::Taken)]);
        assert_eq!(desk.delivery.ready(), Ok(()));
    }
}

#[test]
fn a_target_that_refuses_us_is_left_alone_and_tried_again() {
    for status in [301, 401, 403, 404, 405, 411, 415] {
        let mut desk = Desk::with(RULES, 1);
        desk.commands();
        desk.answer(0, status, None);
        assert_eq!(desk.done(), [(0, Done::Lost { why: Why::Status(status), unsure: false })]);
        assert_eq!(desk.delivery.ready(), Err(NotReady::Refuses(status)));
        while desk.delivery.ready().is_err() {
            desk.pass_to_deadline();
            desk.commands();
        }
        assert!(desk.now_ns - 7 * S <= 2 * S);
    }
}

#[test]
fn closing_ends_everything_at_once() {
    let mut desk = Desk::with(RULES, 3);
    desk.commands();
    desk.delivery.close(desk.now_ns);
    let unsure = |parcel| matches!(parcel, 0);
    let done = desk.done();
    assert_eq!(done.len(), 3);
    for (parcel, done) in done {
        assert!(matches!(done, Done::Lost { unsure: is, .. } if is == unsure(parcel)), "{parcel} {done:?}");
    }
    let mut commands = desk.commands();
    commands.sort_by_key(|command| alloc::format!("{command:?}"));
    assert_eq!(commands, [Command::HangUp(0), Command::HangUp(1)]);
    assert!(desk.delivery.is_drained());
    assert_eq!(desk.delivery.deadline_ns(), None);
}

/// Any order of events: every parcel ends once, what was taken is told as taken or unsure, nothing is due in the
/// past, nothing is posted twice at a time.
#[test]
fn whatever_happens_each_parcel_ends_once_and_truthfully() {
    for seed in 0..3000 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let rules = Rules { lanes: chance.u16(1..4), seed, ..RULES };
        let mut desk = Desk::new(rules);
        let lanes = usize::from(rules.lanes);
        // What each lane is to the edge: nothing, dialing, up, busy with a parcel.
        let mut edge: Vec<Option<Option<usize>>> = vec![None; lanes];
        let mut up = vec![false; lanes];
        for _commit in 0..3 {
            let parcels = chance.usize(1..6);
            desk.delivery.submit(desk.now_ns, parcels);
            let (mut taken, mut ended) = (vec![false; parcels], vec![0; parcels]);
            let mut steps = 0;
            while ended.contains(&0) {
                steps += 1;
                assert!(steps < 10_000, "seed {seed}: no end");
                for command in desk.commands() {
                    match command {
                        Command::Dial(lane) => {
                            assert_eq!(edge[usize::from(lane)], None, "seed {seed}");
                            (edge[usize::from(lane)], up[usize::from(lane)]) = (Some(None), false);
                        }
                        Command::HangUp(lane) => edge[usize::from(lane)] = None,
                        Command::Post(lane, parcel) => {
                            assert!(
                                up[usize::from(lane)] && edge[usize::from(lane)] == Some(None),
                                "seed {seed}"
                            );
                            assert!(!edge.contains(&Some(Some(parcel))), "seed {seed}: twice at a time");
                            edge[usize::from(lane)] = Some(Some(parcel));
                        }
                    }
                }
                let lane = chance.usize(0..lanes);
                let id = lane as LaneId;
                match (edge[lane], chance.u8(0..10)) {
                    (Some(_), 0) => {
                        let begun = edge[lane] != Some(None) && chance.bool();
                        if let Some(Some(parcel)) = edge[lane] {
                            taken[parcel] |= begun && chance.bool();
                        }
                        edge[lane] = None;
                        desk.handle(Input::Down { lane: id, trouble: Trouble::Closed, begun });
                    }
                    (Some(None), 1..6) if !up[lane] => {
                        up[lane] = true;
                        desk.handle(Input::Up(id));
                    }
                    (Some(Some(parcel)), 1..8) => {
                        let status = [200, 200, 204, 429, 500, 503, 403][chance.usize(0..7)];
                        taken[parcel] |= (200..300).contains(&status) || status == 500 && chance.bool();
                        edge[lane] = Some(None);
                        let answer = Answer {
                            status,
                            rest_ns: chance.bool().then(|| chance.u64(0..3 * S)),
                            reusable: chance.bool(),
                            idle_ns: None,
                        };
                        desk.handle(Input::Answered(id, answer));
                    }
                    _ => desk.pass(chance.u64(0..5 * S)),
                }
                for (parcel, done) in desk.done() {
                    ended[parcel] += 1;
                    match done {
                        Done::Taken => assert!(taken[parcel], "seed {seed}"),
                        Done::Lost { unsure: false, .. } => assert!(!taken[parcel], "seed {seed}"),
                        Done::Lost { .. } | Done::Content(_) => {}
                    }
                }
                if let Some(due_ns) = desk.delivery.deadline_ns()
                    && due_ns <= desk.now_ns
                {
                    let before = desk.delivery.totals();
                    desk.delivery.tick(desk.now_ns);
                    let busy = desk.delivery.next_command(desk.now_ns);
                    if let Some(Command::HangUp(lane)) = busy {
                        edge[usize::from(lane)] = None;
                    } else if let Some(Command::Dial(lane)) = busy {
                        (edge[usize::from(lane)], up[usize::from(lane)]) = (Some(None), false);
                    } else if let Some(Command::Post(lane, parcel)) = busy {
                        edge[usize::from(lane)] = Some(Some(parcel));
                    } else {
                        let late = desk.delivery.deadline_ns().is_some_and(|due_ns| due_ns <= desk.now_ns);
                        assert!(!late, "seed {seed}: due in the past, with nothing to do, {before:?}");
                    }
                }
            }
            // What is still on its way of a parcel that was given up hangs up with it.
            for command in desk.commands() {
                match command {
                    Command::HangUp(lane) => edge[usize::from(lane)] = None,
                    Command::Dial(lane) => {
                        (edge[usize::from(lane)], up[usize::from(lane)]) = (Some(None), false)
                    }
                    Command::Post(..) => panic!("seed {seed}: nothing is left to be posted"),
                }
            }
            assert!(ended.iter().all(|times| *times == 1), "seed {seed}: {ended:?}");
        }
    }
}
