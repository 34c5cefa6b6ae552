//! Amounts: floors, decimals, overflow.

use proptest::prelude::*;
use tidemark::domain::amount::{AmountError, Bp, Money, Overflow, Points, floor_div};

#[test]
fn decimals_are_read_and_shown_exactly() {
    for (text, micro) in [
        ("0", 0),
        ("1", 1_000_000),
        ("0.5", 500_000),
        ("-0.5", -500_000),
        ("0.000001", 1),
        ("-0.000001", -1),
        ("676.995", 676_995_000),
        ("9223372036854.775807", i64::MAX),
        ("-9223372036854.775808", i64::MIN),
    ] {
        assert_eq!(text.parse(), Ok(Points(micro)), "{text}");
        assert_eq!(Points(micro).to_string(), text);
    }
    assert_eq!("0.0002".parse(), Ok(Money(200_000)));
    assert_eq!(Money(150_000).to_string(), "0.00015");
    assert_eq!(Money(-1).to_string(), "-0.000000001");
    assert_eq!("0.50".parse(), Ok(Points(500_000)));
    assert_eq!("007.10000000".parse(), Ok(Points(7_100_000)));
    assert_eq!("-0".parse(), Ok(Points(0)));
}

#[test]
fn what_is_no_decimal_of_the_unit_is_refused() {
    for text in [
        "", "-", ".5", "5.", "1e3", "+1", " 1", "1,5", "0x1", "--1", "1.-5", "NaN", "١",
    ] {
        let refused = text.parse::<Points>();
        assert_eq!(refused, Err(AmountError::NotDecimal(text.to_owned())));
    }
    assert!(matches!(
        "0.0000001".parse::<Points>(),
        Err(AmountError::TooFine { decimals: 6, .. })
    ));
    assert!(matches!(
        "0.0000000001".parse::<Money>(),
        Err(AmountError::TooFine { decimals: 9, .. })
    ));
    let huge = "9".repeat(60);
    assert_eq!(
        huge.parse::<Money>(),
        Err(AmountError::TooLarge(huge.clone()))
    );
    assert!(matches!(
        "9223372036854.775808".parse::<Points>(),
        Err(AmountError::TooLarge(_))
    ));
}

#[test]
fn sums_stay_at_the_end_of_their_range_and_say_so() {
    let (most, least) = (Points(i64::MAX), Points(i64::MIN));
    assert_eq!(most.plus(Points(1)), most);
    assert_eq!(least.plus(Points(-1)), least);
    assert_eq!(most.times(Bp(10_001)), most);
    assert_eq!(least.times(Bp(10_001)), least);
    assert_eq!(most.times(Bp::ONE), most);
    assert!(most.is_saturated() && least.is_saturated() && !Points(i64::MAX - 1).is_saturated());
    assert_eq!([most, most, Points(1)].into_iter().sum::<Points>(), most);
    assert_eq!(Money(i128::MAX).plus(Money(1)), Money::MAX);
    assert_eq!(Money(i128::MIN).plus(Money(-1)), Money(-Money::MAX.0));
    assert!(Money::MAX.is_saturated() && !Money(Money::MAX.0 - 1).is_saturated());
    // What DynamoDB takes for a number.
    assert_eq!(Money::MAX.0.to_string().len(), 38);
}

#[test]
fn what_people_enter_is_refused_where_a_sum_would_leave_its_range() {
    assert_eq!(Points(i64::MAX).checked_plus(Points(1)), Err(Overflow));
    assert_eq!(Points(i64::MIN).checked_plus(Points(-1)), Err(Overflow));
    assert_eq!(
        Points(i64::MAX - 1).checked_plus(Points(1)),
        Ok(Points(i64::MAX))
    );
    assert_eq!(
        Money(Money::MAX.0 - 1).checked_plus(Money(1)),
        Err(Overflow)
    );
    assert_eq!(Money(i128::MAX).checked_plus(Money(1)), Err(Overflow));
    assert_eq!(Money(1).checked_plus(Money(-3)), Ok(Money(-2)));
}

proptest! {
    #[test]
    fn every_amount_is_read_back_from_what_is_shown(micro: i64, nano: i128) {
        prop_assert_eq!(Points(micro).to_string().parse(), Ok(Points(micro)));
        let nano = nano / 2;
        prop_assert_eq!(Money(nano).to_string().parse(), Ok(Money(nano)));
    }

    #[test]
    fn division_floors_toward_minus_infinity(a in -1_000_000i128..1_000_000, b in 1i128..10_000) {
        let floor = floor_div(a, b);
        prop_assert!(floor * b <= a && a < (floor + 1) * b);
    }

    #[test]
    fn a_share_is_floored_and_never_more_than_its_part(micro in -1_000_000_000i64..1_000_000_000, bp in 0u32..20_000) {
        let share = i128::from(Points(micro).times(Bp(bp)).0);
        let exact = i128::from(micro) * i128::from(bp);
        prop_assert!(share * 10_000 <= exact && exact < (share + 1) * 10_000);
    }
}
