//! The tour, and the payments that it and the examples call.

mod payments;
mod tour;

pub(crate) use payments::Payments;
pub(crate) use tour::run as tour;
