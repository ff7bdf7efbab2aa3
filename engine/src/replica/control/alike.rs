//! When two controls will act alike: for whoever explores all that may become of one.

use super::Control;

impl Control {
    /// All that decides what it does next, but for its settings: not what people were told.
    fn decisive(&self) -> impl PartialEq + std::hash::Hash + '_ {
        let Control {
            config,
            state,
            gate,
            roll,
            promised,
            durable,
            seen,
            history,
            known,
            asked,
            read_due,
            change_due,
            wanted,
            told: _,
            actions: _,
            broken: _,
        } = self;
        (
            config.me,
            state,
            gate,
            roll,
            (promised, durable, seen, history, known),
            (asked, read_due, change_due, wanted),
        )
    }
}

/// Two are equal when they will act alike: for whoever explores all that may become of one. Ask between inputs, when all
/// actions are taken.
impl PartialEq for Control {
    fn eq(&self, other: &Control) -> bool {
        self.decisive() == other.decisive()
    }
}

impl Eq for Control {}

impl std::hash::Hash for Control {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.decisive().hash(state);
    }
}
