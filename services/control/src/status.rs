//! Errors as gRPC statuses: one place, one match an error.

use sluice_proto::{FieldViolation, bad_request};
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
        RegistryError::Changed { .. } => Status::aborted(words),
        RegistryError::Full | RegistryError::TooManyKeys => Status::resource_exhausted(words),
        RegistryError::FromFile(_) | RegistryError::Signs(_) => Status::failed_precondition(words),
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
    let details = bad_request(&words, violations.iter().map(field).collect());
    Status::with_details(Code::InvalidArgument, words, details.into())
}

#[cfg(test)]
mod tests {
    use sluice_proto::field_violations;

    use super::*;

    #[test]
    fn every_violation_is_in_the_words_and_in_the_details() {
        let status = invalid(&[Violation::new("a", "too long"), Violation::new("b.c", "empty")]);
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "a: too long; b.c: empty"));
        let violations = field_violations(status.details());
        let fields: Vec<_> = violations.iter().map(|v| (v.field.as_str(), v.description.as_str())).collect();
        assert_eq!(fields, [("a", "too long"), ("b.c", "empty")]);
    }
}
