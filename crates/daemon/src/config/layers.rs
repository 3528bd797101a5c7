//! File, environment and flags merged into one tree; failures traced back to where the value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::path::{KeyPath, Step};

/// The merged configuration before it is given a type. Later layers win: file, then environment, then flags.
#[derive(Debug)]
pub struct Layers {
    root: Value,
    /// Where each value was set, the latest.
    origins: BTreeMap<KeyPath, String>,
    /// What to name when a value was set nowhere.
    file: String,
}

/// A value of the right type that makes no sense; made by whoever turns a raw section into a typed config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct KeyError {
    /// `ingress.listeners[0].address`.
    pub key: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

/// A configuration that cannot be used, in one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// File and line, environment variable or flag.
    pub place: String,
    /// The key, when it is known.
    pub key: Option<String>,
    /// The value as it was given, shortened.
    pub value: Option<String>,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl KeyError {
    /// `problem` with the value of `key`.
    pub fn new(key: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { key: key.into(), problem: problem.to_string() }
    }

    /// The same, seen from the table that holds `section`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        Self { key: format!("{section}.{}", self.key), ..self }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            f.write_str(key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

impl Default for Layers {
    fn default() -> Self {
        Self { root: Value::Table(toml::Table::new()), origins: BTreeMap::new(), file: "the built-in defaults".into() }
    }
}

impl Layers {
    /// No file: defaults, to be overlaid.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The file at `path`.
    pub fn of_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
            place: path.display().to_string(),
            key: None,
            value: None,
            problem: format!("cannot be read: {e}"),
        })?;
        Self::of_text(&path.display().to_string(), &text)
    }

    /// The text of a file that errors call `name`.
    pub fn of_text(name: &str, text: &str) -> Result<Self, ConfigError> {
        let syntax = |e: &toml::de::Error| ConfigError {
            place: e.span().map_or_else(|| name.to_owned(), |span| place(name, text, span.start)),
            key: None,
            value: None,
            problem: e.message().to_owned(),
        };
        let table: toml::Table = text.parse().map_err(|e| syntax(&e))?;
        let spans = DeTable::parse(text).map_err(|e| syntax(&e))?;
        let mut layers = Self { root: Value::Table(table), file: name.to_owned(), ..Self::default() };
        layers.note_table(&KeyPath::default(), spans.get_ref(), &|at| place(name, text, at));
        Ok(layers)
    }

    /// Overlays what variables named `SLUICE_SECTION__KEY` say. Variables without `__` count only when they name one
    /// of `scalars`, the keys that stand in no section: Kubernetes sets `SLUICE_PORT` and the like for a service
    /// called sluice.
    pub fn overlay_env(
        &mut self,
        vars: impl IntoIterator<Item = (String, String)>,
        scalars: &[&str],
    ) -> Result<(), ConfigError> {
        for (name, value) in vars {
            let Some(rest) = name.strip_prefix("SLUICE_") else { continue };
            let key = rest.to_ascii_lowercase().replace("__", ".");
            if key.contains('.') || scalars.contains(&key.as_str()) {
                self.overlay(&key, &value, &format!("environment variable {name}"))?;
            }
        }
        Ok(())
    }

    /// Overlays one value. `value` is read as TOML (numbers, true, false, lists, quoted text), and as plain text when
    /// it is none of these. `origin` is what errors call the place.
    pub fn overlay(&mut self, key: &str, value: &str, origin: &str) -> Result<(), ConfigError> {
        let error = |problem: String| ConfigError {
            place: origin.to_owned(),
            key: Some(key.to_owned()),
            value: Some(shorten(value)),
            problem,
        };
        let path = KeyPath::parse(key).ok_or_else(|| error("expected a key such as ingress.max_sessions".into()))?;
        path.put(&mut self.root, typed(value)).map_err(error)?;
        self.origins.insert(path, origin.to_owned());
        Ok(())
    }

    /// The merged tree as a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_path_to_error::deserialize(self.root.clone()).map_err(|e| {
            let steps = e.path().iter().filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
                serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
                serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => None,
            });
            let path = KeyPath(steps.collect());
            match unknown_field(e.inner().message()) {
                Some((field, known)) => self.unknown(&path, field, &known),
                None => self.error_at(&path, plain(e.inner().message())),
            }
        })
    }

    /// Adds the place and the value to a complaint about a key.
    #[must_use]
    pub fn locate(&self, error: KeyError) -> ConfigError {
        match KeyPath::parse(&error.key) {
            Some(path) => self.error_at(&path, error.problem),
            None => ConfigError { place: self.file.clone(), key: Some(error.key), value: None, problem: error.problem },
        }
    }

    fn error_at(&self, path: &KeyPath, problem: String) -> ConfigError {
        let value = path.find(&self.root).filter(|v| !v.is_table()).map(|v| shorten(&v.to_string()));
        let key = (!path.0.is_empty()).then(|| path.to_string());
        ConfigError { place: self.origin(path), key, value, problem }
    }

    fn unknown(&self, path: &KeyPath, field: &str, known: &[&str]) -> ConfigError {
        let path = if path.last_key() == Some(field) { path.clone() } else { path.join(Step::Key(field.to_owned())) };
        let problem = match nearest(field, known) {
            Some(near) => format!("there is no such key; did you mean {near}?"),
            None => format!("there is no such key; known here: {}", known.join(", ")),
        };
        ConfigError { value: None, ..self.error_at(&path, problem) }
    }

    /// Where the value at `path`, or the nearest table around it, was set.
    fn origin(&self, path: &KeyPath) -> String {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(origin) = self.origins.get(&path) {
                return origin.clone();
            }
            at = path.parent();
        }
        self.file.clone()
    }

    fn note_table(&mut self, path: &KeyPath, table: &DeTable<'_>, place: &dyn Fn(usize) -> String) {
        for (key, value) in table {
            let path = path.join(Step::Key(key.get_ref().to_string()));
            self.origins.insert(path.clone(), place(key.span().start));
            self.note_value(&path, value.get_ref(), place);
        }
    }

    fn note_value(&mut self, path: &KeyPath, value: &DeValue<'_>, place: &dyn Fn(usize) -> String) {
        if let Some(table) = value.as_table() {
            self.note_table(path, table, place);
        }
        for (i, element) in value.as_array().into_iter().flat_map(|list| list.iter()).enumerate() {
            let path = path.join(Step::Index(i));
            self.origins.insert(path.clone(), place(element.span().start));
            self.note_value(&path, element.get_ref(), place);
        }
    }
}

fn place(name: &str, text: &str, at: usize) -> String {
    let line = text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    format!("{name} line {line}")
}

/// An overlay's text as TOML, or as plain text.
fn typed(text: &str) -> Value {
    let value = text.trim().parse::<Value>().ok();
    value.filter(|v| !v.is_datetime() && !v.is_float()).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn shorten(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(80).collect();
    if chars.next().is_some() { format!("{head}…") } else { head }
}

/// The field and the known fields of serde's complaint about an unknown field.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// Serde's message in words that need no Rust.
fn plain(message: &str) -> String {
    let message = message.trim_end();
    if message == "invalid socket address syntax" {
        return "expected an address and port such as \"127.0.0.1:2587\"".to_owned();
    }
    if !message.starts_with("invalid ") {
        return message.replace('`', "");
    }
    let Some((_, expected)) = message.rsplit_once("expected ") else { return message.to_owned() };
    let expected = match expected {
        "u16" => "a whole number, 0 to 65535",
        "u8" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "i64" | "i32" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "a table",
        other => other,
    };
    format!("expected {expected}")
}

/// The known name that a person most likely meant.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |k: &&&str| strsim::damerau_levenshtein(name, k);
    let near = known.iter().min_by_key(|k| distance(k))?;
    (distance(&near) <= 2.max(name.len() / 3)).then_some(*near)
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
