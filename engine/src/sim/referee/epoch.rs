//! Who acted as primary in which epoch.

use std::collections::BTreeMap;

/// The epochs that were acted in.
pub(super) struct Epochs {
    /// Number of each node's process.
    lives: Vec<u32>,
    /// The highest that each node acted in.
    highest: Vec<u64>,
    /// Below it each node acknowledges nothing, to anybody, any more.
    floors: Vec<u64>,
    /// Node and process of each.
    primaries: BTreeMap<u64, (usize, u32)>,
}

impl Epochs {
    pub(super) fn new(nodes: usize) -> Epochs {
        Epochs {
            lives: vec![0; nodes],
            highest: vec![0; nodes],
            floors: vec![0; nodes],
            primaries: BTreeMap::new(),
        }
    }

    /// A new process.
    pub(super) fn restart(&mut self, node: usize) {
        self.lives[node] += 1;
    }

    /// `node` acknowledged a primary's stream in `epoch`; 0: none yet.
    pub(super) fn on_acknowledged(&mut self, node: usize, epoch: u64) -> Result<(), String> {
        let floor = &mut self.floors[node];
        if epoch != 0 && epoch < *floor {
            return Err(format!("node {node} acknowledges epoch {epoch}, and was in {floor} before"));
        }
        *floor = (*floor).max(epoch);
        Ok(())
    }

    /// `node` made itself primary of `epoch`: before it asked for that it has promised it.
    pub(super) fn on_elected(&mut self, node: usize, epoch: u64) {
        self.floors[node] = self.floors[node].max(epoch);
    }

    /// `node` acted as the primary of `epoch`.
    pub(super) fn on_primary(&mut self, node: usize, epoch: u64) -> Result<(), String> {
        let highest = &mut self.highest[node];
        if epoch < *highest {
            return Err(format!("node {node} acts in epoch {epoch}, it was in {highest} before"));
        }
        *highest = epoch;
        let me = (node, self.lives[node]);
        match *self.primaries.entry(epoch).or_insert(me) {
            primary if primary == me => Ok(()),
            (other, life) => Err(format!(
                "epoch {epoch} is that of node {other} (process {life}) and of node {node} (process {})",
                me.1
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_belongs_to_one_process_and_none_comes_back() {
        let mut epochs = Epochs::new(2);
        epochs.restart(0);
        assert_eq!(epochs.on_primary(0, 3), Ok(()));
        assert_eq!(epochs.on_primary(0, 3), Ok(()));
        assert!(epochs.on_primary(1, 3).is_err(), "of another node");
        assert!(epochs.on_primary(0, 2).is_err(), "a lower one");
        epochs.restart(0);
        assert!(epochs.on_primary(0, 3).is_err(), "of the process before");
    }

    #[test]
    fn who_acknowledged_or_won_an_epoch_acknowledges_no_lower_one() {
        let mut epochs = Epochs::new(1);
        assert_eq!(epochs.on_acknowledged(0, 2), Ok(()));
        assert_eq!(epochs.on_acknowledged(0, 0), Ok(()), "a hello");
        epochs.on_elected(0, 5);
        assert!(epochs.on_acknowledged(0, 4).is_err());
        assert_eq!(epochs.on_acknowledged(0, 5), Ok(()));
    }
}
