//! Names of models as people meet them, and the name of the model behind each.

/// Regions with which Amazon Bedrock begins the id of an inference profile.
const REGIONS: [&str; 9] = [
    "us", "eu", "apac", "us-gov", "global", "jp", "au", "ca", "sa",
];
/// Vendors with which Amazon Bedrock begins the id of a model.
const VENDORS: [&str; 20] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "xai",
    "zai",
];
/// Of these, Amazon Bedrock leaves the vendor out of the model's own name: `deepseek.r1-v1:0`.
const VENDORS_OF_BARE_NAMES: [&str; 1] = ["deepseek"];
/// Azure allows no point in the name of a deployment, so people leave it out.
const WITHOUT_POINT: [(&str, &str); 3] = [
    ("gpt-35", "gpt-3.5"),
    ("gpt35", "gpt-3.5"),
    ("gpt-41", "gpt-4.1"),
];
/// What the owner of a fine-tune chose comes behind it.
const TUNED: &str = ":ft-";
/// The same on Azure.
const TUNED_ON_AZURE: &str = ".ft-";
/// Marks of how a model is offered, not of which it is.
const OFFERS: [&str; 10] = [
    "free", "nitro", "floor", "beta", "extended", "thinking", "online", "exacto", "latest", "batch",
];
/// Marks of how weights are stored.
const FORMATS: [&str; 13] = [
    "awq", "gptq", "gguf", "mlx", "fp4", "fp8", "fp16", "bf16", "int4", "int8", "4bit", "8bit",
    "bnb",
];
/// Longest name that is taken apart.
const BYTES_MAX: usize = 256;
/// Most marks that are taken off: names of models have three or four, and a client may send any
/// name.
const MARKS_MAX: usize = 6;

/// A model's name without what does not matter: spaces around it, case, and vendor prefixes
/// (`openai/`, `meta-llama/`, `models/`).
pub(crate) fn bare_name(model: &str) -> String {
    let name = model.trim().trim_end_matches('/');
    let bare = name.rsplit_once('/').map_or(name, |(_, bare)| bare);
    bare.trim().to_lowercase()
}

/// The names under which a model may be known, the most exact first: of a fine-tune only those of
/// its base, for whatever else stands in its name was chosen by its owner.
pub(crate) fn spellings(model: &str) -> Vec<String> {
    let first = base_name(model);
    let mut names = vec![first];
    let shorter: Vec<String> = marks_off(&names[0]).map(str::to_owned).collect();
    names.extend(shorter);
    names
}

/// As [`spellings`], but a fine-tune may be known as such, and a model by its cloud's id: they may
/// have prices of their own. The text that its owner chose is not among them.
pub(crate) fn spellings_with_fine_tunes(model: &str) -> Vec<String> {
    let bare = bare_name(without_deployment(model));
    if let Some(rest) = bare.strip_prefix("ft:") {
        let base = rest.split(':').next().unwrap_or(rest);
        let mut names = vec![format!("ft:{base}")];
        names.extend(marks_off(base).map(|base| format!("ft:{base}")));
        names.extend(spellings(model));
        return names;
    }
    if bare.contains(TUNED) || bare.contains(TUNED_ON_AZURE) {
        return spellings(model);
    }
    let mut names = Vec::new();
    let region = after_known(&bare, &REGIONS).unwrap_or(0);
    let without_region = bare[region..].to_owned();
    names.push(bare);
    names.push(without_region);
    names.extend(spellings(model));
    names.dedup();
    names
}

fn marks_off(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(without_last_mark(name), |name| without_last_mark(name)).take(MARKS_MAX)
}

/// Fireworks names the deployment behind a '#'.
fn without_deployment(model: &str) -> &str {
    model.split_once('#').map_or(model, |(model, _)| model)
}

/// The name of the model that was deployed or tuned.
fn base_name(model: &str) -> String {
    let bare = bare_name(without_deployment(model));
    let name = match bare.strip_prefix("ft:") {
        Some(tuned) => tuned.split(':').next().unwrap_or(tuned),
        None => [TUNED, TUNED_ON_AZURE]
            .into_iter()
            .find_map(|mark| bare.split_once(mark))
            .map_or(&*bare, |(base, _)| base),
    };
    let (vendor, name) = without_vendor(name);
    if let Some(vendor) = vendor.filter(|vendor| VENDORS_OF_BARE_NAMES.contains(vendor))
        && !name.starts_with(vendor)
    {
        return format!("{vendor}-{name}");
    }
    let respelled = WITHOUT_POINT.iter().find_map(|(without, with)| {
        let rest = name.strip_prefix(without)?;
        let is_whole = !rest.starts_with(|next: char| next.is_ascii_digit());
        is_whole.then(|| format!("{with}{rest}"))
    });
    respelled.unwrap_or_else(|| name.to_owned())
}

/// The vendor and the model of Bedrock's `<region>.<vendor>.<model>`.
fn without_vendor(name: &str) -> (Option<&str>, &str) {
    let region = after_known(name, &REGIONS).unwrap_or(0);
    let of_region = &name[region..];
    match after_known(of_region, &VENDORS) {
        Some(model) => (Some(&of_region[..model - 1]), &of_region[model..]),
        None => (None, name),
    }
}

/// Where a name goes on after a known first part.
fn after_known(name: &str, known: &[&str]) -> Option<usize> {
    let (prefix, rest) = name.split_once('.')?;
    let found = known.contains(&prefix) && !rest.is_empty();
    found.then(|| name.len() - rest.len())
}

/// The name without what its last mark says: a version, a date, how it is offered or stored.
fn without_last_mark(name: &str) -> Option<&str> {
    if name.len() > BYTES_MAX {
        return None;
    }
    let at = name.rfind(['-', '@', ':', '.'])?;
    let mark = &name[at + 1..];
    let rest = &name[..at];
    let is_mark = match name.as_bytes()[at] {
        b'.' => mark == "gguf" || is_quantisation(mark),
        b':' => is_number(mark) || is_context(mark) || is_stored_or_offered(mark),
        _ => is_version(mark) || is_date(mark) || is_stored_or_offered(mark),
    };
    if is_mark && !rest.is_empty() {
        return Some(rest);
    }
    // A date with dashes.
    let long = name.len().checked_sub("-2024-08-06".len())?;
    let (rest, date) = (name.get(..long)?, name.get(long..)?);
    let dashes = |(i, byte): (usize, u8)| match i {
        0 | 5 | 8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    let is_date = date.bytes().enumerate().all(dashes);
    (is_date && !rest.is_empty()).then_some(rest)
}

fn is_number(mark: &str) -> bool {
    !mark.is_empty() && mark.bytes().all(|byte| byte.is_ascii_digit())
}

/// `v1`.
fn is_version(mark: &str) -> bool {
    mark.strip_prefix('v').is_some_and(is_number)
}

/// `300k`.
fn is_context(mark: &str) -> bool {
    mark.strip_suffix('k').is_some_and(is_number)
}

/// `0613`, `202406`, `20240620`.
fn is_date(mark: &str) -> bool {
    matches!(mark.len(), 4 | 6 | 8) && is_number(mark)
}

fn is_stored_or_offered(mark: &str) -> bool {
    OFFERS.contains(&mark) || FORMATS.contains(&mark) || is_quantisation(mark)
}

/// `q4`, `q4_k_m`, `iq3_xs`.
fn is_quantisation(mark: &str) -> bool {
    let bits = mark.strip_prefix('i').unwrap_or(mark).strip_prefix('q');
    bits.is_some_and(|bits| {
        bits.starts_with(|first: char| first.is_ascii_digit())
            && bits
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::{spellings, spellings_with_fine_tunes};

    #[test]
    fn marks_come_off_one_by_one() {
        for (model, expected) in [
            ("gpt-4o", &["gpt-4o"][..]),
            ("openai/GPT-4o-2024-08-06", &["gpt-4o-2024-08-06", "gpt-4o"]),
            (
                "gpt-35-turbo-0613",
                &["gpt-3.5-turbo-0613", "gpt-3.5-turbo"],
            ),
            ("gpt-351", &["gpt-351"]),
            ("ft:gpt-4o-mini:acme-70b:x:Ab12", &["gpt-4o-mini"]),
            ("davinci:ft-acme-70b-2023", &["davinci"]),
            (
                "gpt-35-turbo-0125.ft-70b",
                &["gpt-3.5-turbo-0125", "gpt-3.5-turbo"],
            ),
            (
                "a:1:1:1:1:1:1:1:1",
                &[
                    "a:1:1:1:1:1:1:1:1",
                    "a:1:1:1:1:1:1:1",
                    "a:1:1:1:1:1:1",
                    "a:1:1:1:1:1",
                    "a:1:1:1:1",
                    "a:1:1:1",
                    "a:1:1",
                ],
            ),
            (
                "us.anthropic.claude-3-5-sonnet-20241022-v2:0",
                &[
                    "claude-3-5-sonnet-20241022-v2:0",
                    "claude-3-5-sonnet-20241022-v2",
                    "claude-3-5-sonnet-20241022",
                    "claude-3-5-sonnet",
                ],
            ),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-pro-v1:0:300k",
                &[
                    "nova-pro-v1:0:300k",
                    "nova-pro-v1:0",
                    "nova-pro-v1",
                    "nova-pro",
                ],
            ),
            (
                "claude-3-opus@20240229",
                &["claude-3-opus@20240229", "claude-3-opus"],
            ),
            (
                "us.deepseek.r1-v1:0",
                &["deepseek-r1-v1:0", "deepseek-r1-v1", "deepseek-r1"],
            ),
            (
                "deepseek.v3-v1:0",
                &[
                    "deepseek-v3-v1:0",
                    "deepseek-v3-v1",
                    "deepseek-v3",
                    "deepseek",
                ],
            ),
            ("deepseek.deepseek-v3", &["deepseek-v3", "deepseek"]),
            (
                "deepseek/deepseek-r1:free",
                &["deepseek-r1:free", "deepseek-r1"],
            ),
            (
                "accounts/acme/models/llama-v3p1-8b#accounts/acme/deployments/70b",
                &["llama-v3p1-8b"],
            ),
            (
                "mistral-large-latest-q4_k_m.gguf",
                &[
                    "mistral-large-latest-q4_k_m.gguf",
                    "mistral-large-latest-q4_k_m",
                    "mistral-large-latest",
                    "mistral-large",
                ],
            ),
            // Neither a region nor a vendor.
            ("70b-labs.tiny", &["70b-labs.tiny"]),
            ("text-embedding-ada-002", &["text-embedding-ada-002"]),
            ("", &[""]),
            ("-", &["-"]),
            ("é:free", &["é:free", "é"]),
        ] {
            assert_eq!(spellings(model), expected, "{model}");
        }
    }

    #[test]
    fn a_fine_tune_may_have_a_price_of_its_own() {
        for (model, expected) in [
            (
                "ft:gpt-4o-2024-08-06:acme-mini::x",
                &[
                    "ft:gpt-4o-2024-08-06",
                    "ft:gpt-4o",
                    "gpt-4o-2024-08-06",
                    "gpt-4o",
                ][..],
            ),
            ("davinci:ft-mini", &["davinci"]),
            (
                "accounts/acme/models/deepseek-r1#accounts/acme/deployments/gpt-4o-mini",
                &["deepseek-r1"],
            ),
            (
                "eu.amazon.nova-pro-v1:0",
                &[
                    "eu.amazon.nova-pro-v1:0",
                    "amazon.nova-pro-v1:0",
                    "nova-pro-v1:0",
                    "nova-pro-v1",
                    "nova-pro",
                ],
            ),
        ] {
            assert_eq!(spellings_with_fine_tunes(model), expected, "{model}");
        }
    }
}
