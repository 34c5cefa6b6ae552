//! `deploy/terraform` and `deploy/iam`: the tables and what may be done with them, against the
//! program's own definitions and, for the module, with Terraform itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidemark::log::kafka::plan::wanted;
use tidemark::log::topics::{self, TopicSpec};
use tidemark::store::db::Table;

use super::tools::{file, needs, text};

const POLICIES: [&str; 4] = ["init", "worker", "serve", "operator"];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}

/// A condition that the module has this table as the program has it.
fn condition(table: Table) -> String {
    let of = format!("aws_dynamodb_table.this[\"{}\"]", table.name());
    let (hash, range) = table.keys();
    let quoted = |text: &str| format!("\"{text}\"");
    let range_key = range.map_or("null".to_owned(), quoted);
    let index = table.index();
    let mut keys: Vec<String> = [Some(hash), range, index.map(|(_, key)| key)]
        .into_iter()
        .flatten()
        .map(quoted)
        .collect();
    keys.sort();
    let mut text = format!("{of}.name == \"tidemark-{}\"", table.name());
    let mut also = |condition: String| write!(text, " && {condition}").expect("a text");
    also(format!("{of}.billing_mode == \"PAY_PER_REQUEST\""));
    also(format!("{of}.hash_key == \"{hash}\""));
    also(format!("{of}.range_key == {range_key}"));
    also(format!(
        "sort([for key in {of}.attribute : key.name]) == tolist([{}])",
        keys.join(", ")
    ));
    also(format!(
        "alltrue([for key in {of}.attribute : key.type == \"S\"])"
    ));
    also(match table.ttl() {
        None => format!("length({of}.ttl) == 0"),
        Some(ttl) => format!("one({of}.ttl).enabled && one({of}.ttl).attribute_name == \"{ttl}\""),
    });
    also(match index {
        None => format!("length({of}.global_secondary_index) == 0"),
        Some((name, key)) => {
            let of = format!("one({of}.global_secondary_index)");
            format!(
                "{of}.name == \"{name}\" && {of}.hash_key == \"{key}\" && {of}.projection_type == \"ALL\""
            )
        }
    });
    text
}

/// A condition that the module has this topic as the program has it.
fn topic_condition(spec: &TopicSpec, specs: &[TopicSpec]) -> String {
    let name = spec.topic.name();
    let of = format!("aws_msk_topic.this[\"{name}\"]");
    let configs = format!("jsondecode({of}.configs)");
    let mut text = format!(
        "{of}.name == \"eu.{name}\" && {of}.partition_count == {} && {of}.replication_factor == {}",
        spec.partitions, spec.replication_factor
    );
    let wanted = wanted(spec, specs);
    let mut also = |condition: String| write!(text, " && {condition}").expect("a text");
    also(format!("length({configs}) == {}", wanted.len()));
    for (setting, value) in wanted {
        also(format!("{configs}[\"{}\"] == \"{value}\"", setting.key()));
    }
    text
}

#[test]
#[ignore = "needs Terraform: .ci/run tools"]
fn terraform_takes_the_module_and_plans_the_programs_own_tables() {
    needs("terraform");
    let dir = tempfile::tempdir().expect("a directory");
    copy(&file("deploy"), &dir.path().join("deploy"));
    let module = text("deploy/terraform/tests/module.tftest.hcl");
    let (mocks, _) = module.split_once("\nrun ").expect("runs");
    let mut test = format!("{mocks}\nrun \"the_programs_tables\" {{\n  command = plan\n");
    for table in Table::ALL {
        let (condition, name) = (condition(table), table.name());
        write!(
            test,
            "  assert {{\n    condition     = {condition}\n    error_message = \"{name} differs from the program's.\"\n  }}\n"
        )
        .expect("a text");
    }
    let count = Table::ALL.len();
    write!(
        test,
        "  assert {{\n    condition     = length(aws_dynamodb_table.this) == {count}\n    error_message = \"Another number of tables.\"\n  }}\n}}\n"
    )
    .expect("a text");
    write!(
        test,
        "\nrun \"the_programs_topics\" {{\n  command = plan\n  variables {{\n    msk = {{ cluster_arn = \"arn:aws:kafka:eu-central-1:111122223333:cluster/one/1\", topic_prefix = \"eu.\" }}\n  }}\n"
    )
    .expect("a text");
    let specs = topics::shipped();
    for spec in &specs {
        let (condition, name) = (topic_condition(spec, &specs), spec.topic.name());
        write!(
            test,
            "  assert {{\n    condition     = {condition}\n    error_message = \"{name} differs from the program's.\"\n  }}\n"
        )
        .expect("a text");
    }
    test.push_str("}\n");
    let path = dir.path().join("deploy/terraform/tests/program.tftest.hcl");
    fs::write(path, test).expect("a file");
    let output = Command::new(file("tests/servers/terraform"))
        .arg("check")
        .arg(dir.path())
        .output()
        .expect("the script runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the_programs_tables"), "{said}");
    assert!(said.contains("the_programs_topics"), "{said}");
}

/// The statements of a policy: actions and resources.
fn statements(policy: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let name = format!("deploy/iam/{policy}.json");
    let policy: Value = serde_json::from_str(&text(&name)).expect("JSON");
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().expect("a list").iter();
        texts
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let statements = policy["Statement"].as_array().expect("statements");
    statements
        .iter()
        .map(|statement| {
            assert_eq!(statement["Effect"], "Allow");
            (texts(&statement["Action"]), texts(&statement["Resource"]))
        })
        .collect()
}

/// Whether a policy allows an action on a table.
pub fn allows(policy: &str, action: &str, table: &str) -> bool {
    let action = format!("dynamodb:{action}");
    let resource = format!(
        "arn:${{partition}}:dynamodb:${{region}}:${{account}}:table/${{table_prefix}}{table}"
    );
    statements(policy)
        .iter()
        .any(|(actions, resources)| actions.contains(&action) && resources.contains(&resource))
}

#[test]
fn policies_name_every_table_and_index_and_nothing_else() {
    let base = "arn:${partition}:dynamodb:${region}:${account}:table/${table_prefix}";
    let of = |table: Table| {
        let name = table.name();
        let index = table
            .index()
            .map(|(index, _)| format!("{base}{name}/index/{index}"));
        [Some(format!("{base}{name}")), index]
    };
    let known: BTreeSet<String> = Table::ALL.into_iter().flat_map(of).flatten().collect();
    for policy in POLICIES {
        let named = statements(policy)
            .into_iter()
            .flat_map(|(_, resources)| resources);
        assert_eq!(named.collect::<BTreeSet<_>>(), known, "{policy}");
        for table in Table::ALL {
            for action in ["GetItem", "BatchGetItem", "Query", "Scan", "DescribeTable"] {
                assert!(allows(policy, action, table.name()), "{policy}: {action}");
            }
        }
    }
}

#[test]
fn no_role_can_remove_a_table_or_its_protection_and_only_init_creates() {
    for policy in POLICIES {
        for (actions, _) in statements(policy) {
            for action in actions {
                let name = action.strip_prefix("dynamodb:").expect("DynamoDB only");
                assert!(!name.contains('*'), "{policy}: {action}");
                assert!(!name.starts_with("DeleteTable"), "{policy}: {action}");
                assert!(!name.starts_with("Restore"), "{policy}: {action}");
                let is_admin = name.starts_with("Create") || name.starts_with("Update");
                assert!(policy == "init" || !is_admin, "{policy}: {action}");
            }
        }
    }
    // Only the poster writes account rows.
    for table in [
        "UserPoints",
        "ProviderRewards",
        "StreakTracking",
        "UsageTracking",
    ] {
        assert!(allows("worker", "PutItem", table));
        assert!(!allows("serve", "PutItem", table), "{table}");
    }
}

/// Fails if requests that a process has counted are not allowed to its role.
pub fn allows_what_was_counted(policy: &str, metrics: &str) {
    let mut found = 0;
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("tidemark_store_requests_total{") else {
            continue;
        };
        let (labels, value) = rest.split_once("} ").expect("a value");
        if value == "0" {
            continue;
        }
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).expect("a label");
            rest.split('"').next().expect("a value")
        };
        let table = label("table");
        let actions: &[&str] = match label("operation") {
            "get" => &["GetItem"],
            "batch_get" => &["BatchGetItem"],
            "query" => &["Query"],
            "scan" => &["Scan"],
            "put" => &["PutItem"],
            "delete" => &["DeleteItem"],
            "batch_put" => &["BatchWriteItem"],
            // What a transaction does to a table is not counted by kind; puts are the least.
            "transact" => &["PutItem", "ConditionCheckItem"],
            other => panic!("{other}"),
        };
        for action in actions {
            assert!(
                allows(policy, action, table),
                "{policy}: {action} on {table}"
            );
        }
        found += 1;
    }
    assert!(found > 3, "{policy}: {metrics}");
}
