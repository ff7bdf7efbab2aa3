//! Where the next datagram is likely to come.

/// Certainty from which a guess is worth a call into the kernel, and the highest there is.
const WORTH: u8 = 2;
const CERTAIN: u8 = 3;

/// Guesses the endpoint at which a datagram has come, when all that is known is that one has: a saturating counter, as
/// processors predict branches. One surprise does not change the guess; with two endpoints that take turns there is none.
#[derive(Debug, Default)]
pub(super) struct Guess {
    endpoint: u16,
    certainty: u8,
}

impl Guess {
    /// The endpoint to try first, if one is likely enough.
    pub(super) fn endpoint(&self) -> Option<u16> {
        (self.certainty >= WORTH).then_some(self.endpoint)
    }

    /// The first datagram after an idle moment came at `endpoint`.
    pub(super) fn learn(&mut self, endpoint: u16) {
        if endpoint == self.endpoint {
            self.certainty = CERTAIN.min(self.certainty + 1);
        } else if self.certainty > 0 {
            self.certainty -= 1;
        } else {
            *self = Guess { endpoint, certainty: 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(first: &[u16]) -> Option<u16> {
        let mut guess = Guess::default();
        first.iter().for_each(|&endpoint| guess.learn(endpoint));
        guess.endpoint()
    }

    #[test]
    fn what_comes_twice_is_guessed_and_one_surprise_changes_nothing() {
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[7]), None);
        assert_eq!(after(&[7, 7]), Some(7));
        assert_eq!(after(&[7, 7, 7, 1, 7]), Some(7));
        assert_eq!(after(&[7, 7, 7, 1]), Some(7));
        assert_eq!(after(&[7, 7, 7, 1, 1, 1, 1, 1]), Some(1));
    }

    #[test]
    fn endpoints_that_take_turns_are_not_guessed() {
        assert_eq!(after(&[3, 4].repeat(20)), None);
        assert_eq!(after(&[1, 2, 3].repeat(20)), None);
    }
}
