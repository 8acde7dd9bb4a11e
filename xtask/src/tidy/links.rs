//! Links between our Markdown files: each leads to a file.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Finding, collect, read};

/// Finds links that lead nowhere, in the root's and `docs/`' Markdown files.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for path in markdown_files(root)? {
        let dir = path.parent().unwrap_or(Path::new(""));
        for (index, line) in read(root, &path)?.lines().enumerate() {
            for target in targets(line) {
                let file = target.split('#').next().unwrap_or_default();
                if !file.is_empty() && !root.join(dir).join(file).exists() {
                    let advice = format!("there is no {file}: mend the link");
                    findings.push(Finding::new(&path, index + 1, advice));
                }
            }
        }
    }
    Ok(findings)
}

fn markdown_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let entries = fs::read_dir(root).map_err(|cause| format!("{}: {cause}", root.display()))?;
    for entry in entries {
        let path = entry.map_err(|cause| format!("{}: {cause}", root.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    let docs = root.join("docs");
    if docs.is_dir() {
        collect(&docs, "md", &mut files)?;
    }
    let relative = |path: &PathBuf| Some(path.strip_prefix(root).ok()?.to_path_buf());
    let mut files: Vec<PathBuf> = files.iter().filter_map(relative).collect();
    files.sort();
    Ok(files)
}

/// Where the links of one line lead, but for those out of the repository.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|t| !t.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_within_the_repository_are_followed() {
        let line = "[a](docs/a.md) and [b](https://example.org/b.md), [c](#c) [d](d.md#e)";

        assert_eq!(targets(line).collect::<Vec<_>>(), ["docs/a.md", "#c", "d.md#e"]);
    }
}
