use futures::TryStreamExt;
use replay::{
    Error, Result, Store,
    storage::{If, SagaQuery, SagaSummary, StoreUrl},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::App,
    args::ConfigCommand,
    exit::Exit,
    output::{
        Answer, Table,
        table::{painted, plain},
        write_all,
    },
};

pub(super) async fn run(app: &App, command: ConfigCommand) -> Result<Exit> {
    match command {
        ConfigCommand::Show => show(app),
        ConfigCommand::Doctor => doctor(app).await,
        ConfigCommand::Lifecycle => lifecycle(app),
    }
}

fn lifecycle(app: &App) -> Result<Exit> {
    let url = StoreUrl::parse(&app.settings.storage_url.value)?;
    if url.scheme() != "s3" {
        return Err(Error::invalid("print lifecycle", format!("a {} store has no bucket", url.scheme()))
            .hint("name the store with --storage-url s3://bucket/prefix"));
    }
    write_all(&format!("{}\n", replay::s3::S3::lifecycle(url)?))?;
    Ok(Exit::Ok)
}

#[derive(Debug, Serialize)]
struct Shown {
    setting: &'static str,
    value: String,
    source: String,
}

fn show(app: &App) -> Result<Exit> {
    let settings = &app.settings;
    let mut shown = vec![
        Shown { setting: "storage_url", value: app.shown_url(), source: settings.storage_url.source.clone() },
        Shown { setting: "namespace", value: settings.namespace.value.clone(), source: settings.namespace.source.clone() },
    ];
    if let Some(profile) = &settings.profile {
        shown.push(Shown { setting: "profile", value: profile.value.clone(), source: profile.source.clone() });
    }
    match &settings.file {
        Some(file) => shown.push(Shown { setting: "config", value: file.value.display().to_string(), source: file.source.clone() }),
        None => shown.push(Shown { setting: "config", value: String::new(), source: "no replay.toml was found".to_owned() }),
    }
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
    for row in &shown {
        let source = row.source.clone();
        table.row(vec![plain(row.setting), plain(&row.value), painted(move |paint| paint.dim(&source))]);
    }
    app.output.answer(Answer::list("settings", "setting", &shown)?.table(table))?;
    Ok(Exit::Ok)
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    found: String,
}

/// Collects checks; after one that failed, those that build on it are left out.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, check: &'static str, found: Result<String>) -> Result<(), Error> {
        match found {
            Ok(found) => {
                self.0.push(Check { name: check, ok: true, found });
                Ok(())
            }
            Err(error) => {
                let found = error.detail().map_or_else(|| error.to_string(), str::to_owned);
                self.0.push(Check { name: check, ok: false, found });
                Err(error)
            }
        }
    }
}

async fn doctor(app: &App) -> Result<Exit> {
    let mut checks = Checks::default();
    let failed = examine(app, &mut checks).await.err();
    let mut table = Table::new(&["", "CHECK", "FOUND"]);
    for check in &checks.0 {
        let (ok, found) = (check.ok, check.found.clone());
        table.row(vec![
            painted(move |paint| if ok { paint.good("✔") } else { paint.bad("✖") }),
            plain(check.name),
            painted(move |paint| if ok { found.clone() } else { paint.bad(&found) }),
        ]);
    }
    app.output.answer(Answer::list("checks", "check", &checks.0)?.with("ok", failed.is_none()).table(table))?;
    match failed {
        Some(error) => {
            app.output.error(&error, None);
            Ok(Exit::of_error(error.kind()))
        }
        None => Ok(Exit::Ok),
    }
}

async fn examine(app: &App, checks: &mut Checks) -> Result<()> {
    let source = &app.settings.storage_url.source;
    checks.add("settings", Ok(format!("{} (from {source})", app.shown_url())))?;
    let store = app.store().await;
    checks.add("open", store.as_ref().map(ToString::to_string).map_err(repeat))?;
    let store = store?;
    checks.add("capabilities", Ok(capabilities(&store)))?;
    let heads: Result<Vec<SagaSummary>> = store.snapshots().sagas(SagaQuery::default().with_limit(1)).try_collect().await;
    checks.add(
        "read sagas",
        heads.map(|heads| if heads.is_empty() { "no saga yet".to_owned() } else { format!("the latest is {}", heads[0].saga_id) }),
    )?;
    let round_trip = round_trip(app, &store).await;
    checks.add("write and read", round_trip)
}

/// An error to be shown, where the original is still needed.
fn repeat(error: &Error) -> Error {
    let copy = Error::new(error.kind(), "open store").message(error.detail().map_or_else(|| error.to_string(), str::to_owned));
    match error.advice() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}

fn capabilities(store: &Store) -> String {
    let can = store.snapshots().capabilities();
    let words = [
        (can.durable, "durable", "not durable"),
        (can.shared, "shared by processes", "this process only"),
        (can.native_expiry, "expires by itself", "expires by gc"),
        (can.sql, "contexts queryable with SQL", "no SQL"),
    ];
    words.map(|(yes, is, is_not)| if yes { is } else { is_not }).join(", ")
}

async fn round_trip(app: &App, store: &Store) -> Result<String> {
    let Ok(cells) = store.cells() else { return Ok("not checked: the store has no cells".to_owned()) };
    let key = format!("doctor/{}", app.ids.saga_id(app.now()));
    let value = json!({"from": "config doctor"}).to_string();
    cells.put_cell(&key, value.clone().into(), If::Absent, None).await?;
    let read = cells.get_cell(&key).await?;
    cells.delete_cell(&key, If::Any).await?;
    match read {
        Some(cell) if cell.value == value.as_bytes() => Ok("what is written is read back".to_owned()),
        _ => Err(Error::new(replay::ErrorKind::Integrity, "check store").message("what was written is not read back")),
    }
}
