//! DEDUPE: which events stand in the duplicate window already. Pure.

use super::candidate::{Candidate, Verdict};
use super::decode::{Intake, RecordRules, decode_record};
use super::window::{Lane, Standing, Window, lane};
use crate::domain::event::{Reason, Rejection};
use crate::domain::time::Millis;
use crate::log::{Record, usage};
use crate::pipeline::protections::Protections;
use crate::store::checkpoints::WindowCut;

impl Intake<'_> {
    /// Takes the candidates into the window, and keeps those that nothing in it precedes. All of
    /// them one after the other and with nothing between: each is a look into another part of
    /// memory, and the processor then waits for several at once.
    pub fn dedupe(&mut self, cut: &WindowCut, window: &mut Window, protections: Protections) {
        let ahead_ms = protections.ahead_ms();
        let mut kept = true;
        for (candidate, (identity, content)) in self.candidates.iter_mut().zip(&self.hashes) {
            let (offset, log_time) = (candidate.record.offset, candidate.log_time);
            let standing = protections.standing(Standing::New, || {
                window.classify(*identity, *content, offset, log_time)
            });
            candidate.verdict = judge(standing, candidate.event.time, cut, ahead_ms);
            kept &= matches!(candidate.verdict, Verdict::Fast | Verdict::Slow);
        }
        if !kept {
            self.drop_copies();
        }
    }

    fn drop_copies(&mut self) {
        let is_dropped = |candidate: &mut Candidate<'_>| {
            !matches!(candidate.verdict, Verdict::Fast | Verdict::Slow)
        };
        for candidate in self.candidates.extract_if(.., is_dropped) {
            match candidate.verdict {
                Verdict::Fast | Verdict::Slow | Verdict::Duplicate => self.duplicates += 1,
                Verdict::Conflict => self.contested.push(candidate),
                Verdict::BeyondChecking => self.rejects.push(candidate.refused(beyond_checking())),
            }
        }
        self.sort_rejects();
    }

    /// Refuses the events whose identity stands in the window with another content.
    pub(super) fn refuse_contested(&mut self) {
        if !self.contested.is_empty() {
            let refused = self.contested.drain(..).map(|of| of.refused(conflict()));
            self.rejects.extend(refused);
            self.sort_rejects();
        }
    }

    /// Puts the rejects into log order: others were refused while decoding.
    pub(super) fn sort_rejects(&mut self) {
        self.rejects.sort_by_key(|reject| reject.record.offset);
    }
}

/// Takes the records between the window's first and the chunk into the window again, after a
/// restart.
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
            window.classify(event.identity(), event.content(), record.offset, now);
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

pub(super) fn conflict() -> Rejection {
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
