//! A Rust source with its comments and its code told apart.

/// One source, twice: what is not code, and what is not comment, is blanked out. Lines and columns
/// stay where they are.
pub(crate) struct Source {
    /// The code; strings are blank too.
    pub(crate) code: String,
    /// The comments, doc comments among them.
    pub(crate) comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Tells the parts of `text` apart. It never fails: what it cannot understand is code.
    pub(crate) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut kinds = Vec::with_capacity(chars.len());
        while kinds.len() < chars.len() {
            let rest = &chars[kinds.len()..];
            let before = kinds.len().checked_sub(1).map(|last| chars[last]);
            let (kind, size) = part(rest, before);
            let end = (kinds.len() + size).min(chars.len());
            kinds.resize(end, kind);
        }
        let only = |wanted: Kind| {
            let pairs = chars.iter().zip(&kinds);
            pairs.map(|(c, kind)| if *kind == wanted || *c == '\n' { *c } else { ' ' }).collect()
        };
        Self { code: only(Kind::Code), comments: only(Kind::Comment) }
    }
}

/// What begins here, and how many characters it takes.
fn part(rest: &[char], before: Option<char>) -> (Kind, usize) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => (Kind::Comment, find(rest, |tail| tail[0] == '\n')),
        ['/', '*', ..] => (Kind::Comment, block_comment(rest)),
        ['"', ..] => (Kind::Literal, string(rest)),
        ['r', '"' | '#', ..] if !in_word => raw_string(rest),
        ['b' | 'c', 'r', '"' | '#', ..] if !in_word => {
            let (kind, size) = raw_string(&rest[1..]);
            (kind, size + 1)
        }
        ['\'', '\\', ..] => {
            let tail = &rest[3.min(rest.len())..];
            (Kind::Literal, 4 + find(tail, |tail| tail[0] == '\''))
        }
        // A lifetime has no quote after its first character; a character has.
        ['\'', _, '\'', ..] => (Kind::Literal, 3),
        _ => (Kind::Code, 1),
    }
}

fn find(chars: &[char], is_end: impl Fn(&[char]) -> bool) -> usize {
    (0..chars.len()).find(|at| is_end(&chars[*at..])).unwrap_or(chars.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn raw_string(rest: &[char]) -> (Kind, usize) {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        // A raw identifier.
        return (Kind::Code, 1);
    }
    let body = 2 + hashes;
    let is_end = |tail: &[char]| {
        tail[0] == '"' && tail[1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    (Kind::Literal, body + find(&rest[body..], is_end) + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_strings_are_told_apart() {
        let source = Source::new("let a = \"// no\"; // yes \"b\"\nlet c = 'x';");

        assert_eq!(source.code.trim_end(), "let a =        ;           \nlet c =    ;");
        assert_eq!(source.comments.trim(), "// yes \"b\"");
    }

    #[test]
    fn raw_strings_and_nested_comments_end_where_rust_ends_them() {
        let source = Source::new("r#\"a \" // b\"# c /* d /* e */ f */ g");

        assert_eq!(source.code.split_whitespace().collect::<Vec<_>>(), ["c", "g"]);
        assert!(source.comments.contains("f */"));
    }

    #[test]
    fn a_lifetime_is_not_the_beginning_of_a_character() {
        let source = Source::new("fn f<'a>(x: &'a str, c: char) { c == '\\'' || c == '\"' }");

        assert!(source.code.contains("&'a str"));
        assert!(source.code.ends_with('}'));
        assert!(!source.code.contains('"'));
    }

    #[test]
    fn half_a_literal_ends_with_the_file() {
        for text in ["\"abc", "'\\", "/* a", "r#\"a", "br\"", "r#"] {
            let source = Source::new(text);
            assert_eq!(source.code.chars().count(), text.chars().count(), "{text}");
        }
    }
}
