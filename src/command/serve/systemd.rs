//! What a service manager that speaks systemd's protocol is told, and what it hands over. Without its variables
//! (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `LISTEN_FDS`) nothing of this has an effect.
//!
//! ```text
//! bound      FDSTORE=1 FDNAME=… with each socket of ours: the manager keeps it over a restart, whatever ends us
//! ready      READY=1 STATUS=…                            every shard listens
//! running    WATCHDOG=1 STATUS=…                         at half of WATCHDOG_USEC, while every shard answers
//! draining   STOPPING=1
//! ```
use crate::log;
use crate::shard::Handle;
use sd_notify::{NotifyState, notify, notify_with_fds};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// How often shards are asked for the status line where there is no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The manager, if there is one.
pub struct Manager {
    told: bool,
    watchdog: Option<Duration>,
}

/// A shard's answer: its number, and whether it takes events.
type Answer = (usize, Result<(), &'static str>);

/// What came of asking all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// All answered; one that takes no events, and why.
    All(Option<Answer>),
    /// These have not, for a quarter of the watchdog's time. Told once for each time.
    Silent(Vec<usize>),
}

impl Manager {
    /// The one that started this process.
    pub fn find() -> Manager {
        let told = std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty());
        Manager { told, watchdog: sd_notify::watchdog_enabled().filter(|every| told && !every.is_zero()) }
    }

    /// Whether sockets may be kept, so that their paths must stay.
    pub fn keeps(&self) -> bool {
        self.told
    }

    /// Hands sockets over to be kept, and gives up those that are of no use any more.
    pub fn keep(&self, bound: Vec<(String, OwnedFd)>, useless: &[String]) {
        for (name, socket) in if self.told { bound } else { Vec::new() } {
            let sent =
                notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(&name)], &[socket.as_fd()]);
            complain(sent);
        }
        for name in useless {
            log::info!(
                "a socket that was kept over the restart ({name}) is given up: nothing listens there any more"
            );
            self.say(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
        }
    }

    /// Every shard listens. From now on the watchdog is fed, until the value is dropped: nobody waits for the thread.
    pub fn ready(&self, status: String, ways: &[Handle], pin: impl FnOnce() + Send + 'static) -> Sender<()> {
        let (stop, stopped) = mpsc::channel();
        if !self.told {
            return stop;
        }
        self.say(&[NotifyState::Ready, NotifyState::Status(&status)]);
        let every = self.watchdog.map_or(STATUS_EVERY, |whole| whole / 2);
        let ways = ways.to_vec();
        let ask = move |shard: usize, answer: Sender<Answer>| {
            ways[shard].ask(move |it| answer.send((shard, it.ready())).unwrap_or_default());
            shard + 1 < ways.len()
        };
        let fed = self.watchdog.is_some();
        let mut said = String::new();
        let tell = move |news: News| tell(news, fed, &status, &mut said);
        let feed = move || {
            pin();
            feed(ask, every, &stopped, tell);
        };
        if let Err(error) = std::thread::Builder::new().name("systemd".into()).spawn(feed) {
            log::error!("cannot start the thread that feeds the watchdog: {error}");
        }
        stop
    }

    /// Draining begins.
    pub fn stopping(&self) {
        if self.told {
            self.say(&[NotifyState::Stopping, NotifyState::Status("draining")]);
        }
    }

    fn say(&self, state: &[NotifyState<'_>]) {
        complain(notify(state));
    }
}

fn complain(sent: std::io::Result<()>) {
    if let Err(error) = sent {
        log::warn!("cannot tell systemd (NOTIFY_SOCKET): {error}");
    }
}

/// Passes news on: to the manager, and what is wrong to the log.
fn tell(news: News, fed: bool, status: &str, said: &mut String) {
    match news {
        News::All(trouble) => {
            let now = match trouble {
                None => status.to_string(),
                Some((shard, why)) => {
                    format!("shard {shard} takes no events: {}", why.err().unwrap_or_default())
                }
            };
            let beat = if fed { &[NotifyState::Watchdog][..] } else { &[] };
            // The first status went out with READY=1.
            let changed = now != *said && !(said.is_empty() && now == status);
            let line = NotifyState::Status(&now);
            let state: Vec<NotifyState<'_>> = beat.iter().cloned().chain(changed.then_some(line)).collect();
            if !state.is_empty() {
                complain(notify(&state));
            }
            *said = now;
        }
        News::Silent(shards) => {
            let consequence = if fed { ": the watchdog is not fed" } else { "" };
            log::error!("shards {shards:?} do not answer{consequence}");
            *said = format!("shards {shards:?} do not answer");
            complain(notify(&[NotifyState::Status(said)]));
        }
    }
}

/// Asks every shard, tells when all have answered, and begins again after `every`, until `stopped` is let go of.
/// A question that is not answered is not asked again: a shard that hangs finds one in its mailbox, not a thousand.
///
/// `ask` passes the question on to a shard, without waiting, and says whether there is another one.
fn feed(
    ask: impl Fn(usize, Sender<Answer>) -> bool,
    every: Duration,
    stopped: &Receiver<()>,
    mut tell: impl FnMut(News),
) {
    loop {
        let (answer, answers) = mpsc::channel();
        let count = (0..).take_while(|shard| ask(*shard, answer.clone())).count() + 1;
        drop(answer);
        let Some(trouble) = gather(count, &answers, every, stopped, &mut tell) else { return };
        tell(News::All(trouble));
        match stopped.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}

/// Waits for the answers of all, however long it takes; `None` when it is stopped before. A shard that has ended drops
/// its question, and then there is nothing to wait for but the end.
fn gather(
    count: usize,
    answers: &Receiver<Answer>,
    every: Duration,
    stopped: &Receiver<()>,
    tell: &mut impl FnMut(News),
) -> Option<Option<Answer>> {
    let mut silent: BTreeSet<usize> = (0..count).collect();
    let (mut trouble, mut told) = (None, false);
    while !silent.is_empty() {
        match answers.recv_timeout(every / 2) {
            Ok(answer) => {
                silent.remove(&answer.0);
                trouble = trouble.or(answer.1.is_err().then_some(answer));
            }
            Err(why) => {
                if !std::mem::replace(&mut told, true) {
                    tell(News::Silent(silent.iter().copied().collect()));
                }
                if why == RecvTimeoutError::Disconnected {
                    let _ = stopped.recv();
                    return None;
                }
            }
        }
        if !matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            return None;
        }
    }
    Some(trouble)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::JoinHandle;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Two shards that answer when the test says so.
    struct Pair {
        asked: Receiver<(usize, Sender<Answer>)>,
        news: Receiver<News>,
        stop: Option<Sender<()>>,
        thread: JoinHandle<()>,
    }

    impl Pair {
        fn new() -> Pair {
            let ((question, asked), (tell, news), (stop, stopped)) =
                (mpsc::channel(), mpsc::channel(), mpsc::channel());
            let ask = move |shard, answer| {
                question.send((shard, answer)).unwrap();
                shard == 0
            };
            let every = Duration::from_millis(20);
            let thread =
                std::thread::spawn(move || feed(ask, every, &stopped, |news| tell.send(news).unwrap()));
            Pair { asked, news, stop: Some(stop), thread }
        }

        fn question(&self, shard: usize) -> Sender<Answer> {
            let (asked, answer) = self.asked.recv_timeout(PATIENCE).unwrap();
            assert_eq!(asked, shard);
            answer
        }

        fn news(&self) -> News {
            self.news.recv_timeout(PATIENCE).unwrap()
        }

        /// It ends, and has nothing more to say.
        fn end(mut self) {
            drop(self.stop.take());
            self.thread.join().unwrap();
            assert_eq!(self.news.try_iter().filter(|news| matches!(news, News::All(_))).count(), 0);
        }
    }

    #[test]
    fn the_watchdog_is_fed_while_all_answer() {
        let pair = Pair::new();
        for round in 0..3 {
            pair.question(0).send((0, Ok(()))).unwrap();
            let second = if round == 1 { Err("no space") } else { Ok(()) };
            pair.question(1).send((1, second)).unwrap();
            // A shard that takes no events is not hung.
            let trouble = (round == 1).then_some((1, Err("no space")));
            // On a busy machine the answers may be late, which is said and no matter.
            let all = std::iter::repeat_with(|| pair.news()).find(|news| matches!(news, News::All(_)));
            assert_eq!(all, Some(News::All(trouble)));
        }
        pair.end();
    }

    #[test]
    fn one_that_hangs_lets_it_starve_and_is_asked_once() {
        let pair = Pair::new();
        pair.question(0).send((0, Ok(()))).unwrap();
        let late = pair.question(1);
        let silent = std::iter::repeat_with(|| pair.news()).find(|news| *news == News::Silent(vec![1]));
        assert!(silent.is_some());
        assert!(pair.asked.try_recv().is_err(), "asked again");
        assert!(pair.news.recv_timeout(Duration::from_millis(100)).is_err(), "fed, or told twice");
        late.send((1, Ok(()))).unwrap();
        assert_eq!(pair.news(), News::All(None));
        drop((pair.question(0), pair.question(1)));
        // Both are gone: nothing is said but that, until the end.
        assert!(matches!(pair.news(), News::Silent(_)));
        pair.end();
    }

    #[test]
    fn it_ends_while_one_hangs() {
        let pair = Pair::new();
        let _hung = (pair.question(0), pair.question(1));
        pair.end();
    }
}
