//! Generations: each version of a projection has tables of its own.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sqlx::AssertSqlSafe;

/// One version of a projection's tables: it puts their names into statements.
///
/// `{orders}` becomes `orders_v2` in version 2. Only lower-case letters, digits and underscores in
/// braces are a name; `{{` stands for one brace. Values never go into the text: bind them.
///
/// ```
/// use quipu::projection::Generation;
/// use sqlx::SqlSafeStr;
///
/// let second = Generation::new(2);
/// let sql = second.sql("SELECT * FROM {orders} WHERE tags = '{{}'").into_sql_str();
/// assert_eq!(sql.as_str(), "SELECT * FROM orders_v2 WHERE tags = '{}'");
/// ```
pub struct Generation {
    version: u32,
    /// Statements that were made before, by where their text lies.
    made: RwLock<HashMap<(usize, usize), Arc<str>>>,
    /// Every name that a statement had.
    names: Mutex<BTreeSet<String>>,
}

impl Generation {
    /// The generation of this version.
    pub fn new(version: u32) -> Self {
        Self { version, made: RwLock::default(), names: Mutex::default() }
    }

    /// The projection's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The name that a table has in this version.
    pub fn table(&self, name: &str) -> String {
        format!("{name}_v{}", self.version)
    }

    /// A statement with the names of this version.
    pub fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(self.expand(text))
    }

    /// As [`sql`](Self::sql), made once: for statements that every event runs.
    pub fn stmt(&self, text: &'static str) -> AssertSqlSafe<Arc<str>> {
        let key = (text.as_ptr().addr(), text.len());
        // The maps are whole at any time: a panic elsewhere does not make them wrong.
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let statement = made.unwrap_or_else(|| {
            let statement: Arc<str> = self.expand(text).into();
            let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(made.entry(key).or_insert(statement))
        });
        AssertSqlSafe(statement)
    }

    /// The names that statements had so far, without the version.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn expand(&self, text: &str) -> String {
        let mut made = String::with_capacity(text.len() + 16);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            made.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                made.push('{');
                rest = after;
                continue;
            }
            match after.split_once('}') {
                Some((name, after)) if is_identifier(name) => {
                    made.push_str(&self.table(name));
                    let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                    names.insert(name.to_owned());
                    rest = after;
                }
                _ => {
                    made.push('{');
                    rest = after;
                }
            }
        }
        made.push_str(rest);
        made
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Whether a text can stand in a statement as it is: what tables and projections are called.
pub(super) fn is_identifier(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use sqlx::SqlSafeStr;

    use super::*;

    #[test]
    fn only_names_in_braces_are_replaced() {
        let own = Generation::new(3);

        for (text, made) in [
            ("SELECT 1", "SELECT 1"),
            ("{a}", "a_v3"),
            ("{a}{b_2}", "a_v3b_2_v3"),
            ("'{\"k\": 1}'", "'{\"k\": 1}'"),
            ("'{{a}' {", "'{a}' {"),
            ("{A} {1} {}", "{A} {1} {}"),
        ] {
            assert_eq!(own.sql(text).into_sql_str().as_str(), made);
        }
        assert_eq!(own.names(), ["a", "b_2"]);
    }

    #[test]
    fn a_statement_is_made_once() {
        const TEXT: &str = "DELETE FROM {a}";
        let own = Generation::new(1);

        let (AssertSqlSafe(first), AssertSqlSafe(second)) = (own.stmt(TEXT), own.stmt(TEXT));

        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(&*first, "DELETE FROM a_v1");
    }
}
