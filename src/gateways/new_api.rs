//! new-api and its forerunner one-api: rows of their table `logs`.
//!
//! Where this is written down:
//! [`model/log.go`](https://github.com/QuantumNous/new-api/blob/main/model/log.go), the row and its
//! types;
//! [`service/log_info_generate.go`](https://github.com/QuantumNous/new-api/blob/main/service/log_info_generate.go),
//! what `other` holds: a text with a JSON object (`request_path`, `cache_tokens`,
//! `cache_creation_tokens`, `claude`, and `status_code` of failed attempts).
//!
//! What stands behind the choices:
//! - **id**: the row's number and its time together. Numbers that a user is shown are masked
//!   (modulo 1024).
//! - **provider**: the channel that served. Its number is the gateway's own, so who earns for it is
//!   configured (`http.gateways.providers`).
//! - **cached tokens** are inside `prompt_tokens`, but for Claude's own form, of which the row says
//!   so.
//! - **quota** is money of the gateway's own, and is not read: the counts are rated here. A consume
//!   row without a request (the settlement of a task) has only quota, and is passed over.
//! - **refunds**
//!   ([`service/task_billing.go`](https://github.com/QuantumNous/new-api/blob/main/service/task_billing.go))
//!   give back all or a part of what a task has cost (`RefundTaskQuota`, `RecalculateTaskQuota`).
//!   They name the task (`other.task_id`), and the row that charged it (`LogTaskConsumption`) does
//!   not. So no refund says which request to reverse, and each is kept as a reject, for an operator
//!   who can look the task up (docs/wire.md). Neither one-api nor sub2api logs refunds.

use std::borrow::Cow;

use super::calls::Report;
use super::claim::{Claim, Read};
use super::fields::{Fields, Instant, missing, without_query};
use super::items::ItemReader;
use super::json::{Object, Scalar};
use super::kind::{endpoint_of_model, has_output};
use super::outcome::{Refusal, Skip};
use super::tokens::{ReportedTokens, Tokens};
use super::{BodyError, Format, GatewaySettings, Outcomes};
use crate::domain::event::Reason;
use crate::domain::time::Millis;
use crate::ops::config::CachedTokens;

const NAMES: &[(&str, &str)] = &[
    ("subject", USER),
    ("id", ID),
    ("time", TIME),
    ("data.providerId", CHANNEL),
    ("data.endpoint", "other.request_path"),
    ("data.model", MODEL),
    ("data.statusCode", KIND),
    ("data.inputTokens", INPUT),
    ("data.outputTokens", OUTPUT),
    ("data.cachedInputTokens", CACHED),
    ("data.cacheWriteTokens", WRITTEN),
];
const USER: &str = "user_id";
const ID: &str = "id";
const TIME: &str = "created_at";
const CHANNEL: &str = "channel";
/// In answers of the API, and as the column of the table is called.
const CHANNELS: [&str; 2] = [CHANNEL, "channel_id"];
const CHANNEL_NAME: &str = "channel_name";
const MODEL: &str = "model_name";
const KIND: &str = "type";
const INPUT: &str = "prompt_tokens";
const OUTPUT: &str = "completion_tokens";
const CACHED: &str = "other.cache_tokens";
const WRITTEN: &str = "other.cache_creation_tokens";

/// What new-api calls a test of a channel, in every language of its pages.
const TEST: &str = "模型测试";
const SUCCESS: u16 = 200;
/// A failure about which nothing more is known.
const FAILED: u16 = 500;

/// The outcomes of a body.
pub(super) fn read(body: &[u8], settings: &GatewaySettings) -> Result<Outcomes, BodyError> {
    let items = ItemReader {
        wanted: "new-api's format: a row of its logs, an array of them, or one per line",
        unset: &[],
        lists: &["data.items", "data"],
        item: |fields: &Fields<'_>, index| report(fields, index, settings),
    };
    items.read(body)
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Consume,
    Error,
    Refund,
}

fn report(fields: &Fields<'_>, index: usize, settings: &GatewaySettings) -> Result<Report, Skip> {
    let kind = match fields.count(KIND) {
        Ok(Some(2)) => Ok(Kind::Consume),
        Ok(Some(5)) => Ok(Kind::Error),
        Ok(Some(6)) => Ok(Kind::Refund),
        // Money that was paid in, and what administrators did.
        Ok(Some(_)) => return Err(Skip::NotInference),
        Ok(None) => Err(missing(KIND)),
        Err(refusal) => Err(refusal),
    };
    let text = fields.text("other").ok().flatten();
    let object = text.as_deref().and_then(Object::parse);
    let row = Row {
        fields,
        other: object.map(|object| Fields {
            object,
            unset: &[],
            is_repaired: fields.is_repaired,
        }),
        settings,
    };
    if row.is_test(&kind) {
        return Err(Skip::HealthCheck);
    }
    if kind == Ok(Kind::Consume) && row.is_settlement() {
        return Err(Skip::Housekeeping);
    }
    Ok(Report {
        index,
        claim: row.claim(kind).into_owned(),
        call: None,
        span: None,
        parent: None,
    })
}

struct Row<'f, 'a> {
    fields: &'f Fields<'a>,
    /// What the text `other` holds.
    other: Option<Fields<'f>>,
    settings: &'f GatewaySettings,
}

impl<'a> Row<'_, 'a> {
    /// A field of `other`, which a shipper may have unpacked.
    fn other<T>(&self, path: &str, read: impl Fn(&Fields<'_>, &str) -> T) -> T {
        match &self.other {
            Some(other) => read(other, path.trim_start_matches("other.")),
            None => read(self.fields, path),
        }
    }

    fn count(&self, path: &str) -> Read<Option<u64>> {
        let named = |refusal: Refusal| Refusal {
            field: Some(path.to_owned()),
            ..refusal
        };
        self.other(path, |fields, path| fields.count(path))
            .map_err(named)
    }

    fn other_text(&self, path: &str) -> Option<String> {
        let text = |fields: &Fields<'_>, path: &str| {
            let text = fields.text(path).ok().flatten();
            text.map(Cow::into_owned)
        };
        self.other(path, text)
    }

    fn is(&self, path: &str) -> bool {
        self.other(path, |fields, path| {
            matches!(fields.at(path), Ok(Some(Scalar::Bool(true))))
        })
    }

    /// A test of a channel, which an administrator or a timer makes. new-api logs it as usage of the
    /// administrator's, by a token that does not exist and has the name of the test; one-api as a
    /// type of its own, whose number new-api has for errors.
    fn is_test(&self, kind: &Read<Kind>) -> bool {
        let said = |path| self.fields.text(path).ok().flatten();
        let is_absent = |path| self.fields.at(path) == Ok(None);
        match kind {
            Ok(Kind::Consume) => {
                let has_no_token = matches!(self.fields.count("token_id"), Ok(None | Some(0)));
                let names = ["token_name", "content"];
                has_no_token
                    && names
                        .into_iter()
                        .all(|path| said(path).as_deref() == Some(TEST))
            }
            Ok(Kind::Error) => is_absent("other") && !is_absent("elapsed_time"),
            _ => false,
        }
    }

    /// A consume row that takes quota only, for a task or as a penalty: no request, no tokens.
    fn is_settlement(&self) -> bool {
        let has =
            |path: &str| self.other(path, |fields, path| !matches!(fields.at(path), Ok(None)));
        let has_tokens = [INPUT, OUTPUT]
            .into_iter()
            .any(|path| matches!(self.fields.count(path), Ok(Some(1..))));
        let is_quota_only = [
            "other.quota_delta",
            "other.violation_fee",
            "other.pre_consumed_quota",
            "other.actual_quota",
        ]
        .into_iter()
        .any(has);
        is_quota_only && !has_tokens
    }

    fn claim(&self, kind: Read<Kind>) -> Claim<'a> {
        let model = self.fields.text(MODEL);
        let endpoint = self.endpoint(model.as_ref().ok().and_then(Option::as_deref));
        let status = match &kind {
            Ok(Kind::Error) => Ok(self.failure()),
            Ok(_) => Ok(SUCCESS),
            Err(refusal) => Err(refusal.clone()),
        };
        let is_success = status == Ok(SUCCESS);
        Claim {
            names: NAMES,
            source: Format::NewApi.as_str(),
            id: self.id(),
            time: self.time(),
            user: self
                .fields
                .user(&[USER])
                .and_then(|user| user.ok_or_else(|| missing(USER))),
            provider: self.provider(),
            tokens: match kind {
                Ok(Kind::Refund) => Err(Refusal::new(
                    Reason::UnknownType,
                    KIND,
                    "is 6, a refund: it names a task, not the row of the request, and may give back only a part, so it is not known \
                     which request it is for. If that request counted, reverse it: `tidemark reverse`, or its page",
                )),
                // Nothing is charged for an attempt that failed.
                Ok(Kind::Error) => Ok(Tokens::default()),
                _ => self.tokens(is_success && has_output(&endpoint)),
            },
            endpoint: Ok(Cow::Owned(endpoint)),
            model,
            status,
            latency_ms: self.latency_ms(),
            audio_millis: None,
            // No version writes how many images there were.
            image_count: None,
            error_message: None,
            is_stream: matches!(self.fields.at("is_stream"), Ok(Some(Scalar::Bool(true)))),
            is_provider_made_up: false,
            is_failure_unattributed: false,
        }
    }

    fn id(&self) -> Read<Cow<'a, str>> {
        let id = self.fields.text(ID)?.ok_or_else(|| missing(ID))?;
        let whole = match self.fields.text(TIME)? {
            Some(time) => format!("{id}/{time}"),
            None => id.into_owned(),
        };
        Ok(Cow::Owned(whole))
    }

    fn time(&self) -> Read<Millis> {
        let time = self.fields.instant(TIME, Instant::Seconds)?;
        time.ok_or_else(|| missing(TIME))
    }

    /// Whole seconds, of which none says only that it took less than one; one-api has milliseconds.
    fn latency_ms(&self) -> Option<u64> {
        let measure = |path| self.fields.measure(path).ok().flatten();
        let seconds = measure("use_time").and_then(|seconds| seconds.checked_mul(1_000));
        seconds
            .or_else(|| measure("elapsed_time"))
            .filter(|latency| *latency > 0)
    }

    /// Who is configured for the channel, by its number or name; else the channel.
    fn provider(&self) -> Read<Option<Cow<'a, str>>> {
        let (_, channel) = self.fields.first(&CHANNELS)?;
        let channel = channel.filter(|channel| channel != "0");
        let name = self.fields.text(CHANNEL_NAME).ok().flatten();
        let names = [channel.as_deref(), name.as_deref()];
        let configured = self.settings.provider_of(names, self.time().ok());
        Ok(configured
            .map(|provider| Cow::Owned(provider.to_owned()))
            .or(channel))
    }

    /// The path that was called; older versions do not tell it, and there the model decides.
    fn endpoint(&self, model: Option<&str>) -> String {
        let path = self.other_text("other.request_path").map(Cow::Owned);
        let path = path.map(without_query).filter(|path| !path.is_empty());
        path.map_or_else(|| endpoint_of_model(model).to_owned(), Cow::into_owned)
    }

    fn failure(&self) -> u16 {
        let status = self.count("other.status_code").ok().flatten();
        let status = status.and_then(|status| u16::try_from(status).ok());
        status
            .filter(|status| (300..600).contains(status))
            .unwrap_or(FAILED)
    }

    fn tokens(&self, has_output: bool) -> Read<Tokens> {
        let counted = ReportedTokens {
            input: self.fields.count(INPUT)?,
            output: self.fields.count(OUTPUT)?,
            cached: self.count(CACHED)?,
            written: self.count(WRITTEN)?,
            ..ReportedTokens::default()
        };
        let is_beside = self.is("other.claude")
            || self.other_text("other.usage_semantic").as_deref() == Some("anthropic");
        let cached = match is_beside {
            true => CachedTokens::Outside,
            false => CachedTokens::Inside,
        };
        counted.tokens(cached, CACHED, has_output)
    }
}
