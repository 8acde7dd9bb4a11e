//! Words that mean something else here, in the names of public items.
//!
//! `GLOSSARY.md` has the vocabulary. The words below are those that it replaces and that have no
//! second, rightful use.

use std::path::Path;

use super::Finding;
use super::source::Source;

/// A word never to be used in a public name, and what to say.
const BANNED: [(&str, &str); 12] = [
    ("bookmark", "checkpoint"),
    ("chunk", "segment, or batch"),
    ("criteria", "query"),
    ("denormalizer", "projection"),
    ("dump", "backup, or export"),
    ("fetch", "read"),
    ("len", "count, or size"),
    ("message", "event"),
    ("num", "count"),
    ("payload", "data"),
    ("poll", "read, or subscribe"),
    ("transaction", "batch, or append"),
];

/// Finds banned words in the names of public items of one file.
pub(crate) fn check(path: &Path, text: &str) -> Vec<Finding> {
    let code = Source::new(text).code;
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let Some(name) = public_name(line) else { continue };
        for word in words(name) {
            let banned = BANNED.iter().find(|(banned, _)| *banned == word);
            if let Some((banned, instead)) = banned {
                let advice = format!("\"{banned}\" in the public name `{name}`: say {instead}");
                findings.push(Finding::new(path, index + 1, advice));
            }
        }
    }
    findings
}

/// The name that a line makes public, if it does: an item's or a field's.
fn public_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start().strip_prefix("pub ")?;
    for keyword in ["const ", "async ", "unsafe ", "extern "] {
        rest = rest.strip_prefix(keyword).unwrap_or(rest);
    }
    let item = ["fn ", "struct ", "enum ", "trait ", "type ", "static ", "mod ", "union "]
        .into_iter()
        .find_map(|keyword| rest.strip_prefix(keyword));
    let name = item.unwrap_or(rest).trim_start();
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    let name = &name[..end];
    (!name.is_empty() && name != "use").then_some(name)
}

/// The words of `snake_case`, `CamelCase` and `UPPER_CASE`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("there is one from the start").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_every_way_of_writing_names() {
        assert_eq!(words("EventBatch"), ["event", "batch"]);
        assert_eq!(words("event_batch"), ["event", "batch"]);
        assert_eq!(words("EVENT_SIZE_MAX"), ["event", "size", "max"]);
    }

    #[test]
    fn only_public_names_are_looked_at() {
        assert_eq!(public_name("    pub async fn read(&self) {"), Some("read"));
        assert_eq!(public_name("pub const SIZE_MAX: usize = 1;"), Some("SIZE_MAX"));
        assert_eq!(public_name("    pub data: Bytes,"), Some("data"));
        assert_eq!(public_name("pub use crate::payload;"), None);
        assert_eq!(public_name("pub(crate) fn payload() {}"), None);
        assert_eq!(public_name("fn payload() {}"), None);
    }

    #[test]
    fn a_banned_word_is_found_with_what_to_say_instead() {
        let findings = check(Path::new("a.rs"), "/// Fine.\npub struct EventPayload;");

        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
        assert!(findings[0].advice.contains("say data"));
    }
}
