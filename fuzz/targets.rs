//! What every decoder of foreign bytes promises, whatever it is given. `cargo fuzz` looks for bytes that
//! break a promise; the test `fuzz::*` of the ordinary test suite runs the stored corpus.

use tidemark::claims::check::{Beside, check};
use tidemark::claims::{AccountsIndex, CloseFile, FileKind, read_accounts, read_leaves, read_rows};
use tidemark::domain::amount::Money;
use tidemark::domain::closing::Shape;
use tidemark::domain::ethereum::{Address, MessageSignature, SignInMessage};
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::rules::{ModelPrice, RulesDocument, model_prices};
use tidemark::domain::time::Millis;
use tidemark::gateways::Adapted;
use tidemark::gateways::access_log::{self as adapt, ForeignRecord};
use tidemark::gateways::{self, Format, Markup, PriceList};
use tidemark::http::{fuzzed_binary_event, fuzzed_form};
use tidemark::log::rejected::{self, Reject};
use tidemark::log::topics::TopicSpec;
use tidemark::log::{Headers, NewRecord, Record, cuts, posting, usage};
use tidemark::ops::config::{Config, GatewaySettings, Sources};
use tidemark::pipeline::{decode_cut, fuzzed_cut};

/// A target: its name and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. Each has a file in `fuzz_targets` and a folder of stored inputs in `seeds`.
pub const TARGETS: [Target; 23] = [
    ("usage_event", usage_event),
    ("posting_block", posting_block),
    ("litellm", litellm),
    ("openmeter", openmeter),
    ("lago", lago),
    ("new_api", new_api),
    ("sub2api", sub2api),
    ("otlp_json", otlp_json),
    ("otlp_protobuf", otlp_protobuf),
    ("apisix", apisix),
    ("kong", kong),
    ("envoy", envoy),
    ("form", form),
    ("config", config),
    ("rules", rules),
    ("price_list", price_list),
    ("recorded_cut", recorded_cut),
    ("cut_record", cut_record),
    ("reject", reject),
    ("binary_event", binary_event),
    ("topic_spec", topic_spec),
    ("sign_in_message", sign_in_message),
    ("claim_file", claim_file),
];

const RECEIVED: Millis = Millis(1_795_330_900_000);
/// A body is at most this often as long as what it becomes.
const GROWTH_MAX: usize = 64;

/// The fast decoder and the one by serde_json agree, a decoder that has seen other records too, and
/// writing an event and reading it again changes nothing.
pub fn usage_event(data: &[u8]) {
    let headers = Headers::new();
    let fast = usage::decode(data, &headers);
    let precise = usage::decode_precisely(data, &headers);
    if data.len() <= usage::EVENT_BYTES_MAX {
        assert_eq!(fast, precise);
    }
    let mut used = usage::Decoder::default();
    let first = used.decode(data, &headers);
    assert_eq!(first, fast);
    assert_eq!(used.decode(data, &headers), fast);
    let Ok(event) = fast else {
        return reversal(data);
    };
    let written = usage::encode(&event);
    let again = usage::decode(&written, &headers).expect("what is written can be read");
    assert_eq!(again.identity(), event.identity());
    assert_eq!(again.content(), event.content());
    assert_eq!(usage::encode(&again), written);
}

/// What is no event may be a reversal. Writing one and reading it again changes nothing.
fn reversal(data: &[u8]) {
    let Ok(reversal) = usage::reversal::decode(data) else {
        return;
    };
    let written = usage::reversal::encode(&reversal);
    let again = usage::reversal::decode(&written).expect("what is written can be read");
    assert_eq!(again, reversal);
}

/// Only bytes that the encoder would write are read.
pub fn posting_block(data: &[u8]) {
    let Ok(block) = posting::decode(data) else {
        return;
    };
    assert_eq!(posting::encode(&block), data);
    assert!(posting::peek(data).is_ok());
}

/// Only bytes that the encoder would write are read.
pub fn cut_record(data: &[u8]) {
    // Hardly any bytes have the right checksum, so they get it.
    let sealed = cuts::seal(data.to_vec());
    for bytes in [data, &sealed[..]] {
        if let Ok(record) = cuts::decode(bytes) {
            assert_eq!(cuts::encode(&record), bytes);
        }
        drop(decode_cut(bytes));
    }
}

fn gateway(format: Format, data: &[u8]) {
    let read = gateways::read(format, data, RECEIVED, &GatewaySettings::default());
    assert_eq!(
        read,
        gateways::read(format, data, RECEIVED, &GatewaySettings::default())
    );
    check_outcomes(read, data);
}

fn check_outcomes(read: Result<gateways::Outcomes, gateways::BodyError>, data: &[u8]) {
    let Ok(outcomes) = read else {
        return;
    };
    assert!(
        outcomes.kept.len() <= data.len().max(1),
        "more outcomes than bytes"
    );
    for outcome in outcomes.kept.values() {
        match outcome {
            gateways::Outcome::Event(adapted) => check_adapted(adapted, data),
            gateways::Outcome::Refused(refused) => {
                assert!(refused.draft.len() <= GROWTH_MAX * (data.len() + 64));
            }
        }
    }
}

/// What an adapter makes is a usage event that rating can read, keyed by its user.
fn check_adapted(adapted: &Adapted, data: &[u8]) {
    let record = &adapted.record;
    let event = usage::decode(&record.value, &record.headers).expect("a usage event");
    assert_eq!(event.user, adapted.user);
    assert_eq!(record.key.as_deref(), Some(adapted.user.as_bytes()));
    assert!(record.value.len() <= GROWTH_MAX * (data.len() + 64));
}

pub fn litellm(data: &[u8]) {
    gateway(Format::Litellm, data);
}

pub fn openmeter(data: &[u8]) {
    gateway(Format::LitellmOpenmeter, data);
}

pub fn lago(data: &[u8]) {
    gateway(Format::LitellmLago, data);
}

pub fn new_api(data: &[u8]) {
    gateway(Format::NewApi, data);
}

pub fn sub2api(data: &[u8]) {
    gateway(Format::Sub2Api, data);
}

pub fn otlp_json(data: &[u8]) {
    gateway(Format::Otlp, data);
}

pub fn otlp_protobuf(data: &[u8]) {
    check_outcomes(
        gateways::read_otlp_protobuf(data, &GatewaySettings::default()),
        data,
    );
}

fn adapter(table: &str, data: &[u8]) {
    let sources = Sources {
        file: Some(("fuzz.toml".into(), format!("[[adapters]]\n{table}"))),
        ..Sources::default()
    };
    let config = Config::read(&sources).expect("the table is valid");
    let settings = &config.adapters[0];
    let record = ForeignRecord {
        topic: &settings.topic,
        topic_id: "t-1",
        partition: Partition(3),
        offset: Offset(42),
        time: RECEIVED,
        value: data,
    };
    let outcomes = adapt::adapt(settings, &record);
    assert_eq!(outcomes, adapt::adapt(settings, &record));
    assert!(!outcomes.is_empty() && outcomes.len() <= data.len().max(1));
    for outcome in &outcomes {
        if let adapt::Outcome::Event(adapted) = outcome {
            check_adapted(adapted, data);
        }
    }
}

pub fn apisix(data: &[u8]) {
    adapter("topic = 'a'\nformat = 'apisix'\nsource = 'a'\n", data);
}

pub fn kong(data: &[u8]) {
    adapter("topic = 'k'\nformat = 'kong'\nsource = 'k'\n", data);
}

pub fn envoy(data: &[u8]) {
    let table = "topic = 'e'\nformat = 'envoy'\nsource = 'e'\nuser_from = 'x-user-id'\n";
    adapter(table, data);
}

/// Forms of the pages are read whole, or refused.
pub fn form(data: &[u8]) {
    if let Some(fields) = fuzzed_form(data) {
        let bytes: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(bytes <= data.len());
    }
}

/// A configuration file is read, or each fault names the file and a key.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let sources = Sources {
        file: Some(("fuzz.toml".into(), text.to_owned())),
        ..Sources::default()
    };
    if let Err(faults) = Config::read(&sources) {
        assert!(faults.to_string().contains("fuzz.toml"), "{faults}");
    }
}

/// Rules documents (`pricing init`, the dry run of the API) are read, or refused in words.
pub fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(faults) = RulesDocument::parse_toml("fuzz.toml", text) {
        assert!(!faults.is_empty());
    }
}

/// The rules accept every name of a price list (`pricing import`), and each name has one price.
pub fn price_list(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(list) = PriceList::read(text, Markup(2_000)) else {
        return;
    };
    let unit = [Money(1_000_000), Money(1_000_000)];
    let names = list.prices.iter().map(|price| price.name().to_owned());
    let prices: Vec<ModelPrice> = names
        .map(|name| ModelPrice::new(name, unit, [None; 3]))
        .collect();
    let json = serde_json::to_string(&prices).expect("names and amounts are JSON");
    assert_eq!(model_prices(&json), Ok(prices), "{json}");
    assert!(list.prices.iter().all(|price| !price.is_free()));
}

/// Only a `tidemark-cut` header that the encoder would write is read.
pub fn recorded_cut(data: &[u8]) {
    if let Ok(written) = fuzzed_cut(data) {
        assert_eq!(written, data);
    }
}

/// Headers, one to a line (`name: value`), an empty line, and the value.
fn record_of(data: &[u8]) -> NewRecord {
    let mut rest = data;
    let mut headers = Headers::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(line);
        let (name, value) = text.split_once(": ").unwrap_or((&text, ""));
        headers.push((name.to_owned(), value.to_owned().into()));
    }
    NewRecord {
        key: None,
        headers,
        value: rest.to_vec().into(),
    }
}

fn stored(new: NewRecord) -> Record {
    Record {
        offset: Offset(7),
        append_time: RECEIVED,
        key: new.key,
        value: new.value,
        headers: new.headers,
    }
}

/// A record of `usage.rejected` is read, or refused; what an adapter or a gateway left there is
/// read as it was written.
pub fn reject(data: &[u8]) {
    let record = stored(record_of(data));
    let Ok(read) = rejected::decode_reject(&record) else {
        assert!(rejected::decode(&record).is_err());
        return;
    };
    let written = match &read {
        Reject::Usage(reject) => {
            assert_eq!(rejected::decode(&record).as_ref(), Ok(reject));
            return;
        }
        Reject::Foreign(reject) if reject.detail.len() <= 1_024 => rejected::encode_foreign(reject),
        Reject::Gateway(reject) if reject.detail.len() <= 1_024 => rejected::encode_gateway(reject),
        _ => return,
    };
    assert_eq!(rejected::decode_reject(&stored(written)), Ok(read));
}

/// A CloudEvent in binary mode becomes one JSON object with the attributes that its headers give.
pub fn binary_event(data: &[u8]) {
    let request = record_of(data);
    let headers = request.headers.iter().map(|(name, value)| (name, value));
    let Some(event) = fuzzed_binary_event(headers, &request.value) else {
        return;
    };
    let event: serde_json::Value = serde_json::from_slice(&event).expect("the event is JSON");
    let members = event.as_object().expect("the event is an object");
    assert!(members["datacontenttype"] == "application/json");
    for name in ["specversion", "type", "source", "id"] {
        assert!(members[name].is_string(), "{event}");
    }
}

/// A topic's file is read, or each fault names the file.
pub fn topic_spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(faults) = TopicSpec::parse("fuzz.yaml", text) {
        assert!(!faults.0.is_empty());
        assert!(faults.0.iter().all(|fault| fault.file == "fuzz.yaml"));
    }
}

/// What a wallet signs: a message, with its signature in the last line. A message that is read and
/// written again is the same one.
pub fn sign_in_message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (message, signature) = text.rsplit_once('\n').unwrap_or((text, ""));
    if let Ok(read) = message.parse::<SignInMessage>() {
        assert_eq!(read.to_string().parse(), Ok(read));
    }
    if let Ok(address) = signature.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(signature) = signature.parse::<MessageSignature>() {
        let _signer = signature.signer(message);
    }
}

/// A directory with one file.
struct Alone;

impl Beside for Alone {
    fn file(&self, _: FileKind) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// The files of a closed month, which anybody may have edited, by their names or under another one.
pub fn claim_file(data: &[u8]) {
    for name in [
        "file",
        "openzeppelin.json",
        "cumulative.json",
        "uniswap.json",
        "uniswap-1.json",
        "sablier.csv",
        "close.json",
        "accounts.csv",
        "openzeppelin.tree",
    ] {
        drop(check(name, data, &Alone));
    }
    if let Ok(file) = CloseFile::read(data) {
        assert_eq!(CloseFile::read(&file.bytes()).ok(), Some(file));
    }
    drop(AccountsIndex::read("accounts-index.csv", data));
    drop(read_accounts("accounts.csv", data, &mut |_| ()));
    drop(read_rows("accounts.csv", data));
    for shape in [Shape::Standard, Shape::Layers] {
        drop(read_leaves("tree", data, shape));
    }
}
