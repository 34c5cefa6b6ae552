//! What the program says about itself needs no configuration and no installation.

use super::Place;

#[test]
fn completions_name_every_command_in_the_syntax_of_the_shell() {
    let place = Place::new();
    for (shell, start) in [
        ("bash", "_tidemark()"),
        ("zsh", "#compdef tidemark"),
        ("fish", "# Print an optspec"),
    ] {
        let script = place.tidemark(&["completions", shell]).ok();
        assert!(script.starts_with(start), "{script}");
        for command in ["doctor", "accept-loss", "leaderboard"] {
            assert!(script.contains(command), "{shell} has no {command}");
        }
    }
    let refused = place.tidemark(&["completions", "tcsh"]).failed(2);
    assert!(refused.contains("possible values"), "{refused}");
}

#[test]
fn man_pages_are_written_for_every_command() {
    let place = Place::new();
    let said = place.tidemark(&["man", "--dir", "new/man1"]).ok();
    assert!(said.ends_with("man pages in new/man1\n"), "{said}");
    let help = place.tidemark(&["--help"]).ok();
    let commands = help.split("Commands:").nth(1).expect("commands");
    let commands = commands.split("\n\n").next().expect("a list").lines();
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !["", "help"].contains(name)).collect();
    assert!(names.contains(&"doctor") && names.len() > 20, "{help}");
    for name in names {
        let page = std::fs::read_to_string(place.path(&format!("new/man1/tidemark-{name}.1")));
        assert!(page.expect(name).contains(".SH NAME"), "{name}");
    }
    assert!(place.path("new/man1/tidemark.1").exists());
    place.write("file", "");
    let failed = place.tidemark(&["man", "--dir", "file"]).failed(1);
    assert!(failed.contains("cannot write to file"), "{failed}");
}

#[test]
fn the_schema_of_the_configuration_can_be_printed_whatever_the_configuration() {
    let place = Place::new();
    let schema = place
        .tidemark(&["--config", "missing.toml", "config", "schema"])
        .json();
    assert_eq!(schema["properties"]["data"]["default"], "./data");
}

#[test]
fn a_rules_file_can_be_checked_without_an_installation() {
    let place = Place::new();
    let shipped = include_str!("../../../../config/rules/mainnet.toml");
    place.write("good.toml", shipped);
    let said = place.tidemark(&["pricing", "check", "good.toml"]).ok();
    assert!(said.starts_with("good.toml is valid: "), "{said}");
    assert!(!place.path("data").exists(), "nothing is created");
    let bad = shipped.replacen("\nseason = []", "\nseason = 7", 1);
    place.write(
        "bad.toml",
        &bad.replacen("[rules]", "[rules]\nunknown = 1", 1),
    );
    let said = place.tidemark(&["pricing", "check", "bad.toml"]).failed(2);
    for fault in ["bad.toml: rules.season", "bad.toml: rules.unknown"] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    place.write(
        "services.json",
        r#"[{"number": 4, "name": "Images", "endpoints": []}]"#,
    );
    let key = [
        "pricing",
        "check",
        "services.json",
        "--key",
        "rules.services",
    ];
    let said = place.tidemark(&key).failed(2);
    assert!(said.contains("services.json: rules.services"), "{said}");
    let said = place
        .tidemark(&["pricing", "check", "missing.toml"])
        .failed(2);
    assert!(said.contains("cannot read missing.toml"), "{said}");
}
