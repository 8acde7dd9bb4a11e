//! KurrentDB's protocol, spoken by hand: what its own clients cannot be made to say, and what they
//! are answered to the letter.

mod failures;
mod hostile;
mod subscriptions;
mod wire;
