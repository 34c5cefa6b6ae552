//! The pages for people: links that lead somewhere, first lines that say for whom, lines that fit.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::repository;

/// The longest line of prose.
const COLUMNS_MAX: usize = 100;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of docs/, without the table of contents.
pub(super) fn pages() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("docs")).expect("the directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let mut pages: Vec<String> = names
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .map(|name| format!("docs/{name}"))
        .collect();
    pages.sort();
    assert!(pages.len() > 15, "{pages:?}");
    pages
}

fn all() -> Vec<String> {
    let others = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/SUMMARY.md",
        "deploy/README.md",
        "deploy/iam/README.md",
    ];
    let mut all = pages();
    all.extend(others.map(str::to_owned));
    all
}

/// The lines outside of code blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(line);
        }
    }
    lines
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
        heading
            .chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The targets of a page's links within the repository.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text).join("\n");
    let targets = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let is_ours = |target: &&str| !target.starts_with("http") && !target.contains(' ');
    targets.filter(is_ours).map(str::to_owned).collect()
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let mut checked = 0;
    for page in all() {
        let text = repository(&page);
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target: PathBuf = match file {
                "" => root().join(&page),
                file => root().join(&page).with_file_name("").join(file),
            };
            assert!(target.exists(), "{page}: {link}");
            if !anchor.is_empty() {
                let target = std::fs::read_to_string(&target).expect("a page");
                assert!(anchors(&target).contains(anchor), "{page}: {link}");
            }
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} links");
}

#[test]
fn every_page_of_the_book_is_in_its_table_of_contents_and_links_only_within_it() {
    let contents: BTreeSet<String> = links(&repository("docs/SUMMARY.md")).into_iter().collect();
    for page in pages() {
        let name = page.trim_start_matches("docs/");
        assert!(contents.contains(name), "{page} is not in docs/SUMMARY.md");
        for link in links(&repository(&page)) {
            assert!(!link.starts_with(".."), "{page}: {link} leaves the book");
        }
    }
}

#[test]
fn every_page_says_in_its_first_lines_for_whom_it_is() {
    for page in pages() {
        let text = repository(&page);
        let mut lines = text.lines();
        let title = lines.next().expect("a title");
        assert!(title.starts_with("# "), "{page}: {title}");
        let audience = lines.nth(1).unwrap_or_default();
        assert!(audience.starts_with("*For "), "{page}: {audience}");
    }
}

#[test]
fn prose_wraps() {
    for page in all() {
        for line in prose(&repository(&page)) {
            // Neither tables, headings, links nor code can be broken.
            let unbroken = line.trim_start().starts_with(['|', '#']) || line.contains("](");
            let text: String = line.split('`').step_by(2).collect();
            let is_long = line.chars().count() > COLUMNS_MAX && text.chars().count() > 10;
            assert!(unbroken || !is_long, "{page}: {line}");
        }
    }
}

#[test]
fn a_search_for_dead_letters_finds_rejects() {
    for page in [
        "ARCHITECTURE.md",
        "docs/index.md",
        "docs/wire.md",
        "docs/api-admin.md",
    ] {
        let text = repository(page).to_lowercase();
        let is_found = text
            .split("\n\n")
            .any(|part| part.contains("dead letter") && part.contains("reject"));
        assert!(is_found, "{page}");
    }
}
