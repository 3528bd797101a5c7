//! The wire formats: generated protobuf code, and the only conversions between it and the words of `sluice-mail`.

mod convert;
mod private;
mod rpc;
#[cfg(test)]
mod tests;

pub use convert::ConvertError;
pub use prost_types::FieldMask;
pub use rpc::{FieldViolation, bad_request, field_violations};

/// `sluice.record.v1`: what is kept in logs.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated code"
)]
pub mod record {
    tonic::include_proto!("sluice.record.v1");
}

/// `sluice.control.v1`: the control plane's interface.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated code"
)]
pub mod control {
    tonic::include_proto!("sluice.control.v1");
}
