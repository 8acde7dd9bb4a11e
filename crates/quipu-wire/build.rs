//! Compiles the protocol in pure Rust: no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    // Each file by name: the descriptors beside them are no source.
    for file in ["admin", "credentials", "errors", "events", "groups", "notes", "quipu"] {
        println!("cargo:rerun-if-changed=proto/quipu/v1/{file}.proto");
    }
    let services =
        ["quipu", "notes", "groups", "admin"].map(|name| format!("quipu/v1/{name}.proto"));
    let files = protox::compile(services, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // They hold secrets: what is written of them for debugging is in `secrets`.
        .skip_debug([".quipu.v1.AddUser", ".quipu.v1.SetPassword", ".quipu.v1.CreatedToken"])
        .build_transport(false)
        .compile_fds(files)?;
    Ok(())
}
