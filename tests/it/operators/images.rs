//! The container images that files name: each by an exact version, and the script that pins them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::tools::text;

/// Files that name images.
const FILES: [&str; 3] = [
    "Dockerfile",
    "docker-compose.yml",
    "deploy/kubernetes/tidemark.yaml",
];

/// Every image that a file names.
fn images(text: &str) -> BTreeSet<String> {
    let named = |line: &str| {
        let line = line.trim_start();
        let rest = ["FROM ", "image: ", "- image: ", "# syntax="]
            .iter()
            .find_map(|begin| line.strip_prefix(begin))?;
        let rest = rest.split_whitespace().next()?;
        Some(rest.trim_matches('"').to_owned())
    };
    text.lines().filter_map(named).collect()
}

/// Whether a name has a digest, or a tag with at least two numbers: `1.95.0-bookworm`, `v3.5.0`.
fn is_exact(image: &str) -> bool {
    if let Some((_, digest)) = image.split_once('@') {
        let digest = digest.strip_prefix("sha256:").unwrap_or_default();
        return digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    let Some((_, tag)) = name.split_once(':') else {
        return false;
    };
    let version = tag
        .trim_start_matches('v')
        .split('-')
        .next()
        .unwrap_or_default();
    let mut parts = version.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    version.contains('.') && parts.all(is_number)
}

#[test]
fn a_version_is_told_from_a_tag_that_moves() {
    let digest = format!("kafka@sha256:{}", "a".repeat(64));
    for (image, exact) in [
        ("apache/kafka:4.2.1", true),
        ("rust:1.95.0-bookworm", true),
        ("prom/prometheus:v3.5.0", true),
        ("localhost:5000/tidemark:0.1.0", true),
        (&digest, true),
        ("debian:bookworm-slim", false),
        ("docker/dockerfile:1", false),
        ("tidemark", false),
        ("localhost:5000/tidemark", false),
        ("grafana/grafana:latest", false),
        ("kafka@sha256:12", false),
    ] {
        assert_eq!(is_exact(image), exact, "{image}");
    }
}

/// Images for which no digest could be looked up; see SECURITY.md.
const WITHOUT_DIGEST: [&str; 1] = ["amazon/dynamodb-local:2.6.0"];

#[test]
fn every_image_that_comes_from_a_registry_is_pinned_by_digest() {
    for file in &FILES[..2] {
        for image in images(&text(file)) {
            let is_own = image.starts_with("tidemark:");
            let is_pinned = image.contains("@sha256:");
            let is_known = WITHOUT_DIGEST.contains(&&*image);
            assert!(is_own || is_pinned != is_known, "{file}: {image}");
        }
    }
}

#[test]
fn every_image_is_named_by_an_exact_version() {
    for file in FILES {
        let found = images(&text(file));
        assert!(!found.is_empty(), "{file} names no image");
        for image in found {
            assert!(is_exact(&image), "{file}: {image}");
        }
    }
    let own = format!("tidemark:{}", env!("CARGO_PKG_VERSION"));
    assert!(images(&text("docker-compose.yml")).contains(&own));
}

/// Runs the script on copies of the files, with a Docker that knows a digest of every image.
fn pin(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(dir.join(".ci/pin-images"))
        .args(arguments)
        .env("PATH", format!("{}:{path}", dir.join("bin").display()))
        .output()
        .expect("the script runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_script_pins_every_image_and_moves_the_pins() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    script(&dir.join(".ci/pin-images"), &text(".ci/pin-images"));
    for file in &FILES[..2] {
        fs::write(dir.join(file), text(file)).unwrap();
    }
    let docker = |digit: char| {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        script(
            &dir.join("bin/docker"),
            &format!("#!/bin/sh\ncase \"$4\" in *@*) exit 1;; esac\necho {digest}\n"),
        );
        digest
    };
    let found = |file: &str| images(&fs::read_to_string(dir.join(file)).unwrap());
    let before: Vec<BTreeSet<String>> = FILES[..2].iter().map(|file| found(file)).collect();
    for digit in ['a', 'b'] {
        let digest = docker(digit);
        let (is_done, said) = pin(dir, &[]);
        assert!(is_done, "{said}");
        for (file, before) in FILES.iter().zip(&before) {
            let pinned = before
                .iter()
                .map(|image| match image.starts_with("tidemark:") {
                    true => image.clone(),
                    false => format!("{}@{digest}", image.split('@').next().unwrap()),
                });
            assert_eq!(found(file), pinned.collect(), "{file}");
        }
        assert_eq!(pin(dir, &["--check"]), (true, String::new()));
    }
    // What is no digest is not written.
    script(&dir.join("bin/docker"), "#!/bin/sh\necho unknown\n");
    let now = found("Dockerfile");
    assert!(!pin(dir, &[]).0);
    assert_eq!(found("Dockerfile"), now);
}
