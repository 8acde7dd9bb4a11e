//! `ARCHITECTURE.md` is the map: what it shows exists, and what exists is on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{Finding, read};

/// The map.
const MAP: &str = "ARCHITECTURE.md";
/// The engine's modules are on the map one by one.
const ENGINE: &str = "crates/quipu-engine/src";

/// A crate's name and the workspace's crates that it depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Compares the map with the workspace.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let map = read(root, Path::new(MAP))?;
    let graph = crate_graph(root)?;
    let mut findings = missing_paths(root, &map);
    findings.extend(compare(&graph, &table(&map)));
    for module in modules(&root.join(ENGINE))? {
        if !quoted(&map).any(|(_, text)| text == module || text == format!("{module}.rs")) {
            let advice = format!("the engine's module `{module}` is not on the map: add it");
            findings.push(Finding::new(Path::new(MAP), 0, advice));
        }
    }
    Ok(findings)
}

fn missing_paths(root: &Path, map: &str) -> Vec<Finding> {
    let is_path = |text: &str| {
        let first = text.split('/').next().unwrap_or_default();
        let places = ["crates", "xtask", "bench", "docs", "fuzz", "examples", "samples", ".ci"];
        text.contains('/') && places.contains(&first)
    };
    let paths = quoted(map).filter(|(_, text)| is_path(text));
    let missing = paths.filter(|(_, path)| !root.join(path).exists());
    missing
        .map(|(line, path)| {
            let advice = format!("there is no {path}: the map shows what exists");
            Finding::new(Path::new(MAP), line, advice)
        })
        .collect()
}

/// What stands between backquotes, with its line. Text in fenced blocks is drawing, not map.
fn quoted(map: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    map.lines().enumerate().flat_map(move |(index, line)| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        let texts = if fenced || fence { "" } else { line };
        texts.split('`').skip(1).step_by(2).map(move |text| (index + 1, text))
    })
}

/// The map's table of crates: the first cell names one, the last those that it depends on.
fn table(map: &str) -> Graph {
    let mut graph = Graph::new();
    for line in map.lines().filter(|line| line.starts_with("| `quipu")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let names = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let [first, .., last] = cells.as_slice() else { continue };
        if let Some(name) = names(first).first() {
            graph.insert(name.clone(), names(last).into_iter().collect());
        }
    }
    graph
}

/// The workspace's crates as their manifests have them. What only tests need does not count.
fn crate_graph(root: &Path) -> Result<Graph, String> {
    let mut graph = Graph::new();
    let dir = root.join("crates");
    let entries = fs::read_dir(&dir).map_err(|cause| format!("{}: {cause}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|cause| format!("{}: {cause}", dir.display()))?.path();
        let Ok(manifest) = fs::read_to_string(path.join("Cargo.toml")) else { continue };
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            graph.insert(name.to_owned(), dependencies(&manifest));
        }
    }
    let own: BTreeSet<String> = graph.keys().cloned().collect();
    for needs in graph.values_mut() {
        needs.retain(|name| own.contains(name));
    }
    Ok(graph)
}

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim();
        } else if section == "[dependencies]" {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.insert(name.to_owned());
        }
    }
    names
}

fn compare(graph: &Graph, table: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let names: BTreeSet<&String> = graph.keys().chain(table.keys()).collect();
    for name in names {
        let advice = match (graph.get(name), table.get(name)) {
            (Some(_), None) => format!("the crate {name} is not in the table: add it"),
            (None, Some(_)) => format!("there is no crate {name}: take it from the table"),
            (Some(needs), Some(told)) if needs != told => {
                format!("{name} depends on {needs:?}, the table says {told:?}")
            }
            _ => continue,
        };
        findings.push(Finding::new(Path::new(MAP), 0, advice));
    }
    findings
}

/// The names of the modules at the top of a crate.
fn modules(src: &Path) -> Result<BTreeSet<String>, String> {
    let entries = fs::read_dir(src).map_err(|cause| format!("{}: {cause}", src.display()))?;
    let mut modules = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(|cause| format!("{}: {cause}", src.display()))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_module = path.is_dir() || path.extension().is_some_and(|own| own == "rs");
        if is_module && !matches!(stem, "lib" | "main") {
            modules.insert(stem.to_owned());
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(pairs: &[(&str, &[&str])]) -> Graph {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        pairs.iter().map(|(name, needs)| (name.to_string(), set(needs))).collect()
    }

    #[test]
    fn the_table_names_each_crate_and_what_it_depends_on() {
        let map = "| crate | purpose | depends on |\n|---|---|---|\n\
                   | `quipu-core` | words | - |\n| `quipu-engine` | a `log` | `quipu-core` |\n";

        let expected = graph(&[("quipu-core", &[]), ("quipu-engine", &["quipu-core"])]);
        assert_eq!(table(map), expected);
    }

    #[test]
    fn dependencies_of_tests_do_not_count() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nquipu-core.workspace = true\n\
                        bytes = \"1\"\n[dev-dependencies]\ntempfile = \"3\"\n";

        let names = dependencies(manifest);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["bytes", "quipu-core"]);
    }

    #[test]
    fn every_difference_between_the_table_and_the_workspace_is_found() {
        let real = graph(&[("a", &[]), ("b", &["a"]), ("c", &[])]);
        let told = graph(&[("a", &[]), ("b", &[]), ("d", &[])]);

        let findings = compare(&real, &told);
        let advice: Vec<&str> = findings.iter().map(|finding| &*finding.advice).collect();
        assert_eq!(advice.len(), 3);
        assert!(advice[0].starts_with("b depends on"));
        assert!(advice[1].contains("c is not in the table"));
        assert!(advice[2].contains("no crate d"));
    }

    #[test]
    fn drawings_are_not_part_of_the_map() {
        let map = "see `crates/a`\n```\n`crates/b`\n```\n`c`";

        assert_eq!(quoted(map).collect::<Vec<_>>(), [(1, "crates/a"), (5, "c")]);
    }
}
