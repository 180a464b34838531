//! Text of others on its way to a person: nothing in it steers a terminal, a log, or the reader's eye.

use std::ops::RangeInclusive;

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

/// Whether a terminal obeys or hides the character.
pub fn is_unseen(c: char) -> bool {
    c.is_control() || UNSEEN.iter().any(|range| range.contains(&c))
}

/// One line of text with everything unseen written out, as in `\u{202e}` and `\n`.
pub fn printable(text: &str) -> String {
    printable_but(text, |_| false)
}

/// Lines of text: line breaks and tabs stay.
pub fn printable_lines(text: &str) -> String {
    printable_but(text, |c| matches!(c, '\n' | '\t'))
}

fn printable_but(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) && !stays(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_or_hides_is_written_out() {
        let nasty = "a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}d\u{200b}e\u{200f}f\u{feff}g\u{2028}h\u{e0041}i\u{7f}";
        let expected = r"a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}d\u{200b}e\u{200f}f\u{feff}g\u{2028}h\u{e0041}i\u{7f}";
        assert_eq!(printable(nasty), expected);
        assert_eq!(printable("Zoë's 笔记本, वि"), "Zoë's 笔记本, वि", "what is seen stays");
        assert_eq!((printable("a\nb"), printable_lines("a\nb\tc\rd")), (r"a\nb".into(), "a\nb\tc\\rd".into()));
    }
}
