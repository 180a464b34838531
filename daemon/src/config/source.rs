//! A configuration as it is written: every value with its place, and everything that is wrong with it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Files are read in an order, and errors are told in it.
    order: usize,
    file: Arc<str>,
    line: usize,
    column: usize,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// One thing that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError {
    place: Option<Place>,
    key: String,
    text: String,
}

impl ConfigError {
    pub(super) fn new(place: Option<&Place>, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.cloned(), key: key.into(), text: text.into() }
    }

    /// Sorts errors as a reader meets their places.
    pub(super) fn sort(errors: &mut [Self]) {
        errors.sort_by_key(|error| {
            error.place.as_ref().map_or((usize::MAX, 0, 0), |place| (place.order, place.line, place.column))
        });
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, column, .. }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// What a key may hold.
pub(super) trait Value: Sized {
    /// For "it is not …".
    const FORM: &'static str;

    /// Reads a value; `None` when it has another type. What else is wrong goes into the errors.
    fn read(value: &DeValue<'_>, at: &mut Reader<'_>, key: &str) -> Option<Self>;

    /// A later file's word about the same key.
    fn merge(&mut self, later: Self) {
        *self = later;
    }

    /// Every key below this one.
    fn keys(_prefix: &str, _into: &mut Vec<String>) {}
}

/// Reads one file.
pub(super) struct Reader<'t> {
    text: &'t str,
    order: usize,
    file: Arc<str>,
    /// Every key that there is, for suggestions.
    known: &'t [String],
    pub(super) errors: Vec<ConfigError>,
}

impl<'t> Reader<'t> {
    /// Reads the text of a file, as far as it can be read.
    pub(super) fn read<T: Value + Default>(text: &'t str, order: usize, file: &str) -> (T, Vec<ConfigError>) {
        let mut known = Vec::new();
        T::keys("", &mut known);
        let mut reader = Reader { text, order, file: file.into(), known: &known, errors: Vec::new() };
        let (table, malformed) = DeTable::parse_recoverable(text);
        for error in malformed {
            let place = reader.place(error.span().unwrap_or(0..0));
            reader.errors.push(ConfigError::new(Some(&place), "", error.message().replace('\n', ", ")));
        }
        // What a broken line leaves behind would only be complained of twice.
        let value = if reader.errors.is_empty() {
            T::read(&DeValue::Table(table.into_inner()), &mut reader, "").unwrap_or_default()
        } else {
            T::default()
        };
        (value, reader.errors)
    }

    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            order: self.order,
            file: Arc::clone(&self.file),
            line: before.matches('\n').count() + 1,
            column: before[line..].chars().count() + 1,
        }
    }

    /// The value of a key, if the table has it and it is of the right type.
    pub(super) fn get<T: Value>(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<Located<T>> {
        let (_, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
        self.value(value, &join(section, key))
    }

    /// A value that stands here.
    pub(super) fn value<T: Value>(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<Located<T>> {
        let place = self.place(value.span());
        let read = T::read(value.get_ref(), self, key);
        if read.is_none() {
            let text = format!("it is {}, not {}", article(value.get_ref().type_str()), T::FORM);
            self.errors.push(ConfigError::new(Some(&place), key, text));
        }
        Some(Located { value: read?, place })
    }

    /// Complains of every key of a table that there is not.
    pub(super) fn check_keys(&mut self, table: &DeTable<'_>, section: &str, known: &[&str]) {
        for name in table.keys().filter(|name| !known.contains(&name.get_ref().as_ref())) {
            let place = self.place(name.span());
            let key = join(section, name.get_ref());
            let text = match nearest(&key, self.known) {
                Some(meant) => format!("there is no such key; did you mean {meant}?"),
                None => format!("there is no such key; here may stand {}", known.join(", ")),
            };
            self.errors.push(ConfigError::new(Some(&place), key, text));
        }
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The key that was meant: a slip of the fingers, a part of it, or the same name in another section.
fn nearest<'k>(typed: &str, known: &'k [String]) -> Option<&'k str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let name = last(typed);
    let distance = |key: &&String| strsim::damerau_levenshtein(typed, key);
    let close = known.iter().min_by_key(distance).filter(|key| distance(key) <= 1 + name.chars().count() / 4);
    let part = |key: &&String| last(key).split('_').any(|part| part == name);
    let elsewhere = || known.iter().find(|key| last(key) == name);
    close.or_else(elsewhere).or_else(|| known.iter().find(part)).map(String::as_str)
}

impl Value for String {
    const FORM: &'static str = "a string";

    fn read(value: &DeValue<'_>, _at: &mut Reader<'_>, _key: &str) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl Value for i64 {
    const FORM: &'static str = "a whole number";

    fn read(value: &DeValue<'_>, _at: &mut Reader<'_>, _key: &str) -> Option<Self> {
        let integer = value.as_integer()?;
        // One that is out of all bounds is still a number, and is refused as one.
        Some(Self::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(Self::MAX))
    }
}

impl Value for bool {
    const FORM: &'static str = "true or false";

    fn read(value: &DeValue<'_>, _at: &mut Reader<'_>, _key: &str) -> Option<Self> {
        value.as_bool()
    }
}

impl Value for Vec<Located<String>> {
    const FORM: &'static str = "a list of strings";

    fn read(value: &DeValue<'_>, at: &mut Reader<'_>, key: &str) -> Option<Self> {
        Some(value.as_array()?.iter().filter_map(|value| at.value(value, key)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_parts_and_wrong_sections_are_recognised_and_nonsense_is_not() {
        let known = ["network", "network.mtu", "listen.port", "peer.psk_file", "peer.up"].map(str::to_owned);
        let nearest = |typed: &str| nearest(typed, &known);
        assert_eq!(nearest("network.mut"), Some("network.mtu"));
        assert_eq!(nearest("newtork"), Some("network"));
        assert_eq!(nearest("mtu"), Some("network.mtu"));
        assert_eq!(nearest("network.port"), Some("listen.port"));
        assert_eq!(nearest("peer.psk"), Some("peer.psk_file"));
        assert_eq!(nearest("network.colour"), None);
    }
}
