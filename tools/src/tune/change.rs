//! Changing a host, and changing it back.

use std::io;

use serde::Serialize;

use super::check::{Finding, Verdict};
use super::host::Host;
use super::ledger::{Change, Keep, Ledger, boot};
use super::probe::Target;

/// One change to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    pub(crate) knob: String,
    #[serde(skip)]
    pub(crate) target: Target,
    /// What stands there now.
    pub(crate) have: String,
    pub(crate) value: String,
    /// What does it.
    pub(crate) command: String,
    pub(crate) risk: String,
}

/// What `apply` would do about `findings`, in order: everything that differs, and may be changed by who asks or, with
/// `as_root`, by root.
pub(crate) fn plan(findings: &[Finding], as_root: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for finding in findings {
        for place in &finding.places {
            let would = place.verdict == Verdict::Differs || as_root && place.verdict == Verdict::NeedsRoot;
            let (Some(target), Some(have), Some(value)) = (&place.target, &place.have, &place.value) else {
                continue;
            };
            if !would {
                continue;
            }
            steps.push(Step {
                knob: finding.knob.clone(),
                target: target.clone(),
                have: have.clone(),
                command: target.command(value),
                value: value.clone(),
                risk: finding.risk.clone(),
            });
        }
    }
    steps
}

/// What became of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) knob: String,
    pub(crate) place: String,
    pub(crate) outcome: What,
    /// What stands there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) now: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// See [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// It has the value that was asked for.
    Changed,
    /// The kernel made another value of it.
    ChangedOtherwise,
    /// The kernel does not let it be changed; it is as it was.
    Refused,
    /// It has its old value again.
    Restored,
    /// It had its old value already.
    AlreadyBack,
    /// Somebody else has changed it since; it is as they left it.
    LeftAlone,
    /// There is no such place any more.
    Gone,
    /// It could not be put back.
    Failed,
}

/// Does `steps`. All are remembered before the first is done; where remembering fails, nothing more is done.
pub(crate) fn apply(
    steps: &[Step],
    host: &mut impl Host,
    keep: &mut impl Keep,
) -> anyhow::Result<Vec<Outcome>> {
    let boot = boot(host)?;
    // What was changed before the kernel started anew is gone with it.
    let ledger = keep.load()?.filter(|ledger| ledger.boot == boot);
    let mut ledger = ledger.unwrap_or_else(|| Ledger::new(boot));
    // All of it before the first change: one place may change others, as an interface's defaults do.
    let mut before = Vec::new();
    for Step { knob, target, value, .. } in steps {
        let read = target.read(host);
        if let Ok(before) = &read {
            ledger.begin(knob, target, before, value);
        }
        before.push(read);
    }
    keep.save(&ledger)?;
    let mut outcomes = Vec::new();
    for (step, before) in steps.iter().zip(before) {
        outcomes.push(apply_one(step, before, host, keep, &mut ledger)?);
    }
    Ok(outcomes)
}

fn apply_one(
    step: &Step,
    before: io::Result<String>,
    host: &mut impl Host,
    keep: &mut impl Keep,
    ledger: &mut Ledger,
) -> anyhow::Result<Outcome> {
    let Step { knob, target, value, .. } = step;
    let outcome =
        |outcome, now, why| Outcome { knob: knob.clone(), place: target.to_string(), outcome, now, why };
    let before = match before {
        Ok(before) => before,
        Err(error) => return Ok(outcome(What::Refused, None, Some(error.to_string()))),
    };
    let written = target.write(host, value);
    // A place that cannot be read back stays remembered as unfinished.
    let Ok(after) = target.read(host) else {
        return Ok(outcome(What::Failed, None, Some("it cannot be read any more".into())));
    };
    ledger.end(target, after.clone());
    keep.save(ledger)?;
    let what = match &written {
        Err(_) if after == before => What::Refused,
        _ if same(&after, value) => What::Changed,
        _ => What::ChangedOtherwise,
    };
    Ok(outcome(what, Some(after), written.err().map(|error| error.to_string())))
}

/// Puts everything back, the last change first. What somebody else has changed since is left alone, and remembered,
/// unless `force` says otherwise. `None`: there is nothing to undo, because nothing was changed since the kernel started.
pub(crate) fn undo(
    host: &mut impl Host,
    keep: &mut impl Keep,
    force: bool,
) -> anyhow::Result<Option<Vec<Outcome>>> {
    let Some(mut ledger) = keep.load()? else { return Ok(None) };
    let boot = boot(host)?;
    if ledger.boot != boot {
        keep.save(&Ledger::new(boot))?;
        return Ok(None);
    }
    let mut outcomes = Vec::new();
    for change in ledger.changes.clone().into_iter().rev() {
        let outcome = undo_one(&change, host, force);
        if !matches!(outcome.outcome, What::LeftAlone | What::Failed) {
            ledger.forget(&change.target);
            keep.save(&ledger)?;
        }
        outcomes.push(outcome);
    }
    Ok(Some(outcomes))
}

fn undo_one(change: &Change, host: &mut impl Host, force: bool) -> Outcome {
    let Change { knob, target, before, wrote, after } = change;
    let outcome =
        |outcome, now, why| Outcome { knob: knob.clone(), place: target.to_string(), outcome, now, why };
    let now = match target.read(host) {
        Ok(now) => now,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return outcome(What::Gone, None, Some(error.to_string()));
        }
        Err(error) => return outcome(What::Failed, None, Some(error.to_string())),
    };
    if same(&now, before) {
        return outcome(What::AlreadyBack, Some(now), None);
    }
    let is_ours = match after {
        Some(after) => same(&now, after),
        // Cut off in the middle: whatever the kernel made of it is ours.
        None => true,
    };
    if !is_ours && !force {
        let why = format!(
            "it was {before} and made {}; somebody has changed it since",
            after.as_ref().unwrap_or(wrote)
        );
        return outcome(What::LeftAlone, Some(now), Some(why));
    }
    let written = target.write(host, before);
    let now = target.read(host).ok();
    if now.as_ref().is_some_and(|now| same(now, before)) {
        return outcome(What::Restored, now, None);
    }
    let why =
        written.err().map_or_else(|| format!("the kernel did not take {before}"), |error| error.to_string());
    outcome(What::Failed, now, Some(why))
}

/// Whether two values are the same but for the white space between numbers.
fn same(left: &str, right: &str) -> bool {
    left.split_whitespace().eq(right.split_whitespace())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::check::check;
    use super::super::testing::{Kernel, Life, Memory, profile};
    use super::*;

    /// Applies what the profile wants; an error is a death.
    fn apply_all(kernel: &mut Kernel, memory: &mut Memory) -> anyhow::Result<Vec<Outcome>> {
        let (profile, inputs) = profile();
        let steps = plan(&check(&profile, &inputs, kernel), false);
        apply(&steps, kernel, memory)
    }

    fn whats(outcomes: &[Outcome]) -> Vec<What> {
        outcomes.iter().map(|outcome| outcome.outcome).collect()
    }

    #[test]
    fn what_is_applied_fits_and_undone_it_is_as_before() {
        let life = Life::endless();
        let (mut kernel, mut memory) = (Kernel::untuned(&life), Memory::new(&life));
        let before = kernel.state();
        let outcomes = apply_all(&mut kernel, &mut memory).unwrap();
        assert!(outcomes.iter().any(|outcome| outcome.outcome == What::Changed));
        assert!(
            outcomes.iter().any(|outcome| outcome.outcome == What::Refused),
            "an interrupt stays where it is"
        );
        assert!(
            outcomes.iter().any(|outcome| outcome.outcome == What::ChangedOtherwise),
            "too few huge pages"
        );
        let (profile, inputs) = profile();
        let left = plan(&check(&profile, &inputs, &kernel), false);
        assert!(
            left.iter().all(|step| step.knob.starts_with("huge") || step.knob.starts_with("irq")),
            "{left:?}"
        );

        // A second time: the old values stay the old values.
        let first = memory.load().unwrap().unwrap();
        apply_all(&mut kernel, &mut memory).unwrap();
        let befores =
            |ledger: &Ledger| ledger.changes.iter().map(|change| change.before.clone()).collect::<Vec<_>>();
        assert_eq!(befores(&memory.load().unwrap().unwrap()), befores(&first));

        let outcomes = undo(&mut kernel, &mut memory, false).unwrap().unwrap();
        assert!(whats(&outcomes).iter().all(|what| *what == What::Restored), "{outcomes:?}");
        assert_eq!(kernel.state(), before);
        assert_eq!(memory.load().unwrap(), None);
        assert_eq!(undo(&mut kernel, &mut memory, false).unwrap(), None);
    }

    #[test]
    fn what_somebody_else_changed_is_left_alone() {
        const KEY: &str = "/proc/sys/net/core/rmem_max";
        let life = Life::endless();
        let (mut kernel, mut memory) = (Kernel::untuned(&life), Memory::new(&life));
        let before = kernel.state();
        apply_all(&mut kernel, &mut memory).unwrap();
        kernel.write(KEY, "77").unwrap();
        let outcomes = undo(&mut kernel, &mut memory, false).unwrap().unwrap();
        let alone: Vec<_> = outcomes.iter().filter(|outcome| outcome.outcome == What::LeftAlone).collect();
        assert!(
            matches!(alone[..], [Outcome { now: Some(now), why: Some(why), .. }] if now == "77" && why.contains("somebody"))
        );
        assert_eq!(kernel.read_text(KEY).unwrap().trim(), "77");
        // It is remembered, so that it can still be put back.
        let outcomes = undo(&mut kernel, &mut memory, true).unwrap().unwrap();
        assert_eq!(whats(&outcomes), [What::Restored]);
        assert_eq!(kernel.state(), before);
    }

    #[test]
    fn a_new_start_of_the_kernel_undoes_by_itself() {
        let life = Life::endless();
        let (mut kernel, mut memory) = (Kernel::untuned(&life), Memory::new(&life));
        apply_all(&mut kernel, &mut memory).unwrap();
        let mut kernel = Kernel::untuned(&life);
        kernel.start_anew();
        let before = kernel.state();
        assert_eq!(undo(&mut kernel, &mut memory, false).unwrap(), None);
        assert_eq!((kernel.state(), memory.load().unwrap()), (before, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// Whatever the host was, however often and wherever apply and undo were killed: one that is let to its end
        /// brings back exactly what was there.
        #[test]
        fn undo_after_apply_is_nothing(
            seed in any::<u64>(),
            deaths in prop::collection::vec((any::<bool>(), 0_usize..60), 0..5),
        ) {
            let life = Life::endless();
            let (mut kernel, mut memory) = (Kernel::random(seed, &life), Memory::new(&life));
            let before = kernel.state();
            for (is_apply, steps) in deaths {
                life.end_after(steps);
                if is_apply {
                    let _ = apply_all(&mut kernel, &mut memory);
                } else {
                    let _ = undo(&mut kernel, &mut memory, false);
                }
                life.begin_anew();
            }
            let _ = undo(&mut kernel, &mut memory, false).unwrap();
            prop_assert_eq!(kernel.state(), before);
            prop_assert_eq!(memory.load().unwrap(), None);
        }
    }
}
