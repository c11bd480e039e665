//! Outlets that leave this node for another one, and come from one.
//!
//! The hub orders one away in its feed → [`keep_released`] has the writer let go of it (its requests are listed, then it is released,
//! in one transaction) → the hub's log brings the rows to the new node → the old one forgets them. From the release on whoever asks
//! here is sent on: by [`Moved`] before anything is read, and by the writer, whose word counts.

mod keeper;
mod moved;

pub use keeper::keep_released;
pub use moved::Moved;
