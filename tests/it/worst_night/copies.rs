//! Copies of the data directory.

use std::process::Command;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::on_call::doctor_says;
use super::restored_tables::{copy, has_rated, restore, wait_until};
use crate::process::books::{self, Books};
use crate::process::load::Load;
use crate::process::site::Site;

/// The commands of docs/backup.md, beside the directory `data`: they leave a directory `backup`.
pub(super) fn run_the_documented_copy(site: &Site) {
    let page = include_str!("../../../docs/backup.md");
    let mut blocks = page.split("```").skip(1).step_by(2);
    let commands = blocks.find(|block| block.contains("kill -STOP"));
    let copied = Command::new("sh")
        .args(["-ec", commands.expect("the commands of a hot copy")])
        .current_dir(site.file("."))
        .status();
    assert!(copied.expect("sh runs").success());
}

/// The copy is taken while the process stands still (SIGSTOP), as docs/backup.md has it. It goes on
/// by itself; and its store brings the original back, whose store is lost.
#[test]
fn a_copy_taken_under_load_goes_on_by_itself_and_its_store_brings_the_original_back() {
    let site = Site::new();
    let links = books::found(&site);
    let mut up = site.up();
    up.wait_ready();
    let mut load = Load::start(&site, 20_261_130);
    wait_until(&mut up, "rating", |up| has_rated(up, 4.0));
    up.kill();
    let mut rng = StdRng::seed_from_u64(20_261_130);
    for _ in 0..3 {
        load.careless_producer(&site, &mut rng);
    }
    let mut up = site.up();
    up.wait_ready();
    wait_until(&mut up, "rating", |up| has_rated(up, 8.0));
    let (other, backup) = (Site::new(), site.file("backup/store"));
    run_the_documented_copy(&site);
    copy(&site.file("backup"), &other.data());
    load.finish();
    site.run(&["wait", "--timeout", "3m"]);
    up.stop();

    let mut up = other.up();
    up.wait_ready();
    other.run(&["wait", "--timeout", "3m"]);
    Books::read(&other).equal_the_oracle_of_a_part(&links);
    other.run(&["doctor"]);
    up.stop();

    restore(&site, &backup);
    doctor_says(&site, &["is not running", "records wait to be rated"]);
    let done = site.run(&["recover", "--yes", "--reason", "the store was lost"]);
    assert!(done.contains("rated again"), "{done}");
    let mut up = site.up();
    up.wait_ready();
    site.run(&["wait", "--timeout", "3m"]);
    let books = Books::read(&site);
    load.everything_is_in(&books.records);
    books.equal_the_oracle(&links);
    site.run(&["doctor"]);
    up.stop();
}
