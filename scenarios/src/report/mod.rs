//! What people and machines read: the story of a violation, the summary of a check, their JSON forms.
//!
//! Everything here is a function of what was found; the same finding gives the same bytes. Times, progress and colours
//! are the command's business ([`crate::cli`]); colours come in through [`Page`].

mod blocks;
mod json;
mod lanes;
mod opinions;
mod page;
mod reached;
#[cfg(test)]
mod sample;
mod story;
mod summary;

pub use json::{MinimalJson, ResultJson, TimelineJson, ViolationJson, stats_json};
pub use opinions::{OpinionJson, OpinionRow, opinions};
pub use page::{Page, beside};
pub use reached::reached_text;
pub use story::{Story, story};
pub use summary::{Row, answer_text, summary, verdict_text};
