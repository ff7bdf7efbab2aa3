//! One feed of messages for several publishers.

use std::str::FromStr;

/// Which messages of a source a publisher takes: those of every stock whose locate leaves the remainder `index` when
/// divided by `of`, so that all of a stock stay together and in order. What is about no stock (locate 0, or too short
/// to have one) belongs to share 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    index: u16,
    of: u16,
}

/// A share that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} is no share: write INDEX/COUNT, such as 0/3, with INDEX from 0 and below COUNT")]
pub struct ShareError {
    text: String,
}

impl Share {
    /// Everything.
    pub const ALL: Share = Share { index: 0, of: 1 };

    /// Share `index` (from 0) of `of`.
    ///
    /// # Errors
    /// There are not so many.
    pub fn new(index: u16, of: u16) -> Result<Share, ShareError> {
        if index < of { Ok(Share { index, of }) } else { Err(ShareError { text: format!("{index}/{of}") }) }
    }

    /// Whether `message` is in this share.
    pub fn takes(self, message: &[u8]) -> bool {
        let locate = message.get(1..3).and_then(|bytes| bytes.first_chunk()).copied();
        u16::from_be_bytes(locate.unwrap_or_default()) % self.of == self.index
    }
}

impl FromStr for Share {
    type Err = ShareError;

    /// `0/3`: the first of three.
    fn from_str(text: &str) -> Result<Share, ShareError> {
        let parts =
            text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let refused = || ShareError { text: format!("{text:?}") };
        parts.and_then(|(index, of)| Share::new(index, of).ok()).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_written_as_fractions() {
        assert_eq!("0/3".parse(), Share::new(0, 3));
        assert_eq!("0/1".parse(), Ok(Share::ALL));
        for text in ["", "3", "3/3", "0/0", "-1/3", "1/3/5", "a/b", "1/65536"] {
            let error = text.parse::<Share>().unwrap_err();
            assert!(error.to_string().contains("INDEX/COUNT"), "{error}");
        }
    }

    #[test]
    fn what_is_about_no_stock_is_in_the_first_share() {
        for message in [&b""[..], b"S", b"S\x07", b"S\0\0rest"] {
            assert!(Share { index: 0, of: 7 }.takes(message));
            assert!(!Share { index: 1, of: 7 }.takes(message));
        }
    }

    proptest! {
        /// Every message is in exactly one share, the same one for all messages of a stock.
        #[test]
        fn shares_divide_a_feed(of in 1u16..100, locate: u16, one: [u8; 9], other: [u8; 9]) {
            let message = |tail: &[u8]| [b"A", &locate.to_be_bytes()[..], tail].concat();
            let takers = |message: &[u8]| -> Vec<u16> {
                (0..of).filter(|&index| Share { index, of }.takes(message)).collect()
            };
            let found = takers(&message(&one));
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found, takers(&message(&other)));
        }
    }
}
