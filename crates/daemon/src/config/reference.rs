//! What there is to say about each key, kept beside the raw struct, and the reference made from it.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

/// A raw section that says what its keys mean. Every field that serde knows must be among [`Self::KEYS`];
/// [`undocumented`] is how a test sees to it.
pub trait Documented: DeserializeOwned {
    /// In the order of the reference.
    const KEYS: &'static [Key];
}

/// The kind of a [`Key::section`].
const SECTION: &str = "section";
/// The kind of a [`Key::table`].
const TABLE: &str = "table";

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the file.
    pub name: &'static str,
    /// What kind of value: `text`, `number`, `true or false`, `time`, `size`, `address`, `path`, `list of …`.
    pub kind: &'static str,
    /// What it does, its bounds, and per what it holds. One or two sentences.
    pub doc: &'static str,
    /// Shown when the serialized default has no value for it.
    pub default: &'static str,
    /// The keys of each table in a list of tables, or of a table.
    pub nested: &'static [Key],
}

impl Key {
    /// A key of a plain value; its default is taken from the section's `Default`.
    #[must_use]
    pub const fn new(name: &'static str, kind: &'static str, doc: &'static str) -> Self {
        Self { name, kind, doc, default: "", nested: &[] }
    }

    /// A list of tables with keys of its own.
    #[must_use]
    pub const fn tables(name: &'static str, nested: &'static [Self], doc: &'static str) -> Self {
        Self { name, kind: "list of tables", doc, default: "", nested }
    }

    /// One table with keys of its own.
    #[must_use]
    pub const fn table(name: &'static str, nested: &'static [Self], doc: &'static str) -> Self {
        Self { name, kind: TABLE, doc, default: "", nested }
    }

    /// A section with keys of its own, which the reference shows in a table of its own.
    #[must_use]
    pub const fn section(name: &'static str, doc: &'static str) -> Self {
        Self { name, kind: SECTION, doc, default: "", nested: &[] }
    }

    /// What to show as the default where `Default` has none: `required`, `none`, or how it is found.
    #[must_use]
    pub const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }
}

/// Where documentation and fields of `T` differ: each field without a key, each key without a field, each key
/// without a text. Empty when all is well.
#[must_use]
pub fn undocumented<T: Documented>() -> Vec<String> {
    let fields = field_names::<T>();
    let missing = fields.iter().filter(|f| T::KEYS.iter().all(|k| k.name != f.as_str()));
    let gone = T::KEYS.iter().filter(|k| !fields.iter().any(|f| f == k.name));
    let empty = T::KEYS.iter().filter(|k| k.doc.is_empty() || k.kind.is_empty());
    missing
        .map(|f| format!("{f} has no entry in KEYS"))
        .chain(gone.map(|k| format!("{} is no field", k.name)))
        .chain(empty.map(|k| format!("{} has no text", k.name)))
        .collect()
}

/// The fields that serde accepts for `T`, as its complaint about an impossible one lists them.
fn field_names<T: DeserializeOwned>() -> Vec<String> {
    let mut probe = toml::Table::new();
    probe.insert("\u{1}".into(), Value::Boolean(true));
    let message = match probe.try_into::<T>() {
        Ok(_) => return vec!["(accepts unknown fields)".into()],
        Err(e) => e.message().to_owned(),
    };
    message.split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
}

/// The table of a section's keys in Markdown, and below it those of its lists of tables. `section` is empty for keys
/// that stand in no section.
#[must_use]
pub fn markdown<T: Documented + Default + Serialize>(section: &str) -> String {
    let defaults = Value::try_from(T::default()).unwrap_or(Value::Boolean(false));
    table(section, T::KEYS, &defaults)
}

fn table(section: &str, keys: &[Key], defaults: &Value) -> String {
    let mut out = String::from("| key | kind | default | what it does |\n|---|---|---|---|\n");
    let mut below = String::new();
    for key in keys.iter().filter(|key| key.kind != SECTION) {
        let full = if section.is_empty() { key.name.to_owned() } else { format!("{section}.{}", key.name) };
        let default = shown_default(key, defaults.get(key.name));
        // Writing into a String cannot fail.
        let _ = writeln!(out, "| `{full}` | {} | {default} | {} |", key.kind, key.doc);
        if !key.nested.is_empty() {
            let (heading, prefix) = match key.kind {
                TABLE => (format!("[{full}]"), full),
                _ => (format!("[[{full}]]"), format!("{full}[]")),
            };
            let nested = table(&prefix, key.nested, &Value::Boolean(false));
            let _ = write!(below, "\n### `{heading}`\n\n{nested}");
        }
    }
    out + &below
}

fn shown_default(key: &Key, default: Option<&Value>) -> String {
    match default {
        _ if !key.default.is_empty() => key.default.to_owned(),
        None => "none".to_owned(),
        Some(_) if key.kind == TABLE => "none".to_owned(),
        Some(Value::Array(list)) if list.is_empty() => "`[]`".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::{Size, Time};
    use super::*;

    #[derive(Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct Section {
        timeout: Time,
        max: Size,
        name: Option<String>,
        routes: Vec<Route>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Route {
        domain: String,
    }

    impl Default for Section {
        fn default() -> Self {
            Self { timeout: Time::mins(5), max: Size::mib(25), name: None, routes: Vec::new() }
        }
    }

    impl Documented for Route {
        const KEYS: &'static [Key] = &[Key::new("domain", "text", "For mail to this domain.").or("required")];
    }

    impl Documented for Section {
        const KEYS: &'static [Key] = &[
            Key::new("timeout", "time", "How long, per command."),
            Key::new("max", "size", "How large, per message."),
            Key::new("name", "text", "Our name.").or("the machine's name"),
            Key::tables("routes", Route::KEYS, "Where to."),
        ];
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sparse {
        #[expect(dead_code, reason = "only its name matters")]
        a: Option<u8>,
    }

    impl Documented for Sparse {
        const KEYS: &'static [Key] = &[Key::new("b", "number", "")];
    }

    #[test]
    fn the_reference_shows_every_key_with_its_default() {
        assert_eq!(
            markdown::<Section>("x"),
            "| key | kind | default | what it does |\n\
             |---|---|---|---|\n\
             | `x.timeout` | time | `\"5m\"` | How long, per command. |\n\
             | `x.max` | size | `\"25MiB\"` | How large, per message. |\n\
             | `x.name` | text | the machine's name | Our name. |\n\
             | `x.routes` | list of tables | `[]` | Where to. |\n\
             \n\
             ### `[[x.routes]]`\n\
             \n\
             | key | kind | default | what it does |\n\
             |---|---|---|---|\n\
             | `x.routes[].domain` | text | required | For mail to this domain. |\n"
        );
    }

    #[test]
    fn keys_without_entry_field_or_text_are_found() {
        assert!(undocumented::<Section>().is_empty());
        assert!(undocumented::<Route>().is_empty());
        assert_eq!(undocumented::<Sparse>(), ["a has no entry in KEYS", "b is no field", "b has no text"]);
    }
}
