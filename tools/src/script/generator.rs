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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day::DayConfig;

    #[test]
    fn it_gives_the_day() {
        let day = || Day::new(DayConfig { symbols: 3, messages: 2_000, ..DayConfig::default() }).unwrap();
        let (mut generated, mut plain) = (Generated::new(day()), day());
        while let Some(message) = plain.next_message() {
            assert!(generated.advance().unwrap());
            let Message { stamp_ns, bytes } = generated.current();
            assert_eq!((bytes, stamp_ns), (message, itch_time_ns(message)));
        }
        assert!(!generated.advance().unwrap());
        assert_eq!(generated.current().bytes, b"");
    }
}
