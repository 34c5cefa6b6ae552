//! What may go wrong in a simulated world, and how often.

use super::world::Inner;

/// Chances in permille, times in virtual ms.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Answered "throttled", nothing written.
    pub throttled: u32,
    /// Done, and the answer lost.
    pub lost_after: u32,
    /// Lost on the way, never done.
    pub lost_before: u32,
    /// The caller is told that the answer was lost; done later.
    pub late: u32,
    /// Answered, and done, much later than usual.
    pub slow: u32,
    /// Reads that fail.
    pub read_failed: u32,
    /// Usual time to the server, or back.
    pub hop_ms_max: i64,
    /// Time of a slow request.
    pub slow_ms_max: i64,
    /// How much later a late write is done.
    pub late_ms_max: i64,
    /// How long a transaction may be half visible, to `GetItem` as to other reads.
    pub torn_ms_max: i64,
    /// How long an index lags.
    pub index_ms_max: i64,
    /// Most items in a page of a query.
    pub page_items_max: usize,
    /// How far a broker's clock steps back at times.
    pub step_back_ms_max: i64,
    /// A partition of a topic that is slower than the rest: its name in the trace, and by how much.
    pub slow_partition: Option<(&'static str, u32, i64)>,
}

impl Faults {
    /// All is well.
    pub fn none() -> Faults {
        Faults {
            throttled: 0,
            lost_after: 0,
            lost_before: 0,
            late: 0,
            slow: 0,
            read_failed: 0,
            hop_ms_max: 5,
            slow_ms_max: 5,
            late_ms_max: 5,
            torn_ms_max: 0,
            index_ms_max: 0,
            page_items_max: 100,
            step_back_ms_max: 0,
            slow_partition: None,
        }
    }

    /// As bad as `level` (0 to 3) says; which kinds of fault there are is drawn too.
    pub fn draw(inner: &mut Inner, level: u32) -> Faults {
        let most = [0, 15, 60, 200][level.min(3) as usize];
        let mut rate = || {
            if inner.chance(300) {
                0
            } else {
                inner.between(0, most) as u32
            }
        };
        let (throttled, lost_after, lost_before) = (rate(), rate(), rate());
        let (late, slow, read_failed) = (rate(), rate(), rate());
        Faults {
            throttled,
            lost_after,
            lost_before,
            late,
            slow,
            read_failed,
            hop_ms_max: inner.between(1, 30),
            slow_ms_max: inner.between(100, 20_000),
            late_ms_max: [200, 5_000, 120_000][inner.between(0, 2) as usize],
            torn_ms_max: inner.between(0, 200),
            index_ms_max: inner.between(0, 3_000),
            page_items_max: inner.between(1, 8) as usize,
            step_back_ms_max: [0, 3, 2_000][inner.between(0, 2) as usize],
            slow_partition: None,
        }
    }
}

/// How one request to a server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Done and answered.
    Answered,
    /// Refused for now, not done.
    Throttled,
    /// Done, answer lost.
    LostAfter,
    /// Not done, answer lost.
    LostBefore,
    /// Answer lost; done so much later.
    Late(i64),
}

/// Draws the fate of a write or an append.
pub fn fate_of_write(inner: &mut Inner) -> Fate {
    let f = inner.faults.clone();
    let dice = inner.between(0, 999) as u32;
    let bounds = [
        f.throttled,
        f.throttled + f.lost_after,
        f.throttled + f.lost_after + f.lost_before,
        f.throttled + f.lost_after + f.lost_before + f.late,
    ];
    match dice {
        d if d < bounds[0] => Fate::Throttled,
        d if d < bounds[1] => Fate::LostAfter,
        d if d < bounds[2] => Fate::LostBefore,
        d if d < bounds[3] => Fate::Late(inner.between(1, f.late_ms_max.max(1))),
        _ => Fate::Answered,
    }
}

/// Draws how long one way takes.
pub fn hop(inner: &mut Inner) -> i64 {
    let (slow, usual) = (inner.faults.slow_ms_max, inner.faults.hop_ms_max);
    let chance = inner.faults.slow;
    if inner.chance(chance) {
        inner.between(0, slow)
    } else {
        inner.between(0, usual)
    }
}
