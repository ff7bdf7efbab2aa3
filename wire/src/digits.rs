//! Numbers as 20 ASCII digits, the way SoupBinTCP and GLIMPSE write them.

use crate::field::trim_spaces;
use crate::{Error, SeqNo};

/// Bytes of such a field.
pub(crate) const BYTES: usize = 20;

const NAME: &str = "sequence number (20 ASCII digits)";

/// Reads a number padded with spaces on either side, or with zeros on the left.
pub(crate) fn parse(field: &[u8; BYTES]) -> Result<u64, Error> {
    let digits = trim_spaces(field);
    if digits.is_empty() {
        return Err(Error::Field { name: NAME });
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        if !digit.is_ascii_digit() {
            return Err(Error::Field { name: NAME });
        }
        value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0'))).ok_or(Error::SeqNo)
    })
}

/// Reads a sequence number.
pub(crate) fn parse_seq(field: &[u8; BYTES]) -> Result<SeqNo, Error> {
    SeqNo::new(parse(field)?).ok_or(Error::SeqNo)
}

/// The number, padded with spaces on the left.
pub(crate) fn emit(mut value: u64) -> [u8; BYTES] {
    let mut field = [b' '; BYTES];
    for place in field.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_padding_is_read() {
        for field in [
            b"                  42",
            b"42                  ",
            b"00000000000000000042",
            b" 00042              ",
        ] {
            assert_eq!(parse(field), Ok(42));
        }
        assert_eq!(parse(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse(b"                   0"), Ok(0));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(parse(b"18446744073709551616"), Err(Error::SeqNo));
        assert_eq!(parse(b"99999999999999999999"), Err(Error::SeqNo));
        for field in [
            b"                    ",
            b"                 4 2",
            b"                  -1",
            b"                  +1",
            &[0; 20],
        ] {
            assert!(matches!(parse(field), Err(Error::Field { .. })), "{field:?}");
        }
        assert_eq!(parse_seq(b"                   0"), Err(Error::SeqNo));
    }

    #[test]
    fn numbers_are_padded_on_the_left() {
        assert_eq!(&emit(0), b"                   0");
        assert_eq!(&emit(6), b"                   6");
        assert_eq!(&emit(u64::MAX), b"18446744073709551615");
    }
}
