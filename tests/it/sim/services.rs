//! A service that is added later: what was rejected before counts once when it is sent again.

use serde_json::json;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::service::Service;
use tidemark::pipeline::{Breakage, Settings};

use super::adapter;
use super::quiet::Quiet;
use super::workload::{MINUTE, user};

const IMAGES: &str = "/v1/images/generations";

/// The value of `rules.services` that adds images.
pub(super) fn images(retired: bool) -> String {
    let rules = json!([{
        "number": 9, "name": "images", "endpoints": ["/images/generations"], "counts": "requests",
        "price": "0.02", "points": "4", "targetMs": 9_000, "retired": retired,
    }]);
    rules.to_string()
}

fn event(quiet: &Quiet, id: &str) -> String {
    let now = jiff::Timestamp::from_millisecond(quiet.world.now()).unwrap();
    json!({
        "requestId": id, "userId": user(1).id(), "providerId": "p1", "endpoint": IMAGES,
        "timestamp": now.to_string(), "statusCode": 200,
    })
    .to_string()
}

/// Requests of images and micropoints for them, of an account.
fn counted(quiet: &Quiet, account: &Account) -> (u64, i64) {
    let service = Service::numbered(9).expect("a number");
    let rows = quiet
        .world
        .with(|inner| adapter::month_rows(&inner.db, account))
        .expect("rows that can be read");
    let stats = rows.values().map(|stored| stored.row.services[service]);
    stats.fold((0, 0), |sum, stats| {
        (sum.0 + stats.requests, sum.1 + stats.points.0)
    })
}

fn restart(quiet: &mut Quiet) {
    quiet.kill_worker();
    quiet.start_worker(Settings::default());
    quiet.pass(MINUTE);
}

/// What of an event counts that was rejected before its service existed, and was sent again twice
/// after it did, with restarts in between.
fn redriven(breakage: Option<Breakage>) -> (u64, i64) {
    let mut quiet = Quiet::new(1, 1);
    quiet.break_workers(breakage);
    quiet.start_worker(Settings::default());
    // The window begins with its first valid record; what is rejected before is not read again.
    quiet.chat("r-0", user(1).id());
    let sent = event(&quiet, "r-1");
    quiet.append(user(1).id(), sent.clone());
    quiet.chat("r-2", user(1).id());
    quiet.pass(MINUTE);
    quiet.publish_rule("rules.services", images(false));
    // A chunk that is rated with the new services, but has nothing of them.
    quiet.chat("r-3", user(1).id());
    quiet.pass(MINUTE);
    assert_eq!(counted(&quiet, &user(1)), (0, 0));
    restart(&mut quiet);
    for _ in 0..2 {
        quiet.append(user(1).id(), sent.clone());
        quiet.pass(MINUTE);
        restart(&mut quiet);
    }
    assert_eq!(quiet.halts(), []);
    let provider = Account::new(AccountKind::Provider, "p1").unwrap();
    let user = counted(&quiet, &user(1));
    assert_eq!(counted(&quiet, &provider), (user.0, user.1 * 10));
    user
}

#[test]
fn what_was_rejected_before_its_service_existed_counts_once_when_it_is_sent_again() {
    assert_eq!(redriven(None), (1, 400_000));
}

#[test]
fn a_window_that_is_built_again_with_the_services_of_now_loses_it() {
    assert_eq!(redriven(Some(Breakage::WindowRatedWithNewServices)), (0, 0));
}

/// The other way round: what was accepted before its service was retired stays in the window.
#[test]
fn what_was_accepted_before_its_service_was_retired_stays_a_duplicate() {
    let count = |breakage| {
        let mut quiet = Quiet::new(1, 1);
        quiet.break_workers(breakage);
        quiet.publish_rule("rules.services", images(false));
        quiet.start_worker(Settings {
            usage_rows: false,
            ..Settings::default()
        });
        let sent = event(&quiet, "r-1");
        quiet.append(user(1).id(), sent.clone());
        quiet.pass(MINUTE);
        quiet.publish_rule("rules.services", images(true));
        quiet.chat("r-2", user(1).id());
        quiet.pass(MINUTE);
        // Rejected while it is retired.
        quiet.append(user(1).id(), event(&quiet, "r-3"));
        quiet.pass(MINUTE);
        quiet.kill_worker();
        quiet.start_worker(Settings {
            usage_rows: false,
            ..Settings::default()
        });
        quiet.pass(MINUTE);
        quiet.publish_rule("rules.services", images(false));
        quiet.append(user(1).id(), sent);
        quiet.pass(MINUTE);
        counted(&quiet, &user(1)).0
    };
    assert_eq!(count(None), 1);
    // The breakage takes the services of the chunk: the first request is forgotten, and counts again.
    assert_eq!(count(Some(Breakage::WindowRatedWithNewServices)), 2);
}
