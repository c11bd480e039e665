//! The rules of the repository, as tests: sizes, layering, determinism, habits. See `tests/DESIGN.md` for each rule's why.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const CRATES: [&str; 6] = ["schema", "sync", "node", "hub", "simulator", "tests"];

struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    // At run time: a target folder may be shared by several checkouts.
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo test says where the package lies")).join("..")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for name in CRATES {
        for folder in ["src", "tests", "benches"] {
            gather(&root().join(name).join(folder), &mut found);
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn gather(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().display().to_string();
            found.push(Source { path, text });
        }
    }
}

/// Fails with every line of every source that `broken` accepts.
fn forbid(rule: &str, applies: impl Fn(&str) -> bool, broken: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| applies(&source.path) && !source.path.ends_with("tests/tidy.rs")) {
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if broken(code) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

/// Whether `code` names the crate or module `name` as a path.
fn names(code: &str, name: &str) -> bool {
    let boundary =
        |at: usize| at == 0 || !code.as_bytes()[at - 1].is_ascii_alphanumeric() && code.as_bytes()[at - 1] != b'_';
    code.match_indices(name).any(|(at, _)| boundary(at) && code[at + name.len()..].starts_with("::"))
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.text.lines().count() > FILE_LINES_MAX)
        .map(|source| format!("{}: {} lines", source.path, source.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "split by noun:\n{}", long.join("\n"));
}

#[derive(Default)]
struct Functions {
    long: Vec<(String, usize)>,
}

impl Functions {
    fn measure(&mut self, name: String, block: &syn::Block) {
        let lines = block.span().end().line - block.span().start().line + 1;
        if lines > FUNCTION_LINES_MAX {
            self.long.push((name, lines));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(function.sig.ident.to_string(), &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(function.sig.ident.to_string(), block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(function.sig.ident.to_string(), &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut found = Vec::new();
    for source in sources() {
        let mut functions = Functions::default();
        functions.visit_file(&syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path)));
        found.extend(functions.long.iter().map(|(name, lines)| format!("{}: {name}, {lines} lines", source.path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn dependencies_point_one_way() {
    let manifest = |name: &str| fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
    let uses = |name: &str, dependency: &str| {
        // `name = …`, `name.workspace = true`, or `[dependencies.name]`.
        manifest(name).lines().any(|line| {
            line.split([' ', '=', '.']).next() == Some(dependency)
                || line.trim_end().ends_with(&format!("dependencies.{dependency}]"))
        })
    };
    for forbidden in ["tokio", "axum", "quinn", "jikai-sync", "jikai-node", "jikai-hub", "openraft"] {
        assert!(!uses("schema", forbidden), "schema must not use {forbidden}");
    }
    for forbidden in ["axum", "rusqlite", "jikai-node", "jikai-hub"] {
        assert!(!uses("sync", forbidden), "sync must not use {forbidden}");
    }
    assert!(!uses("node", "jikai-hub") && !uses("hub", "jikai-node"), "node and hub never import each other");
    for product in ["schema", "sync", "node", "hub"] {
        for witness in ["jikai-sim", "jikai-tests"] {
            assert!(!uses(product, witness), "{product} must not use {witness}");
        }
    }
    for forbidden in ["jikai-schema", "jikai-sync", "jikai-node", "jikai-hub", "rusqlite"] {
        assert!(!uses("simulator", forbidden), "the simulator is an independent witness: no {forbidden}");
    }
}

#[test]
fn only_the_transport_and_the_replicated_log_name_quinn() {
    let folders = ["sync/src/transport/", "hub/src/raft/", "hub/tests/raft/"];
    forbid(
        "quinn belongs to sync/src/transport, and to hub/src/raft between the machines of the hub",
        |path| !folders.iter().any(|folder| path.starts_with(folder)),
        |code| names(code, "quinn"),
    );
}

#[test]
fn only_the_crypto_seam_names_hashes_codes_and_ciphers() {
    // The simulator is an independent witness; a printer's package is SHA-256 by contract, whatever the suite, and so
    // is the checksum of a copy of the state; and the province of the tests compares tables with themselves.
    let elsewhere =
        ["schema/src/crypto/", "simulator/", "hub/src/import/printer/", "hub/src/province/", "hub/src/raft/snapshots/"];
    let algorithms = ["sha2", "sm3", "sm4", "aes_gcm", "hmac"];
    forbid(
        "hashes, codes and ciphers belong to schema/src/crypto, where the suite is chosen",
        |path| !elsewhere.iter().any(|folder| path.starts_with(folder)),
        // The QUIC stack signs its reset tokens with the TLS provider's own HMAC.
        |code| algorithms.iter().any(|name| names(&code.replace("aws_lc_rs::hmac", ""), name)),
    );
}

#[test]
fn only_the_replicated_log_names_openraft() {
    forbid(
        "openraft belongs to hub/src/raft",
        |path| !path.starts_with("hub/src/raft/") && !path.starts_with("hub/tests/raft/"),
        |code| names(code, "openraft"),
    );
}

#[test]
fn only_http_folders_name_axum() {
    let applies = |path: &str| path.contains("/src/") && !path.contains("/http/");
    forbid("axum belongs to */http/", applies, |code| names(code, "axum"));
}

#[test]
fn the_machine_and_the_projection_are_deterministic() {
    let applies = |path: &str| path.starts_with("hub/src/machine/") || path.starts_with("schema/src/projection/");
    let forbidden = [
        "SystemTime",
        "Instant",
        "TimeMs::now",
        "rand::",
        "HashMap",
        "HashSet",
        "f32",
        "f64",
        "async ",
        "CURRENT_TIMESTAMP",
        "random()",
    ];
    forbid("no clock, chance, float or unordered map here", applies, |code| {
        forbidden.iter().any(|word| code.contains(word))
    });
}

#[test]
fn nothing_is_ignored_put_off_or_left_behind() {
    let forbidden = ["#[ignore", "todo!(", "unimplemented!(", "dbg!("];
    forbid("finish it or take it out", |_| true, |code| forbidden.iter().any(|word| code.contains(word)));
    for source in sources().iter().filter(|source| !source.path.ends_with("tests/tidy.rs")) {
        for mark in ["TODO", "FIXME", "XXX", "HACK"] {
            assert!(!source.text.contains(mark), "{} holds a {mark}", source.path);
        }
    }
}

/// Whether an item or module is compiled for tests only.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
    })
}

/// Lines of a source that only tests compile: all of a test file, else its modules under `#[cfg(test)]`.
fn test_lines(source: &Source) -> Vec<std::ops::RangeInclusive<usize>> {
    if source.path.starts_with("tests/") || source.path.contains("/tests/") || source.path.ends_with("/tests.rs") {
        return vec![1..=usize::MAX];
    }
    let file = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
    let modules = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if is_for_tests(&module.attrs) => Some(module.span()),
        _ => None,
    });
    modules.map(|span| span.start().line..=span.end().line).collect()
}

#[test]
fn no_test_sleeps() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.path.ends_with("tests/tidy.rs")) {
        let tests = test_lines(source);
        for (number, line) in (1..).zip(source.text.lines()) {
            let code = line.split("//").next().unwrap_or("");
            if code.contains("sleep(") && tests.iter().any(|lines| lines.contains(&number)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "wait for the thing itself\n{}", found.join("\n"));
}

#[test]
fn folders_are_named_after_the_domain() {
    for source in sources() {
        for name in ["utils", "util", "common", "helpers", "helper", "manager", "misc"] {
            let named = source.path.split('/').any(|part| part == name || part == format!("{name}.rs"));
            assert!(!named, "{}: name it after what it holds", source.path);
        }
    }
}

/// Two dense pages.
const DESIGN_WORDS_MAX: usize = 2_000;

#[test]
fn every_crate_explains_its_design_on_two_pages_that_name_all_further_ones() {
    for name in CRATES {
        let folder = root().join(name);
        let text = fs::read_to_string(folder.join("DESIGN.md"));
        let text = text.unwrap_or_else(|_| panic!("{name}/DESIGN.md is missing"));
        let words = text.split_whitespace().count();
        assert!(text.lines().count() > 10, "{name}/DESIGN.md says too little");
        assert!(words <= DESIGN_WORDS_MAX, "{name}/DESIGN.md has {words} words: move a topic to {name}/design/");
        let linked: BTreeSet<&str> =
            text.split("](design/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        let pages = fs::read_dir(folder.join("design")).into_iter().flatten();
        let pages: BTreeSet<String> =
            pages.map(|page| page.expect("a folder can be read").file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(
            pages.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            linked,
            "{name}/design and the links to it"
        );
    }
}
