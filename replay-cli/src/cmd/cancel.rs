use replay::Result;
use serde::Serialize;

use super::start::quoted;
use crate::{app::App, args::CancelArgs, exit::Exit, output::Answer};

#[derive(Serialize)]
struct Cancelled {
    saga_id: String,
    sequence: u64,
    runner_alive: bool,
}

pub(super) async fn run(app: &App, args: CancelArgs) -> Result<Exit> {
    let store = app.store().await?;
    let runner = app.runner(&store, None);
    let before = app.newest(&store, &args.id).await?;
    let record = runner.cancel(&args.id, &args.reason, App::actor(args.initiated_by.as_deref())).await?;
    let runner_alive = match before.runner {
        Some(owner) => runner.is_alive(owner).await?,
        None => false,
    };
    let said = if runner_alive {
        "its runner stops at the next capture and compensates".to_owned()
    } else {
        format!("its runner is gone; compensate with: {} resume {}", app.name, quoted(args.id.as_str()))
    };
    let cancelled = Cancelled { saga_id: args.id.to_string(), sequence: record.sequence, runner_alive };
    let id = args.id.clone();
    let answer = Answer::one("cancellation", &cancelled)?.ids([&args.id]);
    app.output.answer(answer.shown(move |paint| format!("{} {} cancelled; {said}", paint.warn("↺"), paint.bold(id))))?;
    Ok(Exit::Ok)
}
