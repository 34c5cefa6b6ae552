//! Durations for people.

/// `0.4 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn in_words(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_for_people() {
        let shown = [0.44, 59.9, 200.0, 7_500.0].map(in_words);
        assert_eq!(shown, ["0.4 s", "59.9 s", "3 min 20 s", "2 h 5 min"]);
    }
}
