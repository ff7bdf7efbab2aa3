//! The internet check sum (RFC 1071): the complement of a one's complement sum of 16-bit words.

use core::ops::Add;

/// A one's complement sum in the making. Sums of parts add up to that of the whole as long as every part but the last
/// has an even length.
#[derive(Clone, Copy, Debug, Default)]
// In the machine's byte order: swapping the bytes of every word swaps those of the sum, so that once is enough.
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`; an odd last byte counts as if a zero followed.
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        let (quads, rest) = bytes.as_chunks::<4>();
        let mut sum = quads.iter().map(|quad| u64::from(u32::from_ne_bytes(*quad))).sum::<u64>();
        let (words, odd) = rest.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum::<u64>();
        sum += odd.first().map_or(0, |&byte| u64::from(u16::from_ne_bytes([byte, 0])));
        Sum(sum)
    }

    /// The sum of one 16-bit number, as it stands on the wire.
    #[inline]
    pub const fn of_word(word: u16) -> Sum {
        Sum(word.to_be() as u64)
    }

    /// The sum, 16 bits. Over data with their check sum in it this is [`Sum::VALID`].
    #[inline]
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        u16::from_be(sum as u16)
    }

    /// What is written as the check sum of data whose check sum field is zero.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.folded()
    }

    /// What data that hold their right check sum sum up to.
    pub const VALID: u16 = 0xFFFF;
}

impl Add for Sum {
    type Output = Sum;

    #[inline]
    fn add(self, other: Sum) -> Sum {
        Sum(self.0 + other.0)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// As the RFC says it: one word after the other.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_rfcs_example() {
        let sum = Sum::of(&[0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]);
        assert_eq!((sum.folded(), sum.checksum()), (0xDDF2, 0x220D));
        assert_eq!(Sum::of(&[]).folded(), 0);
        assert_eq!(Sum::of_word(0x1234).folded(), 0x1234);
    }

    #[test]
    fn every_length_and_every_even_split_sums_up_alike() {
        let bytes: Vec<u8> = (0..1_600u32).map(|at| (at * at * 31 + 255 * at) as u8).collect();
        for len in 0..bytes.len() {
            let bytes = &bytes[..len];
            assert_eq!(Sum::of(bytes).folded(), by_the_book(bytes), "{len} bytes");
            let (head, tail) = bytes.split_at(len / 3 * 2);
            assert_eq!((Sum::of(head) + Sum::of(tail)).folded(), by_the_book(bytes));
        }
        let ones = [0xFF; 65_535];
        assert_eq!(Sum::of(&ones).folded(), by_the_book(&ones));
    }

    #[test]
    fn data_with_their_check_sum_are_valid_and_a_changed_bit_shows() {
        let mut bytes: Vec<u8> = (0..64).map(|at: u8| at.wrapping_mul(7)).collect();
        bytes[10..12].fill(0);
        let checksum = Sum::of(&bytes).checksum().to_be_bytes();
        bytes[10..12].copy_from_slice(&checksum);
        assert_eq!(Sum::of(&bytes).folded(), Sum::VALID);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Sum::of(&bytes).folded(), Sum::VALID, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
