//! Compiles the schema with protox, so that building needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=roomkeeper");

    let files = protox::compile(["roomkeeper/v1/room_service.proto"], ["."])?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;

    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
