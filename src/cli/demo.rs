//! The small live marketplace of `tidemark up --demo`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::generate::{Faults, Generated, Generator, Market};

use crate::app::CommandError;
use crate::app::commands::{Commands, NewCredit, NewSignup, Referrer, Repeat};
use crate::domain::amount::Money;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::Partition;
use crate::log::{Headers, Log, LogError, NewRecord, Partitions, Topic, usage_partition};
use crate::ops::clock::{Clock, SystemClock};
use crate::ops::shutdown::Shutdown;

const USERS: u32 = 40;
const PROVIDERS: u32 = 8;
/// Who acts, for the audit trail.
const BY: &str = "tidemark up --demo";
/// Events of one round.
const EVENTS: usize = 5;
/// The pause between two rounds.
const ROUND: Duration = Duration::from_millis(250);
/// Credit that each of the first users gets, once.
const CREDIT: Money = Money(25_000_000_000);
/// Who refers whom, by number: user 1 refers 2, who refers 3, who refers 4, and so on.
const LINKS: &[(AccountKind, u32, u32)] = &[
    (AccountKind::User, 1, 2),
    (AccountKind::User, 2, 3),
    (AccountKind::User, 3, 4),
    (AccountKind::User, 1, 5),
    (AccountKind::User, 7, 6),
    (AccountKind::Provider, 1, 2),
    (AccountKind::Provider, 2, 3),
];
/// More of everything that is bad than real gateways have, so that there is something to see.
const FAULTS: Faults = Faults {
    resent: 2_000,
    late: 2_000,
    unratable: 600,
    malformed: 400,
};

/// Runs until shutdown. Nothing that fails here stops `up`.
pub async fn run(
    commands: Commands,
    log: Arc<dyn Log>,
    partitions: Partitions,
    shutdown: Shutdown,
) {
    if let Err(error) = found(&commands).await {
        tracing::warn!(event = "demo.incomplete", %error, "could not create all signups and credits of the demo; a restart retries");
    }
    let mut generator = Generator::new(Market {
        seed: rand::random(),
        users: USERS,
        providers: PROVIDERS,
        source: "demo-gateway".to_owned(),
        faults: FAULTS,
    });
    let mut stop = shutdown;
    loop {
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(ROUND) => (),
        }
        let events = (0..EVENTS)
            .map(|_| generator.next(SystemClock.now()))
            .collect();
        if let Err(error) = append(&*log, partitions.source, events).await {
            tracing::warn!(event = "demo.append_failed", %error, "could not append events of the demo");
        }
    }
}

/// Codes, signups and credits; repeated at every start, they change nothing.
async fn found(commands: &Commands) -> Result<(), CommandError> {
    for (kind, referrer, referee) in LINKS {
        let (referrer, referee) = (account(*kind, *referrer), account(*kind, *referee));
        sign_up(commands, &referrer, referee).await?;
    }
    for user in 1..=10 {
        let new = NewCredit {
            user: format!("user-{user}"),
            amount: CREDIT,
            reason: "welcome to the demo".to_owned(),
            idempotency_key: "demo".to_owned(),
            by: BY.to_owned(),
        };
        commands.add_credit(new).await?;
    }
    Ok(())
}

fn account(kind: AccountKind, number: u32) -> Account {
    let prefix = match kind {
        AccountKind::User => "user",
        AccountKind::Provider => "prov",
    };
    Account::of_checked(kind, &format!("{prefix}-{number}"))
}

async fn sign_up(
    commands: &Commands,
    referrer: &Account,
    referee: Account,
) -> Result<(), CommandError> {
    if commands.is_referred_by(&referee, referrer).await? {
        return Ok(());
    }
    let code = commands.referral_code(referrer, Some(BY)).await?;
    let signup = NewSignup {
        referrer: Referrer::Code(code.code),
        referee,
        repeat: Repeat::Never,
        paid_elsewhere: false,
        by: Some(BY.to_owned()),
    };
    commands.sign_up(signup).await?;
    Ok(())
}

/// Appends as a careless producer would: nobody has looked whether the records can be read.
async fn append(log: &dyn Log, partitions: u32, events: Vec<Generated>) -> Result<(), LogError> {
    let mut batches: BTreeMap<Partition, Vec<NewRecord>> = BTreeMap::new();
    for event in events {
        let partition = usage_partition(&event.user, partitions);
        batches.entry(partition).or_default().push(NewRecord {
            key: Some(Bytes::from(event.user)),
            value: Bytes::from(event.text),
            headers: Headers::new(),
        });
    }
    for (partition, records) in batches {
        log.append(Topic::UsageEvents, partition, records).await?;
    }
    Ok(())
}
