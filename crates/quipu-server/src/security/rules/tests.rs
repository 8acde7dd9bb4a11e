//! The evaluator against a model that looks at every event of a small log.

use super::*;

/// A sequence of numbers that a seed decides.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

const STREAMS: [&str; 14] = [
    "a", "a-", "a-1", "a-12", "ab", "ab-1", "b", "b-1", "$audit", "$audit-1", "$$a", "$$a-1",
    "$$ab-1", "$$$audit",
];
const TAG_SETS: [&[&str]; 5] = [&[], &["t"], &["t:1"], &["t:1", "u"], &["u"]];
const CATEGORIES: [&str; 5] = ["a", "ab", "b", "$audit", "$$a"];
const PREFIXES: [&str; 9] = ["a", "a-", "a-1", "ab", "b", "$", "$a", "$audit", "ab-"];
const TAGS: [&str; 3] = ["t", "t:1", "u"];

fn scope(numbers: &mut Numbers) -> Scope {
    match numbers.below(8) {
        0 => Scope::All,
        1..4 => Scope::Category(numbers.pick(&CATEGORIES[..4]).to_owned()),
        4..7 => Scope::Prefix(numbers.pick(&PREFIXES).to_owned()),
        _ => Scope::Tag(numbers.pick(&TAGS).to_owned()),
    }
}

/// Whether the scope has the event, as its documentation says.
fn holds(scope: &Scope, stream: &str, tags: &[&str]) -> bool {
    let stream = stream.trim_start_matches("$$");
    match scope {
        Scope::All => true,
        Scope::Category(name) => stream.split('-').next() == Some(name),
        Scope::Prefix(prefix) => stream.starts_with(prefix),
        Scope::Tag(prefix) => tags.iter().any(|tag| tag.starts_with(prefix)),
    }
}

fn is_allowed(rules: &[Rule], stream: &str, tags: &[&str]) -> bool {
    let has =
        |effect| rules.iter().any(|rule| rule.effect == effect && holds(&rule.scope, stream, tags));
    has(Effect::Allow) && !has(Effect::Deny)
}

/// Whether an event is in a region, by its stream and its tags.
type Has = Box<dyn Fn(&str, &[&str]) -> bool>;

/// A region, and which events it has.
fn region(numbers: &mut Numbers) -> (Region, Has) {
    let item = |item: QueryItem| {
        let region = Region::item(&item);
        let has = move |stream: &str, tags: &[&str]| {
            item.matches_names(stream, "T", |tag| tags.contains(&tag))
        };
        (region, Box::new(has) as Has)
    };
    match numbers.below(4) {
        0 => {
            let prefix = numbers.pick(&["", "$", "$$", "$$a", "a", "a-", "ab-1", "$a", "b"]);
            let has = move |stream: &str, _: &[&str]| stream.starts_with(prefix);
            (Region::prefix(prefix), Box::new(has))
        }
        1 => {
            let stream = StreamName::new(numbers.pick(&STREAMS)).unwrap();
            item(QueryItem { stream: Some(stream), ..QueryItem::default() })
        }
        2 => {
            let category = Some(numbers.pick(&CATEGORIES).to_owned());
            item(QueryItem { category, ..QueryItem::default() })
        }
        _ => item(format!("tag:{}", numbers.pick(&TAGS)).parse().unwrap()),
    }
}

fn seed() -> u64 {
    let given = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| getrandom::u64().unwrap())
}

#[test]
fn what_is_allowed_is_allowed_for_each_event_that_may_be_met() {
    const CASE_COUNT: u64 = 1_000_000;
    let seed = seed();
    println!("QUIPU_SEED={seed}");
    let mut allowed_count = 0;
    for case in 0..CASE_COUNT {
        let mut numbers = Numbers(seed.wrapping_add(case));
        let rules: Vec<Rule> = (0..=numbers.below(4))
            .map(|_| {
                let effect = [Effect::Allow, Effect::Allow, Effect::Deny][numbers.below(3)];
                Rule { effect, action: Action::Read, scope: scope(&mut numbers) }
            })
            .collect();
        let (region, has) = region(&mut numbers);
        let grants = Grants::new(&[], rules.clone());
        let story = || format!("seed {seed}, case {case}: {rules:?} on {region:?}");

        if grants.check(Action::Read, &region).is_ok() {
            allowed_count += 1;
            for stream in STREAMS {
                for tags in TAG_SETS.into_iter().filter(|tags| has(stream, tags)) {
                    assert!(is_allowed(&rules, stream, tags), "{} {stream} {tags:?}", story());
                }
            }
        }

        // Of a single event everything is known, so that the answer is exact.
        let stream = numbers.pick(&STREAMS);
        let tags = TAG_SETS[numbers.below(TAG_SETS.len())];
        let event = NewEvent::json("T", "{}").unwrap();
        let event = tags.iter().fold(event, |event, tag| event.with_tag(tag).unwrap());
        let exact = Region::event(&StreamName::new(stream).unwrap(), &event);
        let answer = grants.check(Action::Read, &exact).is_ok();
        assert_eq!(answer, is_allowed(&rules, stream, tags), "{} {stream} {tags:?}", story());
    }
    assert!(allowed_count > CASE_COUNT / 20, "only {allowed_count} were allowed");
}

fn grants(rules: &[&str]) -> Grants {
    let rules = rules.iter().map(|text| match text.split_once(' ').unwrap() {
        ("allow", rest) => Rule::parse(Effect::Allow, rest).unwrap(),
        ("deny", rest) => Rule::parse(Effect::Deny, rest).unwrap(),
        _ => panic!("{text}"),
    });
    Grants::new(&[], rules)
}

#[test]
fn a_refusal_says_what_to_ask_for() {
    let one = grants(&["allow read category:order"]);

    let refusal = one.check_query(Action::Read, &Query::all()).unwrap_err();

    assert_eq!(
        refusal,
        "read all streams: only category:order is allowed, and nothing is filtered out: limit \
         every item of the query to that"
    );
}

#[test]
fn a_refusal_names_the_rule_that_denies() {
    let one = grants(&["allow read all", "deny read category:salary"]);
    let salary = StreamName::new("salary-7").unwrap();

    let refusal = one.check(Action::Read, &Region::stream(&salary)).unwrap_err();

    let expected =
        "read the stream \"salary-7\": the rule \"deny read category:salary\" refuses it";
    assert_eq!(refusal, expected);
    assert!(one.check_query(Action::Read, &Query::all()).is_err(), "all has salaries too");
    assert!(one.check_query(Action::Read, &"category:order".parse().unwrap()).is_ok());
}

#[test]
fn each_item_of_a_query_has_to_be_allowed() {
    let one = grants(&["allow read category:order"]);
    let order: QueryItem = "category:order".parse().unwrap();
    let other: QueryItem = "category:parcel".parse().unwrap();

    assert!(one.check_query(Action::Read, &Query::from(order.clone())).is_ok());
    assert!(one.check_query(Action::Read, &Query::from(order).or(other)).is_err());
    assert!(one.check_query(Action::Read, &Query::nothing()).is_ok(), "it sees nothing");
}

#[test]
fn metadata_goes_by_the_rules_of_its_stream() {
    let one = grants(&["allow read category:order"]);
    let order = StreamName::new("order-1").unwrap();

    assert!(one.check(Action::Read, &Region::stream(&order.metadata_stream())).is_ok());
}

#[test]
fn an_operator_reads_nothing_and_a_reader_appends_nothing() {
    let operator = Grants::new(&[Role::Operator], []);
    let reader = Grants::new(&[Role::Reader], []);

    assert!(operator.check_action(Action::Operate).is_ok());
    assert!(operator.check_action(Action::Read).is_err());
    assert!(reader.check(Action::Read, &Region::everything()).is_ok());
    assert!(reader.check_action(Action::Append).is_err());
    for action in Action::GRANTED {
        assert!(Grants::new(&[Role::Admin], []).check_action(action).is_ok(), "{action}");
        assert!(Grants::default().check_action(action).is_err(), "{action}");
    }
}

#[test]
fn a_rule_is_read_as_it_is_printed() {
    for text in ["read all", "append category:order", "read prefix:order-2026", "read tag:a b"] {
        assert_eq!(Rule::parse(Effect::Allow, text).unwrap().to_text(), text);
    }
    assert_eq!(Rule::parse(Effect::Allow, "consume").unwrap().to_text(), "consume");
    assert_eq!(Rule::parse(Effect::Allow, "read").unwrap().to_text(), "read all");
}

#[test]
fn what_is_no_rule_is_refused() {
    for text in [
        "",
        "write all",
        "public",
        "read order",
        "read category:",
        "read category:a-1",
        "consume category:a",
        "read prefix:$$a",
        "read Category:a",
        "read all all",
    ] {
        assert!(Rule::parse(Effect::Allow, text).is_err(), "{text}");
    }
    assert!(Rule::parse(Effect::Deny, "read tag:secret").is_err());
    assert!(Rule::parse(Effect::Deny, "append tag:secret").is_ok());
}
