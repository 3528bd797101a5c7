//! What every Sluice process needs around its work: configuration, clock, logs, metrics, health, signals, exit codes.

pub mod config;

pub mod metrics;

mod admin;
mod clock;
mod exit;
mod health;
mod logs;
mod machine;
mod signals;

pub use admin::{AdminConfig, serve_admin};
pub use clock::SystemClock;
pub use exit::ExitCode;
pub use health::{Health, Status};
pub use logs::{LogConfig, LogFormat, LogGuard, check_level, start_logs};
pub use machine::{machine_name, raise_file_limit};
pub use signals::Signals;
