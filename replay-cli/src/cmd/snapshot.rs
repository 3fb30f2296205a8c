use replay::Result;
use serde_json::json;

use crate::{app::App, args::SnapshotArgs, exit::Exit, output::Answer};

pub(super) async fn run(app: &App, args: SnapshotArgs) -> Result<Exit> {
    let store = app.store().await?;
    let actor = App::actor(args.initiated_by.as_deref());
    let record = app.runner(&store, None).snapshot(&args.id, &args.label, actor).await?;
    let body = json!({"saga_id": args.id, "sequence": record.sequence, "label": args.label, "digest": record.digest()});
    let id = record.id();
    let shown = id.clone();
    let answer = Answer::one("captured", &body)?.ids([id]);
    app.output.answer(answer.shown(move |paint| format!("{} captured {} as `{}`", paint.good("✔"), paint.bold(shown), args.label)))?;
    Ok(Exit::Ok)
}
