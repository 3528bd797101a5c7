//! The place of a value in the configuration, as people write it: `ingress.listeners[0].address`.

use std::fmt;

use toml::Value;

/// One step into the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A key of a table.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// Steps from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(pub(super) Vec<Step>);

impl KeyPath {
    /// Reads `a.b[0].c` and `a.b.0.c`; `None` when a step is empty.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.replace('[', ".").replace(']', "");
        let step = |part: &str| match part.parse() {
            Ok(index) => Some(Step::Index(index)),
            Err(_) if part.is_empty() => None,
            Err(_) => Some(Step::Key(part.to_owned())),
        };
        text.split('.').map(step).collect::<Option<Vec<_>>>().map(Self)
    }

    /// This path and one step more.
    pub(super) fn join(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The path without its last step.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    /// The name of the last step, unless it is an index.
    pub(super) fn last_key(&self) -> Option<&str> {
        match self.0.last()? {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        }
    }

    /// What lies there.
    pub(super) fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(root, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// Puts `new` there, making tables and the next element of a list as needed. Fails where the way leads through
    /// something that is neither, or past the end of a list.
    pub(super) fn put(&self, root: &mut Value, new: Value) -> Result<(), String> {
        let mut at = root;
        for (i, step) in self.0.iter().enumerate() {
            let here = || Self(self.0[..i].to_vec()).to_string();
            let next_is_index = matches!(self.0.get(i + 1), Some(Step::Index(_)));
            let empty = if next_is_index { Value::Array(Vec::new()) } else { Value::Table(toml::Table::new()) };
            at = match (step, at) {
                (Step::Key(key), Value::Table(table)) => table.entry(key.clone()).or_insert(empty),
                (Step::Index(index), Value::Array(list)) => {
                    let len = list.len();
                    if *index == len {
                        list.push(empty);
                    }
                    list.get_mut(*index).ok_or_else(|| format!("{} has only {len} entries", here()))?
                }
                (Step::Key(_), _) => return Err(format!("{} is not a table", here())),
                (Step::Index(_), _) => return Err(format!("{} is not a list", here())),
            };
        }
        *at = new;
        Ok(())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
