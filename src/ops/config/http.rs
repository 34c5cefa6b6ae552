//! Section `[http]`.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::kinds::{checked, duration, integer, origin};
use super::origin::PublicOrigin;
use super::reader::Reader;
use super::{GatewaySettings, JwtConfig, KIB, MIB, count, secs};
use crate::domain::amount::{Money, Points};

/// Largest id of a chain: wallets keep it as a number of JavaScript.
const CHAIN_ID_MAX: i64 = (1 << 53) - 1;

/// HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// How browsers reach the service, if a proxy stands before it.
    pub public_origin: Option<PublicOrigin>,
    /// Largest request body, bytes.
    pub body_bytes_max: usize,
    /// `/healthz` fails when a partition with lag has made no progress for so long.
    pub stalled_after: Duration,
    /// What everybody together does (analytics) is computed anew when it is so old.
    pub analytics_interval: Duration,
    /// How long the service goes on serving after SIGTERM, no longer ready, before it stops.
    pub shutdown_delay: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a request waits for the log to take its events.
    pub append_timeout: Duration,
    /// In which a request head must come whole.
    pub head_timeout: Duration,
    /// In which a connection must begin another request.
    pub idle_timeout: Duration,
    /// Most open connections; `None`: any number.
    pub connections_max: Option<NonZeroU32>,
    /// Most open connections from one address; `None`: any number.
    pub connections_per_address_max: Option<NonZeroU32>,
    /// Bytes per second that a body must bring at least; `None`: as few as the client likes.
    pub body_bytes_per_second_min: Option<NonZeroU32>,
    /// Most requests per second of one key or token; `None`: any number.
    pub requests_per_second_per_key: Option<NonZeroU32>,
    /// Of these, most that read (GET); `None`: any number.
    pub reads_per_second_per_key: Option<NonZeroU32>,
    /// Most requests per second from one address; `None`: any number.
    pub requests_per_second_per_address: Option<NonZeroU32>,
    /// Tokens of an identity provider, on routes of accounts; `None`: only API keys are taken.
    pub jwt: Option<JwtConfig>,
    /// Origins whose pages may ask the routes of accounts from a browser (CORS); none: no other
    /// origin's.
    pub cors_origins: Vec<PublicOrigin>,
    /// The chain (EIP-155) that messages name with which accounts link wallets.
    pub wallet_chain_id: u64,
    /// Pages and commands ask before they add more credit than this, or take back more.
    pub ask_above_usd: Money,
    /// The same of an adjustment of points.
    pub ask_above_points: Points,
    /// Where gateways that post in forms of their own name the user.
    pub gateways: Arc<GatewaySettings>,
}

impl HttpConfig {
    pub(super) fn read(reader: &mut Reader) -> HttpConfig {
        let mut within = |key, default, min, max| reader.get(key, default, duration(min..=max));
        let stalled_after = within("http.stalled_after", secs(300), secs(5), secs(3600));
        let analytics_interval = within(
            "http.analytics_interval",
            secs(3600),
            secs(60),
            secs(86_400),
        );
        let shutdown_delay = within("http.shutdown_delay", secs(5), Duration::ZERO, secs(300));
        let request_timeout = within("http.request_timeout", secs(30), secs(1), secs(600));
        let ms_100 = Duration::from_millis(100);
        let append_timeout = within("http.append_timeout", secs(10), ms_100, secs(300));
        let head_timeout = within("http.head_timeout", secs(10), ms_100, secs(60));
        let idle_timeout = within("http.idle_timeout", secs(75), ms_100, secs(3600));
        HttpConfig {
            public_origin: reader.get("http.public_origin", None, origin()),
            body_bytes_max: count(
                reader,
                "http.body_bytes_max",
                32 * MIB,
                64 * KIB,
                1024 * MIB,
            ),
            stalled_after,
            analytics_interval,
            shutdown_delay,
            request_timeout,
            append_timeout,
            head_timeout,
            idle_timeout,
            connections_max: limit(reader, "http.connections_max", 800),
            connections_per_address_max: limit(reader, "http.connections_per_address_max", 200),
            body_bytes_per_second_min: limit(reader, "http.body_bytes_per_second_min", 4096),
            requests_per_second_per_key: limit(reader, "http.requests_per_second_per_key", 2_000),
            reads_per_second_per_key: limit(reader, "http.reads_per_second_per_key", 100),
            requests_per_second_per_address: limit(
                reader,
                "http.requests_per_second_per_address",
                2_000,
            ),
            jwt: JwtConfig::read(reader),
            cors_origins: cors_origins(reader),
            wallet_chain_id: reader
                .get("http.wallet_chain_id", 1, integer(1..=CHAIN_ID_MAX))
                .unsigned_abs(),
            ask_above_usd: amount(reader, "http.ask_above_usd", "1000"),
            ask_above_points: amount(reader, "http.ask_above_points", "100000"),
            gateways: Arc::new(GatewaySettings::read(reader)),
        }
    }
}

/// Most origins of other pages.
const CORS_ORIGINS_MAX: usize = 32;

fn cors_origins(reader: &mut Reader) -> Vec<PublicOrigin> {
    fn read(text: &str) -> Result<Vec<PublicOrigin>, String> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let parsed = names.map(|name| {
            PublicOrigin::parse(name).ok_or_else(|| format!("\"{name}\" is not an origin"))
        });
        let origins = parsed.collect::<Result<Vec<PublicOrigin>, String>>()?;
        match origins.len() {
            0..=CORS_ORIGINS_MAX => Ok(origins),
            count => Err(format!("has {count} origins")),
        }
    }
    let allowed = "up to 32 comma-separated URLs without a path, such as \"https://app.example\"";
    let kind = checked(allowed, |text| read(text).map(drop));
    let text = reader.get("http.cors_origins", String::new(), kind);
    read(&text).unwrap_or_default()
}

/// An amount of money or points, zero or more.
fn amount<T>(reader: &mut Reader, key: &'static str, default: &str) -> T
where
    T: FromStr + Default + PartialOrd + 'static,
{
    fn read<T: FromStr + Default + PartialOrd>(text: &str) -> Option<T> {
        let amount: Option<T> = text.parse().ok();
        amount.filter(|amount| *amount >= T::default())
    }
    let check = |text: &str| match read::<T>(text) {
        Some(_) => Ok(()),
        None => Err("not an amount of at least 0".to_owned()),
    };
    let kind = checked("a decimal such as \"1000\" or \"0.5\", 0 or more", check);
    let text = reader.get(key, default.to_owned(), kind);
    read(&text).unwrap_or_default()
}

/// 0 is no limit.
fn limit(reader: &mut Reader, key: &'static str, default: i64) -> Option<NonZeroU32> {
    let limit = reader.get(key, default, integer(0..=1_000_000));
    u32::try_from(limit).ok().and_then(NonZeroU32::new)
}
