//! The configuration file that the first start writes.

use std::path::Path;

/// The data folder of a configuration that names none, beside the file.
const DATA_DIR: &str = "sluice-data";

/// The file's text, for a file at `path`. Everything but the data folder is commented out with its default, so that
/// the file means what no file means. The folder is written relative to the file if it lies beside it.
pub(super) fn config(path: &Path, data_dir: &Path) -> String {
    let beside = path.parent().unwrap_or(Path::new("")).join(DATA_DIR);
    let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let is_beside = std::path::absolute(&beside).is_ok_and(|beside| beside == absolute);
    let shown = if is_beside { DATA_DIR.into() } else { absolute.to_string_lossy() };
    TEMPLATE.replace("DATA_DIR", &toml::Value::from(&*shown).to_string())
}

/// A `#` with a blank after it begins words, one without a setting.
const TEMPLATE: &str = include_str!("template.toml");

#[cfg(test)]
mod tests;
