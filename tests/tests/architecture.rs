//! The shape of the workspace as data. A new arrow between crates, or a new user of a foreign system, is a new line in
//! the tables below, so that it is seen and judged where it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Who knows whom: a crate, and the crates of ours that it may name. Arrows point down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("limits", &[]),
    ("proto", &["mail"]),
    ("smtp", &["mail"]),
    ("queue", &["mail"]),
    ("route", &["mail"]),
    ("daemon", &["mail"]),
    ("report", &["mail"]),
    ("spool", &["mail", "proto"]),
    ("feed", &["mail", "report", "spool"]),
    ("registry", &["mail", "proto", "sign"]),
    ("sign", &["mail"]),
    ("wire", &["mail", "smtp"]),
    ("ingress", &["daemon", "limits", "mail", "registry", "sign", "smtp", "spool", "wire"]),
    (
        "delivery",
        &["daemon", "limits", "mail", "queue", "registry", "report", "route", "sign", "smtp", "spool", "wire"],
    ),
    ("control", &["daemon", "mail", "proto", "registry", "sign", "spool"]),
    (
        "sluice",
        &[
            "control", "daemon", "delivery", "feed", "ingress", "limits", "mail", "proto", "queue", "registry",
            "route", "sign", "smtp", "spool", "wire",
        ],
    ),
    ("tests", &[]),
    ("benches", &["tests"]),
];

/// Who may use a foreign system. `tests` and `benches` stand outside: they speak to Sluice with means of their own.
const OWNERS: &[(&str, &[&str])] = &[
    ("argon2", &["registry"]),
    ("axum", &["daemon", "sluice"]),
    ("clap", &["sluice"]),
    ("csv", &["feed"]),
    ("fjall", &["registry"]),
    ("flate2", &["feed"]),
    ("hickory-resolver", &["route"]),
    ("idna", &["mail"]),
    ("mail-auth", &["sign"]),
    ("mimalloc", &["sluice"]),
    ("prost", &["proto", "registry", "spool"]),
    ("prost-types", &["proto"]),
    ("rcgen", &["sluice"]),
    ("rustix", &["daemon", "ingress", "spool"]),
    ("rustls", &["wire"]),
    ("rustls-native-certs", &["wire"]),
    ("socket2", &["wire"]),
    ("tokio-rustls", &["wire"]),
    ("toml", &["daemon", "sluice"]),
    ("tonic", &["control", "proto", "sluice"]),
    ("tracing-subscriber", &["daemon"]),
];

/// Crates that decide and never wait, and all that they may use of others'. None of it does I/O or reads a clock.
const PURE: &[(&str, &[&str])] = &[
    ("mail", &["bytes", "idna", "memchr", "thiserror"]),
    ("smtp", &["base64", "bytes", "memchr", "thiserror"]),
    ("queue", &["thiserror"]),
    ("report", &["bytes", "memchr"]),
];

/// What a pure crate's code must not name.
const IMPURE: &[&str] = &["std::fs", "std::net::Tcp", "std::net::Udp", "std::thread", "tokio", "async fn", ".await"];

/// Lines of a source file without its tests.
const LINES_MAX: usize = 500;

fn metadata() -> Result<Metadata> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    Ok(MetadataCommand::new().manifest_path(manifest).no_deps().exec()?)
}

/// `sluice-mail` is `mail`; the program `sluice` is itself.
fn short(name: &str) -> &str {
    name.strip_prefix("sluice-").unwrap_or(name)
}

fn row<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<BTreeSet<&'a str>> {
    table.iter().find(|(key, _)| *key == name).map(|(_, row)| row.iter().copied().collect())
}

/// The names that `package` depends on, for its tests too if `tests`.
fn dependencies(package: &Package, tests: bool) -> BTreeSet<&str> {
    let kept = package.dependencies.iter().filter(|d| tests || d.kind != DependencyKind::Development);
    kept.map(|d| d.name.as_str()).collect()
}

#[test]
fn arrows_are_the_table() -> Result<()> {
    let metadata = metadata()?;
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let table: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    ensure!(ours.iter().map(|name| short(name)).collect::<BTreeSet<_>>() == table, "members: {ours:?}");
    for package in &metadata.packages {
        let name = short(&package.name);
        let allowed = row(ARROWS, name).context("no row")?;
        let known: BTreeSet<&str> = dependencies(package, true).intersection(&ours).map(|name| short(name)).collect();
        let new: Vec<_> = known.difference(&allowed).collect();
        ensure!(new.is_empty(), "{name} names {new:?}: a new arrow; if it is right, it is a line in ARROWS");
        let gone: Vec<_> = allowed.difference(&known).collect();
        ensure!(gone.is_empty(), "{name} does not name {gone:?}: take the arrow out of ARROWS");
    }
    Ok(())
}

#[test]
fn the_table_has_no_cycle() -> Result<()> {
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    while placed.len() < ARROWS.len() {
        let ready =
            |(name, row): &&(&'static str, &[&str])| !placed.contains(name) && row.iter().all(|r| placed.contains(r));
        let next: Vec<_> = ARROWS.iter().filter(ready).map(|(name, _)| *name).collect();
        ensure!(!next.is_empty(), "a cycle among those above {placed:?}");
        placed.extend(next);
    }
    Ok(())
}

#[test]
fn each_foreign_system_has_its_owner() -> Result<()> {
    for package in &metadata()?.packages {
        let name = short(&package.name);
        if matches!(name, "tests" | "benches") {
            continue;
        }
        for dependency in dependencies(package, false) {
            if let Some(owners) = row(OWNERS, dependency) {
                ensure!(owners.contains(name), "{name} uses {dependency}, which is {owners:?}'s");
            }
        }
    }
    Ok(())
}

#[test]
fn anyhow_is_for_programs() -> Result<()> {
    let users: BTreeSet<String> = metadata()?
        .packages
        .iter()
        .filter(|package| dependencies(package, false).contains("anyhow"))
        .map(|package| short(&package.name).to_owned())
        .collect();
    ensure!(users.iter().all(|name| matches!(name.as_str(), "sluice" | "tests" | "benches")), "{users:?}");
    Ok(())
}

#[test]
fn pure_crates_decide_and_never_wait() -> Result<()> {
    let metadata = metadata()?;
    for (name, allowed) in PURE {
        let package = metadata.packages.iter().find(|package| short(&package.name) == *name).context(*name)?;
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let used = dependencies(package, false);
        let foreign: Vec<_> = used.iter().filter(|d| !d.starts_with("sluice-") && !allowed.contains(**d)).collect();
        ensure!(foreign.is_empty(), "{name} is pure and uses {foreign:?}");
        for (path, text) in sources(package)? {
            for (number, line) in code_lines(&text) {
                let word = IMPURE.iter().find(|word| line.contains(**word));
                ensure!(word.is_none(), "{}:{number}: `{}` in a pure crate", path.display(), word.unwrap_or(&""));
            }
        }
    }
    Ok(())
}

#[test]
fn every_crate_takes_the_workspace_lints() -> Result<()> {
    for package in &metadata()?.packages {
        let manifest = fs::read_to_string(&package.manifest_path)?;
        ensure!(manifest.contains("[lints]\nworkspace = true"), "{}: no `[lints] workspace = true`", package.name);
    }
    Ok(())
}

#[test]
fn files_stay_short() -> Result<()> {
    let mut long = BTreeMap::new();
    for package in &metadata()?.packages {
        for (path, text) in sources(package)? {
            let lines = without_tests(&text).lines().count();
            if lines > LINES_MAX {
                long.insert(path, lines);
            }
        }
    }
    ensure!(long.is_empty(), "over {LINES_MAX} lines without their tests: {long:?}");
    Ok(())
}

/// The sources of a package below `src/`, but for those that hold tests alone.
fn sources(package: &Package) -> Result<Vec<(PathBuf, String)>> {
    let folder = package.manifest_path.parent().context("no folder")?.join("src");
    let (mut folders, mut found) = (vec![folder.into_std_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "contract");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                found.push((path.clone(), fs::read_to_string(&path)?));
            }
        }
    }
    Ok(found)
}

/// `text` up to its `mod tests {`.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

/// Numbered lines that are not comments, tests left out.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = without_tests(text).lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
}
