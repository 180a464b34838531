//! Text of others, made safe to show: names, addresses and messages come from peers and from files.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// Characters beyond the control characters that a terminal obeys or hides: bidirectional marks, joiners, fillers,
/// separators, tags (Unicode categories Cf, Zl, Zp, and letters that are drawn as nothing).
const UNSEEN: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

fn is_unseen(c: char) -> bool {
    c.is_control() || UNSEEN.iter().any(|range| range.contains(&c))
}

/// One line of text with everything unseen written out, `\u{202e}`.
pub(crate) fn line(text: &str) -> String {
    escaped(text, |_| false)
}

/// Lines of text: line breaks and tabs stay.
pub(crate) fn lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) && !keep(c) {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}

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

/// Every string in it as [`line()`] has it, keys too.
pub(crate) fn value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(line(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(self::value).collect()),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, field)| (line(&key), self::value(field))).collect::<Map<_, _>>(),
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
    fn what_a_terminal_obeys_or_hides_is_written_out() {
        let clean = line(NASTY);
        assert_eq!(clean, r"a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}d\u{200b}e\u{200f}f\u{feff}g\u{2028}h\u{e0041}i\u{7f}");
        assert_eq!(line("Zoë's 笔记本, वि"), "Zoë's 笔记本, वि", "what is seen stays");
        assert_eq!((line("a\nb"), lines("a\nb\tc\rd")), (r"a\u{a}b".into(), "a\nb\tc\\u{d}d".into()));
    }

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
        assert_eq!((&clean["name"], &clean["count"]), (&Value::from(line(NASTY)), &Value::from(3)));
        assert_eq!(clean["deep"][0][line(NASTY)], line(NASTY));
    }
}
