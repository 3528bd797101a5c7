// NOTE to CONTROL: cli/** (clap structs, account/queue/version commands, gRPC client over the socket) and first_start.rs are being written by helper CLI right now.
// You write services/control, config.rs, run.rs, main.rs (dispatch), docs/configuration.md. See cli/mod.rs for its entry points.
fn main() {}
