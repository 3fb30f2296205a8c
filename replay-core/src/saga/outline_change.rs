//! Carrying what is completed over to a definition that has changed since.

use crate::{Error, ErrorKind, Outline, Result, StepRanges};

/// The same steps, by name, in another outline.
///
/// # Errors
/// `Refused`, naming the steps that no longer exist.
pub(crate) fn carry(from: &Outline, to: &Outline, steps: &StepRanges) -> Result<StepRanges> {
    if from == to {
        return Ok(steps.clone());
    }
    let names = || steps.iter().filter_map(|at| from.step(at)).map(|step| &*step.name);
    let missing: Vec<&str> = names().filter(|name| to.index_of(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(Error::new(ErrorKind::Refused, "change definition")
            .message(format!("completed steps no longer exist: {}", missing.join(", ")))
            .hint("keep completed steps in the new definition under their names"));
    }
    Ok(names().filter_map(|name| to.index_of(name)).collect())
}
