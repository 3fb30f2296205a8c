//! A process that runs sagas and may be killed; the tests start it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let job = std::env::args().nth(1).ok_or("the job is missing; this program is started by the tests")?;
    replay_e2e::child::main(&job)
}
