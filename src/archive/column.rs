//! How values stand in columns: their types in Parquet, and the buffers in which a column is
//! gathered.

use super::batch::ReadColumn;
use crate::domain::amount::{Money, Points};
use crate::domain::event::Service;
use crate::domain::ids::AccountKind;
use crate::domain::position::{Chunk, Control, Epoch, Offset, Partition};
use crate::domain::tier::Tier;
use crate::domain::time::{Day, Millis, Month};

/// What a column holds, in Parquet's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// STRING.
    Text,
    /// BOOLEAN.
    Flag,
    /// INT32.
    Int,
    /// INT64.
    Long,
    /// TIMESTAMP in milliseconds, UTC.
    Instant,
    /// DATE.
    Date,
    /// DECIMAL(18, 6): micropoints.
    Points,
    /// DECIMAL(38, 9): nano-dollars.
    Dollars,
}

/// How the values of a column are packed before they are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// As numbers into a dictionary, as long as that is small.
    Dictionary,
    /// As differences from the value before.
    Delta,
    /// As texts that hardly ever occur twice.
    Unique,
}

/// A column, as the schema and the docs describe it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnSpec {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) is_optional: bool,
    pub(super) packing: Packing,
}

/// The type of a field: of its values, and of the buffer in which they are gathered.
pub trait Field {
    type Value<'a>: Copy;
    type Buffer: Default;
    const SHAPE: Shape;
    const IS_OPTIONAL: bool = false;

    fn put(value: Self::Value<'_>, buffer: &mut Self::Buffer);

    /// The value of a row. What was not read is empty, or zero.
    fn get<'a>(column: &'a ReadColumn, row: usize) -> Result<Self::Value<'a>, String>;
}

/// The texts of a column.
#[derive(Clone, Debug, Default)]
pub struct TextBuffer {
    pub(super) bytes: Vec<u8>,
    /// Where each text ends.
    pub(super) ends: Vec<u32>,
    /// By row: 1 if it has a value. Only of columns whose values are optional.
    pub(super) levels: Vec<i16>,
}

impl TextBuffer {
    pub(super) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        let end = u32::try_from(self.bytes.len()).expect("a row group holds far less than 4 GiB");
        self.ends.push(end);
    }

    pub(super) fn append(&mut self, other: &TextBuffer) {
        let start = u32::try_from(self.bytes.len()).expect("a row group holds far less than 4 GiB");
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
        self.levels.extend_from_slice(&other.levels);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.levels.clear();
    }
}

/// The numbers of a column.
#[derive(Clone, Debug)]
pub struct NumberBuffer<T> {
    pub(super) values: Vec<T>,
    /// By row: 1 if it has a value. Only of columns whose values are optional.
    pub(super) levels: Vec<i16>,
}

impl<T> Default for NumberBuffer<T> {
    fn default() -> Self {
        NumberBuffer {
            values: Vec::new(),
            levels: Vec::new(),
        }
    }
}

impl<T: Copy> NumberBuffer<T> {
    pub(super) fn append(&mut self, other: &NumberBuffer<T>) {
        self.values.extend_from_slice(&other.values);
        self.levels.extend_from_slice(&other.levels);
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.levels.clear();
    }
}

/// The values of a column.
pub(super) enum Gathered<'b> {
    Texts(&'b mut TextBuffer),
    Numbers(&'b mut NumberBuffer<i64>),
    Wide(&'b mut NumberBuffer<i128>),
}

impl<'b> From<&'b mut TextBuffer> for Gathered<'b> {
    fn from(buffer: &'b mut TextBuffer) -> Self {
        Gathered::Texts(buffer)
    }
}

impl<'b> From<&'b mut NumberBuffer<i64>> for Gathered<'b> {
    fn from(buffer: &'b mut NumberBuffer<i64>) -> Self {
        Gathered::Numbers(buffer)
    }
}

impl<'b> From<&'b mut NumberBuffer<i128>> for Gathered<'b> {
    fn from(buffer: &'b mut NumberBuffer<i128>) -> Self {
        Gathered::Wide(buffer)
    }
}

/// A buffer that notes which rows have a value.
pub trait Levels {
    fn levels(&mut self) -> &mut Vec<i16>;
}

impl Levels for TextBuffer {
    fn levels(&mut self) -> &mut Vec<i16> {
        &mut self.levels
    }
}

impl<T> Levels for NumberBuffer<T> {
    fn levels(&mut self) -> &mut Vec<i16> {
        &mut self.levels
    }
}

/// A field that may be empty.
impl<F: Field<Buffer: Levels>> Field for Option<F> {
    type Value<'a> = Option<F::Value<'a>>;
    type Buffer = F::Buffer;
    const SHAPE: Shape = F::SHAPE;
    const IS_OPTIONAL: bool = true;

    #[inline]
    fn put(value: Self::Value<'_>, buffer: &mut F::Buffer) {
        buffer.levels().push(value.is_some().into());
        if let Some(value) = value {
            F::put(value, buffer);
        }
    }

    #[inline]
    fn get<'a>(column: &'a ReadColumn, row: usize) -> Result<Self::Value<'a>, String> {
        match column.has(row) {
            true => F::get(column, row).map(Some),
            false => Ok(None),
        }
    }
}

/// A text.
#[derive(Debug)]
pub enum Text {}

impl Field for Text {
    type Value<'a> = &'a str;
    type Buffer = TextBuffer;
    const SHAPE: Shape = Shape::Text;

    #[inline]
    fn put(value: &str, buffer: &mut TextBuffer) {
        buffer.push(value);
    }

    #[inline]
    fn get(column: &ReadColumn, row: usize) -> Result<&str, String> {
        Ok(column.text(row))
    }
}

/// A field that is one of a few words.
macro_rules! word {
    ($type:ty, $default:expr) => {
        impl Field for $type {
            type Value<'a> = $type;
            type Buffer = TextBuffer;
            const SHAPE: Shape = Shape::Text;

            #[inline]
            fn put(value: $type, buffer: &mut TextBuffer) {
                buffer.push(value.as_str());
            }

            #[inline]
            fn get(column: &ReadColumn, row: usize) -> Result<$type, String> {
                match column.text(row) {
                    "" => Ok($default),
                    text => <$type>::named(text).ok_or_else(|| format!("'{text}'")),
                }
            }
        }
    };
}
pub(super) use word;
word!(Tier, Tier::TidePool);
word!(AccountKind, AccountKind::User);

/// A field that is a number.
macro_rules! number {
    ($type:ty, $shape:ident, $of:expr, $to:expr) => {
        impl Field for $type {
            type Value<'a> = $type;
            type Buffer = NumberBuffer<i64>;
            const SHAPE: Shape = Shape::$shape;

            #[inline]
            fn put(value: $type, buffer: &mut NumberBuffer<i64>) {
                let of: fn($type) -> i64 = $of;
                buffer.values.push(of(value));
            }

            #[inline]
            fn get(column: &ReadColumn, row: usize) -> Result<$type, String> {
                let to: fn(i64) -> Option<$type> = $to;
                let number = column.number(row);
                to(number).ok_or_else(|| number.to_string())
            }
        }
    };
}

fn small<T: TryFrom<i64>>(number: i64) -> Option<T> {
    T::try_from(number).ok()
}

number!(bool, Flag, i64::from, |number| Some(number != 0));
number!(u16, Int, i64::from, small);
number!(u32, Int, i64::from, small);
// Bits of 64 unsigned ones, as they are: every bound of an event is far below the sign.
number!(u64, Long, |number| number as i64, |number| Some(
    number as u64
));
number!(Service, Int, |service| service.number().into(), |number| {
    small(number).and_then(Service::numbered)
});
number!(Epoch, Long, |epoch| epoch.0.into(), |number| small(number)
    .map(Epoch));
number!(Partition, Int, |partition| partition.0.into(), |number| {
    small(number).map(Partition)
});
number!(Offset, Long, |offset| offset.0 as i64, |number| Some(
    Offset(number as u64)
));
number!(Chunk, Long, |chunk| chunk.0 as i64, |number| Some(Chunk(
    number as u64
)));
number!(Control, Long, |control| control.0 as i64, |number| Some(
    Control(number as u64)
));
number!(Millis, Instant, |at| at.0, |number| Some(Millis(number)));
number!(Day, Date, |day| day.0.into(), |number| small(number)
    .map(Day));
// The first day of the month. A month that was not read is that of 1970.
number!(Month, Date, |month| month.first_day().0.into(), |number| {
    small(number).map(|day| Day(day).month())
});
number!(Points, Points, |points| points.0, |number| Some(Points(
    number
)));

impl Field for Money {
    type Value<'a> = Money;
    type Buffer = NumberBuffer<i128>;
    const SHAPE: Shape = Shape::Dollars;

    #[inline]
    fn put(value: Money, buffer: &mut NumberBuffer<i128>) {
        buffer.values.push(value.0);
    }

    #[inline]
    fn get(column: &ReadColumn, row: usize) -> Result<Money, String> {
        Ok(Money(column.wide(row)))
    }
}
