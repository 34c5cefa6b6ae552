//! `tidemark emit`: sends generated events, or those of a file, to a running `up` or into Kafka.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;
use tokio::runtime::Handle;

use super::args::EmitArgs;
use super::client::Client;
use super::data::DataDir;
use super::engine::{READY_WITHIN, connect_log, topic_specs};
use super::generate::{Faults, Generated, Generator, Market};
use super::lines::{self, Taken};
use super::output::{Done, Failure, Out, counted};
use super::progress;
use super::send::{Destination, Line, Refused, Senders, Tally};
use crate::domain::time::Millis;
use crate::log::usage::decode_record_or_faults;
use crate::log::{Headers, Log, Topic};
use crate::ops::clock::{Clock, SystemClock};
use crate::ops::config::{Config, LogEngine};
use crate::ops::shutdown::Shutdown;

/// Events that are generated when neither a number nor a rate is given.
const EVENTS_DEFAULT: u64 = 10_000;
/// Longest line of a file that is looked at; the log takes less.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Lines that are read ahead of those that are sent.
const LINES_AHEAD: usize = 1_000;
/// How often it is looked whether to stop, while the next event is not due yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// With `--at`, the time between two events.
const AT_STEP_MS: i64 = 1;

/// Runs the command. Blocks; `runtime` is where a log's futures run.
pub fn run(config: &Config, args: &EmitArgs, runtime: &Handle, shutdown: &Shutdown) -> Done {
    if args.print {
        return print(args);
    }
    let destination = match config.log.engine {
        LogEngine::Embedded => up(config, args),
        LogEngine::Kafka => kafka(config, runtime, shutdown)?,
    };
    match &args.file {
        Some(path) => send_file(&destination, args, path, shutdown),
        None => send_generated(&destination, args, shutdown),
    }
}

fn kafka(config: &Config, runtime: &Handle, shutdown: &Shutdown) -> Done<Destination> {
    let specs = topic_specs(config)?;
    let log = connect_log(config, specs)?;
    let asked = runtime.block_on(shutdown.bounded(Duration::ZERO, log.topic(Topic::UsageEvents)));
    let info = asked.ok_or_else(|| Failure::failed("stopped before anything was sent"))??;
    Ok(Destination::Log {
        log,
        partitions: info.partitions,
        runtime: runtime.clone(),
    })
}

fn up(config: &Config, args: &EmitArgs) -> Destination {
    let client = Client::new(DataDir::new(&config.data));
    // A first look, so that a forgotten `up` is named at once and not after all patience. It may be
    // starting.
    let within = args.patience.min(READY_WITHIN);
    if let Err(error) = client.get_within("/readyz", within) {
        eprintln!(
            "tidemark: {error}; retrying for {:?} (Ctrl-C to stop)",
            args.patience
        );
    }
    Destination::Up(client)
}

fn print(args: &EmitArgs) -> Done {
    let mut out = Out::new();
    let mut generated = Stream::new(args);
    let bar = progress::beside_output(generated.count, "generated");
    while let Some(event) = generated.next() {
        out.line(event.text)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    out.finish()
}

/// The generated events of one run.
struct Stream {
    generator: Generator,
    at: Option<Millis>,
    sent: u64,
    count: Option<u64>,
}

impl Stream {
    fn new(args: &EmitArgs) -> Stream {
        let seed = args.seed.unwrap_or_else(rand::random);
        let start = args.at.unwrap_or_else(|| SystemClock.now());
        let faults = if args.clean {
            Faults::NONE
        } else {
            Faults::USUAL
        };
        // Another run of the same seed is another set of requests, unless it is told to be the same
        // ones by --at.
        let source = format!("emit-{seed:x}-{:x}", start.0);
        Stream {
            generator: Generator::new(Market {
                seed,
                users: args.users,
                providers: args.providers,
                source,
                faults,
            }),
            at: args.at,
            sent: 0,
            count: args
                .events
                .or_else(|| args.rate.is_none().then_some(EVENTS_DEFAULT)),
        }
    }

    fn next(&mut self) -> Option<Generated> {
        if self.count.is_some_and(|count| self.sent >= count) {
            return None;
        }
        let step = i64::try_from(self.sent)
            .unwrap_or(i64::MAX)
            .saturating_mul(AT_STEP_MS);
        let now = self
            .at
            .map_or_else(|| SystemClock.now(), |at| at.plus(step));
        self.sent += 1;
        Some(self.generator.next(now))
    }
}

fn send_generated(destination: &Destination, args: &EmitArgs, shutdown: &Shutdown) -> Done {
    let mut stream = Stream::new(args);
    let bar = progress::bar(stream.count, "acknowledged");
    // Some generated events are meant to be refused: they are counted, and no failure.
    let senders = Senders::start(destination, args.patience, shutdown, |_| ());
    let start = Instant::now();
    while let Some(event) = stream.next() {
        if let Some(rate) = args.rate {
            keep_pace(start, stream.sent, rate, shutdown);
        }
        let line = Line {
            number: stream.sent,
            text: event.text.into_bytes(),
        };
        if shutdown.is_requested() || !senders.send(&event.user, line) {
            break;
        }
        move_bar(&bar, senders.tally());
    }
    let tally = senders.tally().clone();
    let finished = senders.finish();
    bar.finish_and_clear();
    summary(args, &tally, start.elapsed())?;
    finished.map_err(|why| gave_up(&tally, &why))
}

/// Waits until event number `sent` (from 1) is due, or until shutdown.
fn keep_pace(start: Instant, sent: u64, rate: f64, shutdown: &Shutdown) {
    let due = start + Duration::from_secs_f64((sent - 1) as f64 / rate);
    while !shutdown.is_requested() {
        let left = due.saturating_duration_since(Instant::now());
        if left <= Duration::from_millis(2) {
            return;
        }
        std::thread::sleep(left.min(LOOK_AGAIN));
    }
}

fn send_file(destination: &Destination, args: &EmitArgs, path: &Path, shutdown: &Shutdown) -> Done {
    let input = read_ahead(path)?;
    let bar = progress::bar(None, "acknowledged");
    let refused = Arc::new(AtomicU64::new(0));
    let on_refused = {
        let (bar, refused) = (bar.clone(), refused.clone());
        move |event: Refused| {
            refused.fetch_add(1, Ordering::Relaxed);
            bar.suspend(|| name_refused(&event));
        }
    };
    let senders = Senders::start(destination, args.patience, shutdown, on_refused.clone());
    let start = Instant::now();
    let mut number = 0;
    while !shutdown.is_requested() {
        let taken = match input.recv_timeout(LOOK_AGAIN) {
            Ok(taken) => taken.map_err(|error| {
                Failure::failed(format!("cannot read {}: {error}", path.display()))
            })?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        number += 1;
        match readable(number, taken) {
            Ok(None) => (),
            Ok(Some((user, line))) => {
                if !senders.send(&user, line) {
                    break;
                }
            }
            Err(faults) => {
                senders.tally().refused.fetch_add(1, Ordering::Relaxed);
                faults.into_iter().for_each(&on_refused);
            }
        }
        if let Some(rate) = args.rate {
            keep_pace(start, number, rate, shutdown);
        }
        move_bar(&bar, senders.tally());
    }
    let tally = senders.tally().clone();
    let finished = senders.finish();
    bar.finish_and_clear();
    summary(args, &tally, start.elapsed())?;
    finished.map_err(|why| gave_up(&tally, &why))?;
    match refused.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(Failure::Said(2)),
    }
}

/// The lines, read by a thread of its own: standard input may stay silent for ever, and a stop must
/// not wait for it.
fn read_ahead(path: &Path) -> Done<Receiver<io::Result<Taken>>> {
    let mut reader = lines::open(path)?;
    let (lines, taken) = sync_channel(LINES_AHEAD);
    std::thread::spawn(move || {
        while let Some(line) = lines::next(&mut *reader, LINE_BYTES_MAX).transpose() {
            let is_last = line.is_err();
            if lines.send(line).is_err() || is_last {
                return;
            }
        }
    });
    Ok(taken)
}

/// The user and the line; `None` for an empty one. What cannot be read need not be sent: `up` would
/// refuse it in the same words.
fn readable(number: u64, taken: Taken) -> Result<Option<(String, Line)>, Vec<Refused>> {
    let refused = |code: &str, field: Option<&str>, detail: String| Refused {
        number,
        code: code.to_owned(),
        field: field.map(str::to_owned),
        detail,
    };
    let Taken::Line(text) = taken else {
        let detail = format!("the line is longer than {LINE_BYTES_MAX} bytes");
        return Err(vec![refused("too_large", None, detail)]);
    };
    if text.is_empty() {
        return Ok(None);
    }
    let user = match decode_record_or_faults(&text, &Headers::new()) {
        Ok(record) => record.into_user().into_owned(),
        Err(faults) => {
            let faults = faults.into_iter();
            let refused =
                faults.map(|fault| refused(fault.reason.as_str(), fault.field, fault.detail));
            return Err(refused.collect());
        }
    };
    Ok(Some((user, Line { number, text })))
}

fn name_refused(event: &Refused) {
    let Refused {
        number,
        code,
        field,
        detail,
    } = event;
    match field {
        Some(field) => eprintln!("line {number}: {field}: {code}: {detail}"),
        None => eprintln!("line {number}: {code}: {detail}"),
    }
}

fn move_bar(bar: &ProgressBar, tally: &Tally) {
    if bar.is_hidden() {
        return;
    }
    bar.set_position(tally.acknowledged.load(Ordering::Relaxed));
    let retries = tally.retries.load(Ordering::Relaxed);
    if retries > 0 {
        bar.set_message(format!(", {retries} retries"));
    }
}

fn summary(args: &EmitArgs, tally: &Tally, took: Duration) -> Done {
    let acknowledged = tally.acknowledged.load(Ordering::Relaxed);
    let refused = tally.refused.load(Ordering::Relaxed);
    let retries = tally.retries.load(Ordering::Relaxed);
    let mut out = Out::new();
    if args.json {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let summary = json!({
            "acknowledged": acknowledged, "refused": refused, "retries": retries, "millis": took,
        });
        out.json(&summary)?;
    } else {
        let rate = acknowledged as f64 / took.as_secs_f64().max(0.001);
        out.line(format!(
            "{} acknowledged, {refused} refused, {} repeated; {:.1} s, {rate:.0} events/s",
            counted(acknowledged, "event"),
            counted(retries, "request"),
            took.as_secs_f64()
        ))?;
    }
    out.finish()
}

fn gave_up(tally: &Tally, why: &str) -> Failure {
    let acknowledged = tally.acknowledged.load(Ordering::Relaxed);
    Failure::failed(format!(
        "gave up after {acknowledged} acknowledged events: {why}. Sending the same events again is \
         safe: each counts once"
    ))
}
