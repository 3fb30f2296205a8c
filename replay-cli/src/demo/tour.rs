use std::path::{Path, PathBuf};

use replay::{
    Error, ErrorKind, Result, SagaId,
    storage::{At, SnapshotStorage},
};

use super::Payments;
use crate::{app::App, cmd, cmd::quoted, exit::Exit, time::show};

const ORDER: &str = include_str!("order.yaml");
const FILE: &str = "order.yaml";
/// What the order starts with.
const EXPIRED: (&str, &str) = ("expired-token.json", r#"{"customer": "c-17", "amount": 4200, "payment_token": "tok_expired"}"#);
/// What its replay changes. Tokens stand in files, since what is typed is seen in the list of processes.
const CORRECTED: (&str, &str) = ("corrected-token.json", r#"{"payment_token": "tok_ok"}"#);
const ORIGINAL: &str = "order_123";
const REPLAY: &str = "order_123-replayed";

/// A folder for the tour, and whether it stays.
struct Stage {
    folder: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Stage {
    fn set(keep: Option<&Path>, order: &str) -> Result<Self> {
        let wrong = |error: std::io::Error| Error::invalid("set up the tour", "its folder cannot be made").caused_by(error);
        let temporary = match keep {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("replay-demo-").tempdir().map_err(wrong)?),
        };
        let folder = temporary.as_ref().map_or_else(|| keep.unwrap_or(Path::new(".")), tempfile::TempDir::path).to_path_buf();
        std::fs::create_dir_all(&folder).map_err(wrong)?;
        if folder.join("demo.db").exists() {
            return Err(Error::new(ErrorKind::Conflict, "set up the tour")
                .message(format!("{} holds an earlier tour", folder.display()))
                .hint("give another folder with --keep"));
        }
        for (name, text) in [(FILE, order), EXPIRED, CORRECTED] {
            std::fs::write(folder.join(name), text).map_err(wrong)?;
        }
        Ok(Self { folder, temporary })
    }

    /// `word` as the command needs it, which runs elsewhere: with the path of the file that it names.
    fn located(&self, word: &str) -> String {
        let (mark, name) = word.strip_prefix('@').map_or(("", word), |name| ("@", name));
        if [FILE, EXPIRED.0, CORRECTED.0].contains(&name) { format!("{mark}{}", self.folder.join(name).display()) } else { word.to_owned() }
    }

    fn url(&self) -> String {
        let path = self.folder.join("demo.db").display().to_string();
        format!("sqlite:{}", path.replace('%', "%25").replace('?', "%3F"))
    }
}

/// The tour: every command is one that can be typed, and is shown as such.
///
/// # Errors
/// If the folder cannot be made, or a command does not end as the tour expects.
pub(crate) async fn run(app: &App, keep: Option<&Path>) -> Result<Exit> {
    let payments = Payments::listen(([127, 0, 0, 1], 0).into()).await?;
    let address = payments.address();
    let stage = Stage::set(keep, &ORDER.replace("ADDRESS", &address.to_string()))?;
    let server = tokio::spawn(payments.serve(|_| {}));
    let ended = story(app, &stage).await;
    server.abort();
    ended?;
    closing(app, &stage, address);
    Ok(Exit::Ok)
}

async fn story(app: &App, stage: &Stage) -> Result<()> {
    let tour = Tour { app, stage };
    tour.say("An order reserves stock, charges the customer and ships. Its payment token has expired, so the charge is refused and the reservation released.");
    let input = format!("@{}", EXPIRED.0);
    tour.command(&["start", FILE, "--id", ORIGINAL, "--input", &input], Exit::Failed).await?;
    tour.say("Every state on the way was captured. What would a replay with a corrected token do? The token stands in a file, since what is typed is seen in the list of processes. The released reservation is made again, under a fresh key.");
    let corrected = ["run", ORIGINAL, "--from-step", "charge_payment", "--override-file", CORRECTED.0];
    tour.command(&[&corrected[..], &["--dry-run"]].concat(), Exit::Ok).await?;
    tour.say("So be it. A replay is a new saga; the original stays as it was.");
    tour.command(&[&corrected[..], &["--id", REPLAY]].concat(), Exit::Ok).await?;
    tour.say("What did the order look like while it was being charged?");
    let instant = tour.while_charging().await?;
    tour.command(&["time-travel", ORIGINAL, "--at", &instant, "--show-context"], Exit::Ok).await?;
    tour.say("Where do the two runs differ, and where does the second come from?");
    tour.command(&["diff", ORIGINAL, REPLAY], Exit::Ok).await?;
    tour.command(&["history", ORIGINAL], Exit::Ok).await
}

struct Tour<'a> {
    app: &'a App,
    stage: &'a Stage,
}

impl Tour<'_> {
    fn say(&self, text: &str) {
        let paint = self.app.output.stderr;
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let last = lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < paint.width().min(100));
            match last {
                Some(line) if !line.is_empty() => {
                    line.push(' ');
                    line.push_str(word);
                }
                Some(line) => line.push_str(word),
                None => lines.push(word.to_owned()),
            }
        }
        self.app.output.note(format!("\n{}", lines.iter().map(|line| paint.bold(line)).collect::<Vec<_>>().join("\n")));
    }

    /// Shows a command and runs it.
    async fn command(&self, words: &[&str], expected: Exit) -> Result<()> {
        let (app, paint) = (self.app, self.app.output.stderr);
        let typed: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        app.output.note(format!("\n{} {}\n", paint.dim("$"), paint.accent(format!("{} {}", app.name, typed.join(" ")))));
        let words = words.iter().map(|word| self.stage.located(word));
        let exit = Box::pin(cmd::run_words(app, &self.stage.url(), words)).await?;
        if exit == expected {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, "give the tour")
            .message("a command did not end as it should")
            .with("exit", exit.code())
            .with("expected", expected.code()))
    }

    /// An instant at which the original was being charged.
    async fn while_charging(&self) -> Result<String> {
        let store = cmd::store_at(self.app, &self.stage.url()).await?;
        let record = store.snapshots().load(&SagaId::new(ORIGINAL)?, At::before_step("charge_payment")).await?;
        let record = record.ok_or_else(|| Error::new(ErrorKind::Internal, "give the tour").message("the checkpoint is missing"))?;
        Ok(show(record.created_at + chrono::TimeDelta::milliseconds(1)))
    }
}

fn closing(app: &App, stage: &Stage, payments: std::net::SocketAddr) {
    let (paint, name) = (app.output.stderr, app.name);
    let command = |text: String| format!("  {}", paint.accent(text));
    let mut lines = vec![String::new(), paint.bold("What next")];
    if stage.temporary.is_some() {
        lines.push(command(format!("{name} demo --keep tour")));
        lines.push("    the same, but the store, order.yaml and the tokens stay in ./tour, to go on exploring".to_owned());
    } else {
        lines.push(command(format!("export REPLAY_STORAGE_URL={}", quoted(&stage.url()))));
        lines.push(command(format!("{name} sagas")));
        lines.push(command(format!("{name} list-changes {ORIGINAL}")));
        lines.push(command(format!("{name} demo --payment-server {payments} &")));
        lines.push(command(format!("{name} run {ORIGINAL} --from-step charge_payment --force-failure=ship_order")));
        lines.push("    rehearses the compensation: ship_order fails without being executed".to_owned());
    }
    lines.push(command(format!("{name} help")));
    lines.push("    every command; those above take --output json too".to_owned());
    app.output.note(lines.join("\n"));
}
