//! Charges in the columns of FOCUS 1.2 (FinOps Open Cost and Usage Specification), as CSV.
//!
//! Columns that the specification requires are all here, those that it requires of providers with
//! features that tidemark does not have (sub accounts, regions, negotiated prices) are not.
//! `CommitmentDiscountStatus` is empty, and here because validators look at it beside
//! `ConsumedQuantity`; `InvoiceId` is empty because tidemark issues no invoices. Unit prices are
//! left out because a charge has several: its tokens are counted by kind.

use super::csv::CsvRows;
use super::table::{Cell, Column, ColumnKind, Sums};
use crate::domain::amount::Money;
use crate::domain::statement::{Earned, Statement};
use crate::domain::time::{Millis, Month};

/// The version of the specification.
pub const FOCUS_VERSION: &str = "1.2";

/// The columns, in alphabetical order; those that begin with `x_` are tidemark's own.
pub(super) const CHARGES: &[Column] = &[
    Column::summed("BilledCost", ColumnKind::Decimal),
    Column::new("BillingAccountId", ColumnKind::Text),
    Column::new("BillingAccountName", ColumnKind::Text),
    Column::new("BillingCurrency", ColumnKind::Text),
    Column::new("BillingPeriodEnd", ColumnKind::Text),
    Column::new("BillingPeriodStart", ColumnKind::Text),
    Column::new("ChargeCategory", ColumnKind::Text),
    Column::new("ChargeClass", ColumnKind::Text),
    Column::new("ChargeDescription", ColumnKind::Text),
    Column::new("ChargeFrequency", ColumnKind::Text),
    Column::new("ChargePeriodEnd", ColumnKind::Text),
    Column::new("ChargePeriodStart", ColumnKind::Text),
    Column::new("CommitmentDiscountStatus", ColumnKind::Text),
    Column::new("ConsumedQuantity", ColumnKind::Decimal),
    Column::new("ConsumedUnit", ColumnKind::Text),
    Column::summed("ContractedCost", ColumnKind::Decimal),
    Column::summed("EffectiveCost", ColumnKind::Decimal),
    Column::new("InvoiceId", ColumnKind::Text),
    Column::new("InvoiceIssuerName", ColumnKind::Text),
    Column::summed("ListCost", ColumnKind::Decimal),
    Column::new("PricingCategory", ColumnKind::Text),
    Column::new("PricingQuantity", ColumnKind::Decimal),
    Column::new("PricingUnit", ColumnKind::Text),
    Column::new("ProviderName", ColumnKind::Text),
    Column::new("PublisherName", ColumnKind::Text),
    Column::new("ServiceCategory", ColumnKind::Text),
    Column::new("ServiceName", ColumnKind::Text),
    Column::new("ServiceSubcategory", ColumnKind::Text),
    Column::new("x_Final", ColumnKind::Flag),
    Column::new("x_RowsTotal", ColumnKind::Count),
    Column::new("x_Service", ColumnKind::Text),
    Column::summed("x_ShadowCost", ColumnKind::Decimal),
];

/// One charge.
#[derive(Clone, Debug)]
pub(super) struct Charged {
    /// Who pays.
    pub user: String,
    /// In whose bill it stands.
    pub month: Month,
    /// When it arose: `[from, to)`.
    pub period: [Millis; 2],
    /// It corrects a month that has been billed.
    pub is_correction: bool,
    /// For what.
    pub description: String,
    /// Of how many units.
    pub quantity: i128,
    /// What one is.
    pub unit: &'static str,
    /// What is charged.
    pub cost: Money,
    /// What mainnet would have charged.
    pub shadow: Money,
    /// tidemark's own name of the service, if it is one.
    pub service: Option<String>,
    /// Whether its month is final.
    pub is_final: bool,
}

/// What a user is charged in a month; `None`: nothing was used, and nothing is charged.
pub(super) fn charge_of(statement: &Statement) -> Option<Charged> {
    let Earned::User { charge, .. } = statement.earned else {
        return None;
    };
    let is_used = statement.outcomes.requests > 0 || statement.reversed > 0;
    let is_charged = charge.cost != Money::ZERO || charge.shadow != Money::ZERO;
    let month = statement.month;
    (is_used || is_charged).then(|| Charged {
        user: statement.account.id().to_owned(),
        month,
        period: [month.start(), month.next().start()],
        is_correction: false,
        description: format!("AI inference requests of {month}"),
        quantity: statement.successful(),
        unit: "Requests",
        cost: charge.cost,
        shadow: charge.shadow,
        service: None,
        is_final: statement.is_final,
    })
}

/// Writes charges, one late: only the last one says how many there are.
pub(super) struct FocusRows {
    csv: CsvRows,
    issuer: String,
    waiting: Option<Charged>,
    rows: u64,
}

impl FocusRows {
    pub(super) fn new(exact_text: bool, issuer: String) -> FocusRows {
        FocusRows {
            csv: CsvRows::new(exact_text),
            issuer,
            waiting: None,
            rows: 0,
        }
    }

    pub(super) fn header(&mut self) {
        self.csv.header(CHARGES);
    }

    pub(super) fn charge(&mut self, charge: Charged, sums: &mut Sums) {
        self.rows += 1;
        if let Some(before) = self.waiting.replace(charge) {
            self.write(&before, None, sums);
        }
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.csv.take()
    }

    /// The last charge, with the number of all of them.
    pub(super) fn end(&mut self, sums: &mut Sums) -> Vec<u8> {
        if let Some(last) = self.waiting.take() {
            self.write(&last, Some(self.rows), sums);
        }
        self.csv.take()
    }

    fn write(&mut self, charge: &Charged, rows: Option<u64>, sums: &mut Sums) {
        let [billed_from, billed_to] = [charge.month.start(), charge.month.next().start()];
        let [billed_from, billed_to, from, to] =
            [billed_from, billed_to, charge.period[0], charge.period[1]].map(date_time);
        let class = match charge.is_correction {
            true => Cell::Text("Correction"),
            false => Cell::Empty,
        };
        let quantity = Cell::Quantity(charge.quantity);
        let cost = Cell::Dollars(charge.cost);
        let issuer = Cell::Text(&self.issuer);
        let row = [
            cost,
            Cell::Text(&charge.user),
            Cell::Empty,
            Cell::Text("USD"),
            Cell::Text(&billed_to),
            Cell::Text(&billed_from),
            Cell::Text("Usage"),
            class,
            Cell::Text(&charge.description),
            Cell::Text("Usage-Based"),
            Cell::Text(&to),
            Cell::Text(&from),
            Cell::Empty,
            quantity,
            Cell::Text(charge.unit),
            cost,
            cost,
            Cell::Empty,
            issuer,
            cost,
            Cell::Text("Standard"),
            quantity,
            Cell::Text(charge.unit),
            issuer,
            issuer,
            Cell::Text("AI and Machine Learning"),
            Cell::Text("AI Inference"),
            Cell::Text("Generative AI"),
            Cell::Flag(charge.is_final),
            Cell::count(rows),
            charge.service.as_deref().map_or(Cell::Empty, Cell::Text),
            Cell::Dollars(charge.shadow),
        ];
        sums.add(&row);
        self.csv.row(&row);
    }
}

/// `2026-11-01T00:00:00Z`: FOCUS knows whole seconds.
fn date_time(at: Millis) -> String {
    let second = jiff::Timestamp::from_second(at.0.div_euclid(1_000));
    second.map_or_else(|_| at.to_string(), |second| second.to_string())
}
