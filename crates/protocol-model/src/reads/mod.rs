//! What readers and followers are told while a log goes on, is cut and rewritten, and changes its leader.
//!
//! Two agents that lead in turn and may not know that they do not any more; a follower in another zone, told over one stream
//! by each; one consumer that reads from any of them, over plans made some time ago. What the database says is true here:
//! that it stays so is for the other models (`commits`, `swaps`).

mod leaders;
mod model;
mod properties;
mod readers;
mod state;

pub use model::{Action, Bounds, Reads, Rules, Source};
pub use state::{Feed, Led, Move, News, Question, Range, Reader, State};
