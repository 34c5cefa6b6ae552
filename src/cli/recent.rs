//! What became of the newest events: most of them rejected, or without token counts, is an accident
//! that no lag shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::newest;
use super::output::Done;
use super::session::Session;
use super::thresholds::is_most;
use crate::domain::event::{Identity, Reason};
use crate::domain::position::{Offset, Partition};
use crate::domain::rating::service_of;
use crate::domain::time::{HOUR_MS, Millis};
use crate::log::rejected::{self, Reject};
use crate::log::usage::decode;
use crate::log::{Record, Topic};
use crate::ops::health::{Role, TaskId};
use crate::pipeline::progress;
use crate::pipeline::rate::decode::TICK_HEADER;

/// How many events are looked at, at most.
const EVENTS_MAX: u64 = 200;
/// In how many partitions, at most.
const PARTITIONS_MAX: u32 = 64;
/// What is older is not recent.
const RECENT_MS: i64 = HOUR_MS;

/// What became of the newest events that have been rated.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recent {
    events: u64,
    /// By reason.
    rejected: BTreeMap<&'static str, u64>,
    /// Successful events that should have token counts.
    metered: u64,
    /// Of these, events that have none.
    without_usage: u64,
    /// Failures (5xx) that name no provider.
    unattributed: u64,
}

/// An event of the sample.
struct Event {
    at: (Partition, Offset),
    appended: Millis,
    /// Which request it is about, and what it says of it; nothing, if it cannot be read.
    report: Option<(Identity, RequestFacts)>,
}

/// What counts of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RequestFacts {
    /// `Some(true)`: it should have token counts and has none.
    lacks_usage: Option<bool>,
    /// A failure (5xx) that names no provider.
    is_unattributed: bool,
}

impl RequestFacts {
    /// What two reports of a request say together: what one lacks, the other completes.
    fn and(self, other: RequestFacts) -> RequestFacts {
        let lacks = self.lacks_usage.zip(other.lacks_usage);
        RequestFacts {
            lacks_usage: lacks.map(|(one, other)| one && other),
            is_unattributed: self.is_unattributed && other.is_unattributed,
        }
    }
}

impl Recent {
    /// Looks at the newest events that have been rated, in some of the partitions, and at the
    /// rejects of the same time.
    pub async fn read(session: &Session) -> Done<Recent> {
        let partitions = sample(session.partitions.source);
        let since = session.now().plus(-RECENT_MS);
        let events = newest_events(session, &partitions, since).await?;
        let rejects_since = rejects_since(&events, since);
        let mut recent = Recent {
            events: events.len() as u64,
            ..Recent::default()
        };
        let reports = events.iter().filter_map(|event| event.report);
        recent.add_requests(reports);
        let sample: BTreeSet<(Partition, Offset)> = events.iter().map(|event| event.at).collect();
        for reject in newest_rejects(session, rejects_since).await? {
            recent.count(session, &sample, &reject);
        }
        Ok(recent)
    }

    fn add_requests(&mut self, reports: impl Iterator<Item = (Identity, RequestFacts)>) {
        let mut requests: HashMap<Identity, RequestFacts> = HashMap::new();
        for (identity, facts) in reports {
            let known = requests.entry(identity).or_insert(facts);
            *known = known.and(facts);
        }
        for facts in requests.into_values() {
            if let Some(lacks) = facts.lacks_usage {
                self.metered += 1;
                self.without_usage += u64::from(lacks);
            }
            self.unattributed += u64::from(facts.is_unattributed);
        }
    }

    fn count(
        &mut self,
        session: &Session,
        sample: &BTreeSet<(Partition, Offset)>,
        reject: &Reject,
    ) {
        let reason = match reject {
            Reject::Usage(reject) => {
                let at = (reject.partition, reject.position.offset);
                let is_of_sample =
                    reject.position.epoch == session.log.epoch() && sample.contains(&at);
                is_of_sample.then_some(reject.reason)
            }
            // They never were in usage.events.
            Reject::Foreign(reject) => Some(reject.reason),
            Reject::Gateway(reject) => Some(reject.reason),
        };
        if let Some(reason) = reason {
            self.events += u64::from(!matches!(reject, Reject::Usage(_)));
            *self.rejected.entry(reason.as_str()).or_default() += 1;
        }
    }

    /// How many were rejected, out of how many.
    pub fn rejected(&self) -> (u64, u64) {
        (self.rejected.values().sum(), self.events)
    }

    /// `too_old: 12, conflict: 1`.
    fn reasons(&self) -> String {
        let reason = |(reason, count): (&&str, &u64)| format!("{reason}: {count}");
        let reasons: Vec<String> = self.rejected.iter().map(reason).collect();
        reasons.join(", ")
    }

    /// What is wrong and what to do, if most of them were rejected.
    pub fn rejections(&self) -> Option<String> {
        let (rejected, events) = self.rejected();
        is_most(rejected, events).then(|| {
            let clock = match self.rejected.contains_key(Reason::TooOld.as_str()) {
                true => " If their times are right, a clock was ahead (docs/runbook.md#a-clock-was-ahead).",
                false => "",
            };
            format!(
                "Most recent events are rejected: {rejected} of the newest {events} ({}). They do not count until they are sent again. See why with `tidemark rejects list --last 5`, fix the sender, then redrive them \
                 (docs/runbook.md#tidemarkmanyrejects).{clock}",
                self.reasons()
            )
        })
    }

    /// Fewer rejected events than [`Recent::rejections`] tells, if there are any.
    pub fn some_rejected(&self) -> Option<String> {
        let (rejected, events) = self.rejected();
        (rejected > 0 && self.rejections().is_none()).then(|| {
            format!(
                "{rejected} of the newest {events} events {} rejected ({}); see why: tidemark rejects \
                 list --last 5",
                if rejected == 1 { "was" } else { "were" },
                self.reasons()
            )
        })
    }

    /// What is wrong and what to do, if most of them lack token counts.
    pub fn missing_usage(&self) -> Option<String> {
        let Recent {
            metered,
            without_usage,
            ..
        } = self;
        is_most(*without_usage, *metered).then(|| {
            format!(
                "Most recent events have no token counts: {without_usage} of the newest {metered} \
                 successful completions. They are not charged (their points do not depend on tokens). Make the \
                 gateway report usage, including for streams \
                 (docs/runbook.md#tidemarkusageunknown)."
            )
        })
    }

    /// Fewer events without token counts than [`Recent::missing_usage`] tells, if there are any.
    pub fn some_without_usage(&self) -> Option<String> {
        let Recent {
            metered,
            without_usage,
            ..
        } = self;
        (*without_usage > 0 && self.missing_usage().is_none()).then(|| {
            format!(
                "{without_usage} of the newest {metered} successful completions have no token counts, so \
                 their tokens are not charged (docs/runbook.md#tidemarkusageunknown)."
            )
        })
    }

    /// Failures that no provider is charged with, if there are any.
    pub fn unattributed_failures(&self) -> Option<String> {
        let Recent {
            unattributed,
            events,
            ..
        } = self;
        (*unattributed > 0).then(|| {
            format!(
                "{unattributed} of the newest {events} events are failures (5xx) that name no provider, so \
                 they lower no provider's uptime (docs/runbook.md#tidemarkfailuresunattributed)."
            )
        })
    }
}

/// Partitions that stand for all of them: all, or as many as are looked at, evenly spread.
pub(super) fn sample(count: u32) -> Vec<Partition> {
    let looked_at = count.min(PARTITIONS_MAX);
    let nth = |nth: u32| u64::from(nth) * u64::from(count) / u64::from(looked_at);
    let all = (0..looked_at).filter_map(|at| u32::try_from(nth(at)).ok());
    all.map(Partition).collect()
}

/// What is to be known of a sample that is not all of them.
pub(super) fn sample_note(count: u32) -> Option<String> {
    let looked_at = sample(count).len();
    (looked_at < count as usize).then(|| {
        format!(
            "For the newest events and their times, {looked_at} of {count} partitions of usage.events were looked at."
        )
    })
}

async fn newest_events(
    session: &Session,
    partitions: &[Partition],
    since: Millis,
) -> Done<Vec<Event>> {
    let mut done = BTreeMap::new();
    for partition in partitions {
        let task = TaskId::new(Role::Rate, *partition);
        let stored = progress::standing(session.db(), task).await?;
        let stored = stored.filter(|stored| stored.epoch == Some(session.log.epoch()));
        done.insert(*partition, stored.map_or(Offset(0), |stored| stored.first));
    }
    let pick = |partition: Partition, record: Record| {
        let is_rated = done
            .get(&partition)
            .is_some_and(|done| record.offset < *done);
        let is_event = is_rated && record.header(TICK_HEADER).is_none();
        Ok(is_event.then(|| Event {
            at: (partition, record.offset),
            appended: record.append_time,
            report: report_of(&record),
        }))
    };
    let wanted = (Offset(0), EVENTS_MAX, Some(since));
    newest::newest(session, Topic::UsageEvents, partitions, wanted, pick).await
}

/// Since when rejects belong to the sample: since its oldest event if it is full, else for as long
/// as events are recent. What a gateway posts may be refused to the last item, so that there is
/// no event at all.
fn rejects_since(events: &[Event], since: Millis) -> Millis {
    let is_full = events.len() as u64 >= EVENTS_MAX;
    let oldest = events.iter().map(|event| event.appended).min();
    oldest.filter(|_| is_full).unwrap_or(since)
}

fn report_of(record: &Record) -> Option<(Identity, RequestFacts)> {
    let event = decode(&record.value, &record.headers).ok()?;
    let service = service_of(&event.endpoint);
    let service = service.filter(|service| event.is_metered(*service));
    let facts = RequestFacts {
        lacks_usage: service.map(|service| event.lacks_usage(service)),
        is_unattributed: event.status >= 500 && event.provider.is_none(),
    };
    Some((event.identity(), facts))
}

async fn newest_rejects(session: &Session, since: Millis) -> Done<Vec<Reject>> {
    let partitions: Vec<Partition> = (0..session.partitions.rejected).map(Partition).collect();
    let pick = |_: Partition, record: Record| Ok(rejected::decode_reject(&record).ok());
    let wanted = (Offset(0), EVENTS_MAX * 2, Some(since));
    newest::newest(session, Topic::UsageRejected, &partitions, wanted, pick).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cli::session::Access;
    use crate::log::rejected::{GatewayReject, encode_gateway};
    use crate::ops::config::Config;

    #[test]
    fn a_sample_is_all_partitions_or_spread_over_them_and_says_so() {
        let numbers = |count| -> Vec<u32> { sample(count).iter().map(|of| of.0).collect() };
        assert_eq!(numbers(0), Vec::<u32>::new());
        assert_eq!(numbers(64), (0..64).collect::<Vec<u32>>());
        let spread = numbers(1_000);
        assert_eq!((spread.len(), spread[0], spread[63]), (64, 0, 984));
        assert!(spread.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(sample_note(64), None);
        let note = sample_note(65).expect("a note");
        assert!(note.contains("64 of 65 partitions"), "{note}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_gateway_of_which_every_item_is_refused_is_told_without_any_event() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data: dir.path().join("data"),
            ..Config::default()
        };
        let session = Session::open(&config, Access::Create).await.ok().unwrap();
        let refused = |index: u32| {
            encode_gateway(&GatewayReject {
                reason: Reason::MissingField,
                field: Some("startTime".to_owned()),
                detail: format!("item {index}"),
                format: "litellm".to_owned(),
                received: session.now(),
                sender: None,
                draft: Bytes::new(),
            })
        };
        let records = (0..12).map(refused).collect();
        let appended = session
            .log
            .append(Topic::UsageRejected, Partition(0), records);
        appended.await.unwrap();
        let recent = Recent::read(&session).await.ok().unwrap();
        assert_eq!(recent.rejected(), (12, 12));
        let said = recent.rejections().unwrap();
        assert!(
            said.contains("12 of the newest 12 (missing_field: 12)"),
            "{said}"
        );
        session.close().await;
    }

    fn of(rejected: u64, events: u64) -> Recent {
        Recent {
            events,
            rejected: [("too_old", rejected)].into(),
            ..Recent::default()
        }
    }

    #[test]
    fn more_than_half_of_enough_events_is_worth_a_line() {
        assert_eq!(of(5, 9).rejections(), None);
        assert_eq!(of(5, 10).rejections(), None);
        let said = of(6, 10).rejections().unwrap();
        assert!(said.contains("6 of the newest 10 (too_old: 6)"), "{said}");
        assert!(said.contains("a clock was ahead"), "{said}");
        let lacking = |without_usage, metered| {
            let recent = Recent {
                metered,
                without_usage,
                ..Recent::default()
            };
            recent.missing_usage().is_some()
        };
        assert!(lacking(6, 10) && !lacking(5, 10) && !lacking(9, 9));
    }

    #[test]
    fn a_few_events_without_counts_or_provider_are_told_as_well() {
        let fact = |request, lacks_usage, is_unattributed| {
            let facts = RequestFacts {
                lacks_usage,
                is_unattributed,
            };
            (Identity(request), facts)
        };
        let mut recent = Recent {
            events: 12,
            ..Recent::default()
        };
        assert_eq!(recent.some_without_usage(), None);
        assert_eq!(recent.unattributed_failures(), None);
        let reports = [
            fact(1, Some(true), false),
            fact(2, Some(false), false),
            fact(3, None, true),
            // A report that lacked what another one knows, before or after it.
            fact(4, Some(true), false),
            fact(4, Some(false), false),
            fact(5, None, false),
            fact(5, None, true),
        ];
        recent.add_requests(reports.into_iter());
        let said = recent.some_without_usage().expect("a note");
        assert!(said.starts_with("1 of the newest 3 successful"), "{said}");
        let said = recent.unattributed_failures().expect("a note");
        assert!(said.starts_with("1 of the newest 12 events"), "{said}");
        // Most of them: then it is a finding, and told once.
        recent.add_requests((10..30).map(|request| fact(request, Some(true), false)));
        assert!(recent.missing_usage().is_some());
        assert_eq!(recent.some_without_usage(), None);
    }
}
