//! Points of a month that is over, in the store of a running `up`: what a close pays for. By the clock of a real process, events of
//! such a month are too old.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark::domain::amount::Points;
use tidemark::domain::ethereum::Address;
use tidemark::domain::ids::Account;
use tidemark::domain::time::Month;
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedClient;
use tidemark::store::meter::StoreMeter;

use super::site::Site;
use crate::http::closes::link;
use crate::http::rows::{book_in, served};

/// How long a month that is over may take to become final.
const FINAL_WITHIN: Duration = Duration::from_secs(120);

/// An account, its whole points, and the wallet that it links.
pub type Earner = (Account, i64, Option<Address>);

/// A client of the store of the `up` that runs on this data.
pub fn store(data: &Path) -> DynamoDb {
    let mut settings = DynamoSettings::embedded(EmbeddedClient::over_socket(&data.join("store")));
    settings.prefix = "tidemark-".to_owned();
    // A machine with much else to do takes long to sync a disk.
    settings.request_timeout = FINAL_WITHIN;
    let meter = Arc::new(StoreMeter::default());
    DynamoDb::new(&settings, meter, Arc::new(SystemClock))
}

/// A month that ended more than 72 hours ago, however young the present one is.
pub fn closable() -> Month {
    Month(SystemClock.now().month().0 - 2)
}

/// Books what accounts earned in a month, and links their wallets.
pub async fn earned(data: &Path, month: Month, earners: &[Earner]) {
    let db = store(data);
    let day = month.day(3).to_string();
    for (account, points, address) in earners {
        let fill = |entry: &mut _| served(entry, &day, 1, Points::whole(*points));
        book_in(&db, account, fill).await;
        if address.is_some() {
            link(&db, account, *address).await;
        }
    }
}

/// Waits until a month can be closed.
pub fn wait_final(site: &Site, month: Month) {
    let start = Instant::now();
    let month = month.to_string();
    let preview = [
        "close",
        &month,
        "--pool",
        "1",
        "--decimals",
        "0",
        "--preview",
    ];
    loop {
        let printed = site.try_run(&preview);
        if printed.code == Some(0) {
            return;
        }
        assert!(
            printed.stderr.contains("not final yet"),
            "{}",
            printed.stderr
        );
        assert!(
            start.elapsed() < FINAL_WITHIN,
            "never final: {}",
            printed.stderr
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
