//! How a chunk's record follows the one that was passed before it: what goes on from there, what
//! `tidemark recover` may have cut anew, and what contradicts it. Pure.

use crate::domain::position::{Control, Sequence};
use crate::domain::time::Millis;
use crate::pipeline::recorded_cut::{ChunkEnd, LoggedChunk};
use crate::store::audits::{FindingKind, LastSent, PassedChunk, PassedState};
use crate::store::checkpoints::{RateCheckpoint, UsageRows, WindowCut};

/// How a record of `ledger.cuts` follows what was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Its records come next.
    Next,
    /// Records between the two have no chunk in the log.
    Gap,
    /// Its records were cut before, and cut anew.
    CutAnew,
}

/// Something that a chunk's record contradicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contradiction {
    pub(super) kind: FindingKind,
    pub(super) what: String,
}

impl Contradiction {
    pub(super) fn of_cut(what: String) -> Contradiction {
        Contradiction {
            kind: FindingKind::CutContradicts,
            what,
        }
    }
}

/// What a record says of its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Following {
    pub(super) follows: Follows,
    pub(super) contradictions: Vec<Contradiction>,
    /// Its blocks carry sequences that were passed: posting drops them, and they cannot be
    /// compared.
    pub(super) reuses_sequences: bool,
}

/// Whether a record may repeat one that came before it: a rerun appends its chunk's record again,
/// and a worker that slept may do so much later. Only the log can tell.
pub(super) fn may_repeat(passed: Option<&PassedChunk>, cut: &RateCheckpoint) -> bool {
    passed.is_some_and(|passed| cut.chunk <= passed.chunk || cut.from != passed.to)
}

/// Whether two records are of one and the same cut. A rerun may have found that the beginning of
/// its duplicate window has expired.
pub(super) fn is_same_cut(earlier: &RateCheckpoint, later: &RateCheckpoint) -> bool {
    let with_its_window = RateCheckpoint {
        window: later.window,
        ..earlier.clone()
    };
    with_its_window == *later
        && (earlier.window == later.window
            || is_shortened(&earlier.window, &later.window, earlier.log_time)
            || is_shortened(&later.window, &earlier.window, earlier.log_time))
}

/// Whether the second window is the first without records that have expired.
fn is_shortened(whole: &WindowCut, window: &WindowCut, log_time: Millis) -> bool {
    let shortened = WindowCut {
        first: window.first,
        forgotten: whole.forgotten.max(Some(log_time)),
        ..*whole
    };
    window.first > whole.first && shortened == *window
}

/// How a chunk follows the passed one. It does not repeat an earlier record.
pub(super) fn follow(passed: Option<&PassedChunk>, cut: &RateCheckpoint) -> Following {
    let Some(passed) = passed else {
        return Following {
            follows: Follows::Next,
            contradictions: Vec::new(),
            reuses_sequences: false,
        };
    };
    let follows = match cut.from.cmp(&passed.to) {
        std::cmp::Ordering::Equal => Follows::Next,
        std::cmp::Ordering::Greater => Follows::Gap,
        std::cmp::Ordering::Less => Follows::CutAnew,
    };
    let mut found = Vec::new();
    found.extend(compare_records(passed, cut, follows));
    found.extend(compare_sequences(passed, cut, follows).map(Contradiction::of_cut));
    if let Some(state) = &passed.state {
        let others = [
            compare_control(state, cut, follows),
            compare_log_time(state, cut, follows),
            compare_latest_event(passed, state, cut, follows),
            compare_window(state, cut, follows),
        ];
        found.extend(others.into_iter().flatten().map(Contradiction::of_cut));
    }
    Following {
        follows,
        contradictions: found,
        reuses_sequences: falls_back(&passed.sequences, &cut.sequences),
    }
}

/// Whether any of the later sequences is below its earlier one.
fn falls_back(earlier: &[Sequence], later: &[Sequence]) -> bool {
    earlier
        .iter()
        .zip(later)
        .any(|(earlier, later)| later < earlier)
}

/// The records of a chunk and its number.
fn compare_records(
    passed: &PassedChunk,
    cut: &RateCheckpoint,
    follows: Follows,
) -> Option<Contradiction> {
    let (number, before) = (cut.chunk, passed.chunk);
    let sent = passed.state.as_ref().and_then(|state| state.sent);
    match follows {
        Follows::CutAnew => {
            let sent = sent.filter(|sent| cut.from < sent.to)?;
            Some(Contradiction {
                kind: FindingKind::RecordsRatedTwice,
                what: format!(
                    "the chunk begins at record {}, but the records before {} were rated and posted \
                     by earlier chunks, so their events count twice",
                    cut.from, sent.to
                ),
            })
        }
        _ if number <= before => Some(Contradiction::of_cut(format!(
            "chunk number {number} was used before, by a chunk of other records"
        ))),
        Follows::Gap if number.0 == before.0 + 1 => Some(Contradiction {
            kind: FindingKind::RecordsNotRated,
            what: format!(
                "the chunk begins at record {}, but chunk {before} ended before record {}, so the \
                 events between them are not counted",
                cut.from, passed.to
            ),
        }),
        // Chunks that a tidemark without an audit log rated, or numbers that idle partitions took.
        _ => None,
    }
}

fn compare_sequences(
    passed: &PassedChunk,
    cut: &RateCheckpoint,
    follows: Follows,
) -> Option<String> {
    let (sent, own) = (&passed.sequences, &cut.sequences);
    let is_wrong = match follows {
        Follows::Next | Follows::CutAnew => sent != own,
        Follows::Gap => falls_back(sent, own) || (passed.chunk.0 + 1 == cut.chunk.0 && sent != own),
    };
    is_wrong.then(|| {
        format!(
            "the last blocks sent before the chunk are {}, but chunk {} ended at {}",
            list(own),
            passed.chunk,
            list(sent)
        )
    })
}

fn list(sequences: &[Sequence]) -> String {
    let numbers: Vec<String> = sequences.iter().map(ToString::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

/// The control position never goes back. Entries that only chunks without blocks were rated with
/// may be lost with restored tables.
fn compare_control(state: &PassedState, cut: &RateCheckpoint, follows: Follows) -> Option<String> {
    let least = match (follows, state.sent) {
        (Follows::CutAnew, sent) => sent.map_or(Control(0), |sent| sent.control),
        _ => state.control,
    };
    (cut.control < least).then(|| {
        format!(
            "its control position is {}, but an earlier chunk was rated with {least}",
            cut.control
        )
    })
}

/// Whether append times were corrected between the two: log time may go back then.
fn is_corrected(state: &PassedState, cut: &RateCheckpoint) -> bool {
    state.clock != cut.clock
}

/// Log time goes on from where it was.
fn compare_log_time(state: &PassedState, cut: &RateCheckpoint, follows: Follows) -> Option<String> {
    let own = cut.log_time;
    let (is_wrong, expected) = match (follows, cut.clock) {
        // No record has told the time yet.
        _ if state.log_time == Millis(0) => return None,
        (Follows::Next, Some(clock)) if is_corrected(state, cut) => {
            // It may have run ahead in between, without a chunk: the correction sets it back to its
            // moment.
            let expected = state.log_time.min(clock.at);
            (own < expected || own > clock.at, expected)
        }
        _ if is_corrected(state, cut) => return None,
        (Follows::Next, _) => (own != state.log_time, state.log_time),
        (Follows::Gap, _) => (own < state.log_time, state.log_time),
        (Follows::CutAnew, _) => {
            let expected = state.sent?.log_time;
            (own < expected, expected)
        }
    };
    is_wrong
        .then(|| format!("log time before it is {own}, but an earlier chunk ended at {expected}"))
}

/// The latest event is that of all chunks before. An event after it is taken to have no copy.
fn compare_latest_event(
    passed: &PassedChunk,
    state: &PassedState,
    cut: &RateCheckpoint,
    follows: Follows,
) -> Option<String> {
    let takes_numbers = cut.chunk.0 > passed.chunk.0 + 1;
    let (known, own) = (state.latest_event, cut.latest_event);
    let is_wrong = match follows {
        _ if is_corrected(state, cut) => false,
        // A tidemark that does not keep it had the partition in between.
        _ if own.is_none() && takes_numbers => false,
        // Where there was no valid event, a rater that does not know so assumes one as late as bounds
        // allow: then fewer events are taken to have no copy.
        Follows::Next => known.is_some() && own != known,
        Follows::Gap => own < known,
        Follows::CutAnew => false,
    };
    is_wrong.then(|| {
        format!(
            "the latest event before it is {}, but after the chunk before it is {}",
            moment(own),
            moment(known)
        )
    })
}

fn moment(moment: Option<Millis>) -> String {
    moment.map_or_else(|| "unknown".to_owned(), |moment| moment.to_string())
}

/// What can be said of a window without the records in it. Its exact bounds are compared while they
/// are at hand (`Rater::contradictions`).
fn compare_window(state: &PassedState, cut: &RateCheckpoint, follows: Follows) -> Option<String> {
    let (before, own) = (&state.window, &cut.window);
    if own.first > cut.from {
        return Some(format!(
            "its duplicate window begins at record {}, behind its first record",
            own.first
        ));
    }
    if follows == Follows::CutAnew || is_corrected(state, cut) {
        return None;
    }
    if own.first < before.first {
        return Some(format!(
            "its duplicate window begins at record {}, before that of an earlier chunk at {}",
            own.first, before.first
        ));
    }
    if own.forgotten < before.forgotten {
        return Some(format!(
            "its duplicate window has forgotten events up to {}, less than that of an earlier chunk: {}",
            moment(own.forgotten),
            moment(before.forgotten)
        ));
    }
    let are_rows_known = match own.usage_rows {
        UsageRows::Off => true,
        rows => rows == before.usage_rows || rows == UsageRows::Since(Some(cut.log_time)),
    };
    (follows == Follows::Next && !are_rows_known)
        .then(|| "it takes usage rows as complete since another time than before".to_owned())
}

/// How rating a chunk again ends elsewhere than its record says.
pub(super) fn compare_ends(recorded: &ChunkEnd, given: &ChunkEnd) -> Option<Contradiction> {
    let mut differences = Vec::new();
    if recorded.log_time != given.log_time {
        let (recorded, given) = (recorded.log_time, given.log_time);
        differences.push(format!("log time at {recorded}, not {given}"));
    }
    if recorded.latest_event != given.latest_event {
        let (recorded, given) = (moment(recorded.latest_event), moment(given.latest_event));
        differences.push(format!("the latest event at {recorded}, not {given}"));
    }
    if recorded.sequences != given.sequences {
        let (recorded, given) = (list(&recorded.sequences), list(&given.sequences));
        differences.push(format!("the last blocks sent at {recorded}, not {given}"));
    }
    (!differences.is_empty()).then(|| Contradiction {
        kind: FindingKind::EndDiffers,
        what: format!(
            "the record of the chunk puts, unlike rating it again, {}",
            differences.join("; ")
        ),
    })
}

/// What is passed once a chunk is.
pub(super) fn passed(before: Option<&PassedChunk>, chunk: &LoggedChunk) -> PassedChunk {
    let (cut, end) = (&chunk.cut, &chunk.end);
    let has_sent = cut.sequences != end.sequences;
    let own = has_sent.then_some(LastSent {
        to: cut.to,
        control: cut.control,
        log_time: end.log_time,
    });
    let earlier = before.and_then(|before| before.state.as_ref()?.sent);
    PassedChunk {
        chunk: cut.chunk,
        to: cut.to,
        sequences: end.sequences.clone(),
        state: Some(PassedState {
            control: cut.control,
            log_time: end.log_time,
            latest_event: end.latest_event,
            clock: cut.clock,
            window: cut.window,
            sent: own.or(earlier),
        }),
    }
}

/// Whether a chunk that was cut later takes records of this one, of which nothing was counted: a
/// chunk of other content that begins before its end.
pub(super) fn is_cut_over(chunk: &RateCheckpoint, later: &RateCheckpoint) -> bool {
    let overlaps = match later.is_cut() {
        true => later.from < chunk.to && later.to > chunk.from,
        // Everything before is done, and this chunk was not among it.
        false => later.from < chunk.to,
    };
    later.epoch == chunk.epoch && overlaps && !is_same_cut(chunk, later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::{Chunk, Epoch, Offset};
    use crate::store::checkpoints::ClockCorrection;
    use crate::store::rated_services::RatedServices;

    const T: Millis = Millis(1_000_000);
    const ROWS: UsageRows = UsageRows::Since(None);

    fn cut(number: u64, (from, to): (u64, u64), sent: u64) -> RateCheckpoint {
        RateCheckpoint {
            topic_id: "topic".to_owned(),
            epoch: Epoch(1),
            partitions: 1,
            posting_partitions: 1,
            chunk: Chunk(number),
            from: Offset(from),
            to: Offset(to),
            control: Control(5),
            semantics: 1,
            log_time: T,
            window: WindowCut {
                age_ms: 1_000,
                records_max: 100,
                usage_rows: ROWS,
                first: Offset(3),
                first_log_time: Millis(0),
                forgotten: Some(Millis(500)),
            },
            fingerprint: None,
            sequences: vec![Sequence(sent)],
            clock: None,
            latest_event: Some(T),
            services: RatedServices::default(),
        }
    }

    /// Chunk 7 with records [10, 20), which began after block 4 and sent the fifth, and then chunk
    /// 8 with records [20, 30), which sent nothing.
    fn passed_two() -> PassedChunk {
        let chunk = |cut: RateCheckpoint, sent: u64| LoggedChunk {
            end: ChunkEnd {
                log_time: T,
                latest_event: Some(T),
                sequences: vec![Sequence(sent)],
            },
            cut,
        };
        let first = passed(None, &chunk(cut(7, (10, 20), 4), 5));
        passed(Some(&first), &chunk(cut(8, (20, 30), 5), 5))
    }

    fn changed(cut: RateCheckpoint, change: impl FnOnce(&mut RateCheckpoint)) -> RateCheckpoint {
        let mut cut = cut;
        change(&mut cut);
        cut
    }

    #[test]
    fn how_a_chunk_follows_and_what_contradicts_it() {
        use FindingKind::{CutContradicts, RecordsNotRated, RecordsRatedTwice};
        use Follows::{CutAnew, Gap, Next};
        let next = || cut(9, (30, 40), 5);
        let anew = || cut(9, (20, 35), 5);
        let gap = || cut(11, (35, 40), 6);
        let clock = ClockCorrection {
            epoch: Epoch(1),
            until: Offset(30),
            at: Millis(T.0 - 100),
        };
        type Row = (
            &'static str,
            RateCheckpoint,
            Follows,
            &'static [FindingKind],
        );
        let rows: Vec<Row> = vec![
            ("the next chunk", next(), Next, &[]),
            (
                "idle partitions take numbers",
                cut(14, (30, 40), 5),
                Next,
                &[],
            ),
            ("an older tidemark rated what is between", gap(), Gap, &[]),
            (
                "tables were restored: nothing was sent",
                anew(),
                CutAnew,
                &[],
            ),
            (
                "the same with a number again",
                cut(8, (20, 30), 5),
                CutAnew,
                &[],
            ),
            (
                "records that were sent",
                cut(9, (15, 40), 5),
                CutAnew,
                &[RecordsRatedTwice],
            ),
            (
                "records that nobody rated",
                cut(9, (31, 40), 5),
                Gap,
                &[RecordsNotRated],
            ),
            (
                "a number again",
                cut(8, (30, 40), 5),
                Next,
                &[CutContradicts],
            ),
            (
                "a number again, later",
                cut(8, (33, 40), 5),
                Gap,
                &[CutContradicts],
            ),
            (
                "sequences passed over",
                cut(9, (30, 40), 6),
                Next,
                &[CutContradicts],
            ),
            (
                "sequences again",
                cut(9, (30, 40), 4),
                Next,
                &[CutContradicts],
            ),
            (
                "sequences again, anew",
                cut(9, (20, 40), 4),
                CutAnew,
                &[CutContradicts],
            ),
            (
                "sequences again, later",
                cut(12, (35, 40), 4),
                Gap,
                &[CutContradicts],
            ),
            (
                "a newer control position",
                changed(next(), |cut| cut.control = Control(6)),
                Next,
                &[],
            ),
            (
                "an older control position",
                changed(next(), |cut| cut.control = Control(4)),
                Next,
                &[CutContradicts],
            ),
            (
                "an older control position behind a gap",
                changed(gap(), |cut| cut.control = Control(4)),
                Gap,
                &[CutContradicts],
            ),
            (
                "log time later than it was",
                changed(next(), |cut| cut.log_time = T.plus(1)),
                Next,
                &[CutContradicts],
            ),
            (
                "log time later behind a gap",
                changed(gap(), |cut| cut.log_time = T.plus(1)),
                Gap,
                &[],
            ),
            (
                "log time earlier behind a gap",
                changed(gap(), |cut| cut.log_time = T.plus(-1)),
                Gap,
                &[CutContradicts],
            ),
            (
                "log time earlier than what was sent",
                changed(anew(), |cut| cut.log_time = T.plus(-1)),
                CutAnew,
                &[CutContradicts],
            ),
            (
                "a corrected clock",
                changed(next(), |cut| {
                    (cut.clock, cut.log_time, cut.latest_event) = (Some(clock), clock.at, None);
                    cut.window.first = Offset(30);
                }),
                Next,
                &[],
            ),
            (
                "a corrected clock, and log time that does not go by it",
                changed(next(), |cut| cut.clock = Some(clock)),
                Next,
                &[CutContradicts],
            ),
            (
                "another latest event",
                changed(next(), |cut| cut.latest_event = Some(T.plus(1))),
                Next,
                &[CutContradicts],
            ),
            (
                "a latest event that is forgotten",
                changed(next(), |cut| cut.latest_event = None),
                Next,
                &[CutContradicts],
            ),
            (
                "an older tidemark had the partition, and does not keep it",
                changed(cut(10, (30, 40), 5), |cut| cut.latest_event = None),
                Next,
                &[],
            ),
            (
                "a window behind its chunk",
                changed(next(), |cut| cut.window.first = Offset(31)),
                Next,
                &[CutContradicts],
            ),
            (
                "a window that moves on",
                changed(next(), |cut| {
                    (cut.window.first, cut.window.forgotten) = (Offset(9), Some(Millis(600)));
                }),
                Next,
                &[],
            ),
            (
                "a window that goes back",
                changed(next(), |cut| cut.window.first = Offset(2)),
                Next,
                &[CutContradicts],
            ),
            (
                "what is forgotten goes back",
                changed(next(), |cut| cut.window.forgotten = Some(Millis(499))),
                Next,
                &[CutContradicts],
            ),
            (
                "usage rows off",
                changed(next(), |cut| cut.window.usage_rows = UsageRows::Off),
                Next,
                &[],
            ),
            (
                "usage rows off and on",
                changed(next(), |cut| {
                    cut.window.usage_rows = UsageRows::Since(Some(T))
                }),
                Next,
                &[],
            ),
            (
                "usage rows complete since another time",
                changed(next(), |cut| {
                    cut.window.usage_rows = UsageRows::Since(Some(T.plus(-1)));
                }),
                Next,
                &[CutContradicts],
            ),
        ];
        let passed = passed_two();
        for (name, cut, follows, kinds) in rows {
            let found = follow(Some(&passed), &cut);
            let of: Vec<FindingKind> = found.contradictions.iter().map(|of| of.kind).collect();
            assert_eq!(
                (found.follows, &of[..]),
                (follows, kinds),
                "{name}: {found:?}"
            );
            let reuses = cut.sequences[0] < passed.sequences[0];
            assert_eq!(found.reuses_sequences, reuses, "{name}");
            assert_eq!(follow(None, &cut).contradictions, [], "{name}");
        }
        // What an older tidemark has stored says less.
        let older = PassedChunk {
            state: None,
            ..passed
        };
        let found = follow(
            Some(&older),
            &changed(anew(), |cut| cut.control = Control(1)),
        );
        assert_eq!(
            (found.follows, found.contradictions),
            (Follows::CutAnew, vec![])
        );
    }

    #[test]
    fn a_rerun_may_have_lost_the_beginning_of_its_window_and_nothing_else() {
        let cut = || cut(8, (20, 30), 5);
        let shortened = || {
            changed(cut(), |cut| {
                (cut.window.first, cut.window.forgotten) = (Offset(6), Some(T));
            })
        };
        for (is_same, other) in [
            (true, cut()),
            (true, shortened()),
            (
                false,
                changed(shortened(), |cut| cut.window.forgotten = Some(T.plus(1))),
            ),
            (false, changed(cut(), |cut| cut.window.first = Offset(6))),
            (false, changed(cut(), |cut| cut.to = Offset(31))),
            (false, changed(cut(), |cut| cut.control = Control(6))),
            (false, changed(cut(), |cut| cut.chunk = Chunk(9))),
        ] {
            assert_eq!(is_same_cut(&cut(), &other), is_same, "{other:?}");
            assert_eq!(is_same_cut(&other, &cut()), is_same, "{other:?}");
        }
    }

    #[test]
    fn a_chunk_is_cut_over_by_one_that_takes_its_records() {
        let chunk = cut(8, (20, 30), 5);
        for (is_over, later) in [
            (false, chunk.clone()),
            (false, cut(9, (30, 40), 5)),
            (false, cut(7, (10, 20), 5)),
            (true, cut(9, (25, 40), 5)),
            (true, cut(8, (20, 31), 5)),
            (true, cut(7, (10, 21), 5)),
            // Nothing is cut there.
            (true, cut(9, (20, 20), 5)),
            (false, cut(9, (30, 30), 5)),
            (
                false,
                changed(cut(9, (25, 40), 5), |cut| cut.epoch = Epoch(2)),
            ),
        ] {
            assert_eq!(is_cut_over(&chunk, &later), is_over, "{later:?}");
        }
    }

    #[test]
    fn each_part_of_a_wrong_end_is_named() {
        let end = |log_time, latest, sent| ChunkEnd {
            log_time: Millis(log_time),
            latest_event: Some(Millis(latest)),
            sequences: vec![Sequence(sent)],
        };
        assert_eq!(compare_ends(&end(1, 2, 3), &end(1, 2, 3)), None);
        for (given, part) in [
            (end(9, 2, 3), "log time"),
            (end(1, 9, 3), "the latest event"),
            (end(1, 2, 9), "the last blocks sent"),
        ] {
            let found = compare_ends(&end(1, 2, 3), &given).expect(part);
            assert_eq!(found.kind, FindingKind::EndDiffers);
            assert!(found.what.contains(part), "{}", found.what);
        }
    }
}
