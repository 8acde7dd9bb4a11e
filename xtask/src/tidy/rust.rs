//! Checks of one Rust file: statements that assert nothing, marks without a number, silent tests.

use std::path::Path;

use super::Finding;
use super::source::Source;

/// Finds what the compiler lets pass in one file.
pub(crate) fn check(path: &Path, text: &str) -> Vec<Finding> {
    let source = Source::new(text);
    let mut findings = Vec::new();
    for line in statements_that_ask_and_drop(&source.code) {
        let advice = "`matches!` as a statement asserts nothing: write `assert!(matches!(…))`";
        findings.push(Finding::new(path, line, advice));
    }
    for (index, comment) in source.comments.lines().enumerate() {
        if let Some(mark) = unnumbered_mark(comment) {
            let advice = format!("{mark} without an issue: write `{mark}(#number)`, or do it");
            findings.push(Finding::new(path, index + 1, advice));
        }
    }
    for (index, code) in source.code.lines().enumerate() {
        let code = code.trim_start();
        if code.starts_with("#[ignore") {
            let advice = "an ignored test rots: make it run, or remove it";
            findings.push(Finding::new(path, index + 1, advice));
        }
        if code.starts_with("fn test_") {
            let advice = "a test's name is a sentence: take `test_` away";
            findings.push(Finding::new(path, index + 1, advice));
        }
    }
    findings
}

/// The lines where a `matches!(…);` stands alone.
fn statements_that_ask_and_drop(code: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (at, _) in code.match_indices("matches!(") {
        let before = code[..at].trim_end();
        let begins = before.is_empty() || before.ends_with([';', '{', '}']);
        let open = at + "matches!".len();
        let end = open + closing(&code[open..]);
        if begins && code[end..].trim_start().starts_with(';') {
            lines.push(code[..at].lines().count().max(1) + usize::from(code[..at].ends_with('\n')));
        }
    }
    lines
}

/// How many bytes a parenthesis takes with all that is in it.
fn closing(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + c.len_utf8();
        }
    }
    code.len()
}

fn unnumbered_mark(comment: &str) -> Option<&'static str> {
    ["TODO", "FIXME"].into_iter().find(|mark| {
        comment.split(mark).skip(1).any(|after| {
            let number = after.strip_prefix("(#").unwrap_or_default();
            !number.starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(Path::new("a.rs"), text).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_question_whose_answer_is_dropped_is_found() {
        assert_eq!(lines("fn f() {\n    matches!(a(b), Err(..));\n}"), [2]);
        assert_eq!(
            lines("fn f() {\n    g();\n    matches!(\n        a,\n        b\n    );\n}"),
            [3]
        );
    }

    #[test]
    fn a_question_whose_answer_is_used_is_fine() {
        assert_eq!(lines("fn f() -> bool {\n    matches!(a, b)\n}"), []);
        assert_eq!(lines("let x = matches!(a, b);"), []);
        assert_eq!(lines("assert!(matches!(a, b));"), []);
        assert_eq!(lines("// matches!(a, b);"), []);
    }

    #[test]
    fn a_mark_has_the_number_of_an_issue() {
        let bare = format!("let a = 1; // {}: later", "TODO");
        let numbered = format!("// {}(#12): later", "TODO");

        assert_eq!(lines(&bare), [1]);
        assert_eq!(lines(&numbered), []);
    }

    #[test]
    fn silent_and_badly_named_tests_are_found() {
        assert_eq!(lines("#[test]\n#[ignore]\nfn test_a() {}"), [2, 3]);
    }
}
