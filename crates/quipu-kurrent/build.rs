//! Compiles the protocol in pure Rust: no `protoc` is needed.

use std::error::Error;

const FILES: [&str; 12] = [
    "gossip.proto",
    "monitoring.proto",
    "operations.proto",
    "persistent_subscriptions.proto",
    "projections.proto",
    "rpc.proto",
    "rpc_errors.proto",
    "server_features.proto",
    "streams.proto",
    "streams_v2.proto",
    "streams_v2_errors.proto",
    "users.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    config.type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(false)
        .build_transport(false)
        .include_file("protocol.rs")
        .compile_fds_with_config(files, config)?;
    Ok(())
}
