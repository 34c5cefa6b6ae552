//! A disk that is nearly full, a clock that jumps, and retention under load.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tidemark::log::Refusal;
use tidemark::log::embedded::{Disk, Options, Space, faults};
use tidemark::ops::clock::Uptime;

use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A disk with as much room as a test says.
struct HandDisk {
    free: AtomicU64,
}

const TOTAL: u64 = 4 << 30;
/// A twentieth.
const RESERVE: u64 = TOTAL / 20;

impl HandDisk {
    fn with(free: u64) -> Arc<HandDisk> {
        let free = AtomicU64::new(free);
        Arc::new(HandDisk { free })
    }

    fn set(&self, free: u64) {
        self.free.store(free, Ordering::SeqCst);
    }
}

impl Disk for HandDisk {
    fn space(&self) -> io::Result<Space> {
        Ok(Space {
            free: self.free.load(Ordering::SeqCst),
            total: TOTAL,
        })
    }
}

/// A machine: its wall clock can be set, its uptime cannot.
struct Machine(Mutex<(i64, u64, u32)>);

impl Machine {
    fn at(wall: i64) -> Arc<Machine> {
        Arc::new(Machine(Mutex::new((wall, 0, 1))))
    }

    fn pass(&self, ms: i64) {
        let mut now = self.0.lock().unwrap();
        now.0 += ms;
        now.1 += ms as u64;
    }

    fn set_back_or_forth(&self, ms: i64) {
        self.0.lock().unwrap().0 += ms;
    }

    fn reboot(&self) {
        let mut now = self.0.lock().unwrap();
        now.1 = 0;
        now.2 += 1;
    }
}

#[async_trait]
impl Clock for Machine {
    fn now(&self) -> Millis {
        Millis(self.0.lock().unwrap().0)
    }

    fn uptime(&self) -> Option<Uptime> {
        let (_, passed, boot) = *self.0.lock().unwrap();
        Some(Uptime {
            boot: boot.to_string(),
            passed: Duration::from_millis(passed),
        })
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn open_with(dir: &Path, clock: Arc<dyn Clock>, options: Options) -> EmbeddedLog {
    EmbeddedLog::open_with(dir, &shipped(), clock, options)
        .unwrap()
        .0
}

async fn try_append(log: &EmbeddedLog, topic: Topic, text: &str) -> Result<(), Refusal> {
    match log.append(topic, Partition(0), vec![record(text)]).await {
        Ok(_) => Ok(()),
        Err(LogError::Refused { why, .. }) => Err(why),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_events_first_loses_nothing_and_goes_on_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = HandDisk::with(TOTAL);
    let options = Options {
        disk: Some(disk.clone()),
        ..Options::default()
    };
    let log = open_with(dir.path(), HandClock::at(1_000), options);
    assert_eq!(try_append(&log, EVENTS, "a").await, Ok(()));
    disk.set(RESERVE);
    assert_eq!(
        try_append(&log, EVENTS, "refused").await,
        Err(Refusal::DiskFull)
    );
    // What rating emits still finds room: what was acknowledged is worked off.
    assert_eq!(try_append(&log, Topic::LedgerPostings, "b").await, Ok(()));
    assert_eq!(try_append(&log, Topic::UsageRejected, "c").await, Ok(()));
    disk.set(RESERVE / 2);
    assert_eq!(
        try_append(&log, Topic::LedgerPostings, "refused").await,
        Err(Refusal::DiskFull)
    );
    // Reading goes on.
    assert_eq!(texts(&log, 0, 0).await, ["a"]);
    disk.set(0);
    assert_eq!(
        try_append(&log, EVENTS, "refused").await,
        Err(Refusal::DiskFull)
    );
    disk.set(TOTAL);
    assert_eq!(try_append(&log, EVENTS, "d").await, Ok(()));
    drop(log);
    let (log, report) = open(dir.path());
    assert_eq!(report.damaged().count(), 0, "{report}");
    assert_eq!(texts(&log, 0, 0).await, ["a", "d"]);
}

#[test]
fn the_reserve_is_a_twentieth_within_bounds_and_never_most_of_a_disk() {
    let reserve = |total| Space { free: 0, total }.reserve();
    assert_eq!(reserve(4 << 30), (4 << 30) / 20);
    assert_eq!(reserve(1 << 40), 512 << 20);
    assert_eq!(reserve(1 << 30), 128 << 20);
    assert_eq!(reserve(200 << 20), 100 << 20);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_what_fits_beside_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let disk = HandDisk::with(RESERVE + 10_000);
    let options = Options {
        disk: Some(disk),
        ..Options::default()
    };
    let log = open_with(dir.path(), HandClock::at(1_000), options);
    assert_eq!(
        try_append(&log, EVENTS, &"x".repeat(20_000)).await,
        Err(Refusal::DiskFull)
    );
    assert_eq!(try_append(&log, EVENTS, "small").await, Ok(()));
    assert_eq!(texts(&log, 0, 0).await, ["small"]);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_writes_no_record_until_it_is_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::at(1_000 * DAY);
    let log = open_with(dir.path(), machine.clone(), Options::default());
    assert_eq!(try_append(&log, EVENTS, "a").await, Ok(()));
    machine.pass(3 * DAY);
    assert_eq!(
        try_append(&log, EVENTS, "b").await,
        Ok(()),
        "time that passes is no jump"
    );
    machine.set_back_or_forth(HOUR / 2);
    assert_eq!(
        try_append(&log, EVENTS, "c").await,
        Ok(()),
        "half an hour is no jump"
    );
    machine.set_back_or_forth(60 * DAY);
    assert_eq!(
        try_append(&log, EVENTS, "refused").await,
        Err(Refusal::ClockAhead)
    );
    machine.pass(2 * HOUR);
    assert_eq!(
        try_append(&log, EVENTS, "refused").await,
        Err(Refusal::ClockAhead),
        "it does not become right by waiting"
    );
    machine.set_back_or_forth(-60 * DAY);
    assert_eq!(try_append(&log, EVENTS, "d").await, Ok(()));
    // Back, and right again: no jump ahead.
    machine.set_back_or_forth(-5 * DAY);
    assert_eq!(try_append(&log, EVENTS, "e").await, Ok(()));
    machine.pass(HOUR);
    machine.set_back_or_forth(5 * DAY);
    assert_eq!(try_append(&log, EVENTS, "f").await, Ok(()));
    assert_eq!(texts(&log, 0, 0).await, ["a", "b", "c", "d", "e", "f"]);
    let records = read(&log, 0, 0).await.unwrap();
    let latest = records
        .iter()
        .map(|record| record.append_time)
        .max()
        .unwrap();
    assert!(latest <= machine.now(), "{latest:?}");
}

#[tokio::test]
async fn a_restart_is_no_confirmation_of_a_jump_and_an_operators_setting_is() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::at(1_000 * DAY);
    let log = open_with(dir.path(), machine.clone(), Options::default());
    assert_eq!(try_append(&log, EVENTS, "a").await, Ok(()));
    log.close().await;
    drop(log);
    machine.pass(DAY);
    machine.set_back_or_forth(60 * DAY);
    // A command beside it sees the same.
    let told = faults(dir.path(), &*machine, None);
    assert!(
        told.len() == 1 && told[0].contains("log.clock_confirmed_until"),
        "{told:?}"
    );
    let confirmed = Some(machine.now().plus(HOUR));
    let told = faults(dir.path(), &*machine, confirmed);
    assert_eq!(told, Vec::<String>::new());
    let log = open_with(dir.path(), machine.clone(), Options::default());
    assert_eq!(
        try_append(&log, EVENTS, "refused").await,
        Err(Refusal::ClockAhead)
    );
    log.close().await;
    drop(log);

    // Confirmed for less than it says: refused. For a little more: taken, and the next restart needs it no more.
    for (ahead, taken) in [(-1, false), (HOUR, true)] {
        let options = Options {
            clock_confirmed_until: Some(machine.now().plus(ahead)),
            ..Options::default()
        };
        let log = open_with(dir.path(), machine.clone(), options);
        assert_eq!(try_append(&log, EVENTS, "b").await.is_ok(), taken);
        log.close().await;
    }
    let log = open_with(dir.path(), machine.clone(), Options::default());
    assert_eq!(try_append(&log, EVENTS, "c").await, Ok(()));
    assert_eq!(faults(dir.path(), &*machine, None), Vec::<String>::new());
    log.close().await;
    drop(log);

    // After a reboot there is nothing to compare with; it is said how old the newest record is.
    machine.reboot();
    machine.set_back_or_forth(60 * DAY);
    let (log, report) = EmbeddedLog::open(dir.path(), &shipped(), machine.clone()).unwrap();
    assert!(
        report
            .to_string()
            .contains("1440 h old by this machine's clock"),
        "{report}"
    );
    assert_eq!(try_append(&log, EVENTS, "d").await, Ok(()));
    log.close().await;
    drop(log);
    machine.set_back_or_forth(-3 * DAY);
    let (_log, report) = EmbeddedLog::open(dir.path(), &shipped(), machine).unwrap();
    assert!(
        report
            .to_string()
            .contains("72 h ahead of this machine's clock"),
        "{report}"
    );
}

/// How much of partition 0 is gone.
async fn start(log: &EmbeddedLog) -> u64 {
    log.bounds(EVENTS, Partition(0)).await.unwrap().start.0
}

#[tokio::test]
async fn retention_runs_under_constant_load() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::at(1_000 * DAY);
    let options = Options {
        retention_interval: Some(Duration::from_millis(100)),
        ..Options::default()
    };
    let log = open_with(dir.path(), machine.clone(), options);
    assert_eq!(try_append(&log, EVENTS, "old").await, Ok(()));
    machine.pass(8 * DAY);
    let began = Instant::now();
    // Never so long a pause that nothing is to be noted.
    while start(&log).await == 0 {
        assert_eq!(try_append(&log, EVENTS, "young").await, Ok(()));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "old records stay under load"
        );
    }
    assert_eq!(start(&log).await, 1);
}

#[tokio::test]
async fn retention_does_not_follow_a_jump_of_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::at(1_000 * DAY);
    let every = Duration::from_millis(20);
    let options = || Options {
        retention_interval: Some(every),
        ..Options::default()
    };
    let log = open_with(dir.path(), machine.clone(), options());
    assert_eq!(try_append(&log, EVENTS, "a").await, Ok(()));
    assert_eq!(try_append(&log, EVENTS, "b").await, Ok(()));
    // Retention has seen the clock as it was.
    tokio::time::sleep(10 * every).await;
    machine.set_back_or_forth(60 * DAY);
    tokio::time::sleep(20 * every).await;
    assert_eq!(start(&log).await, 0);
    log.close().await;
    drop(log);
    // Nor over a restart, nor a reboot.
    machine.reboot();
    let log = open_with(dir.path(), machine.clone(), options());
    tokio::time::sleep(20 * every).await;
    assert_eq!(start(&log).await, 0);
    // As fast as twice the time that passes it does: seven days are kept.
    machine.pass(3 * DAY);
    tokio::time::sleep(20 * every).await;
    assert_eq!(start(&log).await, 0);
    machine.pass(DAY);
    let began = Instant::now();
    while start(&log).await == 0 {
        tokio::time::sleep(every).await;
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "old records stay"
        );
    }
    assert_eq!(start(&log).await, 1, "the newest stays");
}
