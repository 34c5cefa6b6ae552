//! Rows into the bytes of a Parquet file, by the column writer of the crate `parquet`.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::basic::{
    Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::column::{ColumnSpec, Gathered, NumberBuffer, Packing, Shape};
use super::error::ArchiveError;
use super::row::{Column, Rows};

/// A row group ends with the first rows that bring it to so many: readers need memory for one.
pub const ROWS_PER_GROUP: usize = 65_536;
/// Bytes of a dollar amount: any number of nano-dollars of 128 bits.
pub(super) const DOLLAR_BYTES: i32 = 16;
/// Key of the version of the format in a file.
pub(super) const FORMAT_KEY: &str = "tidemark.archive";
/// The version. Columns that are added do not change it; readers look columns up by name.
pub(super) const FORMAT: &str = "1";

static SCHEMA: LazyLock<TypePtr> = LazyLock::new(|| {
    let fields = Column::ALL
        .iter()
        .map(|column| Arc::new(field(column.spec())));
    let schema = Type::group_type_builder("archived_request").with_fields(fields.collect());
    Arc::new(schema.build().expect("every column has a name of its own"))
});

fn field(spec: ColumnSpec) -> Type {
    let (physical, logical) = types(spec.shape);
    let repetition = match spec.is_optional {
        true => Repetition::OPTIONAL,
        false => Repetition::REQUIRED,
    };
    let field = Type::primitive_type_builder(spec.name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical);
    let field = match spec.shape {
        Shape::Points => field.with_precision(18).with_scale(6),
        Shape::Dollars => field
            .with_length(DOLLAR_BYTES)
            .with_precision(38)
            .with_scale(9),
        _ => field,
    };
    field.build().expect("the types of a shape fit each other")
}

fn types(shape: Shape) -> (Physical, Option<LogicalType>) {
    match shape {
        Shape::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Shape::Flag => (Physical::BOOLEAN, None),
        Shape::Int => (Physical::INT32, None),
        Shape::Long => (Physical::INT64, None),
        Shape::Instant => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
        ),
        Shape::Date => (Physical::INT32, Some(LogicalType::Date)),
        Shape::Points => (Physical::INT64, Some(LogicalType::decimal(6, 18))),
        Shape::Dollars => (
            Physical::FIXED_LEN_BYTE_ARRAY,
            Some(LogicalType::decimal(9, 38)),
        ),
    }
}

static PROPERTIES: LazyLock<WriterPropertiesPtr> = LazyLock::new(|| {
    let format = KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_owned());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(vec![format]));
    for spec in Column::ALL.iter().map(|column| column.spec()) {
        let path = ColumnPath::from(spec.name);
        let encoding = match spec.packing {
            Packing::Dictionary => continue,
            Packing::Delta => Encoding::DELTA_BINARY_PACKED,
            Packing::Unique => {
                // Where a page of ids begins and ends says nothing.
                let nothing = EnabledStatistics::None;
                properties = properties.set_column_statistics_enabled(path.clone(), nothing);
                Encoding::PLAIN
            }
        };
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, encoding);
    }
    Arc::new(properties.build())
});

/// A file in the making, in memory.
pub struct ArchiveWriter {
    file: SerializedFileWriter<Vec<u8>>,
    /// Of the next row group.
    pending: Rows,
    rows: u64,
}

impl ArchiveWriter {
    /// An empty file.
    ///
    /// # Errors
    /// None that memory does not bring.
    pub fn new() -> Result<ArchiveWriter, ArchiveError> {
        let (schema, properties) = (Arc::clone(&SCHEMA), Arc::clone(&PROPERTIES));
        Ok(ArchiveWriter {
            file: SerializedFileWriter::new(Vec::new(), schema, properties)?,
            pending: Rows::default(),
            rows: 0,
        })
    }

    /// Adds rows. The bytes of a file depend on its rows and on how they came together: the same
    /// rows in the same portions give the same bytes.
    ///
    /// # Errors
    /// An amount of points or a count that its column cannot hold.
    pub fn append(&mut self, rows: &Rows) -> Result<(), ArchiveError> {
        self.pending.append(rows);
        self.rows += rows.len() as u64;
        match self.pending.len() < ROWS_PER_GROUP {
            true => Ok(()),
            false => self.end_group(),
        }
    }

    /// How many rows it has.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The bytes of the whole file.
    ///
    /// # Errors
    /// As [`ArchiveWriter::append`].
    pub fn finish(mut self) -> Result<Bytes, ArchiveError> {
        if !self.pending.is_empty() {
            self.end_group()?;
        }
        Ok(self.file.into_inner()?.into())
    }

    fn end_group(&mut self) -> Result<(), ArchiveError> {
        let mut group = self.file.next_row_group()?;
        self.pending.each_column(|spec, gathered| {
            let Some(mut column) = group.next_column()? else {
                return Err(ArchiveError::Format(format!("no column {}", spec.name)));
            };
            write_column(gathered, spec, &mut column)?;
            Ok(column.close()?)
        })?;
        group.close()?;
        self.pending.clear();
        Ok(())
    }
}

fn write_column(
    gathered: Gathered<'_>,
    spec: ColumnSpec,
    column: &mut SerializedColumnWriter<'_>,
) -> Result<(), ArchiveError> {
    match gathered {
        Gathered::Texts(texts) => {
            let bytes = Bytes::from(std::mem::take(&mut texts.bytes));
            let mut start = 0;
            let text = |end: &u32| {
                let text = bytes.slice(start..*end as usize);
                start = *end as usize;
                ByteArray::from(text)
            };
            let values: Vec<ByteArray> = texts.ends.iter().map(text).collect();
            let levels = spec.is_optional.then_some(&texts.levels[..]);
            let column = column.typed::<ByteArrayType>();
            column.write_batch(&values, levels, None)?;
        }
        Gathered::Wide(money) => {
            let bytes = |nanos: &i128| {
                FixedLenByteArray::from(ByteArray::from(nanos.to_be_bytes().to_vec()))
            };
            let values: Vec<FixedLenByteArray> = money.values.iter().map(bytes).collect();
            let levels = spec.is_optional.then_some(&money.levels[..]);
            let column = column.typed::<FixedLenByteArrayType>();
            column.write_batch(&values, levels, None)?;
        }
        Gathered::Numbers(numbers) => write_numbers(spec, numbers, column)?,
    }
    Ok(())
}

fn write_numbers(
    spec: ColumnSpec,
    numbers: &NumberBuffer<i64>,
    column: &mut SerializedColumnWriter<'_>,
) -> Result<(), ArchiveError> {
    let levels = spec.is_optional.then_some(&numbers.levels[..]);
    match spec.shape {
        Shape::Flag => {
            let values: Vec<bool> = numbers.values.iter().map(|value| *value != 0).collect();
            let column = column.typed::<BoolType>();
            column.write_batch(&values, levels, None)?;
        }
        Shape::Int | Shape::Date => {
            let small = |value: &i64| {
                i32::try_from(*value).map_err(|_| ArchiveError::Value {
                    column: spec.name,
                    found: value.to_string(),
                })
            };
            let values = numbers.values.iter().map(small);
            let values: Vec<i32> = values.collect::<Result<_, _>>()?;
            let column = column.typed::<Int32Type>();
            column.write_batch(&values, levels, None)?;
        }
        _ => {
            let column = column.typed::<Int64Type>();
            column.write_batch(&numbers.values, levels, None)?;
        }
    }
    Ok(())
}
