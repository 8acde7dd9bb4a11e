//! The layout of names: the streams that begin in a run, in the order of their bytes.
//!
//! Names come in blocks of 16; the last may have fewer. Each name is: how many bytes it begins with
//! like the name before (varint, 0 for a block's first), how many bytes follow (varint), and those.

use super::{Damage, put_varint, take_varint};

/// Appends a name. `previous` is the name before in the same block.
pub(crate) fn put_name(bytes: &mut Vec<u8>, previous: Option<&str>, name: &str) {
    let shared = previous.map_or(0, |previous| {
        previous.bytes().zip(name.bytes()).take_while(|(one, other)| one == other).count()
    });
    put_varint(bytes, shared as u32);
    put_varint(bytes, (name.len() - shared) as u32);
    bytes.extend_from_slice(&name.as_bytes()[shared..]);
}

/// Reads a block of `count` names.
pub(crate) fn decode_block(mut bytes: &[u8], count: u64) -> Result<Vec<String>, Damage> {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..count {
        names.push(take_name(&mut bytes, names.last().map(String::as_str))?);
    }
    if bytes.is_empty() { Ok(names) } else { Err("a block of names is longer than its names") }
}

/// Reads the first name of a block.
pub(crate) fn decode_first(mut bytes: &[u8]) -> Result<String, Damage> {
    take_name(&mut bytes, None)
}

fn take_name(bytes: &mut &[u8], previous: Option<&str>) -> Result<String, Damage> {
    const SHORT: Damage = "a block of names is too short";
    let shared = take_varint(bytes).ok_or(SHORT)? as usize;
    let rest = take_varint(bytes).ok_or(SHORT)? as usize;
    let (rest, after) = bytes.split_at_checked(rest).ok_or(SHORT)?;
    *bytes = after;
    let shared = previous
        .map_or(&[][..], str::as_bytes)
        .get(..shared)
        .ok_or("a name shares more than the one before has")?;
    // Two names may share the first bytes of a character, so only the whole is text.
    let name = String::from_utf8([shared, rest].concat()).map_err(|_| "a name is not UTF-8")?;
    if previous.is_some_and(|previous| previous >= name.as_str()) {
        return Err("the names do not rise");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut previous = None;
        for name in names {
            put_name(&mut bytes, previous, name);
            previous = Some(name);
        }
        bytes
    }

    #[test]
    fn names_come_back() {
        let names = ["order-1", "order-10", "order-2", "ö", "ü", "𝄞"];

        let bytes = encode(&names);

        assert_eq!(decode_block(&bytes, 6).unwrap(), names);
        assert_eq!(decode_first(&bytes).unwrap(), "order-1");
    }

    #[test]
    fn bytes_that_are_not_names_are_refused() {
        let cases: [(&[u8], u64); 8] = [
            (&[], 1),
            (&[1, 1, b'a'], 1),
            (&[0, 2, b'a'], 1),
            (&[0, 1, b'a', 0], 1),
            (&[0, 1, 0xff], 1),
            (&[0, 1, b'b', 0, 1, b'a'], 2),
            (&[0, 1, b'b', 1, 0], 2),
            (&[0, 1, b'b', 2, 1, b'c'], 2),
        ];

        for (bytes, count) in cases {
            assert!(decode_block(bytes, count).is_err(), "{bytes:?}");
        }
    }
}
