//! Filters: which events of the log a read of `$all` shows.
//!
//! A filter is a regular expression or prefixes, of the stream's name or of the type. Expressions
//! without look-around run in linear time. Those with it (clients write exclusions that way) run
//! under a limit of steps for each name: what takes longer ends the read with an error, so that no
//! expression can keep the server busy.
//!
//! Where a filter can match in one category or a few types only, the store's index finds the events:
//! the read then costs what it shows, not what it skips.

use quipu_core::{EventRef, EventType, Query, QueryItem};

use crate::failure::Failure;
use crate::proto::event_store::client::FilterOptions;
use crate::proto::event_store::client::filter_options::{Expression, Filter as WireFilter, Window};

/// The most bytes of an expression, or of all prefixes together.
const SIZE_MAX: usize = 64 << 10;
/// The most bytes that a compiled expression takes.
const COMPILED_SIZE_MAX: usize = 1 << 20;
/// The most steps that an expression with look-around may take for one name.
const STEP_COUNT_MAX: usize = 100_000;
/// How many events are looked at between checkpoints where the client does not say.
const WINDOW: u64 = 32;
/// What the names of KurrentDB's own indexes begin with.
const INDEX: &str = "$idx-";
/// The most types that the index is asked for.
const TYPE_COUNT_MAX: usize = 64;

/// Which events to show, and how often to tell how far a subscription has come.
#[derive(Debug)]
pub struct Filter {
    part: Part,
    pattern: Pattern,
    /// How many events are looked at between two checkpoints.
    pub(super) checkpoint_interval: u64,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Stream,
    Type,
}

#[derive(Debug)]
enum Pattern {
    Prefixes(Vec<String>),
    Exactly(Vec<String>),
    /// Everything but what begins with `$`: the way clients leave out the system's own events.
    NotReserved,
    /// One of the indexes that KurrentDB names `$idx-…`.
    Index(QueryItem),
    Linear(regex::Regex),
    LookAround(Box<fancy_regex::Regex>),
}

/// Why a filter cannot be used, or why it stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// It has neither an expression nor prefixes.
    #[error("the filter has neither a regular expression nor a prefix")]
    Empty,
    /// It does not say how much to look at between checkpoints.
    #[error("the filter has no window")]
    NoWindow,
    /// Checkpoints would come after each 0 events.
    #[error("the checkpoint interval multiplier has to be greater than 0")]
    NoInterval,
    /// It has more bytes than are looked at.
    #[error("the filter has {size} bytes, at most {SIZE_MAX} are allowed")]
    TooLarge {
        /// Its bytes.
        size: usize,
    },
    /// An index is asked for together with something else.
    #[error("an index is read by itself, without other prefixes")]
    IndexAndMore,
    /// There is no such index.
    #[error("Index '{index}' not found.")]
    NoIndex {
        /// Its name.
        index: String,
    },
    /// The expression is not one.
    #[error("the filter's regular expression cannot be used: {reason}")]
    Malformed {
        /// Why not.
        reason: String,
    },
    /// The expression took too long for one name.
    #[error(
        "the filter's regular expression takes more than {STEP_COUNT_MAX} steps to look at one \
         name: write it without nested repetition, or without look-around"
    )]
    TooSlow,
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::NoIndex { index } => Self::IndexNotFound { index },
            error => Self::invalid(error.to_string()),
        }
    }
}

impl Filter {
    /// The filter that a request asks for.
    ///
    /// # Errors
    ///
    /// See [`FilterError`].
    pub fn from_proto(options: &FilterOptions) -> Result<Self, FilterError> {
        let (part, expression) = match &options.filter {
            Some(WireFilter::StreamIdentifier(expression)) => (Part::Stream, expression),
            Some(WireFilter::EventType(expression)) => (Part::Type, expression),
            None => return Err(FilterError::Empty),
        };
        let window = match options.window {
            Some(Window::Max(max)) => u64::from(max).max(1),
            Some(Window::Count(())) => WINDOW,
            None => return Err(FilterError::NoWindow),
        };
        let multiplier = u64::from(options.checkpoint_interval_multiplier);
        if multiplier == 0 {
            return Err(FilterError::NoInterval);
        }
        let pattern = match part {
            Part::Stream => Pattern::of_index(expression)?,
            Part::Type => None,
        };
        let pattern = pattern.map_or_else(|| Pattern::parse(expression), Ok)?;
        Ok(Self { part, pattern, checkpoint_interval: window.saturating_mul(multiplier) })
    }

    /// Whether to show an event.
    ///
    /// # Errors
    ///
    /// [`FilterError::TooSlow`].
    pub fn shows(&self, event: EventRef<'_>) -> Result<bool, FilterError> {
        let name = match self.part {
            Part::Stream => event.stream(),
            Part::Type => event.event_type(),
        };
        self.pattern.matches(name)
    }

    /// A query that every event to show matches. Others may match it too.
    pub fn query(&self) -> Query {
        match (&self.pattern, self.part) {
            (Pattern::Index(item), _) => Some(Query::from(item.clone())),
            (pattern, Part::Stream) => pattern.categories(),
            (pattern, Part::Type) => pattern.types(),
        }
        .filter(|query| !query.items.is_empty())
        .unwrap_or_else(Query::all)
    }
}

impl Pattern {
    /// The index that an expression asks for: its one prefix begins with `$idx-`.
    fn of_index(expression: &Expression) -> Result<Option<Self>, FilterError> {
        let prefixes = &expression.prefix;
        if !expression.regex.is_empty() || !prefixes.iter().any(|own| own.starts_with(INDEX)) {
            return Ok(None);
        }
        let [prefix] = prefixes.as_slice() else { return Err(FilterError::IndexAndMore) };
        let missing = || FilterError::NoIndex { index: prefix.clone() };
        let name = prefix.strip_prefix(INDEX).unwrap_or_default();
        let item = match name.split_once('-') {
            _ if name == "all" => return Ok(Some(Self::NotReserved)),
            Some(("ce", category)) if !category.is_empty() => {
                QueryItem { category: Some(category.to_owned()), ..QueryItem::default() }
            }
            Some(("et", event_type)) => {
                let event_type = EventType::new(event_type).map_err(|_| missing())?;
                QueryItem { types: vec![event_type], ..QueryItem::default() }
            }
            _ => return Err(missing()),
        };
        Ok(Some(Self::Index(item)))
    }

    fn parse(expression: &Expression) -> Result<Self, FilterError> {
        let Expression { regex, prefix } = expression;
        let size = regex.len() + prefix.iter().map(String::len).sum::<usize>();
        if size > SIZE_MAX {
            return Err(FilterError::TooLarge { size });
        }
        if regex.is_empty() {
            return match prefix.as_slice() {
                [] => Err(FilterError::Empty),
                prefixes => Ok(Self::Prefixes(prefixes.to_vec())),
            };
        }
        if matches!(&**regex, r"^[^\$].*" | "^[^$].*") {
            return Ok(Self::NotReserved);
        }
        if let Some(words) = exact_words(regex) {
            return Ok(Self::Exactly(words));
        }
        if let Some(prefix) = literal_prefix(regex) {
            return Ok(Self::Prefixes(vec![prefix]));
        }
        let linear = regex::RegexBuilder::new(regex).size_limit(COMPILED_SIZE_MAX).build();
        match linear {
            Ok(regex) => Ok(Self::Linear(regex)),
            Err(regex::Error::CompiledTooBig(size)) => Err(FilterError::TooLarge { size }),
            Err(_) => Self::parse_look_around(regex),
        }
    }

    fn parse_look_around(regex: &str) -> Result<Self, FilterError> {
        let compiled = fancy_regex::RegexBuilder::new(regex)
            .backtrack_limit(STEP_COUNT_MAX)
            .delegate_size_limit(COMPILED_SIZE_MAX)
            .build();
        match compiled {
            Ok(regex) => Ok(Self::LookAround(Box::new(regex))),
            Err(error) => Err(FilterError::Malformed { reason: error.to_string() }),
        }
    }

    fn matches(&self, name: &str) -> Result<bool, FilterError> {
        Ok(match self {
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| name.starts_with(prefix)),
            Self::Exactly(words) => words.iter().any(|word| word == name),
            Self::NotReserved => !name.starts_with('$'),
            // The query finds these, and no others.
            Self::Index(_) => true,
            Self::Linear(regex) => regex.is_match(name),
            Self::LookAround(regex) => regex.is_match(name).map_err(|_| FilterError::TooSlow)?,
        })
    }

    /// The types that match, where they are known one by one.
    fn types(&self) -> Option<Query> {
        let Self::Exactly(words) = self else { return None };
        if words.len() > TYPE_COUNT_MAX {
            return None;
        }
        // What is no type matches no event.
        let types: Vec<EventType> =
            words.iter().filter_map(|word| EventType::new(word).ok()).collect();
        Some(QueryItem { types, ..QueryItem::default() })
            .filter(|item| !item.is_all())
            .map(Query::from)
    }

    /// The categories that matching streams are in, where they are known: `order-` begins the names
    /// of one category.
    fn categories(&self) -> Option<Query> {
        let (Self::Prefixes(words) | Self::Exactly(words)) = self else { return None };
        if words.len() > TYPE_COUNT_MAX {
            return None;
        }
        let item = |word: &String| {
            let category = match self {
                Self::Exactly(_) => quipu_core::category(word),
                _ => word.split_once('-')?.0,
            };
            Some(QueryItem { category: Some(category.to_owned()), ..QueryItem::default() })
        };
        let items: Option<Vec<QueryItem>> = words.iter().map(item).collect();
        let mut items = items?;
        items.sort_by(|a, b| a.category.cmp(&b.category));
        items.dedup();
        Some(Query { items })
    }
}

/// The words of `^(A|B)$`, `^(?:A|B)$` or `^A$`, where they are plain.
fn exact_words(regex: &str) -> Option<Vec<String>> {
    let inner = regex.strip_prefix('^')?.strip_suffix('$')?;
    if inner.ends_with('\\') {
        return None;
    }
    let inner = inner
        .strip_prefix("(?:")
        .or_else(|| inner.strip_prefix('('))
        .and_then(|inner| inner.strip_suffix(')'))
        .or_else(|| (!inner.contains('|')).then_some(inner))?;
    inner.split('|').map(literal).collect()
}

/// The text that `^text`, `^text.*` or `^text.*$` asks names to begin with.
fn literal_prefix(regex: &str) -> Option<String> {
    let inner = regex.strip_prefix('^')?;
    literal(inner.strip_suffix(".*$").or_else(|| inner.strip_suffix(".*")).unwrap_or(inner))
}

/// The text that an expression stands for, if it stands for one text.
fn literal(expression: &str) -> Option<String> {
    let mut text = String::with_capacity(expression.len());
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                escaped if escaped.is_ascii_punctuation() => text.push(escaped),
                _ => return None,
            },
            '^' | '$' | '.' | '|' | '?' | '*' | '+' | '(' | ')' | '[' | ']' | '{' | '}' => {
                return None;
            }
            plain => text.push(plain),
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> Pattern {
        Pattern::parse(&Expression { regex: text.to_owned(), prefix: Vec::new() }).unwrap()
    }

    fn is_match(pattern: &Pattern, name: &str) -> bool {
        pattern.matches(name).unwrap()
    }

    #[test]
    fn exclusions_of_clients_are_understood() {
        // Python's default, and the same with names of its own.
        let python = regex(r"^(?!(\$.+$))");
        assert!(is_match(&python, "order-1") && !is_match(&python, "$metadata"));
        let python = regex(r"^(?!(\$.+$|Placed$))");
        assert!(is_match(&python, "PlacedTwice") && !is_match(&python, "Placed"));
        for system in [r"^[^\$].*", "^[^$].*"] {
            assert!(matches!(regex(system), Pattern::NotReserved));
        }
    }

    #[test]
    fn plain_expressions_become_what_the_index_knows() {
        assert!(matches!(regex("^(Placed|Shipped)$"), Pattern::Exactly(words) if words.len() == 2));
        assert!(matches!(regex("^Placed$"), Pattern::Exactly(words) if words == ["Placed"]));
        assert!(matches!(regex("^order-.*"), Pattern::Prefixes(words) if words == ["order-"]));
        assert!(matches!(regex(r"^a\.b"), Pattern::Prefixes(words) if words == ["a.b"]));
        for text in ["order", "^order.", "^a|b$", "^(a|b)c$", "^a+$", r"^\d+$", r"^a\$"] {
            let pattern = regex(text);
            assert!(!matches!(pattern, Pattern::Exactly(_)), "{text}");
        }
        assert!(matches!(regex(r"^a\$"), Pattern::Prefixes(words) if words == ["a$"]));
    }

    #[test]
    fn an_expression_is_searched_for_anywhere_in_the_name() {
        let pattern = regex("rder-[0-9]+");

        assert!(is_match(&pattern, "order-17") && !is_match(&pattern, "Order"));
    }

    #[test]
    fn an_expression_that_backtracks_without_end_is_stopped() {
        let pattern = regex(r"^(?:(a+)\1?)+b(?=c)");

        let name = "a".repeat(200);
        assert_eq!(pattern.matches(&name), Err(FilterError::TooSlow));
    }

    #[test]
    fn filters_without_a_use_are_refused() {
        let parse = |regex: &str, prefix: &[&str]| {
            let prefix = prefix.iter().map(ToString::to_string).collect();
            Pattern::parse(&Expression { regex: regex.to_owned(), prefix }).unwrap_err()
        };

        assert_eq!(parse("", &[]), FilterError::Empty);
        assert!(matches!(parse(&"a".repeat(1 << 20), &[]), FilterError::TooLarge { .. }));
        assert!(matches!(parse("(", &[]), FilterError::Malformed { .. }));
    }

    #[test]
    fn prefixes_with_a_hyphen_are_looked_up_by_category() {
        let options = |prefixes: &[&str]| FilterOptions {
            filter: Some(WireFilter::StreamIdentifier(Expression {
                regex: String::new(),
                prefix: prefixes.iter().map(ToString::to_string).collect(),
            })),
            window: Some(Window::Count(())),
            checkpoint_interval_multiplier: 1,
        };

        let query = Filter::from_proto(&options(&["order-", "order-1", "cart-"])).unwrap().query();
        let categories: Vec<_> = query.items.iter().map(|item| item.category.as_deref()).collect();
        assert_eq!(categories, [Some("cart"), Some("order")]);
        assert!(Filter::from_proto(&options(&["ord"])).unwrap().query().is_all());
    }
}
