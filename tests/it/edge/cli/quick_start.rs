//! The README's quick start, taken from the README itself.

use super::{Place, Up, repository, request, until};

/// The commands of the README's shell blocks, joined where a backslash ends a line or a quote is open.
fn commands(readme: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for block in readme.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let mut command = String::new();
        for line in block.lines() {
            command += line;
            let quotes = command.replace("\\\"", "").matches('"').count();
            if quotes.is_multiple_of(2) && !command.ends_with('\\') {
                commands.push(std::mem::take(&mut command));
            }
        }
        assert!(command.is_empty(), "{command}");
    }
    commands
}

/// Runs a line of `tidemark … && tidemark …`; what the last one printed.
fn shell(place: &Place, line: &str) -> String {
    let mut out = String::new();
    for command in line.split(" && ") {
        let args = command
            .strip_prefix("target/release/tidemark ")
            .expect(command);
        let args: Vec<&str> = args.split(' ').collect();
        out = place.tidemark(&args).ok();
    }
    out
}

/// Does what the README's curl line does; the status.
fn curl(up: &Up, line: &str) -> u16 {
    let rest = line
        .strip_prefix("curl -i http://127.0.0.1:8787")
        .expect(line);
    let (path, rest) = rest.split_once(" -H \"Authorization: ").unwrap();
    let (bearer, rest) = rest.split_once("\" -H 'Content-Type: ").unwrap();
    assert_eq!(bearer, "Bearer $(cat data/key)");
    let (content_type, rest) = rest.split_once("' -d \"").unwrap();
    let body = rest.strip_suffix('"').unwrap().replace("\\\"", "\"");
    let time = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
    assert!(body.contains("$(date -u +%FT%TZ)"));
    let body = body.replace("$(date -u +%FT%TZ)", &time);
    request(up.listen, &up.key(), "POST", path, content_type, &body).0
}

/// The number in the row of a statement for people.
fn amount<'a>(statement: &'a str, row: &str) -> &'a str {
    let found = statement.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(row)).then(|| words.next())
    });
    found
        .flatten()
        .unwrap_or_else(|| panic!("no {row} in {statement}"))
}

#[test]
fn the_quick_start_of_the_readme_does_what_it_says() {
    let commands = commands(&repository("README.md"));
    let mut commands = commands.iter().map(String::as_str);
    let place = Place::new();
    assert_eq!(commands.next(), Some("cargo run --release -- up --demo"));
    let up = place.up(&["--demo"]);

    let leaderboard = commands.next().unwrap();
    until("the demo's providers earn", || {
        shell(&place, leaderboard).contains("prov-1").then_some(())
    });
    let statement = shell(&place, commands.next().unwrap());
    assert!(statement.contains("user user-1 "), "{statement}");
    let doctor = shell(&place, commands.next().unwrap());
    assert!(doctor.ends_with("All is well.\n"), "{doctor}");

    assert_eq!(curl(&up, commands.next().unwrap()), 204);
    let ada = shell(&place, commands.next().unwrap());
    for (row, points) in [("usage", "1.5"), ("trial", "5"), ("total", "6.5")] {
        assert_eq!(amount(&ada, row), points, "{ada}");
    }
    assert_eq!(place.statement("provider", "prov-9")["total"], "15");
    assert_eq!(commands.next(), Some("cargo test"));
    demo_lives(&place, &up);
    up.stop();
}

/// Signups, credits, rejects, and numbers that grow.
fn demo_lives(place: &Place, up: &Up) {
    until("the demo's signup awards are in their rows", || {
        let said = place
            .tidemark(&["statement", "user", "user-1", "--json"])
            .json();
        let bonus: f64 = said["bonus"].as_str()?.parse().ok()?;
        (bonus >= 200.0).then_some(())
    });
    let credits = place
        .tidemark(&["credits", "show", "user-1", "--json"])
        .json();
    assert_eq!(credits["balance"], "25");
    let requests = || {
        place.statement("user", "user-1")["requests"]
            .as_u64()
            .unwrap()
    };
    let before = requests();
    until("user-1's statement grows", || {
        (requests() > before).then_some(())
    });
    let rejects = until("malformed records are rejected", || {
        let found = place.tidemark(&["rejects", "list", "--json"]).lines();
        (!found.is_empty()).then_some(found)
    });
    assert!(rejects.iter().all(|reject| reject["reason"].is_string()));
    super::metrics::are_as_documented(up, &["user-1", "prov-1", "ada", "demo-gateway"]);
}
