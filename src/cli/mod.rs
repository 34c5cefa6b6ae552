//! The command line: what each command does with the modules below.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::ops::config::{Config, ENV_PREFIX, LogEngine, LogFormat, Sources, StoreEngine};
use crate::ops::traces::Traces;
use crate::ops::{logging, shutdown};
use args::{Cli, Command, PricingCommand, TablesCommand, WaitArgs};
use output::{Done, Failure, Out};
use session::{Access, Session, Workers};

mod accept_loss;
pub mod args;
mod audit;
mod badges;
mod claims;
mod client;
mod close;
mod correct_clock;
mod data;
mod demo;
mod describe;
mod doctor;
mod emit;
mod engine;
mod explain;
mod export;
mod generate;
mod governance;
mod grants;
mod keys;
mod lines;
mod listeners;
mod newest;
mod output;
mod output_file;
mod price_import;
mod price_set;
mod private;
mod progress;
mod recent;
mod records;
mod recover;
mod referral;
mod refusals;
mod rejects;
mod remote;
mod replay;
mod resume;
mod reverse;
mod rules;
mod season;
mod send;
mod serve;
mod session;
mod set_aside;
mod statements;
mod tables;
mod thresholds;
mod top;
mod topics;
mod up;
mod verify;
mod wait;
mod wallet;
mod worker;

/// The process. Exit codes: 0 done, 1 it did not work, 2 the input was refused.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut sources = sources(&cli);
    let done = describe::run(&cli.command)
        .unwrap_or_else(|| read_file(&cli, &mut sources).and_then(|()| start(&cli, &sources)));
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    let is_for_people = !is_service(&cli) && std::io::stderr().is_terminal();
    let format = match LogFormat::of(&sources) {
        LogFormat::Json if is_for_people => LogFormat::Pretty,
        format => format,
    };
    ExitCode::from(failure.report(format))
}

/// Whether it runs until it is stopped. Other commands print results, and say nothing else unless
/// something is wrong.
fn is_service(cli: &Cli) -> bool {
    matches!(
        cli.command,
        Command::Up(_) | Command::Worker(_) | Command::Serve(_)
    )
}

fn start(cli: &Cli, sources: &Sources) -> Done {
    let config = Config::read(sources).map_err(Failure::refused)?;
    let (traces, spans) = match is_service(cli) {
        true => Traces::start(&config).map_err(Failure::refused)?,
        false => (Traces::none(), None),
    };
    logging::start(&config.logging, spans);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(run(cli, &config));
    // A blocking read of standard input must not hold the end of the process.
    runtime.shutdown_background();
    traces.end();
    done
}

/// The configuration file, if one is named.
fn read_file(cli: &Cli, sources: &mut Sources) -> Done {
    let Some(path) = &cli.config else {
        return Ok(());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::refused(format!("cannot read {}: {error}", path.display())))?;
    sources.file = Some((path.display().to_string(), text));
    Ok(())
}

/// Flags and environment.
fn sources(cli: &Cli) -> Sources {
    let mut sources = Sources {
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(ENV_PREFIX))
            .collect(),
        ..Sources::default()
    };
    if let Some(data) = &cli.data {
        sources
            .flags
            .push(("--data", "data", data.display().to_string()));
    }
    if let Command::Up(args) = &cli.command
        && let Some(listen) = &args.listen
    {
        sources.flags.push(("--listen", "listen", listen.clone()));
    }
    if let Command::Worker(args) = &cli.command
        && let Some(listen) = &args.listen
    {
        sources
            .flags
            .push(("--listen", "worker.listen", listen.clone()));
    }
    if let Command::Serve(args) = &cli.command
        && let Some(listen) = &args.listen
    {
        sources
            .flags
            .push(("--listen", "serve.listen", listen.clone()));
    }
    if !is_service(cli)
        && !sources
            .env
            .iter()
            .any(|(name, _)| name == "TIDEMARK_LOGGING_FILTER")
    {
        sources
            .env
            .push(("TIDEMARK_LOGGING_FILTER".to_owned(), "warn".to_owned()));
    }
    sources
}

/// The first line of every log: what runs, and on what.
fn say_what_starts(role: &str, config: &Config) {
    let log_engine = match config.log.engine {
        LogEngine::Embedded => "embedded",
        LogEngine::Kafka => "kafka",
    };
    let store_engine = match config.store.engine {
        StoreEngine::Embedded => "embedded",
        StoreEngine::DynamoDb => "dynamodb",
    };
    tracing::info!(
        event = "process.started",
        role,
        version = env!("CARGO_PKG_VERSION"),
        epoch = config.log.epoch,
        log_engine,
        store_engine,
        topic_prefix = config.kafka.topic_prefix,
        table_prefix = config.store.table_prefix,
        "tidemark {role} starts"
    );
}

async fn run(cli: &Cli, config: &Config) -> Done {
    match &cli.command {
        Command::Up(_) => say_what_starts("up", config),
        Command::Worker(_) => say_what_starts("worker", config),
        Command::Serve(_) => say_what_starts("serve", config),
        _ => {}
    }
    match &cli.command {
        Command::Up(args) => {
            let (trigger, shutdown) = signals()?;
            up::run(config, args.demo, &trigger, &shutdown).await
        }
        Command::Worker(args) => {
            let (trigger, shutdown) = signals()?;
            worker::run(config, &args.roles, &trigger, &shutdown).await
        }
        Command::Serve(_) => {
            let (trigger, shutdown) = signals()?;
            serve::run(config, &trigger, &shutdown).await
        }
        Command::Emit(args) => {
            let (_trigger, shutdown) = signals()?;
            let (config, args) = (config.clone(), args.clone());
            let runtime = tokio::runtime::Handle::current();
            let emit = move || emit::run(&config, &args, &runtime, &shutdown);
            let emit = tokio::task::spawn_blocking(emit);
            emit.await.map_err(Failure::failed)?
        }
        Command::Topics(command) => topics::run(config, command).await,
        Command::Pricing(PricingCommand::Check { file, key }) => rules::check(file, key.as_deref()),
        Command::Top(args) => {
            let (_trigger, shutdown) = signals()?;
            top::run(config, args, &shutdown).await
        }
        Command::Doctor(args) => doctor::run(config, args).await.map_err(cannot_look),
        Command::Wait(args) => wait(config, args).await,
        command => {
            let access = match command {
                Command::Init => Access::Create,
                command if needs_only_the_store(command) => Access::Store,
                _ => Access::Existing,
            };
            let session = Session::open(config, access).await?;
            let done = with_session(&session, config, command).await;
            session.close().await;
            done
        }
    }
}

/// Whether a command works with what stands in the tables alone. Then an outage of the log is none of
/// its business.
const fn needs_only_the_store(command: &Command) -> bool {
    matches!(
        command,
        Command::Statement(_)
            | Command::Leaderboard(_)
            | Command::Usage(_)
            | Command::Explain(_)
            | Command::Export(_)
            | Command::Credits(_)
            | Command::Award(_)
            | Command::Referral(_)
            | Command::Wallet(_)
            | Command::Keys(_)
            | Command::Pricing(_)
            | Command::Badges(_)
            | Command::Season(_)
            | Command::Governance(_)
            | Command::Claims(_)
    )
}

async fn wait(config: &Config, args: &WaitArgs) -> Done {
    // What cannot be asked is refused at once, not when everything is done.
    top::Targets::named(&args.addresses)?;
    let session = match doctor::open(config).await {
        Ok(session) => session,
        Err(none) if matches!(none.why, Failure::Failed(_)) => {
            return wait::run_blind(config, *none, args).await;
        }
        Err(none) => return Err(none.why),
    };
    let done = wait::run(&session, config, args).await;
    session.close().await;
    done
}

/// What keeps `doctor` from looking is another exit code than what it finds.
fn cannot_look(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(why) => Failure::Refused(format!("doctor cannot run: {why}")),
        other => other,
    }
}

fn signals() -> Done<(shutdown::Trigger, shutdown::Shutdown)> {
    shutdown::on_signals()
        .map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))
}

async fn with_session(session: &Session, config: &Config, command: &Command) -> Done {
    match command {
        Command::Up(_)
        | Command::Worker(_)
        | Command::Serve(_)
        | Command::Emit(_)
        | Command::Topics(_)
        | Command::Top(_)
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Doctor(_)
        | Command::Wait(_) => Ok(()),
        Command::Keys(command) => keys::run(session, command).await,
        Command::Init => init(session).await,
        Command::Pricing(command) => rules::run(session, command).await,
        Command::Referral(command) => referral::run(session, command).await,
        Command::Wallet(command) => wallet::run(session, config, command).await,
        Command::Credits(command) => grants::credits(session, config, command).await,
        Command::Award(command) => grants::award(session, config, command).await,
        Command::Governance(command) => governance::run(session, command).await,
        Command::Reverse(args) => reverse::run(session, config, args).await,
        Command::Explain(args) => explain::run(session, args).await,
        Command::Statement(args) => statements::statements(session, args).await,
        Command::Export(args) => export::run(session, config, args).await,
        Command::Replay(args) => replay::run(session, config, args).await,
        Command::Close(args) => close::run(session, config, args).await,
        Command::Claims(command) => claims::run(session, config, command).await,
        Command::Leaderboard(args) => statements::leaderboard(session, args).await,
        Command::Usage(args) => statements::usage(session, args).await,
        Command::Rejects(command) => rejects::run(session, config, command).await,
        Command::Resume(args) => resume::run(session, args).await,
        Command::Badges(command) => badges::run(session, command).await,
        Command::Season(command) => season::run(session, config, command).await,
        Command::SetAside(command) => set_aside::run(session, config, command).await,
        Command::CorrectClock(args) => correct_clock::run(session, args).await,
        Command::Recover(args) => recover::run(session, config, args).await,
        Command::AcceptLoss(args) => accept_loss::run(session, args).await,
        Command::Log(command) => records::log(session, command).await,
        Command::Audit(command) => audit::run(session, command).await,
        Command::Verify(args) => verify::run(session, config, args).await,
        Command::Tables(TablesCommand::Copy { into }) => tables::copy(session, into).await,
    }
}

/// Opening the session has created what was missing.
async fn init(session: &Session) -> Done {
    let mut out = Out::new();
    out.line(format!(
        "ready: the log's topics ({} partitions of usage.events) and the store's tables exist",
        session.partitions.source
    ))?;
    if session.rules().await?.is_none() {
        let then = match session.workers {
            Workers::Elsewhere => "tidemark worker",
            Workers::Up | Workers::Nobody => "tidemark up",
        };
        out.line(format!(
            "next: tidemark pricing init testnet (or mainnet), then {then}"
        ))?;
    }
    out.finish()
}
