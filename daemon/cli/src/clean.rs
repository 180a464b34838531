//! Answers made safe to show: names, addresses and messages in them come from peers and from files.

use cryprq_ipc_proto::printable::{is_unseen, printable};
use serde_json::{Map, Value};

/// The same JSON with everything unseen written as JSON writes it, `\u202e`. In JSON it only stands inside strings.
pub(crate) fn json(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) && !c.is_ascii_whitespace() {
            let mut units = [0; 2];
            clean.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Every string in it as [`printable`] has it, keys too.
pub(crate) fn value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(self::value).collect()),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, field)| (printable(&key), self::value(field))).collect::<Map<_, _>>(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal would obey or hide: escape sequences, C1 controls, bidirectional and zero-width characters, tags.
    const NASTY: &str = "a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}d\u{200b}e\u{200f}f\u{feff}g\u{2028}h\u{e0041}i\u{7f}";

    #[test]
    fn json_stays_the_same_json() {
        let object = serde_json::json!({ "name": NASTY, NASTY: [NASTY] });
        let written = json(&object.to_string());
        assert!(written.chars().all(|c| !is_unseen(c)), "{written}");
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), object);
    }

    #[test]
    fn no_string_of_a_value_is_forgotten() {
        let object =
            serde_json::json!({ "name": NASTY, "deep": [{ NASTY: NASTY }], "count": 3, "yes": true, "no": null });
        let clean = value(object);
        assert_eq!((&clean["name"], &clean["count"]), (&Value::from(printable(NASTY)), &Value::from(3)));
        assert_eq!(clean["deep"][0][printable(NASTY)], printable(NASTY));
    }
}
