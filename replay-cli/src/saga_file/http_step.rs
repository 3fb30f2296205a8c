//! A step that is an HTTP request.

use std::{error::Error as _, sync::OnceLock};

use bytes::BytesMut;
use replay::{
    json,
    saga::{StepContext, StepError, StepResult},
};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::{
    context::Context,
    http_host::host_of,
    model::Http,
    secrets::Secrets,
    template::{self, Values},
    words::RetryRules,
};

/// How large a response may be, in bytes.
const MAX_BODY_BYTES: usize = 8 << 20;
/// How much of a refusal's body is quoted, in characters.
const QUOTED_CHARS: usize = 500;
const MAX_REDIRECTS: usize = 5;

/// An `http:` step.
pub(super) struct HttpStep {
    http: Http,
    allow_hosts: Vec<String>,
    rules: RetryRules,
    secrets: Secrets,
    /// Made with the first request, since a definition is often only looked at.
    client: OnceLock<Result<Client, String>>,
}

impl HttpStep {
    pub(super) fn new(http: Http, allow_hosts: Vec<String>, rules: RetryRules, secrets: Secrets) -> Self {
        Self { http, allow_hosts, rules, secrets, client: OnceLock::new() }
    }

    pub(super) async fn run(&self, cx: &StepContext, context: Context) -> StepResult<Context> {
        let client = self.client.get_or_init(|| client(self.allow_hosts.clone()));
        let client = client.as_ref().map_err(|error| self.permanent(&format!("no HTTP client: {error}")))?;
        let values = Values::new(cx, &context, &self.secrets).for_templates();
        let url = self.url(&values)?;
        let mut request = client.request(self.http.method.clone(), url.clone()).header("Idempotency-Key", cx.idempotency_key());
        if let Some(trace) = std::env::var("TRACEPARENT").ok().filter(|trace| is_traceparent(trace)) {
            request = request.header("traceparent", trace);
        }
        for (name, template) in &self.http.headers {
            let value = template::text(template, &values).map_err(|error| self.permanent(&format!("header {name}: {error}")))?;
            request = request.header(name, value);
        }
        if let Some(body) = &self.http.json {
            request = request.json(&template::json(body, &values).map_err(|error| self.permanent(&format!("json: {error}")))?);
        }
        let response = request.send().await.map_err(|error| self.not_answered(&url, error))?;
        let status = response.status();
        let body = self.body(&url, response).await?;
        if !status.is_success() {
            return Err(self.refused(&url, status, &body));
        }
        self.save(&url, &body, context)
    }

    fn url(&self, values: &minijinja::Value) -> StepResult<Url> {
        let text = template::url(&self.http.url.text, values).map_err(|error| self.permanent(&format!("url: {error}")))?;
        let url = Url::parse(&text).map_err(|error| self.permanent(&format!("`{text}` is not a URL: {error}; nothing was sent")))?;
        if self.http.url.allows(&url, &self.allow_hosts) {
            return Ok(url);
        }
        let host = host_of(&url).unwrap_or_default();
        Err(self.permanent(&format!("the host `{host}` is not in `allow_hosts`; nothing was sent")))
    }

    async fn body(&self, url: &Url, mut response: Response) -> StepResult<BytesMut> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.not_answered(url, error))? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(self.permanent(&format!("{} answered with more than 8 MiB", self.name(url))));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn save(&self, url: &Url, body: &[u8], context: Context) -> StepResult<Context> {
        if self.http.save.is_empty() {
            return Ok(context);
        }
        let answer =
            json::parse_value(body).map_err(|error| self.permanent(&format!("{} did not answer with JSON: {error}", self.name(url))))?;
        let mut value = context.into_value();
        for (to, from) in &self.http.save {
            let Some(found) = from.get(&answer) else {
                return Err(self.permanent(&format!("{} answered without `{from}`, which `save` wants for `{to}`", self.name(url))));
            };
            if let Some(secret) = self.secrets.found_in(found) {
                return Err(
                    self.permanent(&format!("{} answered with the secret {secret} at `{from}`; it was not recorded", self.name(url)))
                );
            }
            to.set(&mut value, found.clone()).map_err(|error| self.permanent(&format!("`{to}` cannot be set: {error}")))?;
        }
        Context::from_value(value).ok_or_else(|| self.permanent("the context is no longer an object"))
    }

    /// A failure on the way: whether the request had its effect is not known, so only the idempotency key makes it safe to repeat.
    fn not_answered(&self, url: &Url, error: reqwest::Error) -> StepError {
        let error = error.without_url();
        let mut message = format!("{}: {error}", self.name(url));
        let mut cause = error.source();
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        let message = self.secrets.scrub(&message);
        if error.is_redirect() || error.is_builder() {
            return StepError::new(message).permanent();
        }
        let code = if error.is_timeout() { "timeout" } else { "connect" };
        self.rules.failure(message, &[code.to_owned()], true)
    }

    fn refused(&self, url: &Url, status: StatusCode, body: &[u8]) -> StepError {
        // Scrubbed before it is cut, as half a secret would not be found.
        let quoted: String = self.secrets.scrub(&String::from_utf8_lossy(body)).chars().take(QUOTED_CHARS).collect();
        let quoted = quoted.trim();
        let message = format!("{} answered {status}{}{quoted}", self.name(url), if quoted.is_empty() { "" } else { ": " });
        let code = status.as_u16();
        let passing = status.is_server_error() || matches!(code, 408 | 429);
        self.rules.failure(self.secrets.scrub(&message), &[code.to_string(), format!("{}xx", code / 100)], passing)
    }

    fn permanent(&self, message: &str) -> StepError {
        StepError::new(self.secrets.scrub(message)).permanent()
    }

    /// The request in words, without the query, which may hold what is nobody's business.
    fn name(&self, url: &Url) -> String {
        format!("{} {}://{}{}", self.http.method, url.scheme(), host_of(url).unwrap_or_default(), url.path())
    }
}

fn client(allow_hosts: Vec<String>) -> Result<Client, String> {
    let stay = redirect::Policy::custom(move |attempt| {
        let first = attempt.previous().first();
        let downgraded = first.is_some_and(|first| first.scheme() == "https") && attempt.url().scheme() != "https";
        let host = host_of(attempt.url());
        let known = first.and_then(host_of) == host || host.is_some_and(|host| allow_hosts.contains(&host));
        if !known || downgraded {
            attempt.error("the redirect leads to another host, which is not in `allow_hosts`")
        } else if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    });
    let client = Client::builder().redirect(stay).user_agent(concat!("replay/", env!("CARGO_PKG_VERSION"))).build();
    client.map_err(|error| error.to_string())
}

/// Whether `text` is a trace context, as a caller hands it over in the environment.
///
/// # Sources
/// W3C Trace Context, §3.2.
fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let hexadecimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 4 && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && hexadecimal(part))
}
