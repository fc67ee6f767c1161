//! Made-up recipients whose verdicts are known beforehand, and how they get
//! into a server.

mod batch;
mod events;
mod people;
mod populate;
mod scopes;
pub mod spelling;

pub use self::{
    batch::{Batch, Batches, Order},
    events::{Events, now_ms},
    people::{Column, MAX_LEAVERS, Person, Population, Refused},
    populate::{chunks, ensure, grow, import, permitted, sample, verify},
    scopes::choose,
};
