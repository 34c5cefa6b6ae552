//! How a chunk's record follows the one that was passed before it: what goes on from there, what `tidemark recover`
//! may have cut anew, and what contradicts it. Pure.

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
    /// Its blocks carry sequences that were passed: posting drops them, and they cannot be compared.
    pub(super) reuses_sequences: bool,
}

/// Whether a record may repeat one that came before it: a rerun appends its chunk's record again, and a worker
/// that slept may do so much later. Only the log can tell.
pub(super) fn may_repeat(passed: Option<&PassedChunk>, cut: &RateCheckpoint) -> bool {
    passed.is_some_and(|passed| cut.chunk <= passed.chunk || cut.from != passed.to)
}

/// Whether two records are of one and the same cut. A rerun may have found that the beginning of its duplicate
/// window has expired.
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

/// The control position never goes back. Entries that only chunks without blocks were rated with may be lost
/// with restored tables.
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
            let expected = state.log_time.min(clock.at);
            (own != expected, expected)
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
        Follows::Next => own != known,
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

/// What can be said of a window without the records in it. Its exact bounds are compared while they are at hand
/// (`Rater::contradictions`).
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

/// Whether a chunk that was cut later takes records of this one, of which nothing was counted: a chunk of other
/// content that begins before its end.
pub(super) fn is_cut_over(chunk: &RateCheckpoint, later: &RateCheckpoint) -> bool {
    let overlaps = match later.is_cut() {
        true => later.from < chunk.to && later.to > chunk.from,
        // Everything before is done, and this chunk was not among it.
        false => later.from < chunk.to,
    };
    later.epoch == chunk.epoch && overlaps && !is_same_cut(chunk, later)
}
