//! The protocol only grows: what the checked-in descriptors have, the protocol's files have too.
//!
//! After the protocol has grown, `QUIPU_BLESS=1 cargo test -p quipu-wire descriptors` writes the
//! descriptors anew.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

use crate::proto::DESCRIPTORS;

/// Everything that others may rely on, a line each.
fn promises(bytes: &[u8]) -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(bytes).unwrap();
    let mut lines = BTreeSet::new();
    for file in &set.file {
        let package = file.package().to_owned();
        for message in &file.message_type {
            add_message(&package, message, &mut lines);
        }
        for it in &file.enum_type {
            add_enum(&package, it, &mut lines);
        }
        for service in &file.service {
            for method in &service.method {
                lines.insert(format!(
                    "rpc {package}.{}/{} ({}{}) returns ({}{})",
                    service.name(),
                    method.name(),
                    if method.client_streaming() { "stream " } else { "" },
                    method.input_type(),
                    if method.server_streaming() { "stream " } else { "" },
                    method.output_type(),
                ));
            }
        }
    }
    lines
}

fn add_message(scope: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let scope = format!("{scope}.{}", message.name());
    lines.insert(format!("message {scope}"));
    for field in &message.field {
        lines.insert(format!(
            "field {scope}.{} = {}: {:?} {:?} {} {}",
            field.name(),
            field.number(),
            field.label(),
            field.r#type(),
            field.type_name(),
            if field.proto3_optional() { "optional" } else { "" },
        ));
    }
    for it in &message.nested_type {
        add_message(&scope, it, lines);
    }
    for it in &message.enum_type {
        add_enum(&scope, it, lines);
    }
}

fn add_enum(scope: &str, it: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &it.value {
        lines.insert(format!("value {scope}.{}.{} = {}", it.name(), value.name(), value.number()));
    }
}

#[test]
fn descriptors_keep_everything_that_was_ever_promised() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/quipu/v1/quipu.descriptors");
    if std::env::var_os("QUIPU_BLESS").is_some() {
        let mut set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        for file in &mut set.file {
            file.source_code_info = None;
        }
        std::fs::write(&path, set.encode_to_vec()).unwrap();
    }

    let promised = promises(&std::fs::read(&path).unwrap());
    let kept = promises(DESCRIPTORS);

    let gone: Vec<&String> = promised.difference(&kept).collect();
    assert!(gone.is_empty(), "the protocol lost or changed:\n{gone:#?}");
    assert!(promised.len() > 200, "the checked-in descriptors hold the whole protocol");
}
