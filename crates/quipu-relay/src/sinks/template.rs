//! Where a cloud event goes, by name: a topic, a subject, or how to make one.

use quipu_core::category;

use crate::cloud_event::CloudEvent;

/// What names are of, and which names there are.
#[derive(Debug)]
pub(super) struct Naming {
    /// A topic, a subject.
    pub(super) word: &'static str,
    /// Which names there are, in words.
    pub(super) rule: &'static str,
    /// Whether a name may hold the character.
    pub(super) takes: fn(char) -> bool,
    /// Whether a text of such characters can be published to.
    pub(super) is_whole: fn(&str) -> bool,
}

impl Naming {
    /// Whether it is a name that can be published to.
    pub(super) fn is_name(&self, name: &str) -> bool {
        !name.is_empty() && name.chars().all(self.takes) && (self.is_whole)(name)
    }
}

/// A name, or how to make one of a cloud event.
#[derive(Clone, Debug)]
pub(super) struct Template {
    naming: &'static Naming,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Category,
    Type,
    Key,
    Extension(String),
}

impl Template {
    /// Reads a name with words in braces: `{category}`, `{type}`, `{key}` and those of extensions.
    pub(super) fn new(naming: &'static Naming, template: &str) -> Result<Self, TemplateError> {
        let wrong = |reason| TemplateError::Malformed {
            template: template.to_owned(),
            word: naming.word,
            reason,
        };
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, after) =
                behind.split_once('}').ok_or_else(|| wrong("a brace is not closed"))?;
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            parts.push(match name {
                "category" => Part::Category,
                "type" => Part::Type,
                "key" => Part::Key,
                name if !name.is_empty() && name.bytes().all(is_plain) => {
                    Part::Extension(name.to_owned())
                }
                _ => {
                    let reason = "in braces is category, type, key or the name of an extension";
                    return Err(wrong(reason));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let is_possible = match parts.as_slice() {
            [Part::Text(text)] => naming.is_name(text),
            parts => !parts.is_empty() && parts.iter().all(|part| part.is_taken_by(naming)),
        };
        if is_possible { Ok(Self { naming, parts }) } else { Err(wrong(naming.rule)) }
    }

    /// The name that the cloud event gives.
    pub(super) fn of(&self, cloud_event: &CloudEvent) -> Result<String, TemplateError> {
        let word = self.naming.word;
        let missing = |name: &str| TemplateError::Unroutable { word, attribute: name.to_owned() };
        let mut name = String::new();
        for part in &self.parts {
            name.push_str(match part {
                Part::Text(text) => text,
                Part::Type => &cloud_event.event_type,
                Part::Category => {
                    let subject = cloud_event.subject.as_deref();
                    category(subject.ok_or_else(|| missing("subject"))?)
                }
                Part::Key => cloud_event.key.as_ref().ok_or_else(|| missing("key"))?,
                Part::Extension(name) => {
                    cloud_event.extensions.get(name).ok_or_else(|| missing(name))?
                }
            });
        }
        if self.naming.is_name(&name) {
            Ok(name)
        } else {
            Err(TemplateError::Name { word, name, rule: self.naming.rule })
        }
    }

    /// What all names of the template begin with, and whether that is all of them.
    #[cfg(feature = "nats")]
    pub(super) fn beginning(&self) -> (&str, bool) {
        match self.parts.as_slice() {
            [Part::Text(text)] => (text, true),
            [Part::Text(text), ..] => (text, false),
            _ => ("", false),
        }
    }
}

impl Part {
    fn is_taken_by(&self, naming: &Naming) -> bool {
        match self {
            Self::Text(text) => text.chars().all(naming.takes),
            Self::Category | Self::Type | Self::Key | Self::Extension(_) => true,
        }
    }
}

/// Why a template, or a cloud event by it, gives no name to publish to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template cannot be read, or can never give a name.
    #[error("\"{template}\" is no {word}: {reason}")]
    Malformed {
        /// What was given.
        template: String,
        /// What it should name: a topic, a subject.
        word: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The template wants something that the cloud event does not have.
    #[error("no {word} for the cloud event: it has no \"{attribute}\"")]
    Unroutable {
        /// What it should name.
        word: &'static str,
        /// What is wanted.
        attribute: String,
    },
    /// What the template gives for the cloud event cannot be published to.
    #[error("no {word} for the cloud event: \"{name}\" is none, since {rule}")]
    Name {
        /// What it should name.
        word: &'static str,
        /// What the template gives.
        name: String,
        /// What it would have to be.
        rule: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Naming = Naming {
        word: "topic",
        rule: "it has letters, digits, \".\", \"_\" and \"-\"",
        takes: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'),
        is_whole: |name| name != ".",
    };

    fn topic(template: &str) -> Result<String, TemplateError> {
        let cloud_event = CloudEvent { id: "1".to_owned(), ..CloudEvent::new("OrderPaid") }
            .with_subject("order-7")
            .with_key("customer:9")
            .with_extension("position", "9");
        Template::new(&TOPIC, template)?.of(&cloud_event)
    }

    #[test]
    fn a_topic_is_a_name_or_made_of_the_cloud_event() {
        assert_eq!(topic("orders").unwrap(), "orders");
        assert_eq!(topic("outbox.event.{category}").unwrap(), "outbox.event.order");
        assert_eq!(topic("{type}-{position}_x").unwrap(), "OrderPaid-9_x");
    }

    #[test]
    fn a_template_that_gives_no_topic_is_refused() {
        for template in ["", ".", "a b", "{category", "{}", "{Type}", "t\u{fc}r"] {
            let refused = topic(template);
            assert!(matches!(refused, Err(TemplateError::Malformed { .. })), "{template}");
        }
    }

    #[test]
    fn a_cloud_event_that_gives_no_topic_says_why() {
        assert_eq!(
            topic("t.{tenant}").unwrap_err().to_string(),
            "no topic for the cloud event: it has no \"tenant\""
        );
        let refused = topic("{key}").unwrap_err();
        assert!(matches!(&refused, TemplateError::Name { name, .. } if name == "customer:9"));
    }
}
