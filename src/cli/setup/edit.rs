//! A config file that is changed value by value. Each change is tried first: the file is a valid config at any time.

use std::path::{Path, PathBuf};

use anyhow::Context;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::config::{self, Config, ConfigError, ConfigProblem};

/// Where the password of the broker is looked for, beside the config.
const PASSWORD_FILE: &str = "mqtt.password";

/// See the module.
#[derive(Clone)]
pub(super) struct ConfigEdit {
    path: PathBuf,
    before: String,
    document: DocumentMut,
    config: Config,
}

impl ConfigEdit {
    /// Reads the file; where there is none, the bundled one, which says what every setting means.
    ///
    /// # Errors
    /// It cannot be read, or is no valid config.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let before = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => config::BUNDLED.into(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let read = config::from_text(&before);
        let config = read.map_err(|problems| ConfigError::invalid(path, problems))?;
        let document = before.parse().with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self { path: path.into(), before, document, config })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn text(&self) -> String {
        self.document.to_string()
    }

    /// Sets a value, if the config is valid with it.
    ///
    /// # Errors
    /// It is not; the sentence says why.
    pub(super) fn set(&mut self, keys: &[&str], to: &str) -> Result<(), String> {
        let mut changed = self.document.clone();
        let (key, tables) = keys.split_last().expect("there is a key");
        let mut table = changed.as_table_mut();
        for name in tables {
            let item = table.entry(name).or_insert_with(|| Item::Table(Table::new()));
            table = item
                .as_table_mut()
                .ok_or_else(|| format!("[{name}] is written in a way that is left alone; edit the file"))?;
        }
        if table.get(key).and_then(Item::as_str) == Some(to) {
            return Ok(());
        }
        table[key] = value(to);
        self.config = config::from_text(&changed.to_string()).map_err(messages)?;
        self.document = changed;
        Ok(())
    }

    /// Leaves a value at its default.
    pub(super) fn remove(&mut self, keys: &[&str]) {
        let (key, tables) = keys.split_last().expect("there is a key");
        let mut table = Some(self.document.as_table_mut());
        for name in tables {
            table = table.and_then(|table| table.get_mut(name)).and_then(Item::as_table_mut);
        }
        if let Some(table) = table {
            table.remove(key);
        }
        if let Ok(config) = config::from_text(&self.text()) {
            self.config = config;
        }
    }

    /// The lines that are new.
    pub(super) fn changes(&self) -> Vec<String> {
        let before: Vec<&str> = self.before.lines().collect();
        self.text().lines().filter(|line| !before.contains(line) && !line.trim().is_empty()).map(String::from).collect()
    }

    /// Whether there is more than one source of sound, or another one than a microphone.
    pub(super) fn has_several_microphones(&self) -> bool {
        let source = &self.config.source;
        source.microphone.len() != 1 || self.config.sources().len() != 1
    }

    /// The microphone that is configured.
    pub(super) fn device(&self) -> &str {
        self.config.source.microphone.first().map_or("default", |microphone| &microphone.device)
    }

    /// The file of the broker's password.
    pub(super) fn password_file(&self) -> PathBuf {
        let configured = self.config.mqtt.password_file.as_deref().unwrap_or(Path::new(PASSWORD_FILE));
        self.path.parent().unwrap_or(Path::new("")).join(configured)
    }
}

fn messages(problems: Vec<ConfigProblem>) -> String {
    problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(text: &str) -> ConfigEdit {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hearth.toml");
        std::fs::write(&path, text).unwrap();
        ConfigEdit::open(&path).unwrap()
    }

    #[test]
    fn values_are_set_and_comments_stay() {
        let mut edit = edit("# Upstairs.\nnode = \"home\" # its name\n[store]\n# For a month.\nkeep = \"30 days\"\n");
        edit.set(&["node"], "study").unwrap();
        edit.set(&["mqtt", "url"], "mqtt://broker:1883").unwrap();
        edit.set(&["store", "keep"], "30 days").unwrap();
        assert_eq!(edit.changes(), ["node = \"study\"", "[mqtt]", "url = \"mqtt://broker:1883\""]);
        let text = edit.text();
        assert!(text.starts_with("# Upstairs.\nnode = \"study\""), "{text}");
        assert!(text.contains("# For a month.\nkeep = \"30 days\""), "{text}");
        edit.remove(&["mqtt", "url"]);
        assert!(!edit.text().contains("broker"));
        assert_eq!(edit.config(), &config::from_text(&edit.text()).unwrap());
    }

    #[test]
    fn what_is_no_valid_value_changes_nothing_and_says_why() {
        let mut edit = edit("node = \"home\"\n");
        let error = edit.set(&["node"], "two words").unwrap_err();
        assert!(error.contains("\"two words\" is no name"), "{error}");
        assert!(edit.set(&["mqtt", "url"], "http://broker").is_err());
        assert!(edit.changes().is_empty() && edit.config().node.as_str() == "home");
    }

    #[test]
    fn the_bundled_config_is_the_start_where_there_is_none() {
        let edit = ConfigEdit::open(Path::new("/nowhere/hearth.toml")).unwrap();
        assert!(edit.text().contains("[[rule]]") && !edit.has_several_microphones());
        assert_eq!(edit.password_file(), Path::new("/nowhere/mqtt.password"));
    }

    #[test]
    fn a_file_that_is_no_config_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.toml");
        std::fs::write(&path, "node = \n").unwrap();
        let error = format!("{:#}", ConfigEdit::open(&path).err().unwrap());
        assert!(error.contains("broken.toml"), "{error}");
    }
}
