//! Keeps the repository tidy: sizes, names, file heads, the direction of the crates, links and invariant ids.
//!
//! What clippy cannot see and a reviewer should not have to: each test reads the files of the working tree, and its
//! message names every offender with the rule. Nothing here runs code of the project.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file is explained past 500 lines and stops here.
const FILE_LINES_MAX: usize = 800;
/// A README is read, not searched.
const README_LINES_MAX: usize = 150;
/// Kinds of file that people write and read.
const WRITTEN: [&str; 10] = ["rs", "toml", "proto", "sql", "py", "java", "c", "sh", "md", "yml"];
/// Folders that hold what is built, or is not text.
const SKIPPED: [&str; 6] = ["target", "data", "golden", "corpus", "node_modules", "__pycache__"];
/// Crates from left to right: a crate may use what stands further right.
const ORDER: [(&str, u8); 8] = [
    ("agent", 0),
    ("kafka-gateway", 1),
    ("grpc-gateway", 1),
    ("broker", 2),
    ("metadata", 3),
    ("segment", 4),
    ("protocol-model", 5), // nobody uses it: it is explored by its own tests
    ("s3-server", 5),      // for tests alone
];
/// Packages that only these crates may use: the layers below the broker stay below it, and `segment` is pure bytes.
const KEPT_TO: [(&str, &[&str]); 8] = [
    ("metadata", &["agent", "broker"]),
    ("segment", &["broker", "metadata"]),
    ("opendal", &["agent", "broker"]),
    ("sqlx", &["metadata"]),
    ("kafka-protocol", &["kafka-gateway"]),
    ("tonic", &["grpc-gateway"]),
    ("anyhow", &["agent", "s3-server"]),
    ("tokio", &["agent", "broker", "grpc-gateway", "kafka-gateway", "metadata", "s3-server"]),
];
/// Names that say nothing.
const BANNED_NAMES: [&str; 8] = ["util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"];

#[test]
fn no_file_is_longer_than_its_bound() {
    let mut long = Vec::new();
    for file in Tree::read().files {
        let bound = if file.name == "README.md" { README_LINES_MAX } else { FILE_LINES_MAX };
        let lines = file.text.lines().count();
        if lines > bound {
            long.push(format!("{}: {lines} lines, at most {bound}", file.name));
        }
    }
    assert_none(long);
}

#[test]
fn every_rust_file_opens_with_why_it_exists() {
    let tree = Tree::read();
    let silent = tree.of_kind("rs").filter(|file| !file.text.starts_with("//! "));
    assert_none(silent.map(|file| format!("{}: does not begin with //!", file.name)));
}

#[test]
fn names_are_nouns_of_the_domain() {
    let mut empty = BTreeSet::new();
    for file in Tree::read().files {
        let stems = Path::new(&file.name).components().filter_map(|part| Path::new(part.as_os_str()).file_stem());
        for stem in stems.map(|stem| stem.to_string_lossy().into_owned()) {
            if stem.split(['_', '-']).any(|word| BANNED_NAMES.contains(&word)) {
                empty.insert(format!("{}: {stem:?} says nothing", file.name));
            }
        }
    }
    assert_none(empty);
}

#[test]
fn nothing_unfinished_and_no_path_of_a_machine_is_in_a_source() {
    // In two pieces each, so that this file does not name itself.
    let unfinished =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!("), concat!("FIX", "ME")];
    let machine = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let mut found = Vec::new();
    for file in Tree::read().files {
        for (number, line) in file.text.lines().enumerate() {
            let words = unfinished.iter().chain(&machine).filter(|word| line.contains(**word));
            found.extend(words.map(|word| format!("{}:{}: {word}", file.name, number + 1)));
        }
    }
    assert_none(found);
}

#[test]
fn crates_use_only_what_is_to_their_right() {
    let rank: BTreeMap<&str, u8> = ORDER.into();
    let mut wrong = Vec::new();
    for (user, own_rank) in ORDER {
        let used = dependencies(&Tree::read_file(&format!("crates/{user}/Cargo.toml")));
        assert!(!used.is_empty(), "{user}: its dependencies were not found");
        for package in used {
            if rank.get(package.as_str()).is_some_and(|other| *other <= own_rank) {
                wrong.push(format!("{user} uses {package}, which is not to its right"));
            }
            let kept = KEPT_TO.iter().find(|(kept, _)| *kept == package);
            if kept.is_some_and(|(_, users)| !users.contains(&user)) {
                wrong.push(format!("{user} uses {package}, which is kept to {:?}", kept.map(|(_, users)| users)));
            }
        }
    }
    assert_none(wrong);
}

#[test]
fn every_crate_has_its_place_in_the_order() {
    let mut crates: Vec<String> = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("crates/") {
        crates.push(entry.expect("an entry").file_name().to_string_lossy().into_owned());
    }
    crates.sort();
    let mut ordered: Vec<_> = ORDER.iter().map(|(name, _)| (*name).to_owned()).collect();
    ordered.sort();
    assert_eq!(crates, ordered);
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut dead = Vec::new();
    for file in Tree::read().of_kind("md") {
        let folder = root().join(&file.name).parent().expect("a folder").to_owned();
        for target in links(&file.text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !target.contains("://") && !folder.join(path).exists() {
                dead.push(format!("{}: {target}", file.name));
            }
        }
    }
    assert_none(dead);
}

#[test]
fn documents_and_code_name_the_same_invariants() {
    let documented: BTreeSet<String> = Tree::read_file("ARCHITECTURE.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| **")?.split_once("**").map(|(id, _)| id.to_owned()))
        .collect();
    assert!(documented.len() >= 6, "the table of invariants was not found: {documented:?}");
    let mut named = BTreeSet::new();
    for file in Tree::read().of_kind("rs").filter(|file| file.name.starts_with("crates/broker/src/")) {
        let words = file.text.split(|c: char| !c.is_ascii_alphanumeric());
        let ids = words.filter(|word| word.strip_prefix('I').is_some_and(|digits| digits.parse::<u8>().is_ok()));
        named.extend(ids.map(str::to_owned));
    }
    assert_eq!(documented, named, "left: ARCHITECTURE.md, right: crates/broker/src");
}

#[test]
fn no_agent_can_have_a_seeded_bug() {
    let fronts = ["crates/agent/src/", "crates/kafka-gateway/src/", "crates/grpc-gateway/src/"];
    let mut named = Vec::new();
    for file in Tree::read().files {
        let text = file.text.to_lowercase().replace('_', "");
        if fronts.iter().any(|front| file.name.starts_with(front)) && text.contains("seededbug") {
            named.push(format!("{}: names the seeded bugs, which are for tests alone", file.name));
        }
    }
    assert_none(named);
}

fn assert_none(offenders: impl IntoIterator<Item = impl ToString>) {
    let lines: Vec<String> = offenders.into_iter().map(|line| line.to_string()).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// Targets of `[text](target)`, outside code blocks.
fn links(markdown: &str) -> Vec<String> {
    let mut in_code = false;
    let mut targets = Vec::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if !in_code {
            let after = line.split("](").skip(1);
            targets.extend(after.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()));
        }
    }
    targets
}

/// Packages that a manifest's normal and build dependencies name; development ones are the tests' own affair.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut in_section = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let kind = |part: &str| matches!(part, "dependencies" | "build-dependencies");
            in_section = header.rsplit('.').next().is_some_and(kind);
            if let Some((before, package)) = header.rsplit_once('.')
                && before.rsplit('.').next().is_some_and(kind)
            {
                used.insert(package.to_owned());
            }
        } else if in_section
            && let Some((name, _)) = line.split_once(['.', '=', ' '])
            && !name.starts_with('#')
        {
            used.insert(name.to_owned());
        }
    }
    used
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file by its name from the root, with forward slashes.
struct SourceFile {
    name: String,
    text: String,
}

/// Everything that people wrote.
struct Tree {
    files: Vec<SourceFile>,
}

impl Tree {
    fn read() -> Self {
        let mut tree = Self { files: Vec::new() };
        tree.walk(&root(), "");
        assert!(tree.files.len() > 100, "the working tree was not found");
        tree
    }

    fn read_file(name: &str) -> String {
        fs::read_to_string(root().join(name)).expect(name)
    }

    fn of_kind(&self, extension: &str) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(move |file| file.name.rsplit('.').next() == Some(extension))
    }

    fn walk(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).expect("a folder of the tree") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if name.starts_with('.') && name != ".ci" || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().expect("a kind").is_dir() {
                self.walk(&entry.path(), &format!("{path}/"));
            } else if name.rsplit_once('.').is_some_and(|(_, extension)| WRITTEN.contains(&extension)) {
                let text = fs::read_to_string(entry.path()).expect(&path);
                self.files.push(SourceFile { name: path, text });
            }
        }
    }
}
