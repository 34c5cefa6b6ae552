//! Tables as Parquet: typed columns, amounts as decimals. A file that was cut short has no footer,
//! and no reader takes it.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::table::{Cell, Column, ColumnKind};

/// Rows of a row group, which are in memory.
const ROWS_PER_GROUP: usize = 16_384;
/// Bytes of an amount: any number of 128 bits.
const AMOUNT_BYTES: usize = 16;

/// Rows of a Parquet file.
pub(super) struct ParquetRows {
    columns: &'static [Column],
    file: SerializedFileWriter<Vec<u8>>,
    pending: Vec<Values>,
    rows: usize,
    /// What went wrong, which the next piece says.
    failed: Option<ParquetError>,
}

/// The values of a column that are there, and by row whether there is one.
struct Values {
    levels: Vec<i16>,
    held: Held,
}

enum Held {
    Texts(Vec<ByteArray>),
    Flags(Vec<bool>),
    Days(Vec<i32>),
    Numbers(Vec<i64>),
    Amounts(Vec<FixedLenByteArray>),
}

impl ParquetRows {
    /// An empty file, with these notes about it.
    pub(super) fn new(
        columns: &'static [Column],
        notes: Vec<(&'static str, String)>,
    ) -> Result<ParquetRows, ParquetError> {
        let notes = notes.into_iter();
        let notes = notes.map(|(key, value)| KeyValue::new(format!("tidemark.{key}"), value));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(notes.collect()));
        let schema = schema(columns)?;
        Ok(ParquetRows {
            columns,
            file: SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?,
            pending: columns.iter().map(|column| Values::of(*column)).collect(),
            rows: 0,
            failed: None,
        })
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) {
        for (values, cell) in self.pending.iter_mut().zip(cells) {
            values.push(*cell);
        }
        self.rows += 1;
        if self.rows >= ROWS_PER_GROUP
            && let Err(error) = self.end_group()
        {
            self.failed.get_or_insert(error);
        }
    }

    /// What has been written since the last call.
    pub(super) fn take(&mut self) -> Result<Vec<u8>, ParquetError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(self.file.inner_mut())),
        }
    }

    /// The rest of the file. A note says so if rows are missing.
    pub(super) fn end(&mut self, is_partial: bool) -> Result<Vec<u8>, ParquetError> {
        if self.rows > 0 {
            self.end_group()?;
        }
        if is_partial {
            let note = KeyValue::new("tidemark.partial".to_owned(), "true".to_owned());
            self.file.append_key_value_metadata(note);
        }
        self.file.finish()?;
        self.take()
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        let columns = self.columns.iter();
        for (column, pending) in columns.zip(&mut self.pending) {
            let values = std::mem::replace(pending, Values::of(*column));
            if let Some(mut writer) = group.next_column()? {
                values.write(&mut writer)?;
                writer.close()?;
            }
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|column| field(*column).map(Arc::new));
    let fields = fields.collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("export").with_fields(fields);
    schema.build().map(Arc::new)
}

fn field(column: Column) -> Result<Type, ParquetError> {
    let amount = |scale| {
        (
            Physical::FIXED_LEN_BYTE_ARRAY,
            Some(LogicalType::decimal(scale, 38)),
        )
    };
    let (physical, logical) = match column.kind {
        ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnKind::Flag => (Physical::BOOLEAN, None),
        ColumnKind::Count => (Physical::INT64, None),
        ColumnKind::Points => amount(6),
        ColumnKind::Money | ColumnKind::Decimal => amount(9),
        ColumnKind::Day => (Physical::INT32, Some(LogicalType::Date)),
        ColumnKind::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
        ),
    };
    let field = Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical);
    let field = match column.kind {
        ColumnKind::Points => decimal(field, 6),
        ColumnKind::Money | ColumnKind::Decimal => decimal(field, 9),
        _ => field,
    };
    field.build()
}

fn decimal(
    field: parquet::schema::types::PrimitiveTypeBuilder<'_>,
    scale: i32,
) -> parquet::schema::types::PrimitiveTypeBuilder<'_> {
    let field = field.with_length(AMOUNT_BYTES as i32);
    field.with_precision(38).with_scale(scale)
}

impl Values {
    fn of(column: Column) -> Values {
        Values {
            levels: Vec::new(),
            held: match column.kind {
                ColumnKind::Text => Held::Texts(Vec::new()),
                ColumnKind::Flag => Held::Flags(Vec::new()),
                ColumnKind::Day => Held::Days(Vec::new()),
                ColumnKind::Count | ColumnKind::Time => Held::Numbers(Vec::new()),
                ColumnKind::Points | ColumnKind::Money | ColumnKind::Decimal => {
                    Held::Amounts(Vec::new())
                }
            },
        }
    }

    fn push(&mut self, cell: Cell<'_>) {
        if cell == Cell::Empty {
            self.levels.push(0);
            return;
        }
        self.levels.push(1);
        let amount =
            |units: i128| FixedLenByteArray::from(ByteArray::from(units.to_be_bytes().to_vec()));
        match (&mut self.held, cell) {
            (Held::Texts(texts), cell) => {
                texts.push(ByteArray::from(Bytes::from(cell.to_string())));
            }
            (Held::Flags(flags), Cell::Flag(flag)) => flags.push(flag),
            (Held::Days(days), Cell::Day(day)) => days.push(day.0),
            (Held::Numbers(numbers), Cell::Time(time)) => numbers.push(time.0),
            (Held::Numbers(numbers), Cell::Count(count)) => {
                let end = if count < 0 { i64::MIN } else { i64::MAX };
                numbers.push(i64::try_from(count).unwrap_or(end));
            }
            (Held::Amounts(amounts), Cell::Points(points)) => amounts.push(amount(points.0.into())),
            (Held::Amounts(amounts), Cell::Money(money) | Cell::Dollars(money)) => {
                amounts.push(amount(money.0));
            }
            (Held::Amounts(amounts), Cell::Quantity(count)) => {
                amounts.push(amount(count.saturating_mul(1_000_000_000)));
            }
            // A cell of another kind than its column, which no table has, is no value.
            _ => *self.levels.last_mut().expect("just pushed") = 0,
        }
    }

    fn write(self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = Some(&self.levels[..]);
        match self.held {
            Held::Texts(values) => {
                let column = column.typed::<ByteArrayType>();
                column.write_batch(&values, levels, None)
            }
            Held::Flags(values) => {
                let column = column.typed::<BoolType>();
                column.write_batch(&values, levels, None)
            }
            Held::Days(values) => {
                let column = column.typed::<Int32Type>();
                column.write_batch(&values, levels, None)
            }
            Held::Numbers(values) => {
                let column = column.typed::<Int64Type>();
                column.write_batch(&values, levels, None)
            }
            Held::Amounts(values) => {
                let column = column.typed::<FixedLenByteArrayType>();
                column.write_batch(&values, levels, None)
            }
        }
        .map(drop)
    }
}
