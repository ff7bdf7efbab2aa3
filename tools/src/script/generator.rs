//! The built-in generator as a source.

use super::{Message, Messages, SourceError};
use crate::day::Day;
use crate::input::itch_time_ns;

/// The messages of a day in the making.
#[derive(Debug)]
pub struct Generated {
    day: Day,
    current: Vec<u8>,
}

impl Generated {
    /// All that `day` has yet to give.
    pub fn new(day: Day) -> Generated {
        Generated { day, current: Vec::new() }
    }
}

impl Messages for Generated {
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.current.clear();
        let Some(message) = self.day.next_message() else { return Ok(false) };
        self.current.extend_from_slice(message);
        Ok(true)
    }

    fn current(&self) -> Message<'_> {
        Message { stamp_ns: itch_time_ns(&self.current), bytes: &self.current }
    }
}
