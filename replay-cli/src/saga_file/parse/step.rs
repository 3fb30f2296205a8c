use std::collections::{BTreeMap, HashSet};

use replay::{Result, json::Pointer, saga::RetryPolicy};
use reqwest::{Method, header::HeaderName};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{
    super::{
        http_host::UrlTemplate,
        model::{Action, Command, Http, StepDefinition},
        template,
        words::is_retry_word,
    },
    place::Place,
    raw,
};
use crate::suggest;

/// Checks one step; `names` are the steps before it.
pub(super) fn check(place: &Place<'_>, raw: raw::Step, allow_hosts: &[String], names: &HashSet<String>) -> Result<StepDefinition> {
    let name = raw.name;
    if names.contains(&name.value) {
        return Err(place.error(&name, format!("two steps are named `{}`", name.value)));
    }
    let whose = format!("step `{}`", name.value);
    let parts = Parts { command: raw.command, shell: raw.shell, http: raw.http, save: raw.save };
    let action = action(place, &name, &whose, parts, allow_hosts)?;
    let compensation = match raw.compensate {
        None => None,
        Some(raw) => {
            let whose = format!("the compensation of step `{}`", name.value);
            let parts = Parts { command: raw.command, shell: raw.shell, http: raw.http, save: raw.save };
            let retry = raw.retry.map(|raw| retry(place, raw)).transpose()?;
            Some((self::action(place, &name, &whose, parts, allow_hosts)?, retry))
        }
    };
    for need in raw.needs.iter().flatten() {
        if !names.contains(&need.value) {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let wrong = place.error(need, format!("no step before this one is named `{}`", need.value));
            return Err(wrong.hint(suggest::hint(&need.value, &known).unwrap_or_else(|| "the first step needs nothing".to_owned())));
        }
    }
    Ok(StepDefinition {
        action,
        compensation,
        retry: raw.retry.map(|raw| retry(place, raw)).transpose()?,
        timeout: raw.timeout.as_ref().map(|timeout| place.duration(timeout)).transpose()?,
        needs: raw.needs.map(|needs| needs.into_iter().map(|need| need.value).collect()),
        pivot: raw.pivot,
        env: env(place, raw.env)?,
        name: name.value,
    })
}

struct Parts {
    command: Option<Spanned<Vec<raw::Word>>>,
    shell: Option<raw::Text>,
    http: Option<raw::Http>,
    save: Option<Spanned<raw::Map>>,
}

fn action(place: &Place<'_>, name: &raw::Text, whose: &str, parts: Parts, allow_hosts: &[String]) -> Result<Action> {
    if let (Some(save), None) = (&parts.save, &parts.http) {
        let wrong = place.error(save, "`save` belongs to http steps");
        return Err(wrong.hint("what a command prints as a JSON object is merged into the context by itself"));
    }
    match (parts.command, parts.shell, parts.http) {
        (Some(argv), None, None) => {
            if argv.value.first().is_none_or(|program| program.0.is_empty()) {
                return Err(place.error(&argv, "a command has at least a program").hint("write command: [./program.sh, argument]"));
            }
            let argv = argv.value.into_iter().map(|word| word.0).collect();
            Ok(Action::Command(Command { argv, is_shell: false }))
        }
        (None, Some(script), None) => {
            let shell: [&str; 2] = if cfg!(windows) { ["cmd", "/C"] } else { ["sh", "-c"] };
            let argv = shell.into_iter().map(str::to_owned).chain([script.value]).collect();
            Ok(Action::Command(Command { argv, is_shell: true }))
        }
        (None, None, Some(raw)) => http(place, raw, parts.save, allow_hosts).map(|http| Action::Http(Box::new(http))),
        (None, None, None) => Err(place.error(name, format!("{whose} does nothing")).hint("give it one of command, shell and http")),
        _ => Err(place.error(name, format!("{whose} does two things")).hint("give it one of command, shell and http")),
    }
}

fn http(place: &Place<'_>, raw: raw::Http, save: Option<Spanned<raw::Map>>, allow_hosts: &[String]) -> Result<Http> {
    let method = match &raw.method {
        None => Method::POST,
        Some(text) => match text.value.to_ascii_uppercase().parse::<Method>() {
            Ok(method) if ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"].contains(&method.as_str()) => method,
            _ => {
                return Err(place
                    .error(text, format!("`{}` is not a method", text.value))
                    .hint("one of GET, POST, PUT, PATCH, DELETE, HEAD"));
            }
        },
    };
    template::check(&raw.url.value).map_err(|why| place.error(&raw.url, why))?;
    let url = UrlTemplate::parse(&raw.url.value, allow_hosts).map_err(|why| place.error(&raw.url, why))?;
    if let Some(json) = &raw.json {
        check_templates(&json.value).map_err(|why| place.error(json, why))?;
    }
    let mut headers = Vec::new();
    for (name, value) in raw.headers {
        let header: HeaderName = name.parse().map_err(|_| place.error(&value, format!("`{name}` is not the name of a header")))?;
        if ["idempotency-key", "host", "content-length", "transfer-encoding", "connection"].contains(&header.as_str()) {
            return Err(place.error(&value, format!("the header `{name}` is set by replay")));
        }
        template::check(&value.value.0).map_err(|why| place.error(&value, why))?;
        headers.push((header, value.value.0));
    }
    let mut saved = Vec::new();
    for (to, from) in save.map(|save| save.value).unwrap_or_default() {
        let target = Pointer::parse(&to).map_err(|error| place.wrap(&from, &error))?;
        if target.is_root() {
            return Err(place.error(&from, "`save` needs a key in the context"));
        }
        saved.push((target, Pointer::parse(&from.value).map_err(|error| place.wrap(&from, &error))?));
    }
    Ok(Http { method, url, json: raw.json.map(|json| json.value), headers, save: saved })
}

fn check_templates(value: &Value) -> std::result::Result<(), String> {
    match value {
        Value::String(text) => template::check(text),
        Value::Array(items) => items.iter().try_for_each(check_templates),
        Value::Object(members) => members.values().try_for_each(check_templates),
        _ => Ok(()),
    }
}

fn env(place: &Place<'_>, raw: BTreeMap<String, Spanned<raw::Word>>) -> Result<BTreeMap<String, String>> {
    let check = |(name, value): (String, Spanned<raw::Word>)| {
        if name.is_empty() || name.contains(['=', '\0']) || name.starts_with("REPLAY_") {
            return Err(place.error(&value, format!("`{name}` cannot be set; names that begin with REPLAY_ are replay's own")));
        }
        template::check(&value.value.0).map_err(|why| place.error(&value, why))?;
        Ok((name, value.value.0))
    };
    raw.into_iter().map(check).collect()
}

fn retry(place: &Place<'_>, raw: raw::Retry) -> Result<RetryPolicy> {
    if raw.max_attempts.value == 0 {
        return Err(place.error(&raw.max_attempts, "a step is tried at least once"));
    }
    let mut policy = RetryPolicy::attempts(raw.max_attempts.value);
    if let Some(initial) = &raw.initial {
        policy.initial = place.duration(initial)?;
    }
    if let Some(max) = &raw.max {
        policy.max = place.duration(max)?;
    }
    if let Some(factor) = &raw.factor {
        if !(1.0..=100.0).contains(&factor.value) {
            return Err(place.error(factor, "factor is from 1 to 100"));
        }
        policy.factor = factor.value;
    }
    if let Some(jitter) = &raw.jitter {
        if !(0.0..=1.0).contains(&jitter.value) {
            return Err(place.error(jitter, "jitter is from 0 to 1"));
        }
        policy.jitter = jitter.value;
    }
    for word in raw.on {
        if !is_retry_word(&word.value.0) {
            let wrong = place.error(&word, format!("`{}` is nothing that a step can fail with", word.value.0));
            return Err(wrong.hint("name timeout, connect, an HTTP status such as 503 or \"5xx\", or an exit code such as 75"));
        }
        policy.on.push(word.value.0);
    }
    Ok(policy)
}
