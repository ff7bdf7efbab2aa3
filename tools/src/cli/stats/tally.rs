use std::collections::BTreeMap;

use seqcast_wire::itch;

use crate::input::itch_time_ns;

/// Counts of ITCH messages.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    by_kind: [u64; 256],
    pub(super) messages: u64,
    /// Types that the specification does not have.
    pub(super) unknown: u64,
    /// Empty messages, and known types with another length than theirs.
    pub(super) malformed: u64,
    pub(super) first_ns: Option<u64>,
    pub(super) last_ns: Option<u64>,
}

impl Tally {
    pub(super) const fn new() -> Tally {
        Tally { by_kind: [0; 256], messages: 0, unknown: 0, malformed: 0, first_ns: None, last_ns: None }
    }

    pub(super) fn on_message(&mut self, message: &[u8]) {
        self.messages += 1;
        let Some(&kind) = message.first() else {
            self.malformed += 1;
            return;
        };
        match itch::length_of(kind) {
            None => self.unknown += 1,
            Some(bytes) if bytes != message.len() => self.malformed += 1,
            Some(_) => {
                self.by_kind[usize::from(kind)] += 1;
                self.last_ns = itch_time_ns(message);
                self.first_ns = self.first_ns.or(self.last_ns);
            }
        }
    }

    pub(super) fn add(&mut self, other: &Tally) {
        for (count, more) in self.by_kind.iter_mut().zip(&other.by_kind) {
            *count += more;
        }
        self.messages += other.messages;
        self.unknown += other.unknown;
        self.malformed += other.malformed;
        self.first_ns = self.first_ns.into_iter().chain(other.first_ns).min();
        self.last_ns = self.last_ns.max(other.last_ns);
    }

    /// Well-formed messages by type.
    pub(super) fn by_type(&self) -> BTreeMap<char, u64> {
        (0..=u8::MAX)
            .map(|kind| (char::from(kind), self.by_kind[usize::from(kind)]))
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}

/// The specification's name of a message type.
pub(super) const fn name_of(kind: char) -> &'static str {
    match kind {
        'S' => "system event",
        'R' => "stock directory",
        'H' => "stock trading action",
        'Y' => "Reg SHO",
        'L' => "market participant position",
        'V' => "MWCB decline level",
        'W' => "MWCB status",
        'K' => "IPO quoting period update",
        'J' => "LULD auction collar",
        'h' => "operational halt",
        'A' => "add order",
        'F' => "add order, attributed",
        'E' => "order executed",
        'C' => "order executed with price",
        'X' => "order cancel",
        'D' => "order delete",
        'U' => "order replace",
        'P' => "trade",
        'Q' => "cross trade",
        'B' => "broken trade",
        'I' => "net order imbalance",
        'N' => "retail price improvement",
        'O' => "direct listing",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_has_a_name() {
        assert!(itch::KINDS.iter().all(|&kind| !name_of(char::from(kind)).is_empty()));
    }

    #[test]
    fn each_message_is_counted_once() {
        let mut tally = Tally::new();
        tally.on_message(b"");
        tally.on_message(b"D too short");
        tally.on_message(b"? unknown");
        tally.on_message(&[b'D'; 19]);
        assert_eq!((tally.messages, tally.malformed, tally.unknown), (4, 2, 1));
        assert_eq!(tally.by_type(), BTreeMap::from([('D', 1)]));
        assert_eq!(tally.first_ns, Some(0x4444_4444_4444));
    }
}
