//! What is generated in the tree equals what `proto/` generates. `ROADSTEAD_REGENERATE=1` writes it anew.

use std::{env, fs, path::Path};

const GENERATED: &str = "src/wire/generated.rs";

#[test]
fn generated_code_equals_what_the_protocol_files_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile([root.join("proto/roadstead/wire/v1.proto")], [root.join("proto")]).unwrap();
    prost_build::Config::new().out_dir(out.path()).bytes(["."]).compile_fds(files).unwrap();
    let body = fs::read_to_string(out.path().join("roadstead.wire.v1.rs")).unwrap();
    let fresh =
        format!("//! Generated from `proto/roadstead/wire/v1.proto` by `tests/generated.rs`; do not edit.\n\n{body}");
    if env::var_os("ROADSTEAD_REGENERATE").is_some() {
        fs::write(root.join(GENERATED), &fresh).unwrap();
    }
    let committed = fs::read_to_string(root.join(GENERATED)).unwrap();
    assert!(committed == fresh, "{GENERATED} is stale: run ROADSTEAD_REGENERATE=1 cargo test --test generated");
}
