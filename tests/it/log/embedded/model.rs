//! The log is a list: whatever is appended, read, removed and opened again, it holds what a list in memory holds.

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    Append {
        partition: u32,
        sizes: Vec<usize>,
    },
    Read {
        partition: u32,
        from: usize,
        records: usize,
        bytes: usize,
    },
    Retain {
        hours: i64,
    },
    Reopen {
        close: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..2u32;
    prop_oneof![
        6 => (partition.clone(), prop::collection::vec(0..2_000usize, 0..30)).prop_map(|(partition, sizes)| Step::Append { partition, sizes }),
        6 => (partition, 0..120usize, 0..40usize, 0..20_000usize)
            .prop_map(|(partition, from, records, bytes)| Step::Read { partition, from, records, bytes }),
        2 => (0..400i64).prop_map(|hours| Step::Retain { hours }),
        1 => any::<bool>().prop_map(|close| Step::Reopen { close }),
    ]
}

/// One partition as a list: when each record was taken and what it says; those before `start` are gone.
#[derive(Default)]
struct Model {
    records: Vec<(i64, String)>,
    start: usize,
}

impl Model {
    fn retain(&mut self, cutoff: i64) {
        let newest = self.records.len().saturating_sub(1);
        let kept = self
            .records
            .iter()
            .position(|(time, _)| *time >= cutoff)
            .unwrap_or(newest);
        self.start = self.start.max(kept.min(newest));
    }

    /// Compares what a read gives with what the list holds.
    fn check(&self, from: usize, limit: ReadLimit, read: Result<Vec<Record>, LogError>) {
        if from < self.start || from > self.records.len() {
            assert!(matches!(read, Err(LogError::OutOfRange { .. })), "{read:?}");
            return;
        }
        let read = read.unwrap();
        let expected = &self.records[from..];
        assert_eq!(read.is_empty(), expected.is_empty());
        assert!(read.len() <= limit.records.max(1));
        let bytes: usize = read.iter().map(Record::size).sum();
        assert!(bytes <= limit.bytes || read.len() == 1);
        for (n, (record, (time, text))) in read.iter().zip(expected).enumerate() {
            assert_eq!(record.offset, Offset((from + n) as u64));
            assert_eq!(
                (record.append_time, &record.value[..]),
                (Millis(*time), text.as_bytes())
            );
        }
    }
}

struct Subject {
    dir: tempfile::TempDir,
    clock: Arc<HandClock>,
    specs: Vec<TopicSpec>,
    log: Option<EmbeddedLog>,
}

impl Subject {
    fn new() -> Subject {
        let mut specs = vec![shipped().remove(0)];
        specs[0].partitions = 2;
        let mut subject = Subject {
            dir: tempfile::tempdir().unwrap(),
            clock: HandClock::at(0),
            specs,
            log: None,
        };
        subject.open();
        subject
    }

    fn open(&mut self) {
        self.log = None;
        let opened = EmbeddedLog::open(self.dir.path(), &self.specs, self.clock.clone());
        let (log, report) = opened.unwrap();
        assert_eq!(
            (report.damaged().count(), report.cut.len()),
            (0, 0),
            "{report}"
        );
        self.log = Some(log);
    }

    fn log(&self) -> &EmbeddedLog {
        self.log.as_ref().unwrap()
    }
}

async fn run(steps: Vec<Step>) {
    let mut subject = Subject::new();
    let mut models = [Model::default(), Model::default()];
    let mut now = 0;
    for step in steps {
        match step {
            Step::Append { partition, sizes } => {
                let model = &mut models[partition as usize];
                let first = model.records.len();
                model.records.extend(
                    sizes
                        .iter()
                        .enumerate()
                        .map(|(n, size)| (now, format!("{}{}", first + n, "z".repeat(*size)))),
                );
                let records = model.records[first..]
                    .iter()
                    .map(|(_, text)| record(text))
                    .collect();
                let offsets = subject
                    .log()
                    .append(EVENTS, Partition(partition), records)
                    .await
                    .unwrap();
                assert_eq!(
                    offsets,
                    (first..first + sizes.len())
                        .map(|n| Offset(n as u64))
                        .collect::<Vec<_>>()
                );
            }
            Step::Read {
                partition,
                from,
                records,
                bytes,
            } => {
                let limit = ReadLimit { records, bytes };
                let from_offset = Offset(from as u64);
                let read = subject
                    .log()
                    .read(
                        EVENTS,
                        Partition(partition),
                        from_offset,
                        limit,
                        Duration::ZERO,
                    )
                    .await;
                models[partition as usize].check(from, limit, read);
            }
            Step::Retain { hours } => {
                now += hours * HOUR;
                subject.clock.set(now);
                subject.log().enforce_retention(Millis(now)).await.unwrap();
                models
                    .iter_mut()
                    .for_each(|model| model.retain(now - 168 * HOUR));
            }
            Step::Reopen { close } => {
                if close {
                    subject.log().close().await;
                }
                subject.open();
            }
        }
        for (n, model) in models.iter().enumerate() {
            let bounds = subject
                .log()
                .bounds(EVENTS, Partition(n as u32))
                .await
                .unwrap();
            assert_eq!(
                (bounds.start.0 as usize, bounds.end.0 as usize),
                (model.start, model.records.len())
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn the_log_holds_what_a_list_would_hold(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
