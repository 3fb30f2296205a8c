//! Templates: minijinja, strict about what is not defined.

use std::{collections::BTreeMap, fmt::Write, sync::LazyLock};

use minijinja::{
    Environment, UndefinedBehavior,
    value::{Serde, ValueKind},
};
use replay::saga::StepContext;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{context::Context, secrets::Secrets};

/// How much a template may compute.
const FUEL: u64 = 100_000;

/// Marks around the values in a rendered URL. No value and no template of a URL holds control characters.
const PLAIN_VALUE: char = '\u{1}';
const SAFE: char = '\u{2}';
const END: char = '\u{3}';

/// What ends the host and port of a URL.
const ENDS_AUTHORITY: [char; 4] = ['/', '?', '#', '\\'];

static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(|| environment(false));
static URL: LazyLock<Environment<'static>> = LazyLock::new(|| environment(true));

fn environment(in_url: bool) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    if in_url {
        environment.set_formatter(|out, state, value| {
            if value.is_undefined() {
                return minijinja::escape_formatter(out, state, value);
            }
            let text = value.to_string();
            if text.contains(char::is_control) {
                return Err(minijinja::Error::new(minijinja::ErrorKind::BadEscape, "a value in a URL must not hold control characters"));
            }
            if value.is_safe() {
                return write!(out, "{SAFE}{text}{END}").map_err(minijinja::Error::from);
            }
            if matches!(text.as_str(), "." | "..") {
                let detail = "a value in a URL must not be `.` or `..`, which would lead to another path";
                return Err(minijinja::Error::new(minijinja::ErrorKind::BadEscape, detail));
            }
            write!(out, "{PLAIN_VALUE}{text}{END}").map_err(minijinja::Error::from)
        });
    }
    environment
}

/// What templates can name.
#[derive(Serialize)]
pub(super) struct Values<'a> {
    context: &'a Context,
    secrets: BTreeMap<&'a str, &'a str>,
    saga_id: &'a str,
    step: &'a str,
    attempt: u32,
    idempotency_key: String,
}

impl<'a> Values<'a> {
    pub(super) fn new(cx: &'a StepContext, context: &'a Context, secrets: &'a Secrets) -> Self {
        Self {
            context,
            secrets: secrets.iter().collect(),
            saga_id: cx.saga_id().as_str(),
            step: cx.step(),
            attempt: cx.attempt(),
            idempotency_key: cx.idempotency_key(),
        }
    }

    pub(super) fn for_templates(&self) -> minijinja::Value {
        minijinja::Value::from(Serde(self))
    }
}

/// Checks the grammar of a template.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check(template: &str) -> Result<(), String> {
    match expression(template) {
        Some(expression) => PLAIN.compile_expression(expression).map(drop),
        None => PLAIN.template_from_str(template).map(drop),
    }
    .map_err(|error| describe(&error))
}

/// Fills a template in.
///
/// # Errors
/// What is wrong, in words that name the template but no value.
pub(super) fn text(template: &str, values: &minijinja::Value) -> Result<String, String> {
    render(&PLAIN, template, values)
}

/// Fills in the template of a URL, which begins with its scheme and holds no control characters.
///
/// Values in host and port stay as they are, but cannot end them; later ones are percent-encoded unless marked `|safe`.
///
/// # Errors
/// As [`text`], and if a value in host or port holds one of `/ ? # @ \` or whitespace.
pub(super) fn url(template: &str, values: &minijinja::Value) -> Result<String, String> {
    let rendered = render(&URL, template, values)?;
    let begin = rendered.find("://").map_or(0, |at| at + 3);
    let mut url = rendered[..begin].to_owned();
    let mut rest = &rendered[begin..];
    let mut in_authority = true;
    while let Some(at) = rest.find([PLAIN_VALUE, SAFE]) {
        let (literal, marked) = rest.split_at(at);
        let (value, after) = marked[1..].split_once(END).unwrap_or((&marked[1..], ""));
        in_authority = in_authority && !literal.contains(ENDS_AUTHORITY);
        url.push_str(literal);
        if in_authority && value.contains(|c: char| c == '@' || c.is_whitespace() || ENDS_AUTHORITY.contains(&c)) {
            return Err(format!("`{template}`: a value in the host must not hold any of / ? # @ \\ or a space; nothing was sent"));
        }
        if in_authority || marked.starts_with(SAFE) {
            url.push_str(value);
        } else {
            url.push_str(&percent_encode(value));
        }
        rest = after;
    }
    Ok(url + rest)
}

fn render(environment: &Environment<'static>, template: &str, values: &minijinja::Value) -> Result<String, String> {
    environment.render_str(template, values.clone()).map_err(|error| format!("`{template}`: {}", describe(&error)))
}

/// Fills in the templates in a JSON value. Text that is exactly one `{{ … }}` becomes the value with its type.
///
/// # Errors
/// As [`text`].
pub(super) fn json(template: &Value, values: &minijinja::Value) -> Result<Value, String> {
    Ok(match template {
        Value::String(template) => match expression(template) {
            Some(expression) => evaluate(template, expression, values)?,
            None if template.contains("{{") || template.contains("{%") => Value::from(text(template, values)?),
            None => Value::from(template.as_str()),
        },
        Value::Array(items) => items.iter().map(|item| json(item, values)).collect::<Result<_, _>>()?,
        Value::Object(members) => {
            let filled = members.iter().map(|(key, value)| Ok((key.clone(), json(value, values)?)));
            Value::Object(filled.collect::<Result<Map<_, _>, String>>()?)
        }
        scalar => scalar.clone(),
    })
}

fn evaluate(template: &str, expression: &str, values: &minijinja::Value) -> Result<Value, String> {
    let compiled = PLAIN.compile_expression(expression).and_then(|compiled| compiled.eval(values.clone()));
    let value = compiled.map_err(|error| format!("`{template}`: {}", describe(&error)))?;
    if value.kind() == ValueKind::Undefined {
        return Err(format!("`{template}`: there is no such value"));
    }
    serde_json::to_value(&value).map_err(|error| format!("`{template}`: {error}"))
}

/// What is between `{{` and `}}` if that is the whole template.
fn expression(template: &str) -> Option<&str> {
    let inner = template.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let only_one = !inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%");
    only_one.then(|| inner.strip_prefix('-').unwrap_or(inner)).map(|inner| inner.strip_suffix('-').unwrap_or(inner))
}

fn describe(error: &minijinja::Error) -> String {
    match error.kind() {
        minijinja::ErrorKind::UndefinedError => "there is no such value".to_owned(),
        kind => error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    }
}

/// `text` with everything but the unreserved characters of RFC 3986 percent-encoded.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values() -> minijinja::Value {
        minijinja::Value::from(Serde(
            json!({"context": {"n": 5, "id": "a/b c", "list": [1, null], "up": "..", "host": "h:9000", "line": "a\nb"}}),
        ))
    }

    #[test]
    fn a_value_that_is_one_expression_keeps_its_type() {
        let template = json!({"n": "{{ context.n }}", "t": "n={{ context.n }}", "l": ["{{ context.list }}"], "x": 1.5, "p": "plain"});
        assert_eq!(json(&template, &values()).unwrap(), json!({"n": 5, "t": "n=5", "l": [[1, null]], "x": 1.5, "p": "plain"}));
    }

    #[test]
    fn what_is_not_defined_is_refused() {
        for template in ["{{ context.missing }}", "x {{ context.missing }}", "{{ nothing }}"] {
            let error = json(&json!(template), &values()).unwrap_err();
            assert!(error.contains("no such value"), "{error}");
        }
    }

    #[test]
    fn values_in_a_url_are_encoded_and_cannot_leave_their_place() {
        assert_eq!(url("http://h/{{ context.id }}?x={{ context.n }}", &values()).unwrap(), "http://h/a%2Fb%20c?x=5");
        assert!(url("http://h/{{ context.up }}/x", &values()).is_err());
    }

    #[test]
    fn values_in_the_host_stay_as_they_are_and_cannot_end_it() {
        assert_eq!(url("http://{{ context.host }}/{{ context.host }}", &values()).unwrap(), "http://h:9000/h%3A9000");
        assert_eq!(url("http://h/{{ context.id|safe }}", &values()).unwrap(), "http://h/a/b c");
        for bad in ["/", "?", "#", "@", "\\\\", " ", "\u{a0}"] {
            for mark in ["", "|safe"] {
                let template = format!("http://{{{{ 'evil{bad}x'{mark} }}}}.pay.example/a");
                let error = url(&template, &values()).unwrap_err();
                assert!(error.contains("a value in the host"), "{template}: {error}");
            }
        }
        for template in ["http://{{ context.line }}/", "http://h/{{ '\u{3}' }}", "http://h/{{ '\u{1}'|safe }}"] {
            assert!(url(template, &values()).unwrap_err().contains("control characters"), "{template}");
        }
    }

    #[test]
    fn a_broken_template_is_found_before_it_is_used() {
        assert!(check("{{ context.a }}").is_ok());
        assert!(check("{{ context. }}").is_err());
        assert!(check("a {% if %}").is_err());
    }

    #[test]
    fn an_endless_template_ends() {
        assert!(text("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}", &values()).is_err());
    }
}
