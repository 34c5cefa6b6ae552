//! The statement as text for a terminal.

use std::fmt;

use super::form::{Earned, Statement};

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_final { "final" } else { "open" };
        writeln!(
            f,
            "{} {}  {}  ({state})",
            self.account.kind,
            self.account.id(),
            self.month
        )?;
        if let Some(since) = self.paused_since {
            writeln!(f, "  not up to date: updates paused since {since}")?;
        }
        writeln!(f)?;
        for (name, points) in self.parts() {
            writeln!(f, "  {name:<12}{:>20}", points.to_string())?;
        }
        writeln!(f, "  {:<12}{:>20} points", "total", self.total.to_string())?;
        if let Earned::User { charge, .. } = self.earned {
            writeln!(f, "  {:<12}{:>20} USD", "cost", charge.cost.to_string())?;
            let shadow = charge.shadow.to_string();
            writeln!(f, "  {:<12}{shadow:>20} USD (not charged)", "shadow cost")?;
        }
        writeln!(f)?;
        let requests = self.outcomes.requests;
        write!(
            f,
            "  {requests} request{}, {} successful, {} failed",
            if requests == 1 { "" } else { "s" },
            self.successful(),
            self.outcomes.failed
        )?;
        for (count, what) in [(self.others(), "other"), (self.reversed, "reversed")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        writeln!(f)?;
        if self.successful() < 0 {
            writeln!(
                f,
                "  (requests of closed months were reversed in this month and are taken off here)"
            )?;
        }
        self.write_services(f)?;
        self.write_days(f)
    }
}

impl Statement {
    fn write_services(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.services.is_empty() {
            return Ok(());
        }
        let [requests, ok, failed] = ["requests", "ok", "failed"];
        writeln!(
            f,
            "\n  {:<18}{:>18}{requests:>10}{ok:>10}{failed:>10}{:>10}",
            "service", "points", "mean ms"
        )?;
        for (service, line) in &self.services {
            let latency = line
                .mean_latency_ms
                .map_or("-".to_owned(), |ms| ms.to_string());
            writeln!(
                f,
                "  {:<18}{:>18}{:>10}{:>10}{:>10}{latency:>10}",
                service,
                line.points.to_string(),
                line.outcomes.requests,
                line.outcomes.successful,
                line.outcomes.failed
            )?;
        }
        Ok(())
    }

    fn write_days(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days.is_empty() {
            return Ok(());
        }
        let [requests, ok, failed, streak] = ["requests", "ok", "failed", "streak"];
        writeln!(
            f,
            "\n  {:<18}{:>18}{requests:>10}{ok:>10}{failed:>10}{streak:>10}",
            "day", "points"
        )?;
        for (day, line) in &self.days {
            writeln!(
                f,
                "  {:<18}{:>18}{:>10}{:>10}{:>10}{:>10}",
                day.to_string(),
                line.points.to_string(),
                line.outcomes.requests,
                line.outcomes.successful,
                line.outcomes.failed,
                line.streak
            )?;
        }
        Ok(())
    }
}
