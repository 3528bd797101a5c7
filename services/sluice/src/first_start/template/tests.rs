use super::*;
use crate::config::RawConfig;

/// The file with every setting taken out of its comment.
fn uncommented() -> String {
    let text = config(Path::new("sluice.toml"), Path::new("sluice-data"));
    let setting = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        // Within a list.
        Some(rest) if rest.starts_with("    ") => rest.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    text.lines().map(setting).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_file_means_what_no_file_means() {
    let text = config(Path::new("sluice.toml"), Path::new("sluice-data"));
    let written = toml::Value::try_from(toml::from_str::<RawConfig>(&text).unwrap()).unwrap();
    assert_eq!(written, toml::Value::try_from(RawConfig::default()).unwrap());
}

#[test]
fn the_settings_shown_are_the_defaults() {
    let shown: toml::Table = uncommented().parse().unwrap();
    toml::from_str::<RawConfig>(&uncommented()).unwrap();
    let defaults = toml::Value::try_from(RawConfig::default()).unwrap();
    let mut compared = 0;
    for (section, keys) in &shown {
        // These have no default that could be written down: the lines are examples.
        let Some(keys) = keys.as_table().filter(|_| section != "tls") else { continue };
        for (key, value) in keys.iter().filter(|(key, _)| *key != "routes") {
            let same = match (key.as_str(), &defaults[section][key]) {
                // Keys that the file leaves out have their defaults too.
                ("listeners", default) => {
                    let address = |list: &toml::Value, i: usize| list[i]["address"].clone();
                    (0..2).all(|i| address(value, i) == address(default, i) && value[i]["tls"] == default[i]["tls"])
                }
                (_, default) => value == default,
            };
            assert!(same, "{section}.{key} = {value}, the default is {}", defaults[section][key]);
            compared += 1;
        }
    }
    assert!(compared > 10, "{shown:?}");
}

#[test]
fn the_data_folder_is_where_it_is() {
    let line = |path: &str, data_dir: &str| {
        let text = config(Path::new(path), Path::new(data_dir));
        text.lines().find(|line| line.starts_with("data_dir")).unwrap().to_owned()
    };
    assert_eq!(line("sluice.toml", "sluice-data"), r#"data_dir = "sluice-data""#);
    assert_eq!(line("/etc/sluice.toml", "/etc/sluice-data"), r#"data_dir = "sluice-data""#);
    assert_eq!(line("/etc/sluice.toml", "/var/lib/slu\"ice"), r#"data_dir = '/var/lib/slu"ice'"#);
}
