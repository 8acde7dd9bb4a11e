//! A log of the same shape as the real one, for those who do not have it: made up, from a seed.

use fastrand::Rng;
use serde_json::json;
use uuid::Uuid;

const APPLICATION_COUNT: u32 = 1_000;
/// The first application comes at this time, 2025-01-01, and the last one half a year later.
const START_S: u64 = 1_735_689_600;
const DAY_S: u64 = 86_400;

/// An event before it is a line.
struct Made {
    time_s: u64,
    loan: u32,
    event_type: &'static str,
    resource: u32,
    amount: Option<u64>,
}

/// One application on its way.
struct Way<'a> {
    random: &'a mut Rng,
    made: &'a mut Vec<Made>,
    loan: u32,
    time_s: u64,
}

impl Way<'_> {
    /// Something happens to the application, up to so many seconds after what came before.
    fn happens(&mut self, event_type: &'static str, wait_max_s: u64) {
        self.time_s += 1 + self.random.u64(..wait_max_s);
        let resource = self.random.u32(100..120);
        let is_first = event_type == "ApplicationSubmitted";
        let amount = is_first.then(|| self.random.u64(1..100) * 500);
        self.made.push(Made { time_s: self.time_s, loan: self.loan, event_type, resource, amount });
    }

    fn happens_in(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }

    /// Somebody works on it, several times.
    fn is_worked_on(&mut self, wait_max_s: u64) {
        self.happens("WorkItemScheduled", 60);
        for _ in 0..self.random.u8(2..14) {
            self.happens("WorkItemStarted", wait_max_s);
            self.happens("WorkItemCompleted", 900);
        }
    }

    fn goes(&mut self) {
        self.happens("ApplicationSubmitted", 1);
        self.happens("ApplicationPartlySubmitted", 5);
        if !self.happens_in(56) {
            return self.happens("ApplicationDeclined", 3_600);
        }
        self.happens("ApplicationPreaccepted", 120);
        self.is_worked_on(2 * 3_600);
        if !self.happens_in(70) {
            let is_declined = self.happens_in(60);
            return self.happens(end(is_declined), 5 * DAY_S);
        }
        self.happens("ApplicationAccepted", 4 * 3_600);
        if !self.happens_in(97) {
            return self.happens("ApplicationCancelled", DAY_S);
        }
        self.happens("ApplicationFinalized", 600);
        for event_type in ["OfferSelected", "OfferCreated", "OfferSent"] {
            self.happens(event_type, 10);
        }
        self.is_worked_on(4 * DAY_S);
        if self.happens_in(45) {
            self.happens("ApplicationRegistered", 2 * DAY_S);
            self.happens("ApplicationActivated", 1);
            self.happens("ApplicationApproved", 1);
        } else if self.happens_in(90) {
            let is_declined = self.happens_in(35);
            self.happens(end(is_declined), 10 * DAY_S);
        }
    }
}

fn end(is_declined: bool) -> &'static str {
    if is_declined { "ApplicationDeclined" } else { "ApplicationCancelled" }
}

/// The lines of a log, in order of time. The same seed gives the same lines.
pub(crate) fn lines(seed: u64) -> Vec<String> {
    let mut random = Rng::with_seed(seed);
    let mut made = Vec::new();
    for loan in 1..=APPLICATION_COUNT {
        let time_s = START_S + random.u64(..180 * DAY_S);
        Way { random: &mut random, made: &mut made, loan, time_s }.goes();
    }
    made.sort_by_key(|event| event.time_s);
    made.iter().map(|event| line(event, random.u128(..))).collect()
}

fn line(made: &Made, id: u128) -> String {
    let time = i64::try_from(made.time_s)
        .ok()
        .and_then(|time_s| jiff::Timestamp::from_second(time_s).ok());
    let mut data = json!({ "resource": made.resource.to_string() });
    if let Some(amount) = made.amount {
        data["amount_requested"] = amount.into();
    }
    json!({
        "stream": format!("loan-{}", made.loan),
        "id": Uuid::from_u128(id),
        "type": made.event_type,
        "time": time.unwrap_or_default().to_string(),
        "tags": [format!("loan:{}", made.loan), format!("resource:{}", made.resource)],
        "data": data,
    })
    .to_string()
}
