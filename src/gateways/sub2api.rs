//! sub2api: rows of its table `usage_logs`, as its API lists them.
//!
//! Where this is written down:
//! [`handler/dto/types.go`](https://github.com/Wei-Shaw/sub2api/blob/main/backend/internal/handler/dto/types.go),
//! the row;
//! [`handler/endpoint.go`](https://github.com/Wei-Shaw/sub2api/blob/main/backend/internal/handler/endpoint.go),
//! what `inbound_endpoint` may be.
//!
//! What stands behind the choices:
//! - **rows** exist for answered requests only: every one is a success.
//! - **id**: the row's number and its time together, so that a table that was created again begins
//!   anew.
//! - **provider**: the upstream account that served. Its number is the gateway's own, so who earns
//!   for it is configured (`http.gateways.providers`, by number or name).
//! - **tokens**: sub2api keeps input, cached and cache-writing tokens apart, whatever the
//!   upstream's form was.
//! - **costs** are the gateway's own and are not read: the counts are rated here.

use std::borrow::Cow;

use super::calls::Report;
use super::claim::{Claim, Read};
use super::fields::{Fields, Instant, missing, without_query};
use super::items::ItemReader;
use super::json::Scalar;
use super::kind::{endpoint_of_model, has_output, is_images};
use super::outcome::Skip;
use super::tokens::{ReportedTokens, Tokens};
use super::{BodyError, Format, GatewaySettings, Outcomes};
use crate::domain::time::Millis;
use crate::ops::config::CachedTokens;

const NAMES: &[(&str, &str)] = &[
    ("subject", USER),
    ("id", ID),
    ("time", TIME),
    ("data.providerId", ACCOUNT),
    ("data.endpoint", ENDPOINT),
    ("data.model", MODEL),
    ("data.inputTokens", INPUT),
    ("data.outputTokens", OUTPUT),
    ("data.cachedInputTokens", CACHED),
    ("data.cacheWriteTokens", WRITTEN),
];
const USER: &str = "user_id";
const ID: &str = "id";
const TIME: &str = "created_at";
const ACCOUNT: &str = "account_id";
const ACCOUNT_NAME: &str = "account.name";
const ENDPOINT: &str = "inbound_endpoint";
const MODEL: &str = "model";
const INPUT: &str = "input_tokens";
const OUTPUT: &str = "output_tokens";
const CACHED: &str = "cache_read_tokens";
const WRITTEN: &str = "cache_creation_tokens";
const LATENCY: &str = "duration_ms";
const IMAGES: &str = "image_count";

const SUCCESS: u16 = 200;
/// Gemini's API without the method, which says nothing of the service.
const GEMINI: &str = "/v1beta/models";

/// The outcomes of a body.
pub(super) fn read(body: &[u8], settings: &GatewaySettings) -> Result<Outcomes, BodyError> {
    let items = ItemReader {
        wanted: "sub2api's format: a row of its usage logs, an array of them, or one per line",
        unset: &[],
        lists: &["data.items", "data"],
        item: |fields: &Fields<'_>, index| report(fields, index, settings),
    };
    items.read(body)
}

fn report(fields: &Fields<'_>, index: usize, settings: &GatewaySettings) -> Result<Report, Skip> {
    let row = Row { fields, settings };
    Ok(Report {
        index,
        claim: row.claim().into_owned(),
        call: None,
        span: None,
        parent: None,
    })
}

struct Row<'f, 'a> {
    fields: &'f Fields<'a>,
    settings: &'f GatewaySettings,
}

impl<'a> Row<'_, 'a> {
    fn claim(&self) -> Claim<'a> {
        let model = self.fields.text(MODEL);
        let endpoint = self.endpoint(model.as_ref().ok().and_then(Option::as_deref));
        Claim {
            names: NAMES,
            source: Format::Sub2Api.as_str(),
            id: self.id(),
            time: self.time(),
            user: self
                .fields
                .user(&[USER])
                .and_then(|user| user.ok_or_else(|| missing(USER))),
            provider: self.provider(),
            tokens: self.tokens(has_output(&endpoint)),
            audio_millis: None,
            image_count: self.image_count(&endpoint),
            endpoint: Ok(Cow::Owned(endpoint)),
            model,
            status: Ok(SUCCESS),
            latency_ms: self.fields.measure(LATENCY).ok().flatten(),
            error_message: None,
            is_stream: matches!(self.fields.at("stream"), Ok(Some(Scalar::Bool(true)))),
            is_provider_made_up: false,
            is_failure_unattributed: false,
        }
    }

    /// However the time is written, it is the same row.
    fn id(&self) -> Read<Cow<'a, str>> {
        let id = self.fields.text(ID)?.ok_or_else(|| missing(ID))?;
        Ok(Cow::Owned(format!("{id}/{}", self.time()?.0)))
    }

    fn time(&self) -> Read<Millis> {
        let time = self.fields.instant(TIME, Instant::Rfc3339)?;
        time.ok_or_else(|| missing(TIME))
    }

    /// Who is configured for the account, by its number or name; else the account.
    fn provider(&self) -> Read<Option<Cow<'a, str>>> {
        let account = self.fields.text(ACCOUNT)?.filter(|account| account != "0");
        let name = self.fields.text(ACCOUNT_NAME).ok().flatten();
        let names = [account.as_deref(), name.as_deref()];
        let configured = self.settings.provider_of(names, self.time().ok());
        Ok(configured
            .map(|provider| Cow::Owned(provider.to_owned()))
            .or(account))
    }

    /// The path that was called; where it says nothing of the service, the model decides.
    fn endpoint(&self, model: Option<&str>) -> String {
        let path = self.fields.text(ENDPOINT).ok().flatten().map(without_query);
        let path = path.filter(|path| !path.is_empty() && !path.starts_with(GEMINI));
        path.map_or_else(|| endpoint_of_model(model).to_owned(), Cow::into_owned)
    }

    /// Rows of other calls have a count of 0, which says nothing about them.
    fn image_count(&self, endpoint: &str) -> Option<u64> {
        let count = self.fields.count(IMAGES).ok().flatten();
        count.filter(|_| is_images(endpoint))
    }

    fn tokens(&self, has_output: bool) -> Read<Tokens> {
        let counted = ReportedTokens {
            input: self.fields.count(INPUT)?,
            output: self.fields.count(OUTPUT)?,
            cached: self.fields.count(CACHED)?,
            written: self.fields.count(WRITTEN)?,
            ..ReportedTokens::default()
        };
        counted.tokens(CachedTokens::Outside, CACHED, has_output)
    }
}
