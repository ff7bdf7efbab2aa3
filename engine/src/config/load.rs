//! From text, file and command line to a checked configuration.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::error::{ConfigError, Problem, locate};
use super::{Config, validate};

impl Config {
    /// Reads a TOML text. Types and keys are checked, but not yet what keys mean together: see [`Config::validate`].
    ///
    /// # Errors
    /// The first thing that is no TOML, no known key or no value of the right kind, with its place in the text.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::from_toml(&error, Some(text)))
    }

    /// Overrides one key: `feed.session=ABC`, `feed.line[1].group=239.1.2.3:5000`. The value is TOML; what is none
    /// is taken as a string, so that quotes are not needed. An index one past the last item adds an item. Nothing
    /// is changed on an error.
    ///
    /// # Errors
    /// As for [`Config::parse`], with the override as origin.
    pub fn apply_override(&mut self, assignment: &str) -> Result<(), ConfigError> {
        self.overridden(assignment)
            .map(|config| *self = config)
            .map_err(|error| error.with_origin(assignment))
    }

    fn overridden(&self, assignment: &str) -> Result<Config, ConfigError> {
        let Some((key, text)) = assignment.split_once('=') else {
            return Err(
                Problem::new(assignment, "no value", "write key=value, such as feed.session=ABC").into()
            );
        };
        let (key, text) = (key.trim(), text.trim());
        let with = |value: Value| {
            let mut table = self.to_table()?;
            set(&mut table, key, value)?;
            table.try_into().map_err(|error| ConfigError::from_toml(&error, None))
        };
        match read_value(text) {
            None => with(Value::String(text.into())),
            Some(value) => with(value.clone()).or_else(|error| {
                // A session such as 20260101 reads as a number but is meant as text.
                if value.is_str() { Err(error) } else { with(Value::String(text.into())).map_err(|_| error) }
            }),
        }
    }

    /// Checks what keys mean together.
    ///
    /// # Errors
    /// Everything that does not fit, each with its key and a remedy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = validate::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { origin: String::new(), problems }) }
    }

    /// The configuration of a process: from the file at `path` (none: [`Config::default`]), changed by `overrides`
    /// in their order, and checked.
    ///
    /// # Errors
    /// A file that cannot be read, and as for [`Config::parse`], [`Config::apply_override`] and
    /// [`Config::validate`].
    pub fn load(path: Option<&Path>, overrides: &[String]) -> Result<Config, ConfigError> {
        let origin = path.map(|path| path.display().to_string()).unwrap_or_default();
        let text = path.map(read).transpose().map_err(|error| error.with_origin(&origin))?;
        let mut config = match &text {
            Some(text) => Config::parse(text).map_err(|error| error.with_origin(&origin))?,
            None => Config::default(),
        };
        for assignment in overrides {
            config.apply_override(assignment)?;
        }
        let Err(mut error) = config.validate() else { return Ok(config) };
        for problem in &mut error.problems {
            // What an override has put there does not stand in the file.
            let keys = overrides.iter().filter_map(|assignment| assignment.split('=').next());
            let overridden = keys.into_iter().any(|key| problem.key.starts_with(key.trim()));
            let text = text.as_ref().filter(|_| !overridden);
            problem.at = text.and_then(|text| locate(text, &problem.key));
        }
        Err(error.with_origin(origin))
    }

    /// The configuration as TOML, without comments. Reads back the same.
    ///
    /// # Errors
    /// A number is larger than TOML has room for (2^63 - 1).
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(&self.to_table()?).map_err(|error| Problem::new("", error.to_string(), "").into())
    }

    fn to_table(&self) -> Result<Table, ConfigError> {
        Table::try_from(self).map_err(|error| Problem::new("", error.to_string(), "").into())
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read the configuration: {error}");
        Problem::new("", what, "`seqcast config default` prints one to start from").into()
    })
}

fn read_value(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {text}").parse().ok()?;
    table.remove("value").filter(|_| table.is_empty())
}

/// Puts `value` at `key`, making tables and the next item of a list on the way.
fn set(table: &mut Table, key: &str, value: Value) -> Result<(), ConfigError> {
    let (part, rest) = key.split_once('.').map_or((key, None), |(part, rest)| (part, Some(rest)));
    let (name, index) = match part.split_once('[') {
        Some((name, index)) => (name, Some(index.strip_suffix(']').and_then(|index| index.parse().ok()))),
        None => (part, None),
    };
    if name.is_empty() || index == Some(None) {
        let remedy = "write keys as in the file, such as feed.session or feed.line[0].group";
        return Err(Problem::new(key, format!("`{part}` is no key"), remedy).into());
    }
    let slot = match index.flatten() {
        Some(index) => item(table, name, index)?,
        None => table.entry(name).or_insert_with(|| Value::Table(Table::new())),
    };
    match (rest, slot) {
        (None, slot) => *slot = value,
        (Some(rest), Value::Table(inner)) => set(inner, rest, value)?,
        (Some(_), _) => {
            return Err(Problem::new(key, format!("`{part}` has no keys below it"), "").into());
        }
    }
    Ok(())
}

fn item<'a>(table: &'a mut Table, name: &str, index: usize) -> Result<&'a mut Value, ConfigError> {
    let list = table.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(items) = list else {
        return Err(Problem::new(name, format!("`{name}` is no list"), "leave out the index").into());
    };
    let count = items.len();
    if index == count {
        items.push(Value::Table(Table::new()));
    }
    items.get_mut(index).ok_or_else(|| {
        let remedy = format!("the next index is {count}");
        Problem::new(name, format!("`{name}[{index}]` is not there"), remedy).into()
    })
}
