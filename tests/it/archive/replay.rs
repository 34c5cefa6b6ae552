//! The archive rated again: under the same rules it gives what was posted, under others what rating
//! would have given.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tidemark::app::queries::{
    AccountChange, EachAccount, MonthCoverage, ReplayError, ReplayReport, ReplayRequest,
    StoredArchive, replay, season_boards,
};
use tidemark::archive::{
    ArchiveStore, ArchiveWriter, ArchivedRequest, FileName, Folder, RequestKind, Rows,
};
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::{Service, UsageEvent};
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition};
use tidemark::domain::rating::{Amounts, cascade, rate};
use tidemark::domain::rules::{Network, RuleBook, RuleChange, Rules, RulesDocument, SeasonSpan};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::time::{DAY_MS, Day, Millis, Month};
use tidemark::store::audits::coverage::{Coverage, Gap};

const MIB: usize = 1024 * 1024;
const MODELS: [&str; 6] = [
    "gpt-4o",
    "llama-3-8b",
    "mixtral-8x7b",
    "made-up",
    "azure/gpt-35-turbo",
    "special",
];
const SERVICES: [(Service, &str); 4] = [
    (Service::CHAT_COMPLETIONS, "/v1/chat/completions"),
    (Service::EMBEDDINGS, "/v1/embeddings"),
    (Service::TTS, "/v1/tts"),
    (Service::SCRAPE, "/v1/scrape"),
];

fn month() -> Month {
    "2026-11".parse().unwrap()
}

fn document(change: impl Fn(&str) -> String) -> RulesDocument {
    let (name, text) = Network::Mainnet.document();
    RulesDocument::parse_toml(name, &change(text)).unwrap()
}

fn at(text: &str) -> Option<Millis> {
    Some(text.parse().unwrap())
}

/// The mainnet's rules, and changes of prices, shares, models and of the network within the month.
fn book() -> RuleBook {
    let mut book = RuleBook::default();
    let first = document(str::to_owned).changes().into_iter();
    let first: Vec<RuleChange> = first
        .map(|(key, value)| RuleChange {
            key,
            value,
            effective_from: None,
        })
        .collect();
    book.apply(Control(1), &first).unwrap();
    let prices = r#"[{"match":"special","input":"0.123456789","output":"1"}]"#;
    for (control, key, value, from) in [
        (
            3,
            "rules.shares",
            r#"{"user":1234,"cascade":[1999,777,1]}"#,
            "2026-11-07T12:00:00Z",
        ),
        (4, "rules.modelPrices", prices, "2026-11-10T00:00:00Z"),
        (9, "system_mainnet", "false", "2026-11-20T00:00:00Z"),
    ] {
        let change = RuleChange {
            key: key.to_owned(),
            value: value.to_owned(),
            effective_from: at(from),
        };
        book.apply(Control(control), &[change]).unwrap();
    }
    book
}

/// What varies between records.
#[derive(Clone, Debug)]
pub struct Seed {
    kind: RequestKind,
    service: usize,
    model: Option<usize>,
    status: u16,
    user: u32,
    provider: Option<u32>,
    referrers: [usize; 2],
    /// Of what kind they are: those of the user, and those of the provider.
    referrer_kinds: [[AccountKind; 3]; 2],
    hour: i64,
    is_late: bool,
    control: u64,
    counts: [Option<u64>; 7],
    /// Which of the counts, the model and the provider the first report had, if this completes it.
    first_had: [bool; 9],
}

fn referrer_kinds() -> impl Strategy<Value = [AccountKind; 3]> {
    let kind = || select(&AccountKind::ALL[..]);
    [kind(), kind(), kind()]
}

fn seed() -> impl Strategy<Value = Seed> {
    let count = || option::of(prop_oneof![0..5_000_u64, 0..1_u64 << 40]);
    (
        (
            select(&RequestKind::ALL[..]),
            0..SERVICES.len(),
            option::of(0..MODELS.len()),
            select(vec![200, 200, 200, 204, 404, 500]),
            0..40_u32,
            option::of(0..6_u32),
        ),
        (
            [0..4_usize, 0..4],
            [referrer_kinds(), referrer_kinds()],
            0..30 * 24_i64,
            any::<bool>(),
            1..12_u64,
            [
                count(),
                count(),
                count(),
                count(),
                count(),
                count(),
                count(),
            ],
            any::<[bool; 9]>(),
        ),
    )
        .prop_map(
            |(
                (kind, service, model, status, user, provider),
                (referrers, referrer_kinds, hour, is_late, control, counts, first_had),
            )| Seed {
                kind,
                service,
                model,
                status,
                user,
                provider,
                referrers,
                referrer_kinds,
                hour,
                is_late,
                control,
                counts,
                first_had,
            },
        )
}

impl Seed {
    fn time(&self) -> Millis {
        month().start().plus(self.hour * 3_600_000)
    }

    /// The request as its last report has it; or as the first one, which said less.
    fn event(&self, is_first: bool) -> UsageEvent<'static> {
        let count =
            |place: usize| self.counts[place].filter(|_| !is_first || self.first_had[place]);
        let model = self.model.filter(|_| !is_first || self.first_had[7]);
        UsageEvent {
            source: "s".into(),
            id: "i".into(),
            time: self.time(),
            user: format!("user-{}", self.user).into(),
            provider: self.provider.map(|number| format!("prov-{number}").into()),
            endpoint: SERVICES[self.service].1.into(),
            model: model.map(|place| MODELS[place].into()),
            status: self.status,
            latency_ms: None,
            input_tokens: count(0),
            output_tokens: count(1),
            cached_input_tokens: count(2),
            cache_write_tokens: count(3),
            reasoning_tokens: count(4),
            audio_millis: count(5),
            image_count: count(6),
            request_bytes: None,
            response_bytes: None,
            error_message: None,
            stream: false,
        }
    }

    fn provider_is_new(&self) -> bool {
        self.kind == RequestKind::Completion && self.provider.is_some() && !self.first_had[8]
    }

    /// What the record posts to everybody, as rating does it: the amounts of the request, of the
    /// difference, or of what is taken back.
    fn posted(&self, rules: &Rules) -> Posted {
        let service = SERVICES[self.service].0;
        let rated = |event: &UsageEvent<'_>| {
            let model = event.model.as_deref();
            let detection = rules.detect_for(service, model, Semantics::NOW);
            rate(event, service, &detection, rules)
        };
        let whole = rated(&self.event(false));
        let (before, now) = match self.kind {
            RequestKind::Event => (Amounts::default(), whole),
            RequestKind::Reversal => (whole, Amounts::default()),
            RequestKind::Completion => {
                let mut first = rated(&self.event(true));
                if self.provider_is_new() {
                    first.provider = Points::ZERO;
                }
                (first, whole)
            }
        };
        let shares = rules.cascade();
        let change = |before: Points, now: Points, referrers: usize| {
            let [before, now] = [before, now].map(|points| cascade(points, shares));
            let of = |level: usize| match level < referrers {
                true => now[level].minus(before[level]),
                false => Points::ZERO,
            };
            [of(0), of(1), of(2)]
        };
        let has_provider = self.provider.is_some();
        let provider = |amounts: &Amounts| match has_provider {
            true => amounts.provider,
            false => Points::ZERO,
        };
        let (provider_before, provider_now) = (provider(&before), provider(&now));
        Posted {
            user: now.user.minus(before.user),
            provider: provider_now.minus(provider_before),
            cost: now.charge.cost.minus(before.charge.cost),
            shadow: now.charge.shadow.minus(before.charge.shadow),
            user_referrals: change(before.user, now.user, self.referrers[0]),
            provider_referrals: change(provider_before, provider_now, self.provider_referrers()),
        }
    }

    fn provider_referrers(&self) -> usize {
        match self.provider {
            Some(_) => self.referrers[1],
            None => 0,
        }
    }
}

struct Posted {
    user: Points,
    provider: Points,
    cost: Money,
    shadow: Money,
    user_referrals: [Points; 3],
    provider_referrals: [Points; 3],
}

const REFERRERS: [&str; 3] = ["ref-a", "ref-b", "ref-c"];

fn push(rows: &mut Rows, seed: &Seed, posted: &Posted, rules: &Rules, place: u64) {
    let (event, first) = (seed.event(false), seed.event(true));
    let completes = seed.kind == RequestKind::Completion;
    let earlier = |count: Option<u64>| count.filter(|_| completes);
    let service = SERVICES[seed.service].0;
    let detection = rules.detect_for(service, event.model.as_deref(), Semantics::NOW);
    let referrer = |count: usize, level: usize| (level < count).then(|| REFERRERS[level]);
    let (of_user, of_provider) = (seed.referrers[0], seed.provider_referrers());
    let kind = |of: usize, level: usize| {
        let count = [of_user, of_provider][of];
        (level < count).then(|| seed.referrer_kinds[of][level])
    };
    rows.push(&ArchivedRequest {
        kind: seed.kind,
        source: "s",
        id: "i",
        user: &event.user,
        provider: event.provider.as_deref(),
        endpoint: &event.endpoint,
        service_name: "",
        service,
        model: event.model.as_deref(),
        tier: (service == Service::CHAT_COMPLETIONS).then_some(detection.tier),
        status: event.status,
        latency_ms: None,
        input_tokens: event.input_tokens,
        output_tokens: event.output_tokens,
        cached_input_tokens: event.cached_input_tokens,
        cache_write_tokens: event.cache_write_tokens,
        reasoning_tokens: event.reasoning_tokens,
        audio_ms: event.audio_millis,
        image_count: event.image_count,
        request_bytes: None,
        response_bytes: None,
        stream: false,
        time: event.time,
        log_time: Millis(i64::from(folder().day.0) * DAY_MS),
        epoch: Epoch(0),
        partition: Partition(0),
        offset: Offset(place),
        chunk: Chunk(1),
        chunk_log_time: event.time,
        control: Control(seed.control),
        semantics: Semantics::NOW.number(),
        month: month(),
        booked_on: (!seed.is_late).then(|| event.time.day()),
        user_points: posted.user,
        provider_points: posted.provider,
        cost: posted.cost,
        shadow_cost: posted.shadow,
        target_ms: 0,
        trial_points: None,
        user_referrer_1: referrer(of_user, 0),
        user_referrer_1_kind: kind(0, 0),
        user_referrer_2: referrer(of_user, 1),
        user_referrer_2_kind: kind(0, 1),
        user_referrer_3: referrer(of_user, 2),
        user_referrer_3_kind: kind(0, 2),
        user_referral_1: posted.user_referrals[0],
        user_referral_2: posted.user_referrals[1],
        user_referral_3: posted.user_referrals[2],
        provider_referrer_1: referrer(of_provider, 0),
        provider_referrer_1_kind: kind(1, 0),
        provider_referrer_2: referrer(of_provider, 1),
        provider_referrer_2_kind: kind(1, 1),
        provider_referrer_3: referrer(of_provider, 2),
        provider_referrer_3_kind: kind(1, 2),
        provider_referral_1: posted.provider_referrals[0],
        provider_referral_2: posted.provider_referrals[1],
        provider_referral_3: posted.provider_referrals[2],
        original_offset: None,
        original_epoch: None,
        original_source: None,
        original_id: None,
        provider_is_new: seed.provider_is_new(),
        earlier_model: first.model.as_deref().filter(|_| completes),
        earlier_latency_ms: None,
        earlier_target_ms: None,
        earlier_input_tokens: earlier(first.input_tokens),
        earlier_output_tokens: earlier(first.output_tokens),
        earlier_cached_input_tokens: earlier(first.cached_input_tokens),
        earlier_cache_write_tokens: earlier(first.cache_write_tokens),
        earlier_reasoning_tokens: earlier(first.reasoning_tokens),
        earlier_audio_ms: earlier(first.audio_millis),
        earlier_image_count: earlier(first.image_count),
    });
}

/// Writes files of so many records each, and that they are all that there is.
pub fn archive(directory: &Path, seeds: &[Seed], per_file: usize) {
    let mut book = book();
    for (number, portion) in seeds.chunks(per_file).enumerate() {
        let mut rows = Rows::default();
        let from = (number * per_file) as u64;
        for (place, seed) in (from..).zip(portion) {
            let timeline = book.as_of(Control(seed.control)).unwrap();
            let rules = timeline.at(seed.time());
            push(&mut rows, seed, &seed.posted(rules), rules, place);
        }
        let mut writer = ArchiveWriter::new().unwrap();
        writer.append(&rows).unwrap();
        let name = FileName {
            epoch: Epoch(0),
            source: Partition(0),
            from: Offset(from),
            to: Offset(from + portion.len() as u64),
        };
        put(directory, name, &writer.finish().unwrap());
    }
    cover(directory, &coverage(seeds)[0]);
}

/// Says that this is all that there is.
pub fn cover(directory: &Path, coverage: &Coverage) {
    let place = directory.join("_coverage");
    if place.exists() {
        fs::remove_dir_all(&place).unwrap();
    }
    fs::create_dir_all(&place).unwrap();
    let (epoch, source, next) = (coverage.epoch.0, coverage.source.0, coverage.next_cut.0);
    let name = format!("e{epoch:010}-p{source:05}-{next:020}.json");
    fs::write(place.join(name), serde_json::to_vec(coverage).unwrap()).unwrap();
}

/// What [`archive`] writes, as the auditor keeps it.
pub fn coverage(seeds: &[Seed]) -> [Coverage; 1] {
    let begin = Coverage::beginning("t", Epoch(0), Partition(0), Offset(0));
    [Coverage {
        to: Offset(seeds.len() as u64),
        chunk: Some(Chunk(1)),
        is_from_start: true,
        rows_of_month: BTreeMap::from([(month(), seeds.len() as u64)]),
        ..begin
    }]
}

/// That of every file.
fn folder() -> Folder {
    Folder {
        month: month(),
        day: Day(20_400),
    }
}

fn put(directory: &Path, name: FileName, bytes: &[u8]) {
    let path = directory.join(name.path_in(folder()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every account that was told.
#[derive(Default)]
struct Accounts(BTreeMap<(AccountKind, String), AccountChange>);

impl EachAccount for Accounts {
    fn restart(&mut self) -> Result<(), String> {
        self.0.clear();
        Ok(())
    }

    fn account(
        &mut self,
        kind: AccountKind,
        id: &str,
        change: &AccountChange,
    ) -> Result<(), String> {
        let before = self.0.insert((kind, id.to_owned()), *change);
        assert_eq!(before, None, "{id} is told once");
        Ok(())
    }
}

fn request(rules: Option<RulesDocument>, memory_bytes: usize) -> ReplayRequest {
    ReplayRequest {
        coverage: MonthCoverage {
            month: month(),
            coverages: Vec::new(),
            missing: None,
            up_to: None,
        },
        partial: false,
        rules,
        memory_bytes,
        top: 5,
        threads: 2,
        records_max: None,
    }
}

/// Replays what the archive says that it holds.
fn run(directory: &Path, request: &ReplayRequest) -> Result<(ReplayReport, Accounts), ReplayError> {
    let mut accounts = Accounts::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = ArchiveStore::in_directory(directory).unwrap();
    let mut request = request.clone();
    request.coverage.coverages = runtime.block_on(store.coverages()).unwrap();
    let report = replay(
        &StoredArchive::new(store, runtime.handle().clone()),
        &book(),
        &request,
        &mut accounts,
    )?;
    Ok((report, accounts))
}

/// The mainnet's rules with other numbers in place of every kind of them.
fn other_rules(text: &str) -> String {
    let mut text = text.to_owned();
    for (this, that) in [
        (
            r#"blue_surge_input     = { pricePerUnit = "0.0005""#,
            r#"blue_surge_input     = { pricePerUnit = "0.000777777""#,
        ),
        (
            r#"scrape               = { pricePerUnit = "0.001""#,
            r#"scrape               = { pricePerUnit = "0.000000001""#,
        ),
        ("mariana_depth = \"15\"", "mariana_depth = \"14.123456\""),
        ("user = 1000", "user = 333"),
        ("cascade = [2000, 1000, 500]", "cascade = [1, 2001, 499]"),
    ] {
        assert!(text.contains(this), "{this}");
        text = text.replace(this, that);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever was archived: its own rules give what was posted.
    #[test]
    fn under_the_rules_that_there_were_replay_gives_what_was_posted(
        seeds in vec(seed(), 1..120), per_file in 1..60_usize
    ) {
        let directory = tempfile::tempdir().unwrap();
        archive(directory.path(), &seeds, per_file);
        let (report, accounts) = run(directory.path(), &request(None, MIB)).unwrap();
        prop_assert_eq!(report.rows.changed, 0);
        prop_assert_eq!(report.rows.sum(), seeds.len() as u64);
        prop_assert_eq!(report.accounts, accounts.0.len() as u64);
        let totals = report.totals;
        prop_assert_eq!(totals.cost.before, totals.cost.after);
        prop_assert_eq!(totals.user_points.before, totals.user_points.after);
        for (account, change) in &accounts.0 {
            prop_assert_eq!(change.points().before, change.points().after, "{:?}", account);
            prop_assert_eq!(change.cost.before, change.cost.after, "{:?}", account);
        }
        prop_assert!(report.ranks.gain_points.is_empty() && report.ranks.pay_more.is_empty());
    }

    /// A season's boards are not made of files that overlap, or where one is missing.
    #[test]
    fn a_season_is_refused_where_files_overlap_or_are_missing(
        seeds in vec(seed(), 2..60), which in 0..60_usize
    ) {
        let directory = tempfile::tempdir().unwrap();
        archive(directory.path(), &seeds, 1);
        let whole = coverage(&seeds);
        let from = month().start();
        let season = SeasonSpan { name: "High tide".to_owned(), from, to: from.plus(86_400_000) };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = ArchiveStore::in_directory(directory.path()).unwrap();
        let stored = StoredArchive::new(store, runtime.handle().clone());
        prop_assert!(season_boards(&stored, &season, &whole).is_ok());
        let files = stored.files(month()).unwrap();
        let path = directory.path().join(files[which % files.len()].to_string());
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let missing = season_boards(&stored, &season, &whole);
        let code = missing.err().and_then(|error| error.code());
        prop_assert_eq!(code, Some("season_archive_rows_missing"));
        fs::write(&path, &bytes).unwrap();
        let twice = FileName { from: Offset(0), to: Offset(2), ..files[0].name };
        put(directory.path(), twice, &bytes);
        let overlapping = season_boards(&stored, &season, &whole);
        let code = overlapping.err().and_then(|error| error.code());
        prop_assert_eq!(code, Some("season_archive_overlaps"));
    }

    /// The leaderboards of a season are the sums of its records, in whichever files these are.
    #[test]
    fn a_season_has_the_sums_of_its_records(
        seeds in vec(seed(), 1..120), per_file in 1..60_usize, from in 0..700_i64, hours in 1..400_i64
    ) {
        let directory = tempfile::tempdir().unwrap();
        archive(directory.path(), &seeds, per_file);
        let from = month().start().plus(from * 3_600_000);
        let season = SeasonSpan {
            name: "High tide".to_owned(),
            from,
            to: from.plus(hours * 3_600_000),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = ArchiveStore::in_directory(directory.path()).unwrap();
        let stored = StoredArchive::new(store, runtime.handle().clone());
        let boards = season_boards(&stored, &season, &coverage(&seeds)).unwrap();
        let is_in = |seed: &&Seed| season.from <= seed.time() && seed.time() < season.to;
        let within: Vec<Seed> = seeds.iter().filter(is_in).cloned().collect();
        prop_assert_eq!(boards.rows, within.len() as u64);
        let mut sums = posted_sums(&within);
        for (kind, places) in [(AccountKind::User, &boards.users), (AccountKind::Provider, &boards.providers)] {
            let mut own: Vec<(Points, String)> = Vec::new();
            sums.retain(|(of, id), points| {
                if *of == kind {
                    own.push((*points, id.clone()));
                }
                *of != kind
            });
            own.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            own.truncate(100);
            let told: Vec<(Points, String)> =
                places.iter().map(|place| (place.points, place.id.clone())).collect();
            prop_assert_eq!(told, own);
            prop_assert!(places.iter().map(|place| place.rank).eq(1..=places.len() as u64));
        }
        prop_assert_eq!(season_boards(&stored, &season, &coverage(&seeds)).unwrap(), boards);
    }

    /// Other rules: each account has what rating each of its records by them gives; in one pass or in many.
    #[test]
    fn under_other_rules_replay_gives_what_rating_gives(
        seeds in vec(seed(), 1..120), per_file in 1..60_usize
    ) {
        let directory = tempfile::tempdir().unwrap();
        archive(directory.path(), &seeds, per_file);
        let rules = document(other_rules);
        let (report, accounts) = run(directory.path(), &request(Some(rules), MIB)).unwrap();
        let expected = expected(&seeds);
        for (account, change) in &accounts.0 {
            let (points, cost, shadow) = expected.get(account).copied().unwrap_or_default();
            prop_assert_eq!(change.points().after, points, "{:?}", account);
            prop_assert_eq!(change.cost.after, cost, "{:?}", account);
            prop_assert_eq!(change.shadow_cost.after, shadow, "{:?}", account);
        }
        let told = expected.keys().filter(|account| !accounts.0.contains_key(account)).count();
        prop_assert_eq!(told, 0, "every account is told");
        let sum: i128 = expected.values().map(|(_, cost, _)| cost.0).sum();
        prop_assert_eq!(report.totals.cost.after.0, sum);

        let little = request(Some(document(other_rules)), 16_384);
        match run(directory.path(), &little) {
            Ok((again, same)) => {
                prop_assert_eq!(same.0, accounts.0);
                prop_assert_eq!(ReplayReport { passes: report.passes, ..again }, report);
            }
            // A single account may need more, once its table has grown.
            Err(error) => prop_assert!(matches!(error, ReplayError::Memory { .. }), "{}", error),
        }
    }
}

type Expected = BTreeMap<(AccountKind, String), (Points, Money, Money)>;

fn expected(seeds: &[Seed]) -> Expected {
    // The document's values count from the beginning; the model's prices are not in it.
    let mut other = RuleBook::default();
    let changes = document(other_rules).changes().into_iter();
    let changes: Vec<RuleChange> = changes
        .map(|(key, value)| RuleChange {
            key,
            value,
            effective_from: None,
        })
        .collect();
    other.apply(Control(1), &changes).unwrap();
    let prices = RuleChange {
        key: "rules.modelPrices".to_owned(),
        value: r#"[{"match":"special","input":"0.123456789","output":"1"}]"#.to_owned(),
        effective_from: at("2026-11-10T00:00:00Z"),
    };
    other.apply(Control(4), &[prices]).unwrap();
    let mut all = Expected::new();
    for seed in seeds {
        let timeline = other.as_of(Control(seed.control)).unwrap();
        let posted = seed.posted(timeline.at(seed.time()));
        let mut add = |kind, id: String, points: Points, cost: Money, shadow: Money| {
            let of = all.entry((kind, id)).or_default();
            of.0 = of.0.plus(points);
            of.1 = of.1.plus(cost);
            of.2 = of.2.plus(shadow);
        };
        let zero = Money::ZERO;
        let user = format!("user-{}", seed.user);
        add(
            AccountKind::User,
            user,
            posted.user,
            posted.cost,
            posted.shadow,
        );
        if let Some(number) = seed.provider {
            let provider = format!("prov-{number}");
            add(AccountKind::Provider, provider, posted.provider, zero, zero);
        }
        for (level, id) in REFERRERS.iter().enumerate() {
            if level < seed.referrers[0] {
                let points = posted.user_referrals[level];
                let kind = seed.referrer_kinds[0][level];
                add(kind, (*id).to_owned(), points, zero, zero);
            }
            if level < seed.provider_referrers() {
                let points = posted.provider_referrals[level];
                let kind = seed.referrer_kinds[1][level];
                add(kind, (*id).to_owned(), points, zero, zero);
            }
        }
    }
    all
}

/// What records post to each account, as they were rated.
fn posted_sums(seeds: &[Seed]) -> BTreeMap<(AccountKind, String), Points> {
    let mut book = book();
    let mut all: BTreeMap<(AccountKind, String), Points> = BTreeMap::new();
    for seed in seeds {
        let timeline = book.as_of(Control(seed.control)).unwrap();
        let posted = seed.posted(timeline.at(seed.time()));
        let mut add = |kind, id: String, points: Points| {
            if points != Points::ZERO {
                let sum = all.entry((kind, id)).or_default();
                *sum = sum.plus(points);
            }
        };
        add(
            AccountKind::User,
            format!("user-{}", seed.user),
            posted.user,
        );
        if let Some(number) = seed.provider {
            add(
                AccountKind::Provider,
                format!("prov-{number}"),
                posted.provider,
            );
        }
        for (level, id) in REFERRERS.iter().enumerate() {
            if level < seed.referrers[0] {
                add(
                    seed.referrer_kinds[0][level],
                    (*id).to_owned(),
                    posted.user_referrals[level],
                );
            }
            if level < seed.provider_referrers() {
                let points = posted.provider_referrals[level];
                let kind = seed.referrer_kinds[1][level];
                add(kind, (*id).to_owned(), points);
            }
        }
    }
    all
}

pub fn example(user: u32) -> Seed {
    Seed {
        kind: RequestKind::Event,
        service: 0,
        model: Some(1),
        status: 200,
        user,
        provider: Some(1),
        referrers: [0, 0],
        referrer_kinds: [[AccountKind::User; 3], [AccountKind::Provider; 3]],
        hour: 1,
        is_late: false,
        control: 1,
        counts: [
            Some(1_000 * u64::from(user)),
            Some(0),
            None,
            None,
            None,
            None,
            None,
        ],
        first_had: [true; 9],
    }
}

#[test]
fn the_accounts_that_change_most_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let seeds: Vec<Seed> = (1..=9).map(example).collect();
    archive(directory.path(), &seeds, 4);
    let rules = document(other_rules);
    let (report, _) = run(directory.path(), &request(Some(rules), MIB)).unwrap();
    let names = |list: &[tidemark::app::queries::ChangedAccount]| -> Vec<String> {
        list.iter().map(|account| account.id.clone()).collect()
    };
    let ranks = &report.ranks;
    assert_eq!(
        names(&ranks.pay_more),
        ["user-9", "user-8", "user-7", "user-6", "user-5"]
    );
    assert_eq!(
        names(&ranks.lose_points),
        ["user-1", "user-2", "user-3", "user-4", "user-5"]
    );
    assert_eq!(names(&ranks.gain_points), [""; 0]);
    assert_eq!(report.rows.changed, 9);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["totals"]["cost"]["before"], "0.0225");
    assert_eq!(json["totals"]["cost"]["after"], "0.034999965");
    assert_eq!(json["payMore"][0]["points"]["before"], "0.3");
    assert_eq!(json["payMore"][0]["points"]["after"], "0.0999");
}

/// A bound of records leaves out whole files, always the same ones, and takes them from everywhere.
#[test]
fn a_bounded_replay_reads_files_spread_over_the_month() {
    let directory = tempfile::tempdir().unwrap();
    let seeds: Vec<Seed> = (0..100).map(|number| example(number / 10)).collect();
    archive(directory.path(), &seeds, 1);
    let bounded = |records_max| ReplayRequest {
        records_max: Some(records_max),
        ..request(None, MIB)
    };
    let (part, users) = run(directory.path(), &bounded(20)).unwrap();
    assert_eq!(
        (part.files, part.rows.sum(), part.is_whole),
        (20, 20, false)
    );
    let of_user = |accounts: &Accounts, number: u32| {
        let change = accounts
            .0
            .get(&(AccountKind::User, format!("user-{number}")));
        change.map_or(0, |change| change.requests)
    };
    for number in 0..10 {
        let count = of_user(&users, number);
        assert!((1..=3).contains(&count), "{number}: {count} of 10 files");
    }
    let (again, users_again) = run(directory.path(), &bounded(20)).unwrap();
    assert_eq!((again, users_again.0), (part, users.0));
    let (whole, _) = run(directory.path(), &bounded(100)).unwrap();
    let (all, _) = run(directory.path(), &request(None, MIB)).unwrap();
    assert_eq!((&whole, whole.is_whole), (&all, true));
}

#[test]
fn an_archive_that_cannot_be_replayed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| match run(path, &request(None, MIB)) {
        Ok(_) => panic!("it is replayed"),
        Err(error) => error,
    };
    let nothing = refused(directory.path());
    assert!(matches!(nothing, ReplayError::Nothing { .. }), "{nothing}");
    archive(directory.path(), &[example(1), example(2)], 2);
    let [whole] = coverage(&[example(1), example(2)]);
    let to = Offset(6);
    cover(directory.path(), &Coverage { to, ..whole });
    let name = |from: u64, to: u64| FileName {
        epoch: Epoch(0),
        source: Partition(0),
        from: Offset(from),
        to: Offset(to),
    };
    put(directory.path(), name(5, 6), b"PAR1 but no more");
    let damaged = refused(directory.path());
    assert!(matches!(damaged, ReplayError::File { .. }), "{damaged}");
    let name_of = damaged.to_string();
    assert!(name_of.contains("00000000000000000005"), "{name_of}");
    put(directory.path(), name(1, 5), b"");
    let twice = refused(directory.path());
    assert!(matches!(twice, ReplayError::Overlap { .. }), "{twice}");

    let directory = tempfile::tempdir().unwrap();
    let unknown = Seed {
        control: 0,
        ..example(1)
    };
    let mut rows = Rows::default();
    let timeline = book().as_of(Control(1)).unwrap();
    let rules = timeline.at(unknown.time());
    push(&mut rows, &unknown, &unknown.posted(rules), rules, 0);
    let mut writer = ArchiveWriter::new().unwrap();
    writer.append(&rows).unwrap();
    put(directory.path(), name(0, 1), &writer.finish().unwrap());
    let [whole] = coverage(&[unknown]);
    cover(directory.path(), &whole);
    let before_rules = refused(directory.path());
    assert!(
        matches!(before_rules, ReplayError::NoRules { .. }),
        "{before_rules}"
    );
}

/// What is missing is refused, or said; what is not covered does not count.
#[test]
fn an_archive_that_lacks_requests_is_replayed_only_on_demand() {
    let seeds: Vec<Seed> = (1..=6).map(example).collect();
    let [whole] = coverage(&seeds);
    let gap = Gap {
        from: Offset(1),
        to: Offset(3),
        reason: "lost".to_owned(),
        log_time_from: Millis(0),
        log_time_to: Millis(0),
    };
    let five = BTreeMap::from([(month(), 5)]);
    // Why it is known to be missing, what is covered, whether a file is deleted; what is said to be
    // missing, and which users are replayed.
    type Row<'r> = (
        &'r str,
        Option<&'r str>,
        Coverage,
        bool,
        Option<&'r str>,
        &'r [u32],
    );
    let rows: Vec<Row<'_>> = vec![
        (
            "all of it",
            None,
            whole.clone(),
            false,
            None,
            &[1, 2, 3, 4, 5, 6],
        ),
        (
            "a file was deleted",
            None,
            whole.clone(),
            true,
            Some("it should hold 6 rows of the month, but its files hold 4"),
            &[1, 2, 5, 6],
        ),
        (
            "a row too many",
            None,
            Coverage {
                rows_of_month: five,
                ..whole.clone()
            },
            false,
            Some("it should hold 5 rows of the month, but its files hold 6"),
            &[1, 2, 3, 4, 5, 6],
        ),
        (
            "the last file is being written",
            None,
            Coverage {
                to: Offset(5),
                rows_of_month: BTreeMap::from([(month(), 4)]),
                ..whole.clone()
            },
            false,
            None,
            &[1, 2, 3, 4],
        ),
        (
            "a gap, of which files hold rows",
            Some("the archive lacks requests of 2026-11: lost"),
            Coverage {
                rows_of_month: BTreeMap::from([(month(), 4)]),
                gaps: vec![gap],
                ..whole.clone()
            },
            false,
            Some("the archive lacks requests of 2026-11: lost"),
            &[1, 4, 5, 6],
        ),
    ];
    for (what, missing, covered, is_deleted, said, users) in rows {
        let directory = tempfile::tempdir().unwrap();
        archive(directory.path(), &seeds, 2);
        cover(directory.path(), &covered);
        if is_deleted {
            let second = FileName {
                epoch: Epoch(0),
                source: Partition(0),
                from: Offset(2),
                to: Offset(4),
            };
            fs::remove_file(directory.path().join(second.path_in(folder()))).unwrap();
        }
        let mut request = request(None, MIB);
        request.coverage.missing = missing.map(str::to_owned);
        match (run(directory.path(), &request), said) {
            (Ok((report, _)), None) => assert!(report.is_whole, "{what}"),
            (Err(ReplayError::Incomplete(error)), Some(why)) => {
                assert_eq!(error.why, why, "{what}")
            }
            (Err(error), _) => panic!("{what}: {error}"),
            (Ok(_), Some(_)) => panic!("{what}: it is replayed"),
        }
        request.partial = true;
        let (report, accounts) = run(directory.path(), &request).unwrap();
        assert_eq!(report.missing.as_deref(), said, "{what}");
        assert_eq!(report.is_whole, said.is_none(), "{what}");
        let replayed = accounts
            .0
            .keys()
            .filter(|(kind, _)| *kind == AccountKind::User);
        let replayed: Vec<&str> = replayed.map(|(_, id)| id.as_str()).collect();
        let must: Vec<String> = users.iter().map(|user| format!("user-{user}")).collect();
        assert_eq!(replayed, must, "{what}");
    }
}
