//! Taking a request back.

use std::borrow::Cow;

use bytes::Bytes;

use super::Commands;
use crate::app::{CommandError, Refusal};
use crate::domain::amount::{Money, Points};
use crate::domain::event::BEHIND_MS_MAX;
use crate::domain::outcomes::is_successful;
use crate::domain::reversal::{ADMIN_SOURCE, Original, Reversal};
use crate::domain::time::Millis;
use crate::log::usage::reversal;
use crate::log::{Headers, NewRecord, Topic, usage_partition};
use crate::store::usage_list::UsageRow;
use crate::store::{reversals, usage_list};

pub use crate::store::reversals::NewReversal;

/// A reversal that was sent, and where it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentReversal {
    /// The partition of `usage.events`.
    pub partition: u32,
    /// Its offset there; `None` where the log does not tell.
    pub offset: Option<u64>,
}

const NOTHING: &str = "the request earned and cost nothing, so there is nothing to reverse";

fn earned_nothing(request: &UsageRow) -> bool {
    let points = [request.user_points, request.provider_points];
    let costs = [request.cost, request.shadow_cost];
    !is_successful(request.status_code) || points == [Points::ZERO; 2] && costs == [Money::ZERO; 2]
}

impl Commands {
    /// Takes back what a request earned and cost. Refused if there is no such request, if another
    /// reversal took it back, if it is too old, or if it earned and cost nothing: rating judges the
    /// same, and would make the reversal a reject. Repeating it under the same key is safe.
    pub async fn reverse(&self, request: NewReversal) -> Result<SentReversal, CommandError> {
        let now = self.now();
        self.must_be_reversible(&request, now).await?;
        reversals::record(self.db(), &request, now).await?;
        let value = reversal::encode(&Reversal {
            source: Cow::Borrowed(ADMIN_SOURCE),
            id: Cow::Borrowed(&request.idempotency_key),
            user: Cow::Borrowed(&request.user),
            original: Original {
                source: Cow::Borrowed(&request.source),
                id: Cow::Borrowed(&request.id),
                time: request.time,
            },
            reason: Some(Cow::Borrowed(&request.reason)),
        });
        let record = NewRecord {
            key: Some(Bytes::copy_from_slice(request.user.as_bytes())),
            value,
            headers: Headers::new(),
        };
        let topic = Topic::UsageEvents;
        let partitions = self.log().topic(topic).await?.partitions;
        let partition = usage_partition(&request.user, partitions);
        let offsets = self.log().append(topic, partition, vec![record]).await?;
        Ok(SentReversal {
            partition: partition.0,
            offset: offsets.first().map(|offset| offset.0),
        })
    }

    async fn must_be_reversible(
        &self,
        request: &NewReversal,
        now: Millis,
    ) -> Result<(), CommandError> {
        let NewReversal {
            user,
            source,
            id,
            time,
            ..
        } = request;
        let too_old = || {
            let detail = "the request is more than 35 days old; correct it with an adjustment";
            Refusal::conflict("too_old", detail)
        };
        let is_too_old = *time < now.plus(-BEHIND_MS_MAX);
        let found = usage_list::one(self.db(), user, source, id, *time, now).await?;
        let Some(found) = found else {
            // Its row may have expired.
            if is_too_old {
                return Err(too_old().into());
            }
            let detail = format!(
                "no request of {user} has the source '{source}', the id '{id}' and the time {time}; \
                 it may not be rated yet, or never have been accepted"
            );
            return Err(Refusal::not_found("unknown_original", detail).into());
        };
        let is_own =
            |id: &str, source: &str| source == ADMIN_SOURCE && id == request.idempotency_key;
        match &found.reversal {
            Some(before) if !is_own(&before.id, &before.source) => {
                let (id, source) = (&before.id, &before.source);
                let detail = format!("the request was reversed before, by '{id}' of '{source}'");
                return Err(Refusal::conflict("already_reversed", detail).into());
            }
            Some(_) => return Ok(()),
            None => (),
        }
        if is_too_old {
            return Err(too_old().into());
        }
        match earned_nothing(&found) {
            true => Err(Refusal::conflict("nothing_to_reverse", NOTHING).into()),
            false => Ok(()),
        }
    }
}
