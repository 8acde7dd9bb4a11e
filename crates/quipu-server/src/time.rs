//! Times as people write them: RFC 3339, to the microsecond, in UTC.

use quipu_core::{AsOf, Position, Timestamp};

/// The time as RFC 3339 text, `2011-09-30T22:38:44.546Z`. Times that calendars do not reach are
/// shown as the nearest one that they do.
pub fn to_text(time: Timestamp) -> String {
    let nearest = if time.as_micros() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or(nearest).to_string()
}

/// As [`to_text`], cut to the second.
pub fn to_seconds_text(time: Timestamp) -> String {
    const SECOND: i64 = 1_000_000;
    let micros = time.as_micros();
    to_text(Timestamp::from_micros(micros.saturating_sub(micros.rem_euclid(SECOND))))
}

/// Reads an RFC 3339 time; what is finer than a microsecond is cut off.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(from_jiff(time)),
        Err(_) => Err(format!("\"{text}\" is not an RFC 3339 time such as 2011-12-24T18:00:00Z")),
    }
}

/// Reads a moment: a number is a position, a date is its first moment in UTC.
pub fn parse_as_of(text: &str) -> Result<AsOf, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let position = text.parse().map_err(|_| format!("{text} is not a position"))?;
        return Ok(AsOf::Position(Position::new(position)));
    }
    if let Ok(time) = parse(text) {
        return Ok(AsOf::Time(time));
    }
    // A time without an offset is UTC, as all times in the log are shown.
    let in_utc = |civil: jiff::civil::DateTime| jiff::tz::Offset::UTC.to_timestamp(civil);
    match text.parse::<jiff::civil::DateTime>().and_then(in_utc) {
        Ok(time) => Ok(AsOf::Time(from_jiff(time))),
        Err(_) => {
            Err("it is a position, an RFC 3339 time such as 2011-12-24T18:00:00Z, or a date \
                       such as 2011-12-24"
                .to_owned())
        }
    }
}

fn from_jiff(time: jiff::Timestamp) -> Timestamp {
    // `as_microsecond` cuts toward zero, also before 1970; the first moment not after is wanted,
    // so that a time never moves forward.
    Timestamp::from_micros(
        i64::try_from(time.as_nanosecond().div_euclid(1_000)).unwrap_or(i64::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_being_written_and_read() {
        for micros in [0, -1, 1, 1_317_422_324_546_000, 1_758_000_000_123_456, -62_000_000_000_000]
        {
            let time = Timestamp::from_micros(micros);

            assert_eq!(parse(&to_text(time)), Ok(time));
        }
    }

    #[test]
    fn a_time_is_cut_to_the_second_it_is_in() {
        let texts = [1_999_999, 2_000_000, -1].map(Timestamp::from_micros);

        let texts = texts.map(to_seconds_text);

        let expected = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z", "1969-12-31T23:59:59Z"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn times_beyond_the_calendar_are_shown_as_its_ends() {
        assert_eq!(to_text(Timestamp::from_micros(i64::MIN)), jiff::Timestamp::MIN.to_string());
        assert_eq!(to_text(Timestamp::from_micros(i64::MAX)), jiff::Timestamp::MAX.to_string());
    }

    #[test]
    fn a_moment_is_a_position_a_time_or_the_start_of_a_date() {
        let midnight = parse("2011-12-24T00:00:00Z").unwrap();

        assert_eq!(parse_as_of("2011"), Ok(AsOf::Position(Position::new(2011))));
        assert_eq!(parse_as_of("2011-12-24"), Ok(AsOf::Time(midnight)));
        assert_eq!(parse_as_of("2011-12-24T00:00"), Ok(AsOf::Time(midnight)));
        assert_eq!(parse_as_of("2011-12-24T01:00:00+01:00"), Ok(AsOf::Time(midnight)));
    }

    #[test]
    fn other_texts_are_no_moments() {
        for text in ["", "yesterday", "2011-13-01", "-5", "99999999999999999999999"] {
            assert!(parse_as_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_microsecond_is_cut_off() {
        assert_eq!(parse("1970-01-01T00:00:00.0000019Z"), Ok(Timestamp::from_micros(1)));
        assert_eq!(parse("1969-12-31T23:59:59.9999991Z"), Ok(Timestamp::from_micros(-1)));
    }
}
