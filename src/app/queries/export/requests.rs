//! A month's archived requests as a table: one row per accepted record. Amounts are those that were
//! posted: of a completion the difference, of a reversal less than nothing, so that sums are the
//! statements'.

use super::focus::Charged;
use super::table::{Cell, Column, ColumnKind};
use crate::archive::{ArchivedRequest, Column as Archived, Columns, RequestKind};
use crate::domain::amount::{Money, Points as Micropoints};

use ColumnKind::{Count, Day, Money as Dollars, Points, Text, Time};

/// One row per record.
pub(super) const REQUESTS: &[Column] = &[
    Column::new("record", Text),
    Column::new("user_id", Text),
    Column::new("provider_id", Text),
    Column::new("source", Text),
    Column::new("id", Text),
    Column::new("event_time", Time),
    Column::new("log_time", Time),
    Column::new("booked_month", Text),
    Column::new("booked_on", Day),
    Column::new("service", Text),
    Column::new("model", Text),
    Column::new("tier", Text),
    Column::new("status", Count),
    Column::new("latency_ms", Count),
    Column::new("input_tokens", Count),
    Column::new("cached_input_tokens", Count),
    Column::new("cache_write_tokens", Count),
    Column::new("output_tokens", Count),
    Column::new("reasoning_tokens", Count),
    Column::new("audio_ms", Count),
    Column::new("image_count", Count),
    Column::summed("user_points", Points),
    Column::summed("provider_points", Points),
    Column::summed("user_referral_points", Points),
    Column::summed("provider_referral_points", Points),
    Column::summed("cost_usd", Dollars),
    Column::summed("shadow_cost_usd", Dollars),
    Column::new("control_position", Count),
    Column::new("epoch", Count),
    Column::new("source_partition", Count),
    Column::new("log_offset", Count),
    Column::new("original_source", Text),
    Column::new("original_id", Text),
];

/// What is read of the archive for it.
pub(super) const ARCHIVED: Columns = Columns::of(&[
    Archived::kind,
    Archived::user,
    Archived::provider,
    Archived::source,
    Archived::id,
    Archived::time,
    Archived::log_time,
    Archived::month,
    Archived::booked_on,
    Archived::service_name,
    Archived::service,
    Archived::model,
    Archived::tier,
    Archived::status,
    Archived::latency_ms,
    Archived::input_tokens,
    Archived::cached_input_tokens,
    Archived::cache_write_tokens,
    Archived::output_tokens,
    Archived::reasoning_tokens,
    Archived::audio_ms,
    Archived::image_count,
    Archived::user_points,
    Archived::provider_points,
    Archived::user_referral_1,
    Archived::user_referral_2,
    Archived::user_referral_3,
    Archived::provider_referral_1,
    Archived::provider_referral_2,
    Archived::provider_referral_3,
    Archived::cost,
    Archived::shadow_cost,
    Archived::control,
    Archived::epoch,
    Archived::partition,
    Archived::offset,
    Archived::original_source,
    Archived::original_id,
]);

/// The row of [`REQUESTS`].
pub(super) fn request_row(row: &ArchivedRequest<'_>, each: &mut dyn FnMut(&[Cell<'_>])) {
    let text = |text: Option<&'static str>| text.map_or(Cell::Empty, Cell::Text);
    let referrals = |points: [Micropoints; 3]| Cell::Points(points.into_iter().sum());
    let number = |number: u64| Cell::Count(number.into());
    each(&[
        Cell::Text(row.kind.as_str()),
        Cell::Text(row.user),
        row.provider.map_or(Cell::Empty, Cell::Text),
        Cell::Text(row.source),
        Cell::Text(row.id),
        Cell::Time(row.time),
        Cell::Time(row.log_time),
        Cell::Month(row.month),
        row.booked_on.map_or(Cell::Empty, Cell::Day),
        Cell::Text(row.service_name),
        row.model.map_or(Cell::Empty, Cell::Text),
        text(row.tier.map(|tier| tier.as_str())),
        number(row.status.into()),
        Cell::count(row.latency_ms),
        Cell::count(row.input_tokens),
        Cell::count(row.cached_input_tokens),
        Cell::count(row.cache_write_tokens),
        Cell::count(row.output_tokens),
        Cell::count(row.reasoning_tokens),
        Cell::count(row.audio_ms),
        Cell::count(row.image_count),
        Cell::Points(row.user_points),
        Cell::Points(row.provider_points),
        referrals(row.user_referrals().map(|(_, points)| points)),
        referrals(row.provider_referrals().map(|(_, points)| points)),
        Cell::Money(row.cost),
        Cell::Money(row.shadow_cost),
        number(row.control.0),
        number(row.epoch.0.into()),
        number(row.partition.0.into()),
        number(row.offset.0),
        row.original_source.map_or(Cell::Empty, Cell::Text),
        row.original_id.map_or(Cell::Empty, Cell::Text),
    ]);
}

/// What a record changes of what its user is charged; `None`: nothing, for a request that did not
/// succeed costs nothing.
pub(super) fn charge_of_request(row: &ArchivedRequest<'_>, is_final: bool) -> Option<Charged> {
    if (row.cost, row.shadow_cost) == (Money::ZERO, Money::ZERO) {
        return None;
    }
    let day = row.time.day();
    let (what, quantity) = match row.kind {
        RequestKind::Event => ("AI inference request", 1),
        RequestKind::Completion => ("more of an AI inference request", 0),
        RequestKind::Reversal => ("reversal of an AI inference request", -1),
    };
    let model = row.model.map(|model| format!(" on {model}"));
    Some(Charged {
        user: row.user.to_owned(),
        month: row.month,
        period: [day.start(), day.next().start()],
        // What is booked on its own day belongs to a month that was open.
        is_correction: row.booked_on.is_none(),
        description: format!("{what}{}", model.unwrap_or_default()),
        quantity,
        unit: "Requests",
        cost: row.cost,
        shadow: row.shadow_cost,
        service: Some(row.service_name.to_owned()),
        is_final,
    })
}
