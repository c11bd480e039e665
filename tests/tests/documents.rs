//! What the documents say of the system is held against the system.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use jikai_schema::staff::Role;

fn readme() -> String {
    // At run time: a target folder may be shared by several checkouts.
    let tests = std::env::var("CARGO_MANIFEST_DIR").expect("cargo test says where the package lies");
    std::fs::read_to_string(Path::new(&tests).join("../README.md")).unwrap()
}

/// The cells of the rows of the table under a heading.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let section = text.split(&format!("\n## {heading}\n")).nth(1).expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect();
    rows.skip(1).map(cells).collect()
}

#[test]
fn the_readme_names_every_role_and_whether_it_needs_a_second_factor() {
    let rows = table(&readme(), "Roles of the centre's staff");
    let told: Vec<_> = rows.iter().map(|row| (row[0].clone(), row[3].clone())).collect();
    let factor = |role: Role| if role.needs_second_factor() { "yes" } else { "no" };
    let known: Vec<_> = Role::ALL.map(|role| (format!("`{}`", role.name()), factor(role).to_string())).into();
    assert_eq!(told, known);
    for row in rows {
        assert!(row[1].chars().all(|letter| !letter.is_ascii()) && !row[2].is_empty(), "{row:?}");
    }
}
