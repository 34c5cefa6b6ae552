//! DEDUPE: which events stand in the duplicate window already. Pure.

use super::candidate::{Reject, Verdict};
use super::decode::{Intake, RecordRules, decode_record};
use super::window::{Lane, Standing, Window, lane};
use crate::domain::event::{Reason, Rejection};
use crate::domain::time::Millis;
use crate::log::{Record, usage};
use crate::pipeline::protections::Protections;
use crate::store::checkpoints::WindowCut;

impl Intake<'_> {
    /// Takes the candidates into the window, and keeps those that nothing in it precedes. All of them one
    /// after the other and with nothing between: each is a look into another part of memory, and the
    /// processor then waits for several at once.
    pub fn dedupe(&mut self, cut: &WindowCut, window: &mut Window, protections: Protections) {
        let ahead_ms = protections.ahead_ms();
        let mut kept = true;
        for (candidate, (identity, content)) in self.candidates.iter_mut().zip(&self.hashes) {
            let (offset, log_time) = (candidate.record.offset, candidate.log_time);
            let standing = protections.standing(Standing::New, || {
                window.take(*identity, *content, offset, log_time)
            });
            candidate.verdict = judge(standing, candidate.event.time, cut, ahead_ms);
            kept &= matches!(candidate.verdict, Verdict::Fast | Verdict::Slow);
        }
        if !kept {
            self.drop_copies();
        }
    }

    fn drop_copies(&mut self) {
        let (rejects, duplicates) = (&mut self.rejects, &mut self.duplicates);
        self.candidates.retain(|candidate| {
            let rejection = match candidate.verdict {
                Verdict::Fast | Verdict::Slow => return true,
                Verdict::Duplicate => {
                    *duplicates += 1;
                    return false;
                }
                Verdict::Conflict => conflict(),
                Verdict::BeyondChecking => beyond_checking(),
            };
            rejects.push(Reject {
                record: candidate.record,
                log_time: candidate.log_time,
                rejection,
            });
            false
        });
        // Others were refused while decoding, before these.
        self.rejects.sort_by_key(|reject| reject.record.offset);
    }
}

/// Takes the records between the window's first and the chunk into the window again, after a restart.
pub fn rebuild(
    records: &[Record],
    rules: &RecordRules<'_>,
    window: &mut Window,
    log_time: &mut Millis,
) {
    let mut decoder = usage::Decoder::default();
    for record in records {
        *log_time = (*log_time).max(rules.append_time(record));
        let now = *log_time;
        decode_record(&mut decoder, record, rules, now, |event, _| {
            window.take(event.identity(), event.content(), record.offset, now);
        });
    }
}

fn judge(standing: Standing, time: Millis, cut: &WindowCut, ahead_ms: i64) -> Verdict {
    match standing {
        Standing::Duplicate => Verdict::Duplicate,
        Standing::Conflict => Verdict::Conflict,
        Standing::New => match lane(cut, time, ahead_ms) {
            Lane::Fast => Verdict::Fast,
            Lane::Slow => Verdict::Slow,
            Lane::Closed => Verdict::BeyondChecking,
        },
    }
}

fn conflict() -> Rejection {
    let detail =
        "an earlier event has the same user, source and id but different content".to_owned();
    Rejection {
        reason: Reason::Conflict,
        field: Some("id"),
        detail,
    }
}

fn beyond_checking() -> Rejection {
    let detail = "the event is older than the duplicate window, and usage rows, which could tell whether it came before, \
                  are off or began later"
        .to_owned();
    Rejection {
        reason: Reason::TooOld,
        field: Some("time"),
        detail,
    }
}
