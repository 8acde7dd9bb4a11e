//! The bytes of the registry's files.

use quipu_core::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentState, ComponentStatus,
    PARKED_ITEMS_MAX, ParkedItem, Position, Timestamp,
};

use crate::beside::encoding::{Decoder, Encoder, seal, unseal};

const FORMAT: u8 = 1;

pub(super) fn encode_status(status: &ComponentStatus) -> Vec<u8> {
    let mut body = Encoder::default()
        .u8(FORMAT)
        .text(status.key.kind.as_str())
        .text(&status.key.name)
        .u32(status.key.version)
        .text(&status.owner)
        .u64(status.epoch)
        .text(status.state.as_str())
        .u64(status.position.get())
        .u64(status.lag)
        .u8(u8::from(status.last_error.is_some()))
        .text(status.last_error.as_deref().unwrap_or_default())
        .u64(status.parked_count)
        .i64(status.reported_at.as_micros())
        .u64(status.parked.len() as u64);
    for ParkedItem { position, key, cause } in &status.parked {
        body = body.u64(position.get()).text(key).text(cause);
    }
    seal(&[b"status"], &body.finish())
}

/// `None` if the bytes are damaged, or of a format that this version does not know.
pub(super) fn decode_status(bytes: &[u8]) -> Option<ComponentStatus> {
    let mut body = Decoder::new(unseal(&[b"status"], bytes)?);
    if body.u8()? != FORMAT {
        return None;
    }
    let kind = ComponentKind::from_name(body.text()?)?;
    let key = ComponentKey { kind, name: body.text()?.to_owned(), version: body.u32()? };
    let owner = body.text()?.to_owned();
    let epoch = body.u64()?;
    let state = ComponentState::from_name(body.text()?)?;
    let position = Position::new(body.u64()?);
    let lag = body.u64()?;
    let has_error = body.u8()? == 1;
    let last_error = Some(body.text()?.to_owned()).filter(|_| has_error);
    let parked_count = body.u64()?;
    let reported_at = Timestamp::from_micros(body.i64()?);
    let items = body.u64()?;
    if items > PARKED_ITEMS_MAX as u64 {
        return None;
    }
    let mut parked = Vec::new();
    for _ in 0..items {
        let position = Position::new(body.u64()?);
        let (key, cause) = (body.text()?.to_owned(), body.text()?.to_owned());
        parked.push(ParkedItem { position, key, cause });
    }
    body.is_empty().then_some(ComponentStatus {
        key,
        owner,
        epoch,
        state,
        position,
        lag,
        last_error,
        parked_count,
        parked,
        reported_at,
    })
}

pub(super) fn encode_request(key: &ComponentKey, request: ComponentRequest) -> Vec<u8> {
    let (number, position) = match request {
        ComponentRequest::Pause => (1, None),
        ComponentRequest::Resume => (2, None),
        ComponentRequest::Retry(position) => (3, position),
        ComponentRequest::Drop(position) => (4, position),
        ComponentRequest::Promote => (5, None),
        ComponentRequest::ReplayFrom(position) => (6, Some(position)),
    };
    let body = Encoder::default()
        .u8(FORMAT)
        .u8(number)
        .u8(u8::from(position.is_some()))
        .u64(position.map_or(0, Position::get))
        .finish();
    seal_request(key, &body)
}

fn seal_request(key: &ComponentKey, body: &[u8]) -> Vec<u8> {
    let version = key.version.to_le_bytes();
    seal(&[b"request", key.kind.as_str().as_bytes(), key.name.as_bytes(), &version], body)
}

/// `None` if the bytes are damaged, meant for another component, or of a format or a kind that
/// this version does not know.
pub(super) fn decode_request(key: &ComponentKey, bytes: &[u8]) -> Option<ComponentRequest> {
    let version = key.version.to_le_bytes();
    let place: [&[u8]; 4] =
        [b"request", key.kind.as_str().as_bytes(), key.name.as_bytes(), &version];
    let mut body = Decoder::new(unseal(&place, bytes)?);
    if body.u8()? != FORMAT {
        return None;
    }
    let number = body.u8()?;
    let has_position = body.u8()? == 1;
    let position = Some(Position::new(body.u64()?)).filter(|_| has_position);
    if !body.is_empty() {
        return None;
    }
    Some(match number {
        1 => ComponentRequest::Pause,
        2 => ComponentRequest::Resume,
        3 => ComponentRequest::Retry(position),
        4 => ComponentRequest::Drop(position),
        5 => ComponentRequest::Promote,
        6 => ComponentRequest::ReplayFrom(position?),
        _ => return None,
    })
}
