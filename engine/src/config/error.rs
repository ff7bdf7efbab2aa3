//! What is wrong with a configuration, where, and what to do.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// A place in the text, both counted from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about, such as `feed.line[1].group`; empty when the text is no TOML.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// Where it stands, when it came from a text.
    pub at: Option<Position>,
    /// What to do; empty when that is plain.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem { key: key.into(), what: what.into(), at: None, remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(Position { line, column }) = self.at {
            write!(f, " at line {line}, column {column}")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Everything that was found wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the configuration came from: a file's path, or an override; empty for none.
    pub origin: String,
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn with_origin(self, origin: impl Into<String>) -> ConfigError {
        ConfigError { origin: origin.into(), ..self }
    }

    /// Translates an error of the TOML reader. `text` is what it read, if that is a text.
    pub(super) fn from_toml(error: &toml::de::Error, text: Option<&str>) -> ConfigError {
        let span = error.span();
        let at = text.zip(span.clone()).map(|(text, span)| position(text, span.start));
        let key = match text.zip(span) {
            Some((text, span)) => key_at(text, span.start),
            None => key_in_message(error),
        };
        let (what, remedy) = translate(error.message(), &key);
        Problem { key, what, at, remedy }.into()
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> ConfigError {
        ConfigError { origin: String::new(), problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if !self.origin.is_empty() {
                write!(f, "{}: ", self.origin)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Where `key` (`feed.line[1].group`) stands in `text`, or the innermost table around it that is there.
pub(super) fn locate(text: &str, key: &str) -> Option<Position> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for part in key.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((key, value)) = table.get_key_value(name) else { break };
        let mut value = value;
        let mut span = key.span();
        if let Some(item) = index.and_then(|index| value.get_ref().as_array()?.get(index)) {
            value = item;
            span = item.span();
        }
        found = Some(span.start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found.map(|offset| position(text, offset))
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// The key around the place `offset` in `text`; empty when the text is no TOML.
fn key_at(text: &str, offset: usize) -> String {
    let mut path = String::new();
    if let Ok(document) = DeTable::parse(text) {
        descend(document.get_ref(), offset, &mut path);
    }
    path
}

fn descend(table: &DeTable<'_>, offset: usize, path: &mut String) -> bool {
    table.iter().any(|(key, value)| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key.get_ref());
        let found = descend_value(value.get_ref(), offset, path)
            || key.span().contains(&offset)
            || value.span().contains(&offset);
        if !found {
            path.truncate(length);
        }
        found
    })
}

fn descend_value(value: &DeValue<'_>, offset: usize, path: &mut String) -> bool {
    match value {
        DeValue::Table(table) => descend(table, offset, path),
        DeValue::Array(items) => items.iter().enumerate().any(|(index, item)| {
            let length = path.len();
            path.push_str(&format!("[{index}]"));
            let found = descend_value(item.get_ref(), offset, path) || item.span().contains(&offset);
            if !found {
                path.truncate(length);
            }
            found
        }),
        _ => false,
    }
}

/// The key as the reader's own message ends with it; it knows no better when it read no text.
fn key_in_message(error: &toml::de::Error) -> String {
    let message = error.to_string();
    let last = message.trim_end().lines().last().unwrap_or_default();
    last.strip_prefix("in `").and_then(|key| key.strip_suffix('`')).unwrap_or_default().to_owned()
}

/// Says what serde says in the words of a configuration, and what to do. Its wording is not ours, so anything
/// unknown is passed on as it is.
fn translate(message: &str, key: &str) -> (String, String) {
    let message = message.trim();
    for (prefix, noun) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        if let Some((wrong, expected)) = message.strip_prefix(prefix).and_then(|rest| rest.split_once("`, "))
        {
            let what = match noun {
                "value" if !key.is_empty() => format!("`{key}` cannot be `{wrong}`"),
                _ => format!("unknown {noun} `{wrong}`"),
            };
            let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
            return (what, suggestion(wrong, &known));
        }
    }
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let what = if key.is_empty() {
            format!("`{missing}` is missing")
        } else {
            format!("`{key}.{missing}` is missing")
        };
        return (what, "`seqcast config default` prints a complete example".into());
    }
    let what = message.replace('\n', "; ");
    if key.is_empty() { (what, String::new()) } else { (format!("`{key}`: {what}"), String::new()) }
}

/// Proposes the known name that is nearest to `wrong`, or all of them when none is near.
fn suggestion(wrong: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), name), name))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "[feed]\nsession = \"é\" # ü\n[[feed.line]]\ngroup = 1\n[[feed.line]]\n  group = [2, 3]\n";

    #[test]
    fn keys_are_located() {
        let at = |key| locate(TEXT, key).map(|at| (at.line, at.column));
        assert_eq!(at("feed.session"), Some((2, 1)));
        assert_eq!(at("feed.line[0].group"), Some((4, 1)));
        assert_eq!(at("feed.line[1].group"), Some((6, 3)));
        assert_eq!(at("feed.line[1].group[1]"), Some((6, 15)));
        assert_eq!(at("feed.line[1].interface"), Some((5, 1)), "the table that lacks the key");
        assert_eq!(at("journal.dir"), None);
    }

    #[test]
    fn positions_are_keys() {
        let key = |needle: &str| key_at(TEXT, TEXT.find(needle).unwrap());
        assert_eq!(key("session"), "feed.session");
        assert_eq!(key("\"é"), "feed.session");
        assert_eq!(key("1\n"), "feed.line[0].group");
        assert_eq!(key("3]"), "feed.line[1].group[1]");
        assert_eq!(key_at("not toml", 2), "");
    }

    #[test]
    fn positions_count_characters_from_one() {
        let at = position(TEXT, TEXT.find("# ü").unwrap());
        assert_eq!((at.line, at.column), (2, 15));
        assert_eq!(position("", 0), Position { line: 1, column: 1 });
        assert_eq!(position("a", 99), Position { line: 1, column: 2 });
    }

    #[test]
    fn suggestions_are_near_or_all() {
        let known = ["session", "line", "rewind"];
        assert_eq!(suggestion("sesion", &known), "did you mean `session`?");
        assert_eq!(suggestion("SESSION", &known), "did you mean `session`?");
        assert_eq!(suggestion("lines", &known), "did you mean `line`?");
        assert_eq!(suggestion("group", &known), "known here: session, line, rewind");
    }

    #[test]
    fn an_error_is_one_line_per_problem() {
        let mut error = ConfigError::from(Problem::new("a", "`a` is odd", "make it even"));
        assert_eq!(error.to_string(), "`a` is odd; make it even");
        error
            .problems
            .push(Problem { at: Some(Position { line: 3, column: 1 }), ..Problem::new("b", "no", "") });
        let error = error.with_origin("seqcast.toml");
        assert_eq!(
            error.to_string(),
            "seqcast.toml: `a` is odd; make it even\nseqcast.toml: no at line 3, column 1"
        );
    }
}
