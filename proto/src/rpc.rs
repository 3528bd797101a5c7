//! gRPC's standard error details (`google.rpc`), as far as they are used.

use prost::Message;

const INVALID_ARGUMENT: i32 = 3;
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// A field of a request that breaks a rule: `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FieldViolation {
    /// Path of the field.
    #[prost(string, tag = "1")]
    pub field: String,
    /// What is wrong and what would be right.
    #[prost(string, tag = "2")]
    pub description: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
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

/// The details of a gRPC status INVALID_ARGUMENT with `message` that name each field.
#[must_use]
pub fn bad_request(message: &str, field_violations: Vec<FieldViolation>) -> Vec<u8> {
    let value = BadRequest { field_violations }.encode_to_vec();
    let details = vec![Any { type_url: BAD_REQUEST.to_owned(), value }];
    Status { code: INVALID_ARGUMENT, message: message.to_owned(), details }.encode_to_vec()
}

/// The fields that the details of a status name; none when they name none.
#[must_use]
pub fn field_violations(details: &[u8]) -> Vec<FieldViolation> {
    let status = Status::decode(details).unwrap_or_default();
    let bad = status.details.iter().filter(|any| any.type_url == BAD_REQUEST);
    bad.filter_map(|any| BadRequest::decode(&*any.value).ok()).flat_map(|bad| bad.field_violations).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let violation = FieldViolation { field: "a.b[0]".into(), description: "too long".into() };
        assert_eq!(field_violations(&bad_request("words", vec![violation.clone()])), [violation]);
        assert!(field_violations(b"\xff").is_empty() && field_violations(b"").is_empty());
    }
}
