//! Sagas declared in YAML files.

mod command_step;
mod context;
mod exec;
mod http_host;
mod http_step;
mod model;
mod parse;
pub(crate) mod schema;
mod secrets;
mod template;
mod words;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use replay::{
    Error, Result,
    saga::{AnySaga, RetryPolicy, Saga, Step, StepContext, StepResult},
};

use self::{
    command_step::CommandStep,
    context::Context,
    http_step::HttpStep,
    model::{Action, Definition, StepDefinition},
    secrets::Secrets,
};

/// A saga file that was read and checked.
#[derive(Debug, Clone)]
pub(crate) struct SagaFile {
    definition: Arc<Definition>,
    text: Arc<str>,
    /// What relative commands are relative to.
    dir: PathBuf,
}

impl SagaFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// `Invalid`, with file, line and column, if it is not a saga file; `NotFound` if there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let kind = if error.kind() == std::io::ErrorKind::NotFound { replay::ErrorKind::NotFound } else { replay::ErrorKind::Invalid };
            Error::new(kind, "read saga file").message(format!("{} cannot be read", path.display())).caused_by(error)
        })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let dir = folder.canonicalize().map_err(|error| {
            Error::invalid("read saga file", format!("the folder of {} cannot be found", path.display())).caused_by(error)
        })?;
        Self::parse(&path.display().to_string(), text, dir)
    }

    /// Takes the text of a saga file; `name` is what errors call it.
    ///
    /// # Errors
    /// `Invalid`, with file, line and column, if it is not a saga file.
    pub(crate) fn parse(name: &str, text: impl Into<Arc<str>>, dir: PathBuf) -> Result<Self> {
        let text = text.into();
        let definition = Arc::new(parse::definition(name, &text)?);
        let file = Self { definition, text, dir };
        file.build(&Secrets::default())?;
        Ok(file)
    }

    /// The text as it was read.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What relative commands are relative to.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The saga, for looking at: it has no secrets, so it is not to be run.
    ///
    /// # Errors
    /// As [`SagaFile::runnable`], but for secrets and commands.
    pub(crate) fn outline_only(&self) -> Result<Arc<dyn AnySaga>> {
        Ok(Arc::new(self.build(&Secrets::default())?))
    }

    /// The saga, ready to run: its secrets are taken from the environment, its commands exist.
    ///
    /// # Errors
    /// `Invalid`, naming the secret that is not set or the command that does not exist.
    pub(crate) fn runnable(&self) -> Result<Arc<dyn AnySaga>> {
        self.check_commands()?;
        let secrets = Secrets::from_environment(&self.definition.secrets)?;
        Ok(Arc::new(self.build(&secrets)?))
    }

    fn check_commands(&self) -> Result<()> {
        for step in &self.definition.steps {
            let actions = [Some(&step.action), step.compensation.as_ref().map(|(action, _)| action)];
            for action in actions.into_iter().flatten() {
                if let Action::Command(command) = action {
                    exec::check_program(command, &self.dir, &step.name)?;
                }
            }
        }
        Ok(())
    }

    fn build(&self, secrets: &Secrets) -> Result<Saga<Context>> {
        let definition = &*self.definition;
        let mut builder = Saga::builder(definition.name.as_str())
            .version(definition.version.as_str())
            .policy(definition.policy.clone())
            .max_concurrency(definition.max_concurrency);
        for (key, pointer) in &definition.labels {
            builder = builder.label(key, pointer);
        }
        for step in &definition.steps {
            builder = builder.add(step.name.as_str(), self.step(step, &step.action, step.retry.as_ref(), false, secrets));
            if let Some((compensation, retry)) = &step.compensation {
                let compensation = Arc::new(self.step(step, compensation, retry.as_ref(), true, secrets));
                builder = builder.compensate_with(move |cx, context| {
                    let compensation = compensation.clone();
                    async move { compensation.execute(&cx, context).await }
                });
                if let Some(retry) = retry {
                    builder = builder.compensation_retry(retry.clone());
                }
            }
            if let Some(retry) = &step.retry {
                builder = builder.retry(retry.clone());
            }
            if let Some(timeout) = step.timeout {
                builder = builder.timeout(timeout);
            }
            if let Some(needs) = &step.needs {
                builder = builder.needs(needs.clone());
            }
            if step.pivot {
                builder = builder.pivot();
            }
        }
        builder.build()
    }

    fn step(&self, step: &StepDefinition, action: &Action, retry: Option<&RetryPolicy>, compensation: bool, secrets: &Secrets) -> FileStep {
        let rules = words::RetryRules { on: retry.map(|retry| retry.on.clone()).unwrap_or_default(), every_error: compensation };
        match action {
            Action::Command(command) => {
                FileStep::Command(CommandStep::new(command.clone(), self.dir.clone(), step.env.clone(), rules, secrets.clone()))
            }
            Action::Http(http) => {
                FileStep::Http(Box::new(HttpStep::new((**http).clone(), self.definition.allow_hosts.clone(), rules, secrets.clone())))
            }
        }
    }
}

/// A step of a saga file.
enum FileStep {
    Command(CommandStep),
    Http(Box<HttpStep>),
}

#[async_trait::async_trait]
impl Step<Context> for FileStep {
    async fn execute(&self, cx: &StepContext, context: Context) -> StepResult<Context> {
        match self {
            Self::Command(step) => step.run(cx, context).await,
            Self::Http(step) => step.run(cx, context).await,
        }
    }
}
