//! A step that is a program: the context goes in as JSON, what it prints is merged into the context.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use replay::{
    json,
    saga::{StepContext, StepError, StepResult},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    context::Context,
    exec::{self, Ended, MAX_OUTPUT_BYTES, STDERR_TAIL_BYTES},
    model::Command,
    secrets::Secrets,
    template::{self, Values},
    words::RetryRules,
};

/// The exit code that says "try again", as in BSD's `sysexits.h` (`EX_TEMPFAIL`).
const TRY_AGAIN: i32 = 75;

/// A `command:` or `shell:` step.
pub(super) struct CommandStep {
    command: Command,
    dir: PathBuf,
    env: BTreeMap<String, String>,
    rules: RetryRules,
    secrets: Secrets,
}

/// What a program reads from standard input.
#[derive(Serialize)]
struct Input<'a> {
    saga_id: &'a str,
    step: &'a str,
    attempt: u32,
    idempotency_key: &'a str,
    context: &'a Context,
}

impl CommandStep {
    pub(super) fn new(command: Command, dir: PathBuf, env: BTreeMap<String, String>, rules: RetryRules, secrets: Secrets) -> Self {
        Self { command, dir, env, rules, secrets }
    }

    pub(super) async fn run(&self, cx: &StepContext, context: Context) -> StepResult<Context> {
        let key = cx.idempotency_key();
        let input =
            Input { saga_id: cx.saga_id().as_str(), step: cx.step(), attempt: cx.attempt(), idempotency_key: &key, context: &context };
        let input = serde_json::to_vec(&input)?;
        let env = self.environment(cx, &context, key)?;
        let mut ended =
            exec::run(&self.command, &self.dir, &env, input, self.secrets.longest()).await.map_err(|error| self.not_started(&error))?;
        if ended.is_cut {
            for output in [&mut ended.stdout, &mut ended.stderr_tail] {
                output.truncate(self.secrets.without_begun(output).len());
            }
        }
        if ended.stdout.len() > MAX_OUTPUT_BYTES {
            // It may have failed only because nobody read on.
            return Err(self.permanent(&format!("{} printed more than 8 MiB", self.name())));
        }
        if !ended.status.success() {
            return Err(self.failed(&ended));
        }
        let output = self.output(&ended.stdout)?;
        let mut value = context.into_value();
        json::merge_patch(&mut value, &output);
        Context::from_value(value).ok_or_else(|| StepError::new("the context is no longer an object").permanent())
    }

    fn environment(&self, cx: &StepContext, context: &Context, key: String) -> StepResult<Vec<(String, String)>> {
        let mut env: Vec<(String, String)> = self.secrets.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if !self.env.is_empty() {
            let values = Values::new(cx, context, &self.secrets).for_templates();
            for (name, template) in &self.env {
                let value = template::text(template, &values).map_err(|error| self.permanent(&format!("env {name}: {error}")))?;
                env.push((name.clone(), value));
            }
        }
        env.push(("REPLAY_SAGA_ID".to_owned(), cx.saga_id().to_string()));
        env.push(("REPLAY_STEP".to_owned(), cx.step().to_owned()));
        env.push(("REPLAY_ATTEMPT".to_owned(), cx.attempt().to_string()));
        env.push(("REPLAY_IDEMPOTENCY_KEY".to_owned(), key));
        if let Some((name, _)) = env.iter().find(|(_, value)| value.contains('\0')) {
            return Err(self.permanent(&format!("the environment variable {name} would hold a NUL character")));
        }
        Ok(env)
    }

    /// The object that the program printed; an empty one if it printed nothing.
    fn output(&self, stdout: &[u8]) -> StepResult<Value> {
        let name = self.name();
        if stdout.trim_ascii().is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        let value = json::parse_value(stdout).map_err(|error| {
            let place = match (error.fact("line"), error.fact("column")) {
                (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
                _ => String::new(),
            };
            // Scrubbed before it is cut, as half a secret would not be found.
            let start: String = self.secrets.scrub(String::from_utf8_lossy(stdout).trim()).chars().take(80).collect();
            self.permanent(&format!("{name} did not print a JSON object{place}: {}", start.trim()))
        })?;
        if !value.is_object() {
            let kind = match &value {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "text",
                Value::Array(_) => "an array",
                Value::Object(_) => "an object",
            };
            return Err(self.permanent(&format!("{name} printed {kind} where a JSON object was expected")));
        }
        if let Some(secret) = self.secrets.found_in(&value) {
            return Err(self.permanent(&format!("{name} printed the secret {secret}; nothing of its output was recorded")));
        }
        Ok(value)
    }

    fn failed(&self, ended: &Ended) -> StepError {
        let stderr = self.secrets.scrub_end(&ended.stderr_tail, STDERR_TAIL_BYTES);
        let Some(code) = ended.status.code() else {
            let message = self.message(format!("{} was ended by {}", self.name(), ended.status), &stderr);
            return self.rules.failure(message, &[], false);
        };
        let message = self.message(format!("{} exited with {code}", self.name()), &stderr);
        self.rules.failure(message, &[code.to_string()], code == TRY_AGAIN)
    }

    fn not_started(&self, error: &std::io::Error) -> StepError {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => format!("does not exist, or its interpreter does not (looked in {})", self.dir.display()),
            std::io::ErrorKind::PermissionDenied => "is not executable; `chmod +x` makes it so".to_owned(),
            _ => format!("cannot be run: {error}"),
        };
        self.permanent(&format!("{} {why}", self.name()))
    }

    fn permanent(&self, message: &str) -> StepError {
        StepError::new(self.secrets.scrub(message)).permanent()
    }

    fn message(&self, what: String, stderr: &str) -> String {
        let what = if stderr.is_empty() { what } else { format!("{what}: {stderr}") };
        self.secrets.scrub(&what)
    }

    fn name(&self) -> Arc<str> {
        if self.command.is_shell { "the shell command".into() } else { format!("`{}`", self.command.argv[0]).into() }
    }
}
