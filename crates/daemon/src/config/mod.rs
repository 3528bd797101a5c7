//! Configuration: where values come from, how a wrong one is reported, and how keys are documented.
//!
//! A component keeps its raw section (a serde struct with `deny_unknown_fields` and a `Default`) and the typed
//! config made from it. The raw section also implements [`Documented`], from which the reference is generated.
//! [`Layers`] merges file, environment and flags, later ones winning, and turns every failure into a [`ConfigError`]
//! that names the place, the key, the value and what was expected.

mod layers;
mod path;
mod reference;
mod values;

pub use layers::{ConfigError, KeyError, Layers};
pub use reference::{Documented, Key, markdown, undocumented};
pub use values::{Rate, Size, Time, ValueError};
