//! Taking up a partition with a long window is progress all the time.

use tidemark::domain::position::{Epoch, Partition};
use tidemark::pipeline::Settings;
use tidemark::pipeline::rate::Rater;

use super::adapter::{self, WorkerSpec};
use super::quiet::Quiet;
use super::workload::MINUTE;

#[test]
fn what_a_rater_reads_again_is_told_to_health() {
    let mut quiet = Quiet::new(1, 1);
    for number in 0..20 {
        quiet.chat(&format!("r-{number}"), "ada");
    }
    quiet.start_worker(Settings::default());
    quiet.pass(MINUTE);
    quiet.kill_worker();
    let spec = WorkerSpec {
        owner: 9,
        token: 9,
        epoch: Epoch(1),
        skew_ms: 0,
        settings: Settings::default(),
        breakage: None,
        tasks: Vec::new(),
    };
    let ctx = adapter::context(&quiet.world, &spec);
    let health = ctx.health.clone();
    quiet.finish(async move {
        assert!(Rater::restore(&ctx, Partition(0)).await.is_ok());
    });
    let task = health.tasks().pop().unwrap();
    assert!(task.read_again_to.is_some_and(|to| to >= 20), "{task:?}");
}
