//! A primary that takes a new epoch of its own.

use super::{Action, Candidacy, Control, MAX_LEAP, Notice, Stage, State};
use crate::replica::coordinator::Record;
use crate::time::Nanos;

impl Control {
    /// Another node refused this primary: it promised `epoch`. Either somebody took over, or its takeover failed and this
    /// primary needs an epoch that the node may serve.
    pub fn on_refused(&mut self, now: Nanos, epoch: u64) {
        let Some(gate) = &self.gate else { return };
        let is_forged = epoch > self.promised.saturating_add(MAX_LEAP);
        if epoch <= gate.epoch() || is_forged || self.candidacy().is_some() {
            return;
        }
        let Some(known) = self.known else { return };
        if gate.proposal().is_some() {
            self.read_due = self.read_due.min(now);
            return;
        }
        // The swap compares with the version known: if somebody took over it is lost, and the record says to whom.
        self.promised = self.promised.max(epoch) + 1;
        let record = Record { epoch: self.promised, in_sync: *gate.stored(), ..known.record };
        let renewal = Candidacy {
            from: None,
            expected: known.revision,
            record,
            is_given: false,
            stage: Stage::Promising,
        };
        // Should the swap be lost, it is as promised here as anywhere: who leads a lower epoch has to hear of it.
        self.act(Action::StopAcknowledging(self.promised));
        self.act(Action::Promise(self.promised));
        self.tell(Notice::Standing { epoch: self.promised });
        self.state = State::Primary { renewal: Some(renewal) };
    }
}
