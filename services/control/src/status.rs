//! Errors as gRPC statuses: one place, one match an error.

use prost::Message;
use sluice_registry::{RegistryError, Violation};
use sluice_spool::BodyError;
use tonic::{Code, Status};

/// What the registry says.
pub(crate) fn of_registry(error: RegistryError) -> Status {
    let words = error.to_string();
    match error {
        RegistryError::Invalid(violations) => invalid(&violations),
        RegistryError::Exists(_) => Status::already_exists(words),
        RegistryError::NotFound(_) => Status::not_found(words),
        RegistryError::Full => Status::resource_exhausted(words),
        RegistryError::Record { .. } => Status::data_loss(words),
        RegistryError::Log(_) => Status::unavailable(words),
        RegistryError::Hash => Status::internal(words),
    }
}

/// What the queue's engine says.
pub(crate) fn of_body(error: &BodyError) -> Status {
    let words = error.to_string();
    match error {
        BodyError::Unreadable(_) => Status::data_loss(words),
        BodyError::Unknown => Status::not_found(words),
    }
}

/// A request that breaks rules: all of them in the message, and as `google.rpc.BadRequest` for programs.
pub(crate) fn invalid(violations: &[Violation]) -> Status {
    let each: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.field, v.problem)).collect();
    let words = each.join("; ");
    let field = |v: &Violation| FieldViolation { field: v.field.clone(), description: v.problem.clone() };
    let bad = BadRequest { field_violations: violations.iter().map(field).collect() };
    let detail = Any { type_url: "type.googleapis.com/google.rpc.BadRequest".into(), value: bad.encode_to_vec() };
    let details = RpcStatus { code: Code::InvalidArgument as i32, message: words.clone(), details: vec![detail] };
    Status::with_details(Code::InvalidArgument, words, details.encode_to_vec().into())
}

/// `google.rpc.Status`, which gRPC's error details are made of.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_in_the_words_and_in_the_details() {
        let status = invalid(&[Violation::new("a", "too long"), Violation::new("b.c", "empty")]);
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "a: too long; b.c: empty"));
        let details = RpcStatus::decode(status.details()).unwrap();
        let bad = BadRequest::decode(&*details.details[0].value).unwrap();
        let fields: Vec<_> = bad.field_violations.iter().map(|v| (v.field.as_str(), v.description.as_str())).collect();
        assert_eq!(fields, [("a", "too long"), ("b.c", "empty")]);
    }
}
