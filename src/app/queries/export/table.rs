//! Tables as they are exported: columns with a type, and rows of typed cells. The encoders of the
//! formats decide how a cell is written; nothing is text before that.

use std::fmt;

use crate::domain::amount::{Money, NANOS_PER_DOLLAR, Points, WidePoints};
use crate::domain::time::{Day, Millis, Month};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text; ids are such.
    Text,
    /// Yes or no.
    Flag,
    /// A whole number.
    Count,
    /// Points, to the micropoint.
    Points,
    /// US dollars, to the nano-dollar.
    Money,
    /// A number with a decimal point in any case: some readers take the type of a column from what
    /// its values look like.
    Decimal,
    /// A UTC day.
    Day,
    /// An instant, to the millisecond.
    Time,
}

/// A column of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name. Stable: others read it.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether its sum means something, and stands at the end of the file.
    pub is_summed: bool,
}

impl Column {
    /// A column whose sum means nothing.
    pub(super) const fn new(name: &'static str, kind: ColumnKind) -> Column {
        Column {
            name,
            kind,
            is_summed: false,
        }
    }

    /// A column whose sum stands at the end of the file.
    pub(super) const fn summed(name: &'static str, kind: ColumnKind) -> Column {
        Column {
            name,
            kind,
            is_summed: true,
        }
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// There is none.
    Empty,
    /// Of [`ColumnKind::Text`].
    Text(&'a str),
    /// A month, of [`ColumnKind::Text`].
    Month(Month),
    /// Of [`ColumnKind::Flag`].
    Flag(bool),
    /// Of [`ColumnKind::Count`].
    Count(i128),
    /// Of [`ColumnKind::Points`].
    Points(Points),
    /// Of [`ColumnKind::Money`].
    Money(Money),
    /// A whole number, of [`ColumnKind::Decimal`].
    Quantity(i128),
    /// Dollars, of [`ColumnKind::Decimal`].
    Dollars(Money),
    /// Of [`ColumnKind::Day`].
    Day(Day),
    /// Of [`ColumnKind::Time`].
    Time(Millis),
}

impl Cell<'_> {
    /// A count, or nothing.
    pub(super) fn count(count: Option<u64>) -> Cell<'static> {
        count.map_or(Cell::Empty, |count| Cell::Count(i128::from(count)))
    }

    /// In the column's smallest unit, if it is an amount or a count.
    fn units(self) -> Option<i128> {
        match self {
            Cell::Count(count) => Some(count),
            Cell::Points(points) => Some(i128::from(points.0)),
            Cell::Quantity(count) => Some(count),
            Cell::Money(money) | Cell::Dollars(money) => Some(money.0),
            _ => None,
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Empty => Ok(()),
            Cell::Text(text) => f.write_str(text),
            Cell::Month(month) => month.fmt(f),
            Cell::Flag(flag) => flag.fmt(f),
            Cell::Count(count) => count.fmt(f),
            Cell::Points(points) => points.fmt(f),
            Cell::Money(money) => money.fmt(f),
            Cell::Quantity(count) => write!(f, "{count}.0"),
            Cell::Dollars(money) if money.0 % NANOS_PER_DOLLAR == 0 => write!(f, "{money}.0"),
            Cell::Dollars(money) => money.fmt(f),
            Cell::Day(day) => day.fmt(f),
            Cell::Time(time) => time.fmt(f),
        }
    }
}

/// How many rows there were, and the sums of their columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    columns: &'static [Column],
    rows: u64,
    units: Vec<i128>,
}

impl Sums {
    pub(super) fn new(columns: &'static [Column]) -> Sums {
        Sums {
            columns,
            rows: 0,
            units: vec![0; columns.len()],
        }
    }

    pub(super) fn add(&mut self, row: &[Cell<'_>]) {
        self.rows += 1;
        for (sum, cell) in self.units.iter_mut().zip(row) {
            *sum = sum.saturating_add(cell.units().unwrap_or(0));
        }
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum of a column, as text; `None`: it is not summed.
    pub fn of(&self, name: &str) -> Option<String> {
        let mut each = self.each();
        each.find(|(column, _)| *column == name).map(|(_, sum)| sum)
    }

    /// The columns that are summed, with their sums, in order.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, String)> {
        let columns = self.columns.iter().zip(&self.units);
        let summed = columns.filter(|(column, _)| column.is_summed);
        summed.map(|(column, units)| {
            let sum = match column.kind {
                ColumnKind::Points => WidePoints(*units).to_string(),
                ColumnKind::Money | ColumnKind::Decimal => Money(*units).to_string(),
                _ => units.to_string(),
            };
            (column.name, sum)
        })
    }
}
