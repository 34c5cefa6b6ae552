//! The tier of a model, the naive way.

/// Tiers by number: 0 tide_pool … 3 mariana_depth.
pub type Tier = usize;

/// What stands in the catalogue: a pattern (an exact name, or one with `*`) and its tier, in file order.
pub type Catalogue = Vec<(String, Tier)>;

/// The tier of a model.
pub fn of(model: Option<&str>, catalogue: &Catalogue) -> Tier {
    let Some(model) = model else { return 0 };
    let lower = model.trim().to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or("");
    let exact = catalogue
        .iter()
        .find(|(pattern, _)| !pattern.contains('*') && pattern == name);
    let glob = catalogue
        .iter()
        .find(|(pattern, _)| pattern.contains('*') && matches(pattern.as_bytes(), name.as_bytes()));
    match exact.or(glob) {
        Some((_, tier)) => *tier,
        None => by_size(name).unwrap_or(0),
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            matches(&pattern[1..], name) || (!name.is_empty() && matches(pattern, &name[1..]))
        }
        (Some(p), Some(n)) => p == n && matches(&pattern[1..], &name[1..]),
        _ => false,
    }
}

/// Millions of parameters that a token names: `7b`, `1.5b`, `8x7b`, `350m`.
fn size(token: &str) -> Option<i128> {
    if let Some((experts, each)) = token.split_once('x') {
        let experts: i128 = experts.parse().ok()?;
        return Some(experts * size(each)?);
    }
    let (digits, unit) = match token.strip_suffix('b') {
        Some(digits) => (digits, 1_000),
        None => (token.strip_suffix('m')?, 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let scale = 10_i128.checked_pow(fraction.len() as u32)?;
    let whole: i128 = whole.parse().ok()?;
    let fraction: i128 = fraction.parse().ok()?;
    Some(whole * unit + fraction * unit / scale)
}

fn by_size(name: &str) -> Option<Tier> {
    let tokens: Vec<&str> = name.split(|c: char| "-_: ,@()".contains(c)).collect();
    let millions = tokens.iter().find_map(|token| size(token))?;
    let four_bit = name.contains("q4_k_m")
        || tokens
            .iter()
            .any(|t| ["q4", "int4", "4bit", "awq", "gptq"].contains(t));
    Some(match millions {
        m if m <= 4_000 => 0,
        m if m <= 13_000 => 1,
        m if m < 65_000 => 2,
        m if m <= 80_000 && four_bit => 2,
        _ => 3,
    })
}
