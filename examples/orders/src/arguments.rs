//! What the program is asked to do.

use std::path::PathBuf;

use crate::tour::{CHECKS, KAFKA};

pub(crate) const HELP: &str = "\
A shop on Quipu.

usage: orders [COMMAND]

  (none)          the short demo: the life of three orders
    --store STORE in this store, which has to be empty: a directory, and where the program was built
                  with --features stores, postgres://... or http(s)://...
  tour            show and check what an event store promises; takes less than a minute
    --only CHECK  only this check; may be given several times
    --small       with little data
    --keep        keep the directory that the tour works in
    --kafka HOST:PORT  also publish to a Kafka of yours, exactly once, into topics that are removed again

The tour's exit code is 0 if all checks pass, 1 if one fails, 2 if it could not run.";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Help,
    Demo,
    Tour(Options),
    /// To be a process that the tour kills.
    Child(Child),
}

/// How the tour is to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The names of the checks to run; all of them if there are none.
    pub(crate) only: Vec<String>,
    pub(crate) is_small: bool,
    pub(crate) is_kept: bool,
    /// Where a Kafka is, for the check that needs one.
    pub(crate) kafka: Option<String>,
}

/// What a process that is to be killed does, in which directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// Orders as fast as it can, and tells what was acknowledged.
    Order(PathBuf),
    /// Publishes.
    Relay(PathBuf),
    /// Publishes to a topic of a Kafka.
    #[cfg(feature = "kafka")]
    RelayToKafka { directory: PathBuf, servers: String, topic: String },
}

impl Child {
    /// The arguments that ask for it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let (name, directory) = match self {
            Self::Order(directory) => (ORDER, directory),
            Self::Relay(directory) => (RELAY, directory),
            #[cfg(feature = "kafka")]
            Self::RelayToKafka { directory, servers, topic } => {
                let directory = directory.display().to_string();
                return vec![RELAY_TO_KAFKA.to_owned(), directory, servers.clone(), topic.clone()];
            }
        };
        vec![name.to_owned(), directory.display().to_string()]
    }
}

const ORDER: &str = "child-that-orders";
const RELAY: &str = "child-that-relays";
#[cfg(feature = "kafka")]
const RELAY_TO_KAFKA: &str = "child-that-relays-to-kafka";

/// Why the program does not know what it is asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("\"{0}\" is not an argument here; --help lists them")]
    Unknown(String),
    #[error("--only needs one of: {}", names().join(", "))]
    Only,
    #[error("--kafka needs where it is: HOST:PORT, and commas between several")]
    Kafka,
    #[error("the check \"{KAFKA}\" needs --kafka HOST:PORT")]
    WithoutKafka,
}

pub(crate) fn parse(arguments: &[String]) -> Result<Wish, ArgumentError> {
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match texts.as_slice() {
        [] => Ok(Wish::Demo),
        all if all.iter().any(|text| matches!(*text, "--help" | "-h" | "help")) => Ok(Wish::Help),
        ["tour", rest @ ..] => parse_tour(rest).map(Wish::Tour),
        [ORDER, directory] => Ok(Wish::Child(Child::Order(directory.into()))),
        [RELAY, directory] => Ok(Wish::Child(Child::Relay(directory.into()))),
        #[cfg(feature = "kafka")]
        [RELAY_TO_KAFKA, directory, servers, topic] => Ok(Wish::Child(Child::RelayToKafka {
            directory: directory.into(),
            servers: (*servers).to_owned(),
            topic: (*topic).to_owned(),
        })),
        [other, ..] => Err(ArgumentError::Unknown((*other).to_owned())),
    }
}

fn parse_tour(texts: &[&str]) -> Result<Options, ArgumentError> {
    let mut options = Options::default();
    let mut texts = texts.iter();
    while let Some(text) = texts.next() {
        match *text {
            "--keep" => options.is_kept = true,
            "--small" => options.is_small = true,
            "--kafka" => {
                let servers = texts.next().filter(|servers| servers.contains(':'));
                options.kafka = Some((*servers.ok_or(ArgumentError::Kafka)?).to_owned());
            }
            "--only" => {
                let name = texts.next().filter(|name| names().contains(name));
                options.only.push((*name.ok_or(ArgumentError::Only)?).to_owned());
            }
            other => return Err(ArgumentError::Unknown(other.to_owned())),
        }
    }
    if options.kafka.is_none() && options.only.iter().any(|name| name == KAFKA) {
        return Err(ArgumentError::WithoutKafka);
    }
    Ok(options)
}

/// Of all checks, with the one that only some builds have.
fn names() -> Vec<&'static str> {
    let always = CHECKS.iter().map(|check| check.name).filter(|name| *name != KAFKA);
    always.chain([KAFKA]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Wish, ArgumentError> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_it_is_the_demo() {
        assert_eq!(parsed(""), Ok(Wish::Demo));
        assert_eq!(parsed("tour"), Ok(Wish::Tour(Options::default())));
        assert_eq!(parsed("tour --help"), Ok(Wish::Help));
    }

    #[test]
    fn the_tour_takes_options_in_any_order() {
        let only = vec!["race".to_owned(), "crash".to_owned()];
        let kafka = Some("a:1,b:2".to_owned());
        let options = Options { only, is_small: true, is_kept: true, kafka };

        let text = "tour --only race --keep --kafka a:1,b:2 --only crash --small";
        assert_eq!(parsed(text), Ok(Wish::Tour(options)));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(parsed("turo"), Err(ArgumentError::Unknown("turo".into())));
        assert_eq!(parsed("tour --fast"), Err(ArgumentError::Unknown("--fast".into())));
        assert_eq!(parsed("tour --only"), Err(ArgumentError::Only));
        assert_eq!(parsed("tour --only nothing"), Err(ArgumentError::Only));
        assert_eq!(parsed("tour --kafka --small"), Err(ArgumentError::Kafka));
        assert_eq!(parsed("tour --only kafka"), Err(ArgumentError::WithoutKafka));
    }

    #[test]
    fn a_child_is_asked_for_by_its_arguments() {
        let children = [
            Child::Order("/a/b".into()),
            Child::Relay("/c".into()),
            #[cfg(feature = "kafka")]
            Child::RelayToKafka {
                directory: "/d".into(),
                servers: "e:1".into(),
                topic: "f".into(),
            },
        ];
        for child in children {
            assert_eq!(parse(&child.arguments()), Ok(Wish::Child(child)));
        }
    }
}
