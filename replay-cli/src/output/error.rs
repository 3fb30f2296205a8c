use std::fmt::Write;

use replay::Error;

use super::Paint;

/// An error for people: what is wrong, the facts, the causes, and what to do next.
pub(super) fn render(error: &Error, next: Option<&str>, paint: &Paint) -> String {
    let headline = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => format!("{} failed: {}", error.operation(), error.kind()),
    };
    let mut lines = vec![format!("{} {}", paint.bad("error:"), paint.bold(headline))];
    let mut state = format!("{}, {}", error.operation(), error.kind());
    for (key, value) in error.facts() {
        let _ = write!(state, " · {key}={value}");
    }
    lines.push(format!("  {} {state}", paint.dim("in")));
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let text = source.to_string();
        lines.push(format!("  {} {}", paint.dim("because"), text.replace('\n', "\n          ")));
        cause = source.source();
    }
    for advice in [error.advice(), next].into_iter().flatten() {
        lines.push(format!("  {} {advice}", paint.accent("try")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use replay::ErrorKind;

    use super::*;

    #[test]
    fn an_error_names_cause_state_and_what_to_do() {
        let error = Error::new(ErrorKind::Conflict, "append")
            .message("somebody else was first")
            .with("saga", "order_1")
            .caused_by(std::io::Error::other("UNIQUE constraint failed"));
        let text = render(&error, Some("replay show order_1"), &Paint::plain());
        assert_eq!(
            text,
            "error: somebody else was first\n  in append, conflict · saga=order_1\n  because UNIQUE constraint failed\n  try replay show order_1"
        );
    }
}
