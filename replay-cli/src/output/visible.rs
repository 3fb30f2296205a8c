//! Text from elsewhere must not steer the terminal.

use std::{borrow::Cow, fmt::Write};

/// What [`Paint`](super::Paint) writes; everything else that could steer a terminal comes from a program or a server.
const PAINT: [&str; 7] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"];

/// `text` with control characters, and those that change the direction of writing, spelt as `\u{1b}`. Line ends and tabs stay,
/// and so do the colours of [`Paint`](super::Paint) if `coloured`.
pub(crate) fn visible(text: &str, coloured: bool) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(steers) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(paint) = PAINT.iter().find(|paint| coloured && rest.starts_with(**paint)) {
            shown.push_str(paint);
            rest = &rest[paint.len()..];
        } else if let Some(c) = rest.chars().next() {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            rest = &rest[c.len_utf8()..];
        }
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

fn steers(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;

    #[test]
    fn what_steers_a_terminal_is_spelt_out() {
        assert_eq!(visible("a\u{1b}]0;t\u{7}\r\u{9b}2J\u{202e}\n\tä", false), "a\\u{1b}]0;t\\u{7}\\u{d}\\u{9b}2J\\u{202e}\n\tä");
        assert_eq!(visible("\u{1b}[31mred", false), "\\u{1b}[31mred");
        assert_eq!(visible("\u{1b}[8mhidden", true), "\\u{1b}[8mhidden");
    }

    #[test]
    fn every_colour_of_the_program_stays() {
        let paint = Paint::new(true, 80);
        for text in [paint.good("x"), paint.bad("x"), paint.warn("x"), paint.accent("x"), paint.dim("x"), paint.bold("x")] {
            assert!(text.contains('\u{1b}') && visible(&text, true) == text, "{text:?}");
        }
    }
}
