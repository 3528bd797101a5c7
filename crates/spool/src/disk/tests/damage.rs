//! Damage on purpose.
