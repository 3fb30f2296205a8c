//! An auditor asks what a patient's consent was on 15 July at 14:30, Berlin time.
//!
//! ```sh
//! cargo run -p replay --example compliance_query
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{sync::Arc, time::Duration};

use replay::{
    ManualClock, SagaId,
    json::Pointer,
    prelude::*,
    time_travel::{KeyHistoryQuery, TimeTravel, parse_instant},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Consent {
    patient: String,
    status: String,
}

fn consent(clock: &ManualClock) -> replay::Result<Saga<Consent>> {
    let week = Duration::from_hours(7 * 24);
    let after_a_week = move |clock: ManualClock, status: &'static str| {
        move |mut consent: Consent| {
            clock.advance(week);
            async move {
                status.clone_into(&mut consent.status);
                Ok(consent)
            }
        }
    };
    Saga::builder("patient-consent")
        .step("inform", after_a_week(clock.clone(), "informed"))
        .step("sign", after_a_week(clock.clone(), "given"))
        .step("withdraw", after_a_week(clock.clone(), "withdrawn"))
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&format!("sqlite:{}", folder.path().join("consent.db").display())).await?;

    // The saga runs over three weeks of July; here the clock is moved by hand.
    let clock = ManualClock::new(parse_instant("2024-07-01T09:00:00+02:00")?);
    let runner = Runner::builder(store.clone()).clock(Arc::new(clock.clone())).build();
    let id = SagaId::new("patient-consent-789")?;
    let start = Consent { patient: "789".into(), status: "asked".into() };
    runner.start_with(&consent(&clock)?, start, StartOptions::default().with_id(id.clone())).await?;

    let asked = parse_instant("2024-07-15T14:30:00+02:00")?;
    let snapshots = store.snapshots();
    let state = snapshots.state_at(&id, asked).await?.ok_or("nothing is known of that time")?;
    let then: Consent = state.context_as()?;
    println!("at {asked} the consent of patient {} was `{}`", then.patient, then.status);
    println!("  captured as {} at {}, completed: {}", state.id(), state.created_at, state.completed_steps().to_vec().join(", "));
    println!("  digest {}", state.digest());
    assert_eq!(then.status, "given");

    println!("every value it has had:");
    for change in snapshots.key_history(KeyHistoryQuery::new(id, Pointer::parse("/status")?)).await?.changes {
        println!("  {} {}", change.created_at, change.to.unwrap_or_default());
    }
    Ok(())
}
