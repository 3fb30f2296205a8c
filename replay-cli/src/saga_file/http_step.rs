//! A step that is an HTTP request.

use std::{error::Error as _, sync::OnceLock};

use bytes::BytesMut;
use replay::{
    json,
    saga::{StepContext, StepError, StepResult},
};
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{HeaderMap, LOCATION},
    redirect,
};
use serde_json::Value;

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

/// What is sent, filled in.
struct Request {
    key: String,
    trace: Option<String>,
    /// Those of the file.
    headers: HeaderMap,
    body: Option<Value>,
}

impl HttpStep {
    pub(super) fn new(http: Http, allow_hosts: Vec<String>, rules: RetryRules, secrets: Secrets) -> Self {
        Self { http, allow_hosts, rules, secrets, client: OnceLock::new() }
    }

    pub(super) async fn run(&self, cx: &StepContext, context: Context) -> StepResult<Context> {
        let client = self.client.get_or_init(client);
        let client = client.as_ref().map_err(|error| self.permanent(&format!("no HTTP client: {error}")))?;
        let values = Values::new(cx, &context, &self.secrets).for_templates();
        let url = self.url(&values)?;
        let request = self.request(cx, &values)?;
        let (url, response) = self.send(client, url, &request).await?;
        let status = response.status();
        let body = self.body(&url, response).await?;
        if !status.is_success() {
            return Err(self.refused(&url, status, &body));
        }
        self.save(&url, &body, context)
    }

    fn request(&self, cx: &StepContext, values: &minijinja::Value) -> StepResult<Request> {
        let mut headers = HeaderMap::new();
        for (name, template) in &self.http.headers {
            let value = template::text(template, values).map_err(|error| self.permanent(&format!("header {name}: {error}")))?;
            let value = value.parse().map_err(|_| self.permanent(&format!("header {name}: the value is not one of a header")))?;
            headers.append(name.clone(), value);
        }
        let body = match &self.http.json {
            Some(body) => Some(template::json(body, values).map_err(|error| self.permanent(&format!("json: {error}")))?),
            None => None,
        };
        let trace = std::env::var("TRACEPARENT").ok().filter(|trace| is_traceparent(trace));
        Ok(Request { key: cx.idempotency_key(), trace, headers, body })
    }

    /// Sends the request, also to where it is redirected to, and returns who answered.
    async fn send(&self, client: &Client, first: Url, request: &Request) -> StepResult<(Url, Response)> {
        let mut url = first.clone();
        let mut stayed = true;
        for _ in 0..=MAX_REDIRECTS {
            let mut sent = client.request(self.http.method.clone(), url.clone()).header("Idempotency-Key", &request.key);
            if let Some(trace) = &request.trace {
                sent = sent.header("traceparent", trace);
            }
            // What is in them, such as a secret, is meant for the host that the file names.
            stayed = stayed && same_host(&url, &first);
            if stayed {
                sent = sent.headers(request.headers.clone());
            }
            if let Some(body) = &request.body {
                sent = sent.json(body);
            }
            let response = sent.send().await.map_err(|error| self.not_answered(&url, error))?;
            match self.redirected(&url, &response)? {
                Some(next) => url = next,
                None => return Ok((url, response)),
            }
        }
        Err(self.permanent(&format!("{}: too many redirects", self.name(&first))))
    }

    /// Where `response` redirects to; none if it does not.
    fn redirected(&self, url: &Url, response: &Response) -> StepResult<Option<Url>> {
        let status = response.status();
        let code = status.as_u16();
        let location = response.headers().get(LOCATION).map(|location| String::from_utf8_lossy(location.as_bytes()));
        let (301 | 302 | 303 | 307 | 308, Some(location)) = (code, location) else { return Ok(None) };
        let what = format!("{} answered {status} with the location {location}", self.name(url));
        let reads = [Method::GET, Method::HEAD].contains(&self.http.method);
        if !reads && !matches!(code, 307 | 308) {
            let message = format!("{what}, which is not followed with {}, as it would become a GET", self.http.method);
            return Err(self.rules.failure(self.secrets.scrub(&message), &[code.to_string(), "3xx".to_owned()], false));
        }
        let next = url.join(&location).map_err(|error| self.permanent(&format!("{what}, which is not a URL: {error}")))?;
        let downgraded = url.scheme() == "https" && next.scheme() != "https";
        if downgraded || !(same_host(url, &next) || self.http.url.allows(&next, &self.allow_hosts)) {
            return Err(self.permanent(&format!("{what}: the redirect leads to another host, which is not in `allow_hosts`")));
        }
        Ok(Some(next))
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
        if error.is_builder() {
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

/// Whether both URLs lead to the same port of the same host by the same scheme.
fn same_host(a: &Url, b: &Url) -> bool {
    let plain = b.username().is_empty() && b.password().is_none();
    plain && a.scheme() == b.scheme() && host_of(a) == host_of(b)
}

fn client() -> Result<Client, String> {
    // Redirects are followed by the step, which knows the method and whom its headers are for.
    let client = Client::builder().redirect(redirect::Policy::none()).user_agent(concat!("replay/", env!("CARGO_PKG_VERSION"))).build();
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
