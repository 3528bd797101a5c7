//! Generates Rust from the .proto files, without needing `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["sluice/record/v1/record.proto", "sluice/control/v1/control.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    // Those that hold private keys have a `Debug` of their own.
    let private = ["sluice.record.v1.DkimKey", "sluice.control.v1.CreateDkimKeyRequest"];
    tonic_prost_build::configure().skip_debug(private).compile_fds(descriptors)?;
    Ok(())
}
