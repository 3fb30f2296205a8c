use replay::Result;

use crate::{
    app::App,
    args::DemoArgs,
    demo::{Payments, tour},
    exit::Exit,
};

pub(super) async fn run(app: &App, args: DemoArgs) -> Result<Exit> {
    let Some(address) = args.payment_server else { return tour(app, args.keep.as_deref()).await };
    let payments = Payments::listen(address).await?;
    app.output.note(format!("serving payments at http://{}; Ctrl-C ends it", payments.address()));
    let output = app.output.clone();
    tokio::select! {
        never = payments.serve(move |request| output.note(request)) => match never {},
        _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}
