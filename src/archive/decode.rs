//! Rows out of the bytes of a Parquet file, one row group at a time, and only the columns that are
//! wanted.

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;

use super::batch::{Batch, Flags, ReadColumn, Scalars, Texts, spread};
use super::column::Shape;
use super::encode::{DOLLAR_BYTES, FORMAT, FORMAT_KEY};
use super::error::ArchiveError;
use super::layout::{FileName, Folder};
use super::row::{Column, Columns};
use crate::domain::time::{Day, Millis};

/// A file of the archive.
pub struct ArchiveFile {
    file: SerializedFileReader<Bytes>,
    /// Where each column of ours stands in it, by the place of ours.
    places: Vec<Option<usize>>,
}

impl ArchiveFile {
    /// Opens the bytes of a whole file.
    ///
    /// # Errors
    /// It is not a file of the archive, or of a later version.
    pub fn open(bytes: Bytes) -> Result<ArchiveFile, ArchiveError> {
        let file = SerializedFileReader::new(bytes)?;
        let metadata = file.metadata().file_metadata();
        let format = metadata.key_value_metadata().and_then(|pairs| {
            let pair = pairs.iter().find(|pair| pair.key == FORMAT_KEY)?;
            pair.value.as_deref()
        });
        if format != Some(FORMAT) {
            let found = format.unwrap_or("none");
            let what = format!("its format is {found}, this version knows {FORMAT}");
            return Err(ArchiveError::Format(what));
        }
        let places = places(metadata.schema_descr())?;
        Ok(ArchiveFile { file, places })
    }

    /// Opens the bytes of the file at a path, and checks that its rows are those that the path
    /// names: a file that was copied to another path would be counted twice, or in place of another.
    /// What files say of their columns is enough for that; no row is read.
    ///
    /// # Errors
    /// As [`ArchiveFile::open`]; or [`ArchiveError::Misplaced`].
    pub fn open_at(
        folder: Folder,
        name: FileName,
        bytes: Bytes,
    ) -> Result<ArchiveFile, ArchiveError> {
        let file = ArchiveFile::open(bytes)?;
        file.check_range(Column::epoch, |epoch| epoch == i64::from(name.epoch.0))?;
        file.check_range(Column::partition, |source| {
            source == i64::from(name.source.0)
        })?;
        file.check_range(Column::offset, |offset| {
            u64::try_from(offset).is_ok_and(|at| (name.from.0..name.to.0).contains(&at))
        })?;
        file.check_range(Column::month, |day| {
            day == i64::from(folder.month.first_day().0)
        })?;
        file.check_range(Column::log_time, |at| Millis(at).day() == folder.day)?;
        Ok(file)
    }

    /// Whether the least and the greatest value of a column are right, row group by row group.
    fn check_range(
        &self,
        column: Column,
        is_right: impl Fn(i64) -> bool,
    ) -> Result<(), ArchiveError> {
        let Some(place) = self.places[column as usize] else {
            return Ok(());
        };
        for group in self.file.metadata().row_groups() {
            let Some((least, greatest)) = group.column(place).statistics().and_then(range) else {
                continue;
            };
            if let Some(wrong) = [least, greatest]
                .into_iter()
                .find(|value| !is_right(*value))
            {
                return Err(ArchiveError::Misplaced {
                    column: column.name(),
                    found: shown(column, wrong),
                });
            }
        }
        Ok(())
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        let rows = self.file.metadata().file_metadata().num_rows();
        u64::try_from(rows).unwrap_or(0)
    }

    /// How many row groups it has.
    pub fn groups(&self) -> usize {
        self.file.num_row_groups()
    }

    /// The rows of one row group. It takes memory for these columns of the group.
    ///
    /// # Errors
    /// The file was damaged.
    pub fn read_group(&self, group: usize, columns: Columns) -> Result<Batch, ArchiveError> {
        let group = self.file.get_row_group(group)?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let read = |(column, place): (&Column, &Option<usize>)| match place {
            Some(place) if columns.contains(*column) => {
                read_column(*column, group.get_column_reader(*place)?, rows)
            }
            _ => Ok(ReadColumn::Absent),
        };
        let columns = Column::ALL.iter().zip(&self.places).map(read);
        Ok(Batch {
            rows,
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    /// All its rows, a row group at a time.
    pub fn batches(
        &self,
        columns: Columns,
    ) -> impl Iterator<Item = Result<Batch, ArchiveError>> + '_ {
        (0..self.groups()).map(move |group| self.read_group(group, columns))
    }
}

/// The least and the greatest number of a column.
fn range(statistics: &Statistics) -> Option<(i64, i64)> {
    match statistics {
        Statistics::Int32(of) => Some((i64::from(*of.min_opt()?), i64::from(*of.max_opt()?))),
        Statistics::Int64(of) => Some((*of.min_opt()?, *of.max_opt()?)),
        _ => None,
    }
}

/// A number of a column, for people.
fn shown(column: Column, value: i64) -> String {
    match (column.shape(), i32::try_from(value)) {
        (Shape::Instant, _) => Millis(value).to_string(),
        (Shape::Date, Ok(day)) => Day(day).to_string(),
        _ => value.to_string(),
    }
}

fn places(schema: &SchemaDescriptor) -> Result<Vec<Option<usize>>, ArchiveError> {
    let place = |column: &Column| {
        let columns = schema.columns();
        let found = columns.iter().position(|of| of.name() == column.name());
        match found {
            None if !column.is_optional() => {
                let what = format!("it has no column {}", column.name());
                Err(ArchiveError::Format(what))
            }
            found => Ok(found),
        }
    };
    Column::ALL.iter().map(place).collect()
}

impl Batch {
    /// A column of texts that was read.
    pub fn texts(&self, column: Column) -> Option<&Texts> {
        match &self.columns[column as usize] {
            ReadColumn::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// A column of numbers that was read: points in micropoints, times in milliseconds, dates in
    /// days since 1970, flags as 0 and 1.
    pub fn numbers(&self, column: Column) -> Option<&Scalars<i64>> {
        match &self.columns[column as usize] {
            ReadColumn::Numbers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// A column of dollars that was read, in nano-dollars.
    pub fn dollars(&self, column: Column) -> Option<&Scalars<i128>> {
        match &self.columns[column as usize] {
            ReadColumn::Dollars(dollars) => Some(dollars),
            _ => None,
        }
    }
}

fn read_column(
    column: Column,
    reader: ColumnReader,
    rows: usize,
) -> Result<ReadColumn, ArchiveError> {
    let is_optional = column.is_optional();
    let numbers = |values: Vec<i64>, levels: Flags| {
        ReadColumn::Numbers(Scalars {
            values: spread(values, is_optional.then_some(&levels[..]), rows, 0),
            levels,
        })
    };
    Ok(match (reader, column.shape()) {
        (ColumnReader::ByteArrayColumnReader(reader), Shape::Text) => {
            let (values, levels) = read_values(column, reader, rows)?;
            let levels = is_optional.then_some(&levels[..]);
            ReadColumn::Texts(Texts::of(column.name(), &values, levels, rows)?)
        }
        (ColumnReader::BoolColumnReader(reader), Shape::Flag) => {
            let (values, levels) = read_values(column, reader, rows)?;
            numbers(values.into_iter().map(i64::from).collect(), levels)
        }
        (ColumnReader::Int32ColumnReader(reader), Shape::Int | Shape::Date) => {
            let (values, levels) = read_values(column, reader, rows)?;
            numbers(values.into_iter().map(i64::from).collect(), levels)
        }
        (ColumnReader::Int64ColumnReader(reader), Shape::Long | Shape::Instant | Shape::Points) => {
            let (values, levels) = read_values(column, reader, rows)?;
            numbers(values, levels)
        }
        (ColumnReader::FixedLenByteArrayColumnReader(reader), Shape::Dollars) => {
            let (values, levels) = read_values(column, reader, rows)?;
            let nanos = values.iter().map(|value| nanos(column, value.data()));
            let nanos = nanos.collect::<Result<_, _>>()?;
            ReadColumn::Dollars(Scalars {
                values: spread(nanos, is_optional.then_some(&levels[..]), rows, 0),
                levels,
            })
        }
        _ => {
            let what = format!("column {} has another type", column.name());
            return Err(ArchiveError::Format(what));
        }
    })
}

fn nanos(column: Column, bytes: &[u8]) -> Result<i128, ArchiveError> {
    let sized: [u8; DOLLAR_BYTES as usize] = bytes.try_into().map_err(|_| ArchiveError::Value {
        column: column.name(),
        found: format!("{} bytes", bytes.len()),
    })?;
    Ok(i128::from_be_bytes(sized))
}

/// The values of a column that are there, and by row whether there is one.
fn read_values<T: DataType>(
    column: Column,
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
) -> Result<(Vec<T::T>, Flags), ArchiveError> {
    let (mut values, mut levels) = (Vec::with_capacity(rows), Flags::new());
    let given = column.is_optional().then_some(&mut levels);
    let (read, ..) = reader.read_records(rows, given, None, &mut values)?;
    let is_whole = match column.is_optional() {
        true => levels.len() == rows && levels.iter().filter(|l| **l != 0).count() == values.len(),
        false => values.len() == rows,
    };
    match read == rows && is_whole {
        true => Ok((values, levels)),
        false => Err(ArchiveError::Value {
            column: column.name(),
            found: format!("{read} of {rows} values"),
        }),
    }
}
