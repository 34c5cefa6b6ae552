//! Goes through the log once, record by record.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::event::{self, Event, Reversal};
use super::rules::{Book, CLASSES, Rules};
use super::statement::{self, ALL, DAY_MS, Ledger, Sums, closes, day_of, floor, month_of_day};
use super::tier;
use super::{Accepted, Account, Cut, Explained, Grant, Input, Link, Output, Place, SourceRecord};

const MINUTE_MS: i64 = 60_000;
const AHEAD_MS: i64 = 5 * MINUTE_MS;
const BEHIND_MS: i64 = 35 * DAY_MS;

/// What was heard of one identity: where, at which offset, and what it said.
type Heard = BTreeMap<(String, String, String), Vec<(u32, u64, Event)>>;
/// What a usage row is keyed by: user, time, source, id.
type RowKey = (String, i64, String, String);

/// Successes that one chunk brought to an account, with the chunk's source log time.
struct Step {
    partition: u32,
    chunk: u64,
    log_time: i64,
    /// Those that it took back are subtracted.
    successes: i128,
    /// The most that it had brought at any moment.
    peak: i128,
}

/// An event that counted, as a reversal needs it.
#[derive(Clone)]
struct Counted {
    /// As it was completed, if it was.
    event: Event,
    /// As it was reported first.
    first: Event,
    /// Whether it has a usage row.
    has_row: bool,
    service: &'static str,
    ok: bool,
    target: i128,
    provider_points: i128,
    user_points: i128,
    cost: i128,
    mainnet: bool,
    shares: Vec<i128>,
    control: u64,
}

struct Count<'i> {
    input: &'i Input,
    book: Book,
    ledgers: BTreeMap<Account, Ledger>,
    trials: BTreeSet<(String, &'static str)>,
    steps: BTreeMap<Account, Vec<Step>>,
    rows: BTreeMap<RowKey, (u32, u64)>,
    counted: BTreeMap<RowKey, Counted>,
    /// Who took an event back: source and id of the reversal.
    reversed: BTreeMap<RowKey, (String, String)>,
    out: Output,
}

pub fn run(input: &Input) -> Output {
    let mut count = Count {
        input,
        book: Book::new(&input.versions),
        ledgers: BTreeMap::new(),
        trials: BTreeSet::new(),
        steps: BTreeMap::new(),
        rows: BTreeMap::new(),
        counted: BTreeMap::new(),
        reversed: BTreeMap::new(),
        out: Output::default(),
    };
    count.all_records();
    count.milestones();
    for Grant {
        account,
        at,
        points,
    } in &input.grants
    {
        count.bonus(account, *at, *points);
    }
    count.finish()
}

/// One chunk per epoch for everything, where cuts are not known.
fn whole(partitions: u32, records: &[SourceRecord]) -> Vec<Cut> {
    let places: BTreeSet<(u32, u32)> = records.iter().map(|r| (r.epoch, r.partition)).collect();
    let cut = |(epoch, partition)| Cut {
        partition,
        partitions,
        chunk: u64::from(epoch),
        epoch,
        from: 0,
        to: u64::MAX,
        control: ALL,
        window_from: 0,
        forgotten: None,
        usage_rows: true,
        corrected_at: None,
    };
    places.into_iter().map(cut).collect()
}

impl Count<'_> {
    /// Epoch by epoch, since users may move to other partitions between them.
    fn all_records(&mut self) {
        let mut cuts: Vec<Cut> = if self.input.cuts.is_empty() {
            whole(self.input.partitions, &self.input.records)
        } else {
            self.input.cuts.clone()
        };
        cuts.sort_by_key(|cut| (cut.epoch, cut.partition, cut.from));
        let mut records: BTreeMap<(u32, u32), Vec<&SourceRecord>> = BTreeMap::new();
        for record in &self.input.records {
            let place = (record.epoch, record.partition);
            records.entry(place).or_default().push(record);
        }
        let mut log_times: BTreeMap<u32, i64> = BTreeMap::new();
        let mut heard: BTreeMap<u32, Heard> = BTreeMap::new();
        let (mut partitions, mut lowest) = (None, None);
        for of_epoch in cuts.chunk_by(|a, b| a.epoch == b.epoch) {
            let now = of_epoch[0].partitions;
            if partitions.replace(now).is_some_and(|before| before != now) {
                lowest = log_times.values().copied().max();
            }
            for cut in of_epoch {
                let place = (cut.epoch, cut.partition);
                let mut of_cut: Vec<&SourceRecord> =
                    records.get(&place).cloned().unwrap_or_default();
                of_cut.retain(|record| (cut.from..cut.to).contains(&record.offset));
                of_cut.sort_by_key(|record| record.offset);
                // Before the first record its own append time is the log time.
                let Some(first) = of_cut.first() else {
                    continue;
                };
                let known = log_times.get(&cut.partition).copied().max(lowest);
                let before = known.unwrap_or(first.append_ms);
                let before = cut.corrected_at.map_or(before, |at| before.min(at));
                let mut log_time = before;
                let heard = heard.entry(cut.partition).or_default();
                for record in of_cut {
                    log_time = log_time.max(record.append_ms);
                    self.record(record, cut, log_time, before, heard);
                }
                log_times.insert(cut.partition, log_time);
            }
        }
    }

    fn record(
        &mut self,
        record: &SourceRecord,
        cut: &Cut,
        log_time: i64,
        before: i64,
        heard: &mut Heard,
    ) {
        let place: Place = (record.partition, record.epoch, record.offset);
        if record
            .headers
            .iter()
            .any(|(name, _)| name == super::TICK_HEADER)
        {
            return;
        }
        if let Some(reversal) = event::reversal(&record.value) {
            return self.reversal(&reversal, record, cut, log_time, before);
        }
        let event = match event::read(&record.value, &record.headers) {
            Ok(event) => event,
            Err(reason) => return self.reject(place, reason),
        };
        if event::partition_of(&event.user, cut.partitions) != record.partition {
            self.out.forwarded.insert(place);
            return;
        }
        let Some(service) = event::service(&event.endpoint) else {
            return self.reject(place, "unknown_service");
        };
        if event.time > log_time + AHEAD_MS {
            return self.reject(place, "in_the_future");
        }
        if event.time < log_time - BEHIND_MS {
            return self.reject(place, "too_old");
        }
        match self.judge(&event, place, cut, heard) {
            Verdict::New => {
                let key = row_key(&event);
                self.rows.insert(key, (record.epoch, record.offset));
                self.accept(&event, service, place, cut, log_time, before);
            }
            Verdict::Duplicate => {
                self.out.duplicates.insert(place);
            }
            Verdict::Contested => {
                self.later_report(&event, record, cut, log_time, before, Err("conflict"));
            }
            Verdict::LateCopy => self.later_report(&event, record, cut, log_time, before, Ok(())),
            Verdict::Reject(reason) => self.reject(place, reason),
        }
    }

    /// A report of an event that was reported before. `otherwise` is what it is if it adds nothing: a
    /// duplicate, or a reject.
    fn later_report(
        &mut self,
        event: &Event,
        record: &SourceRecord,
        cut: &Cut,
        log_time: i64,
        before: i64,
        otherwise: Result<(), &'static str>,
    ) {
        let place: Place = (record.partition, record.epoch, record.offset);
        let key = row_key(event);
        let known = self.counted.get(&key);
        let was = known.filter(|of| of.has_row && cut.usage_rows).cloned();
        let Some(was) = was else {
            return self.otherwise(place, otherwise);
        };
        let is_completed = was.event != was.first;
        let says_no_more = was.event.with(event).as_ref() == Some(&was.event);
        let said_at_first = was.first.with(event).as_ref() == Some(&was.first);
        if said_at_first || is_completed && says_no_more {
            self.out.duplicates.insert(place);
            return;
        }
        let whole = was.first.with(event).filter(|whole| *whole != was.first);
        let Some(whole) = whole.filter(|_| !is_completed) else {
            return self.otherwise(place, otherwise);
        };
        if self.reversed.contains_key(&key) {
            return self.reject(place, "already_reversed");
        }
        self.out.completions.push((place, event.time));
        self.complete(was, whole, place.0, cut.chunk, log_time, before);
    }

    fn otherwise(&mut self, place: Place, otherwise: Result<(), &'static str>) {
        match otherwise {
            Ok(()) => {
                self.out.duplicates.insert(place);
            }
            Err(reason) => self.reject(place, reason),
        }
    }

    /// As if the whole had come first, at the place of the original; only the difference is booked now.
    fn complete(
        &mut self,
        was: Counted,
        whole: Event,
        partition: u32,
        chunk: u64,
        log_time: i64,
        before: i64,
    ) {
        let rules = self.book.at(was.control, whole.time);
        let class = match was.service {
            "chat_completions" => CLASSES[tier::of(whole.model.as_deref(), &rules.catalogue)],
            other => other,
        };
        let mut now = was.clone();
        now.target = rules.quality.targets[class];
        if was.ok {
            now.provider_points = rules.provider_points(class, whole.time);
            now.user_points = floor(now.provider_points * rules.user_bp, 10_000);
            now.cost = cost(&whole, class, &rules);
        }
        now.event = whole;
        let day = day_of(now.event.time);
        let late = (log_time > closes(now.event.time)).then(|| month_of_day(day_of(log_time)));
        let user = ("user".to_owned(), now.event.user.clone());
        let named = |event: &Event| Some(("provider".to_owned(), event.provider.clone()?));
        let (old, new) = (named(&was.event), named(&now.event));
        if let Some(provider) = new {
            let is_new = old.is_none();
            let was = (!is_new).then_some((&was, was.provider_points));
            self.shift(&provider, late.as_deref(), was, (&now, now.provider_points));
            if is_new {
                self.step(&provider, partition, chunk, before, i128::from(now.ok));
            }
        }
        let points = (was.user_points, now.user_points);
        self.shift(
            &user,
            late.as_deref(),
            Some((&was, points.0)),
            (&now, points.1),
        );
        let month = late.unwrap_or_else(|| month_of_day(day));
        let more = now.cost - was.cost;
        if more != 0 {
            let ledger = self.ledgers.entry(user).or_default();
            let month = ledger.months.entry(month).or_default();
            if now.mainnet {
                month.cost += more;
                *self.out.spent.entry(now.event.user.clone()).or_default() += more;
            } else {
                month.shadow += more;
            }
        }
        let at = self
            .out
            .explained
            .iter()
            .rposition(|one| one.is(&now.event));
        if let Some(at) = at {
            let booked = self.out.explained[at].booked.clone();
            self.out.explained[at] = self.explained(&now, booked);
        }
        self.counted.insert(row_key(&now.event), now);
    }

    /// What an account counts of an event, and what it counted before, if it did.
    fn shift(
        &mut self,
        account: &Account,
        late: Option<&str>,
        was: Option<(&Counted, i128)>,
        now: (&Counted, i128),
    ) {
        let (counted, points) = now;
        let sums = |(of, points): (&Counted, i128)| {
            let timed = i128::from(of.ok && of.event.latency.is_some());
            let failed = i128::from(of.event.status >= 500);
            let latency = of.event.latency.unwrap_or(0) * timed;
            (
                1,
                i128::from(of.ok),
                failed,
                points,
                timed,
                latency,
                of.target * timed,
            )
        };
        let old = was.map_or((0, 0, 0, 0, 0, 0, 0), sums);
        let new = sums(now);
        if old == new {
            return;
        }
        let add = |to: &mut Sums, late: bool| {
            to.requests += new.0 - old.0;
            to.successful += new.1 - old.1;
            to.failed += new.2 - old.2;
            if !late {
                to.base += new.3 - old.3;
                to.timed += new.4 - old.4;
                to.latency += new.5 - old.5;
                to.target += new.6 - old.6;
            }
        };
        let day = day_of(counted.event.time);
        let own_month = month_of_day(day);
        let ledger = self.ledgers.entry(account.clone()).or_default();
        match late {
            Some(month) => {
                let month = ledger.months.entry(month.to_owned()).or_default();
                add(&mut month.late, true);
                month.late_points += new.3 - old.3;
            }
            None => {
                add(ledger.days.entry(day).or_default(), false);
                let month = ledger.months.entry(own_month.clone()).or_default();
                add(month.services.entry(counted.service).or_default(), false);
            }
        }
        let is_link = |link: &&Link| link.referee == *account && link.number <= counted.control;
        let link = self.input.links.iter().find(is_link);
        let chain = link.iter().flat_map(|l| &l.chain).zip(&counted.shares);
        let before = was.map_or(0, |(_, points)| points);
        for (level, (referrer, share)) in chain.enumerate() {
            let more = floor(points * share, 10_000) - floor(before * share, 10_000);
            if more == 0 {
                continue;
            }
            let ledger = self.ledgers.entry(referrer.clone()).or_default();
            if let Some(month) = late {
                let month = ledger.months.entry(month.to_owned()).or_default();
                month.late_points += more;
            } else {
                ledger.days.entry(day).or_default().referral += more;
                let of_month = (referrer.clone(), own_month.clone());
                self.out.levels.entry(of_month).or_default()[level] += more;
            }
        }
    }

    fn reversal(
        &mut self,
        reversal: &Reversal,
        record: &SourceRecord,
        cut: &Cut,
        log_time: i64,
        before: i64,
    ) {
        let place: Place = (record.partition, record.epoch, record.offset);
        if event::partition_of(&reversal.user, cut.partitions) != record.partition {
            self.out.forwarded.insert(place);
            return;
        }
        if !cut.usage_rows {
            return self.reject(place, "unknown_original");
        }
        if reversal.of_time < log_time - BEHIND_MS {
            return self.reject(place, "too_old");
        }
        let key = (
            reversal.user.clone(),
            reversal.of_time,
            reversal.of_source.clone(),
            reversal.of_id.clone(),
        );
        let counted = match self.counted.get(&key) {
            Some(counted) if counted.has_row => counted.clone(),
            _ => return self.reject(place, "unknown_original"),
        };
        let worth = [counted.provider_points, counted.user_points, counted.cost];
        if !counted.ok || worth == [0; 3] {
            return self.reject(place, "nothing_to_reverse");
        }
        let own = (reversal.source.clone(), reversal.id.clone());
        match self.reversed.get(&key) {
            Some(first) if *first == own => {
                self.out.duplicates.insert(place);
                return;
            }
            Some(_) => return self.reject(place, "already_reversed"),
            None => self.reversed.insert(key, own),
        };
        self.out.reversals.push((place, counted.event.time));
        let booked =
            (log_time > closes(counted.event.time)).then(|| month_of_day(day_of(log_time)));
        let of = &counted.event;
        if let Some(explained) = self.out.explained.iter_mut().rfind(|one| one.is(of)) {
            let on = booked.clone().unwrap_or_else(|| day_text(day_of(of.time)));
            explained.reversal = Some((reversal.source.clone(), reversal.id.clone(), on));
        }
        let user = ("user".to_owned(), counted.event.user.clone());
        let mut parties = vec![(user.clone(), counted.user_points)];
        if let Some(provider) = &counted.event.provider {
            let provider = ("provider".to_owned(), provider.clone());
            parties.push((provider, counted.provider_points));
        }
        for (account, points) in parties {
            self.take_back(&account, &counted, booked.as_deref(), points);
            self.step(&account, place.0, cut.chunk, before, -1);
        }
        let day = day_of(counted.event.time);
        let month = booked.unwrap_or_else(|| month_of_day(day));
        let ledger = self.ledgers.entry(user).or_default();
        let month = ledger.months.entry(month).or_default();
        if counted.mainnet {
            month.cost -= counted.cost;
            *self.out.spent.entry(counted.event.user).or_default() -= counted.cost;
        } else {
            month.shadow -= counted.cost;
        }
    }

    /// `late` is the month in which it is booked if the event's own has closed.
    fn take_back(
        &mut self,
        account: &Account,
        counted: &Counted,
        late: Option<&str>,
        points: i128,
    ) {
        let day = day_of(counted.event.time);
        let own_month = month_of_day(day);
        let ledger = self.ledgers.entry(account.clone()).or_default();
        let fewer = |sums: &mut Sums| {
            sums.successful -= 1;
            sums.reversed += 1;
        };
        match late {
            Some(month) => {
                let month = ledger.months.entry(month.to_owned()).or_default();
                fewer(&mut month.late);
                month.late_points -= points;
            }
            None => {
                let month = ledger.months.entry(own_month.clone()).or_default();
                let service = month.services.entry(counted.service).or_default();
                for sums in [ledger.days.entry(day).or_default(), service] {
                    fewer(sums);
                    sums.base -= points;
                    if let Some(latency) = counted.event.latency {
                        sums.timed -= 1;
                        sums.latency -= latency;
                        sums.target -= counted.target;
                    }
                }
            }
        }
        let is_link = |link: &&Link| link.referee == *account && link.number <= counted.control;
        let link = self.input.links.iter().find(is_link);
        let chain = link.iter().flat_map(|l| &l.chain).zip(&counted.shares);
        for (level, (referrer, share)) in chain.enumerate() {
            let part = floor(points * share, 10_000);
            let ledger = self.ledgers.entry(referrer.clone()).or_default();
            match late {
                Some(month) => {
                    ledger
                        .months
                        .entry(month.to_owned())
                        .or_default()
                        .late_points -= part;
                }
                None => {
                    ledger.days.entry(day).or_default().referral -= part;
                    let of_month = (referrer.clone(), own_month.clone());
                    self.out.levels.entry(of_month).or_default()[level] -= part;
                }
            }
        }
    }

    fn reject(&mut self, place: Place, reason: &'static str) {
        self.out.rejects.insert(place, reason);
    }

    /// Whether a valid event is the first of its identity.
    fn judge(&self, event: &Event, place: Place, cut: &Cut, heard: &mut Heard) -> Verdict {
        let (_, epoch, offset) = place;
        let identity = (event.user.clone(), event.source.clone(), event.id.clone());
        let all = heard.entry(identity).or_default();
        // Without a beginning the window holds everything, earlier epochs too.
        let in_window = |(e, o, _): &&(u32, u64, Event)| {
            cut.control == ALL || *e == epoch && *o >= cut.window_from
        };
        let latest = all
            .iter()
            .rfind(in_window)
            .map(|(_, _, said)| said == event);
        all.push((epoch, offset, event.clone()));
        match latest {
            Some(true) => return Verdict::Duplicate,
            Some(false) => return Verdict::Contested,
            None => {}
        }
        // Whatever the pipeline does to know when to look: a copy that was accepted before is a duplicate.
        let may_be_forgotten = cut.forgotten.is_some_and(|at| event.time - AHEAD_MS <= at);
        match self.rows.get(&row_key(event)) {
            Some(won) if cut.usage_rows && *won < (epoch, offset) => Verdict::LateCopy,
            _ if !cut.usage_rows && may_be_forgotten => Verdict::Reject("too_old"),
            _ => Verdict::New,
        }
    }

    fn accept(
        &mut self,
        event: &Event,
        service: &'static str,
        place: Place,
        cut: &Cut,
        log_time: i64,
        before: i64,
    ) {
        let rules = self.book.at(cut.control, event.time);
        let class = match service {
            "chat_completions" => CLASSES[tier::of(event.model.as_deref(), &rules.catalogue)],
            other => other,
        };
        let ok = (200..300).contains(&event.status);
        let provider_points = if ok {
            rules.provider_points(class, event.time)
        } else {
            0
        };
        let user_points = floor(provider_points * rules.user_bp, 10_000);
        let booking = Booking {
            service,
            late: log_time > closes(event.time),
            day: day_of(event.time),
            log_month: month_of_day(day_of(log_time)),
            ok,
            failed: event.status >= 500,
            latency: event.latency.filter(|_| ok),
            target: rules.quality.targets[class],
        };
        let user = ("user".to_owned(), event.user.clone());
        self.book_event(&user, &booking, user_points);
        self.cascade(&user, &booking, user_points, &rules, cut.control);
        self.step(&user, place.0, cut.chunk, before, i128::from(ok));
        if let Some(provider) = &event.provider {
            let provider = ("provider".to_owned(), provider.clone());
            self.book_event(&provider, &booking, provider_points);
            self.cascade(&provider, &booking, provider_points, &rules, cut.control);
            self.step(&provider, place.0, cut.chunk, before, i128::from(ok));
        }
        let cost = if ok { cost(event, class, &rules) } else { 0 };
        if ok {
            self.charge(event, cost, &booking, &rules);
            self.trial(event, service, &booking, cut.control);
        }
        let counted = Counted {
            event: event.clone(),
            first: event.clone(),
            has_row: cut.usage_rows,
            service,
            ok,
            target: rules.quality.targets[class],
            provider_points,
            user_points,
            cost,
            mainnet: rules.mainnet,
            shares: rules.cascade.to_vec(),
            control: cut.control,
        };
        let booked = match booking.late {
            true => booking.log_month.clone(),
            false => day_text(booking.day),
        };
        let explained = self.explained(&counted, booked);
        self.out.explained.push(explained);
        self.counted.insert(row_key(event), counted);
        self.out.accepted.push(Accepted {
            place,
            user: event.user.clone(),
            source: event.source.clone(),
            id: event.id.clone(),
            time: event.time,
            provider_points,
            user_points,
        });
    }

    /// What the event brought to everybody; nothing if it failed.
    fn explained(&self, counted: &Counted, booked: String) -> Explained {
        let event = &counted.event;
        let mut explained = Explained {
            user: event.user.clone(),
            source: event.source.clone(),
            id: event.id.clone(),
            time: event.time,
            control: counted.control,
            booked,
            ..Explained::default()
        };
        if counted.ok {
            let user = ("user".to_owned(), event.user.clone());
            let mut parties = vec![(user, counted.user_points)];
            if let Some(provider) = &event.provider {
                let provider = ("provider".to_owned(), provider.clone());
                parties.push((provider, counted.provider_points));
            }
            for (account, points) in parties {
                let whose = account.0.clone();
                let is_link =
                    |link: &&Link| link.referee == account && link.number <= counted.control;
                let link = self.input.links.iter().find(is_link);
                let chain = link.iter().flat_map(|l| &l.chain).zip(&counted.shares);
                for (level, (referrer, share)) in (1..).zip(chain) {
                    let place = (referrer.clone(), level, whose.clone());
                    let part = floor(points * share, 10_000);
                    explained.shares.insert(place, part);
                }
                explained.shares.insert((account, 0, whose), points);
            }
            match counted.mainnet {
                true => explained.cost = counted.cost,
                false => explained.shadow = counted.cost,
            }
        }
        explained
    }

    fn book_event(&mut self, account: &Account, booking: &Booking, points: i128) {
        let ledger = self.ledgers.entry(account.clone()).or_default();
        if booking.late {
            let month = ledger.months.entry(booking.log_month.clone()).or_default();
            booking.count(&mut month.late);
            month.late_points += points;
            return;
        }
        let day = ledger.days.entry(booking.day).or_default();
        booking.count(day);
        booking.time(day);
        day.base += points;
        let month = month_of_day(booking.day);
        let month = ledger.months.entry(month).or_default();
        let service = month.services.entry(booking.service).or_default();
        booking.count(service);
        booking.time(service);
        service.base += points;
    }

    fn cascade(
        &mut self,
        account: &Account,
        booking: &Booking,
        points: i128,
        rules: &Rc<Rules>,
        control: u64,
    ) {
        if !booking.ok {
            return;
        }
        let link: Option<&Link> = self
            .input
            .links
            .iter()
            .find(|link| link.referee == *account && link.number <= control);
        let chain = link.iter().flat_map(|l| &l.chain).zip(&rules.cascade);
        for (level, (referrer, share)) in chain.enumerate() {
            let part = floor(points * share, 10_000);
            let ledger = self.ledgers.entry(referrer.clone()).or_default();
            if booking.late {
                let month = booking.log_month.clone();
                ledger.months.entry(month).or_default().late_points += part;
            } else {
                ledger.days.entry(booking.day).or_default().referral += part;
                let of_month = (referrer.clone(), statement::month_of_day(booking.day));
                self.out.levels.entry(of_month).or_default()[level] += part;
            }
        }
    }

    fn step(
        &mut self,
        account: &Account,
        partition: u32,
        chunk: u64,
        log_time: i64,
        successes: i128,
    ) {
        if successes == 0 {
            return;
        }
        let steps = self.steps.entry(account.clone()).or_default();
        match steps.last_mut() {
            Some(last) if (last.partition, last.chunk) == (partition, chunk) => {
                last.successes += successes;
                last.peak = last.peak.max(last.successes);
            }
            _ => steps.push(Step {
                partition,
                chunk,
                log_time,
                successes,
                peak: successes.max(0),
            }),
        }
    }

    fn charge(&mut self, event: &Event, cost: i128, booking: &Booking, rules: &Rules) {
        let account = ("user".to_owned(), event.user.clone());
        let ledger = self.ledgers.entry(account).or_default();
        let month = if booking.late {
            booking.log_month.clone()
        } else {
            month_of_day(booking.day)
        };
        let month = ledger.months.entry(month).or_default();
        if rules.mainnet {
            month.cost += cost;
            *self.out.spent.entry(event.user.clone()).or_default() += cost;
        } else {
            month.shadow += cost;
        }
    }

    fn trial(&mut self, event: &Event, service: &'static str, booking: &Booking, control: u64) {
        self.out.first_uses.insert((event.user.clone(), service));
        if !self.trials.insert((event.user.clone(), service)) {
            return;
        }
        let points = self.book.at(control, booking.day * DAY_MS).trial;
        let account = ("user".to_owned(), event.user.clone());
        let ledger = self.ledgers.entry(account).or_default();
        if booking.late {
            let month = booking.log_month.clone();
            ledger.months.entry(month).or_default().late_points += points;
        } else {
            ledger.days.entry(booking.day).or_default().trial += points;
        }
    }

    fn bonus(&mut self, account: &Account, at: i64, points: i128) {
        let ledger = self.ledgers.entry(account.clone()).or_default();
        let month = month_of_day(day_of(at));
        ledger.months.entry(month).or_default().bonus += points;
    }

    /// Orders an account's steps as its posting partition took them.
    fn ordered(&self, account: &Account) -> Vec<&Step> {
        let mut steps: Vec<&Step> = self.steps.get(account).into_iter().flatten().collect();
        match self.input.order.get(account) {
            Some(order) => steps.sort_by_key(|step| {
                let is = |of: &(u32, u64)| *of == (step.partition, step.chunk);
                order.iter().position(is)
            }),
            None => steps.sort_by_key(|step| (step.log_time, step.partition, step.chunk)),
        }
        steps
    }

    fn milestones(&mut self) {
        let accounts: Vec<Account> = self.steps.keys().cloned().collect();
        for account in accounts {
            let sum = self.steps[&account].iter().map(|s| s.successes).sum();
            self.out.successes.insert(account.clone(), sum);
        }
        for link in &self.input.links {
            if !link.awards {
                continue;
            }
            let mut sum = 0;
            let fiftieth = self.ordered(&link.referee).into_iter().find(|step| {
                let most = sum + step.peak;
                sum += step.successes;
                most >= 50
            });
            let Some(fiftieth) = fiftieth.map(|step| step.log_time) else {
                continue;
            };
            let at = fiftieth.max(link.at);
            let points = self.book.at(ALL, at).milestone;
            let referrer = link.chain[0].clone();
            self.bonus(&referrer, at, points);
            let month = month_of_day(day_of(at));
            let milestone = (link.referee.clone(), referrer, month, points);
            self.out.milestones.push(milestone);
        }
    }

    fn finish(mut self) -> Output {
        for (account, ledger) in &self.ledgers {
            for (month, statement) in statement::statements(account, ledger, &self.book) {
                self.out
                    .statements
                    .insert((account.clone(), month), statement);
            }
            if let Some(streak) = statement::streak(account, ledger, &self.book) {
                self.out.streaks.insert(account.clone(), streak);
            }
        }
        self.out
    }
}

/// What a successful event costs on mainnet.
fn cost(event: &Event, class: &str, rules: &Rules) -> i128 {
    let tokens =
        |count: Option<i128>, key: &str| floor(count.unwrap_or(0) * rules.price(key), 1_000);
    match class {
        "embeddings" => match &event.model {
            Some(model) if rules.model_prices.iter().any(|(name, _)| name == model) => {
                let [input, cached, written, ..] = rules.chat_prices("tide_pool", Some(model));
                let went_in = event.input.unwrap_or(0);
                // A part counts only up to its whole.
                let read = event.cached.unwrap_or(0).min(went_in);
                let wrote = event.written.unwrap_or(0).min(went_in - read);
                let plain = went_in - read - wrote;
                floor(plain * input + read * cached + wrote * written, 1_000)
            }
            _ => tokens(event.input, class),
        },
        "tts" => floor(event.audio.unwrap_or(0) * rules.price(class), 60_000),
        "scrape" => rules.price(class),
        tier => {
            let [input, cached, written, output, reasoning] =
                rules.chat_prices(tier, event.model.as_deref());
            let all = [event.input, event.cached, event.written, event.output];
            let [went_in, read, wrote, came_out] = all.map(|count| count.unwrap_or(0));
            let read = read.min(went_in);
            let wrote = wrote.min(went_in - read);
            let thought = event.reasoning.unwrap_or(0).min(came_out);
            let plain = went_in - read - wrote;
            floor(plain * input + read * cached + wrote * written, 1_000)
                + floor((came_out - thought) * output + thought * reasoning, 1_000)
        }
    }
}

enum Verdict {
    New,
    Duplicate,
    /// The window holds its identity with another content.
    Contested,
    /// A usage row tells of a copy that the window has forgotten.
    LateCopy,
    Reject(&'static str),
}

impl Explained {
    fn is(&self, event: &Event) -> bool {
        (&self.user, &self.source, &self.id, self.time)
            == (&event.user, &event.source, &event.id, event.time)
    }
}

/// `2026-11-22`.
fn day_text(day: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(day * DAY_MS).expect("near the present");
    at.to_string()[..10].to_owned()
}

fn row_key(event: &Event) -> RowKey {
    (
        event.user.clone(),
        event.time,
        event.source.clone(),
        event.id.clone(),
    )
}

/// Where and how an event is booked.
struct Booking {
    service: &'static str,
    late: bool,
    day: i64,
    log_month: String,
    ok: bool,
    failed: bool,
    latency: Option<i128>,
    target: i128,
}

impl Booking {
    fn count(&self, sums: &mut Sums) {
        sums.requests += 1;
        sums.successful += i128::from(self.ok);
        sums.failed += i128::from(self.failed);
    }

    fn time(&self, sums: &mut Sums) {
        if let Some(latency) = self.latency {
            sums.timed += 1;
            sums.latency += latency;
            sums.target += self.target;
        }
    }
}
