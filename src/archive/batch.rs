//! Rows that were read of a file, column by column.

use std::collections::HashMap;

use parquet::data_type::ByteArray;

use super::error::ArchiveError;

/// Rows of a file, column by column.
pub struct Batch {
    pub(super) rows: usize,
    /// In the order of [`super::Column::ALL`].
    pub(super) columns: Vec<ReadColumn>,
}

impl Batch {
    /// How many rows it has.
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// The texts of a column: a code per row, and each text that occurs. What is to be looked up per
/// text is looked up once per batch. A long list of texts may hold the same one under several
/// codes.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    codes: Vec<u32>,
    texts: String,
    ends: Vec<u32>,
}

impl Texts {
    const NONE: u32 = u32::MAX;

    /// The code of a row's text; `None`: it has no text.
    pub fn code(&self, row: usize) -> Option<u32> {
        let code = self.codes[row];
        (code != Texts::NONE).then_some(code)
    }

    /// The text of a code.
    pub fn text(&self, code: u32) -> &str {
        let place = code as usize;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start as usize..self.ends[place] as usize]
    }

    /// How many codes there are: 0, 1, 2, …
    pub const fn code_count(&self) -> usize {
        self.ends.len()
    }

    /// The text of a row.
    pub fn get(&self, row: usize) -> Option<&str> {
        self.code(row).map(|code| self.text(code))
    }

    pub(super) fn of(
        column: &'static str,
        values: &[ByteArray],
        levels: Option<&[i16]>,
        rows: usize,
    ) -> Result<Texts, ArchiveError> {
        let mut texts = Texts::default();
        // Values from a dictionary are slices of it: equal places mean equal texts.
        let mut known: HashMap<(usize, usize), u32> = HashMap::new();
        let mut codes = Vec::with_capacity(values.len());
        let mut last = None;
        for value in values {
            let bytes = value.data();
            let place = (bytes.as_ptr() as usize, bytes.len());
            if let Some((before, code)) = last
                && before == place
            {
                codes.push(code);
                continue;
            }
            let code = match known.get(&place) {
                Some(code) => *code,
                None => {
                    let code = texts.add(column, bytes)?;
                    known.insert(place, code);
                    code
                }
            };
            last = Some((place, code));
            codes.push(code);
        }
        texts.codes = spread(codes, levels, rows, Texts::NONE);
        Ok(texts)
    }

    fn add(&mut self, column: &'static str, bytes: &[u8]) -> Result<u32, ArchiveError> {
        let text = std::str::from_utf8(bytes).map_err(|error| ArchiveError::Value {
            column,
            found: error.to_string(),
        })?;
        self.texts.push_str(text);
        let is_too_long = |_| ArchiveError::Format("a row group with 4 GiB of text".to_owned());
        let code = u32::try_from(self.ends.len()).map_err(is_too_long)?;
        let end = u32::try_from(self.texts.len()).map_err(is_too_long)?;
        self.ends.push(end);
        Ok(code)
    }
}

/// The numbers of a column, by row.
#[derive(Clone, Debug)]
pub struct Scalars<T> {
    /// By row; where there is none, it is zero.
    pub(super) values: Vec<T>,
    /// By row: 1 if it has a number. Empty if every row has.
    pub(super) levels: Flags,
}

/// Which rows have a value.
pub type Flags = Vec<i16>;

impl<T: Copy> Scalars<T> {
    /// The number of a row.
    pub fn get(&self, row: usize) -> Option<T> {
        self.has(row).then(|| self.values[row])
    }

    /// The numbers by row; where there is none, it is zero.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    fn has(&self, row: usize) -> bool {
        self.levels.is_empty() || self.levels[row] != 0
    }
}

/// A column of a batch.
pub enum ReadColumn {
    /// It was not asked for, or an older version wrote the file without it.
    Absent,
    Texts(Texts),
    Numbers(Scalars<i64>),
    Dollars(Scalars<i128>),
}

impl ReadColumn {
    #[inline]
    pub(super) fn has(&self, row: usize) -> bool {
        match self {
            ReadColumn::Absent => false,
            ReadColumn::Texts(texts) => texts.codes[row] != Texts::NONE,
            ReadColumn::Numbers(numbers) => numbers.has(row),
            ReadColumn::Dollars(dollars) => dollars.has(row),
        }
    }

    #[inline]
    pub(super) fn text(&self, row: usize) -> &str {
        match self {
            ReadColumn::Texts(texts) => texts.get(row).unwrap_or_default(),
            _ => "",
        }
    }

    #[inline]
    pub(super) fn number(&self, row: usize) -> i64 {
        match self {
            ReadColumn::Numbers(numbers) => numbers.values[row],
            _ => 0,
        }
    }

    #[inline]
    pub(super) fn wide(&self, row: usize) -> i128 {
        match self {
            ReadColumn::Dollars(dollars) => dollars.values[row],
            _ => 0,
        }
    }
}

/// The values by row.
pub(super) fn spread<T: Copy>(
    values: Vec<T>,
    levels: Option<&[i16]>,
    rows: usize,
    none: T,
) -> Vec<T> {
    let Some(levels) = levels else {
        return values;
    };
    if values.len() == rows {
        return values;
    }
    let mut values = values.into_iter();
    let value = |level: &i16| match level {
        0 => none,
        _ => values.next().unwrap_or(none),
    };
    levels.iter().map(value).collect()
}
