//! A row of the archive: one accepted record, with everything that decided what it brought.

use super::batch::{Batch, ReadColumn};
use super::column::{ColumnSpec, Field, Gathered, Packing, Shape, Text, TextBuffer, word};
use super::error::ArchiveError;
use crate::domain::amount::{Money, Points};
use crate::domain::event::Service;
use crate::domain::ids::AccountKind;
use crate::domain::position::{Chunk, Control, Epoch, Offset, Partition};
use crate::domain::tier::Tier;
use crate::domain::time::{Day, Millis, Month};

/// What kind of record a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// The first report of a request.
    Event,
    /// A later report that said more. It posts the difference.
    Completion,
    /// It took back what a request had earned and cost.
    Reversal,
}

impl RequestKind {
    /// All of them.
    pub const ALL: [RequestKind; 3] = [
        RequestKind::Event,
        RequestKind::Completion,
        RequestKind::Reversal,
    ];

    /// The word in the column `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            RequestKind::Event => "event",
            RequestKind::Completion => "completion",
            RequestKind::Reversal => "reversal",
        }
    }

    /// The one of that word.
    pub fn named(word: &str) -> Option<RequestKind> {
        RequestKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

word!(RequestKind, RequestKind::Event);

macro_rules! archived_request {
    ($(
        $(#[doc = $doc:literal])*
        $field:ident, $name:literal: $type:ty, $packing:ident;
    )*) => {
        /// One row: an accepted event, completion or reversal.
        ///
        /// What was posted stands in the row as it was posted: of a completion the difference, of a
        /// reversal the amounts that were taken back, negative. So the sum of a column over rows is
        /// what statements say. What describes the request (model, tokens, status ...) is all that
        /// was known of it once the record was counted; of a reversal, what was taken back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct ArchivedRequest<'a> {
            $( $(#[doc = $doc])* pub $field: <$type as Field>::Value<'a>, )*
        }

        /// A column, by the name of its field in [`ArchivedRequest`].
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Column { $( $(#[doc = $doc])* $field, )* }

        impl Column {
            /// All columns, in the order of a file.
            pub const ALL: &[Column] = &[$( Column::$field ),*];

            /// The name in a file.
            pub const fn name(self) -> &'static str {
                match self { $( Column::$field => $name, )* }
            }

            /// What it holds.
            pub const fn shape(self) -> Shape {
                match self { $( Column::$field => <$type as Field>::SHAPE, )* }
            }

            /// Whether a row may have no value in it.
            pub const fn is_optional(self) -> bool {
                match self { $( Column::$field => <$type as Field>::IS_OPTIONAL, )* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $( Column::$field => concat!($($doc),*), )* }
            }

            pub(super) const fn spec(self) -> ColumnSpec {
                match self {
                    $( Column::$field => ColumnSpec {
                        name: $name,
                        shape: <$type as Field>::SHAPE,
                        is_optional: <$type as Field>::IS_OPTIONAL,
                        packing: Packing::$packing,
                    }, )*
                }
            }
        }

        /// Rows on their way into a file, column by column.
        #[derive(Clone, Debug, Default)]
        pub struct Rows {
            len: usize,
            $( pub(super) $field: <$type as Field>::Buffer, )*
        }

        impl Rows {
            /// Adds a row.
            pub fn push(&mut self, row: &ArchivedRequest<'_>) {
                self.len += 1;
                $( <$type as Field>::put(row.$field, &mut self.$field); )*
            }

            /// Adds all rows of others.
            pub fn append(&mut self, others: &Rows) {
                self.len += others.len;
                $( self.$field.append(&others.$field); )*
            }

            pub(super) fn clear(&mut self) {
                self.len = 0;
                $( self.$field.clear(); )*
            }

            /// Gives each column in the order of a file.
            pub(super) fn each_column<E>(
                &mut self,
                mut write: impl FnMut(ColumnSpec, Gathered<'_>) -> Result<(), E>,
            ) -> Result<(), E> {
                $( write(Column::$field.spec(), (&mut self.$field).into())?; )*
                Ok(())
            }
        }

        impl Batch {
            /// A row. What was not read is empty, or zero.
            ///
            /// # Errors
            /// A value that no version writes.
            pub fn row(&self, row: usize) -> Result<ArchivedRequest<'_>, ArchiveError> {
                Ok(ArchivedRequest {
                    $( $field: {
                        let column: &ReadColumn = &self.columns[Column::$field as usize];
                        let value = <$type as Field>::get(column, row);
                        value.map_err(|found| ArchiveError::Value { column: $name, found })?
                    }, )*
                })
            }
        }
    };
}

archived_request! {
    /// `event`, `completion` or `reversal`.
    kind, "kind": RequestKind, Dictionary;
    /// Who sent the record: CloudEvents `source`.
    source, "source": Text, Dictionary;
    /// CloudEvents `id` of the record.
    id, "id": Text, Unique;
    /// Who made the request.
    user, "user_id": Text, Dictionary;
    /// Who served it.
    provider, "provider_id": Option<Text>, Dictionary;
    /// The path that was called.
    endpoint, "endpoint": Text, Dictionary;
    /// The service, by name.
    service_name, "service": Text, Dictionary;
    /// The service, by its number in account rows.
    service, "service_number": Service, Dictionary;
    /// The model.
    model, "model": Option<Text>, Dictionary;
    /// The tier of the model, if the service earns by it.
    tier, "tier": Option<Tier>, Dictionary;
    /// The HTTP status.
    status, "status": u16, Dictionary;
    /// How long the request took, in milliseconds.
    latency_ms, "latency_ms": Option<u64>, Dictionary;
    /// Input tokens, cached and cache-writing ones included.
    input_tokens, "input_tokens": Option<u64>, Dictionary;
    /// Output tokens, reasoning ones included.
    output_tokens, "output_tokens": Option<u64>, Dictionary;
    /// Input tokens that were read from a cache.
    cached_input_tokens, "cached_input_tokens": Option<u64>, Dictionary;
    /// Input tokens that were written to a cache.
    cache_write_tokens, "cache_write_tokens": Option<u64>, Dictionary;
    /// Output tokens that were spent on reasoning.
    reasoning_tokens, "reasoning_tokens": Option<u64>, Dictionary;
    /// Length of the audio, in milliseconds.
    audio_ms, "audio_ms": Option<u64>, Dictionary;
    /// Images that were made or read.
    image_count, "image_count": Option<u64>, Dictionary;
    /// Size of the request, in bytes.
    request_bytes, "request_bytes": Option<u64>, Dictionary;
    /// Size of the response, in bytes.
    response_bytes, "response_bytes": Option<u64>, Dictionary;
    /// Whether the answer was streamed.
    stream, "stream": bool, Dictionary;
    /// When the request was made.
    time, "event_time": Millis, Delta;
    /// Log time at the record: when it was received.
    log_time, "log_time": Millis, Delta;
    /// The epoch of the log.
    epoch, "epoch": Epoch, Dictionary;
    /// The partition of `usage.events`.
    partition, "source_partition": Partition, Dictionary;
    /// The record's offset in it.
    offset, "log_offset": Offset, Delta;
    /// The chunk in which the record was rated.
    chunk, "chunk": Chunk, Dictionary;
    /// Log time before the chunk: that of its posting blocks.
    chunk_log_time, "chunk_log_time": Millis, Dictionary;
    /// How far into the control feed its rating looked: rules and referral links as of it. Of
    /// completions and reversals that of the request's first report.
    control, "control_position": Control, Dictionary;
    /// By which semantics it was rated.
    semantics, "semantics": u32, Dictionary;
    /// The month in which it is booked, as its first day.
    month, "booked_month": Month, Dictionary;
    /// The day on which it is booked; empty if it was late.
    booked_on, "booked_on": Option<Day>, Dictionary;
    /// Points posted to the user.
    user_points, "user_points": Points, Dictionary;
    /// Points posted to the provider; 0 if none is named.
    provider_points, "provider_points": Points, Dictionary;
    /// Dollars charged to the user.
    cost, "cost": Money, Dictionary;
    /// Dollars that mainnet would have charged.
    shadow_cost, "shadow_cost": Money, Dictionary;
    /// The latency that was expected of the request, in milliseconds; 0 if it did not succeed.
    target_ms, "target_latency_ms": u64, Dictionary;
    /// What the user gets if this is the first success of its life with the service. Only in the
    /// chunk's first success of the user with it.
    trial_points, "trial_points": Option<Points>, Dictionary;
    /// Who referred the user.
    user_referrer_1, "user_referrer_1": Option<Text>, Dictionary;
    /// The kind of `user_referrer_1`: `user` or `provider`.
    user_referrer_1_kind, "user_referrer_1_kind": Option<AccountKind>, Dictionary;
    /// Who referred that one.
    user_referrer_2, "user_referrer_2": Option<Text>, Dictionary;
    /// The kind of `user_referrer_2`: `user` or `provider`.
    user_referrer_2_kind, "user_referrer_2_kind": Option<AccountKind>, Dictionary;
    /// Who referred that one.
    user_referrer_3, "user_referrer_3": Option<Text>, Dictionary;
    /// The kind of `user_referrer_3`: `user` or `provider`.
    user_referrer_3_kind, "user_referrer_3_kind": Option<AccountKind>, Dictionary;
    /// Points posted to `user_referrer_1`.
    user_referral_1, "user_referral_points_1": Points, Dictionary;
    /// Points posted to `user_referrer_2`.
    user_referral_2, "user_referral_points_2": Points, Dictionary;
    /// Points posted to `user_referrer_3`.
    user_referral_3, "user_referral_points_3": Points, Dictionary;
    /// Who referred the provider.
    provider_referrer_1, "provider_referrer_1": Option<Text>, Dictionary;
    /// The kind of `provider_referrer_1`: `user` or `provider`.
    provider_referrer_1_kind, "provider_referrer_1_kind": Option<AccountKind>, Dictionary;
    /// Who referred that one.
    provider_referrer_2, "provider_referrer_2": Option<Text>, Dictionary;
    /// The kind of `provider_referrer_2`: `user` or `provider`.
    provider_referrer_2_kind, "provider_referrer_2_kind": Option<AccountKind>, Dictionary;
    /// Who referred that one.
    provider_referrer_3, "provider_referrer_3": Option<Text>, Dictionary;
    /// The kind of `provider_referrer_3`: `user` or `provider`.
    provider_referrer_3_kind, "provider_referrer_3_kind": Option<AccountKind>, Dictionary;
    /// Points posted to `provider_referrer_1`.
    provider_referral_1, "provider_referral_points_1": Points, Dictionary;
    /// Points posted to `provider_referrer_2`.
    provider_referral_2, "provider_referral_points_2": Points, Dictionary;
    /// Points posted to `provider_referrer_3`.
    provider_referral_3, "provider_referral_points_3": Points, Dictionary;
    /// Of completions and reversals: the offset of the request's earlier report.
    original_offset, "original_offset": Option<Offset>, Dictionary;
    /// The epoch of that offset.
    original_epoch, "original_epoch": Option<Epoch>, Dictionary;
    /// Of reversals: the `source` of the request.
    original_source, "original_source": Option<Text>, Dictionary;
    /// Of reversals: the `id` of the request.
    original_id, "original_id": Option<Text>, Dictionary;
    /// Of completions: whether the earlier report named no provider, and this one does.
    provider_is_new, "provider_is_new": bool, Dictionary;
    /// Of completions: the model in the earlier report.
    earlier_model, "earlier_model": Option<Text>, Dictionary;
    /// Of completions: the latency in the earlier report.
    earlier_latency_ms, "earlier_latency_ms": Option<u64>, Dictionary;
    /// Of completions: the latency that was expected then.
    earlier_target_ms, "earlier_target_latency_ms": Option<u64>, Dictionary;
    /// Of completions: input tokens in the earlier report.
    earlier_input_tokens, "earlier_input_tokens": Option<u64>, Dictionary;
    /// Of completions: output tokens in the earlier report.
    earlier_output_tokens, "earlier_output_tokens": Option<u64>, Dictionary;
    /// Of completions: tokens read from a cache, in the earlier report.
    earlier_cached_input_tokens, "earlier_cached_input_tokens": Option<u64>, Dictionary;
    /// Of completions: tokens written to a cache, in the earlier report.
    earlier_cache_write_tokens, "earlier_cache_write_tokens": Option<u64>, Dictionary;
    /// Of completions: reasoning tokens in the earlier report.
    earlier_reasoning_tokens, "earlier_reasoning_tokens": Option<u64>, Dictionary;
    /// Of completions: length of the audio in the earlier report, in milliseconds.
    earlier_audio_ms, "earlier_audio_ms": Option<u64>, Dictionary;
    /// Of completions: images in the earlier report.
    earlier_image_count, "earlier_image_count": Option<u64>, Dictionary;
}

const _: () = assert!(Column::ALL.len() <= 128, "`Columns` is a set of 128 bits");

impl Rows {
    /// How many rows there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A set of columns: what is read of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns(u128);

impl Columns {
    /// All of them.
    pub const ALL: Columns = Columns::of(Column::ALL);

    /// Those from which follows what is posted ([`ArchivedRequest::posted`]).
    pub const POSTED: Columns = Columns::of(&[
        Column::kind,
        Column::user,
        Column::provider,
        Column::service,
        Column::status,
        Column::latency_ms,
        Column::month,
        Column::booked_on,
        Column::user_points,
        Column::provider_points,
        Column::cost,
        Column::shadow_cost,
        Column::target_ms,
        Column::trial_points,
        Column::user_referrer_1,
        Column::user_referrer_1_kind,
        Column::user_referrer_2,
        Column::user_referrer_2_kind,
        Column::user_referrer_3,
        Column::user_referrer_3_kind,
        Column::user_referral_1,
        Column::user_referral_2,
        Column::user_referral_3,
        Column::provider_referrer_1,
        Column::provider_referrer_1_kind,
        Column::provider_referrer_2,
        Column::provider_referrer_2_kind,
        Column::provider_referrer_3,
        Column::provider_referrer_3_kind,
        Column::provider_referral_1,
        Column::provider_referral_2,
        Column::provider_referral_3,
        Column::provider_is_new,
        Column::earlier_latency_ms,
        Column::earlier_target_ms,
    ]);

    /// The set of these.
    pub const fn of(columns: &[Column]) -> Columns {
        let (mut set, mut place) = (0, 0);
        while place < columns.len() {
            set |= 1 << columns[place] as u8;
            place += 1;
        }
        Columns(set)
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Columns) -> Columns {
        Columns(self.0 | others.0)
    }

    /// Whether a column is among them.
    pub const fn contains(self, column: Column) -> bool {
        self.0 & (1 << column as u8) != 0
    }
}
