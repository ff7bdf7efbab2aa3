//! Does what is there fit what is wanted?

use serde::Serialize;

use super::cpus::CpuSet;
use super::host::Host;
use super::inputs::Inputs;
use super::probe::{self, Have, Instance, Target};
use super::profile::{Fit, Knob, Profile, Source};

/// What a knob comes to, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// This host has no such thing.
    NotHere,
    /// It fits.
    Ok,
    /// It cannot be told.
    Unknown,
    /// It differs, and `tune apply` would change it.
    Differs,
    /// It differs, and who asks may not change it.
    NeedsRoot,
    /// It differs, and is not for `tune apply` to change.
    ByHand,
    /// It differs, and changes at the next start of the kernel only.
    NeedsReboot,
}

impl Verdict {
    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Verdict::NotHere => "not here",
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Differs => "differs",
            Verdict::NeedsRoot => "needs root",
            Verdict::ByHand => "by hand",
            Verdict::NeedsReboot => "needs reboot",
        }
    }

    pub(crate) fn is_difference(self) -> bool {
        self > Verdict::Unknown
    }
}

/// A place of a knob, judged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) place: String,
    #[serde(skip)]
    pub(crate) target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) have: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) want: Option<String>,
    /// What would be set.
    #[serde(skip)]
    pub(crate) value: Option<String>,
    pub(crate) verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A knob, judged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) knob: String,
    pub(crate) verdict: Verdict,
    pub(crate) want: String,
    pub(crate) have: String,
    pub(crate) why: String,
    pub(crate) risk: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_hand: Option<String>,
    pub(crate) places: Vec<Place>,
}

impl Finding {
    /// The reasons of its places, each once.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        let mut reasons = Vec::new();
        for reason in self.places.iter().filter_map(|place| place.reason.as_deref()) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }
}

impl Fit {
    /// What stands before the wanted.
    fn words(self) -> &'static str {
        match self {
            Fit::Equal => "",
            Fit::AtLeast => "at least ",
            Fit::AtMost => "at most ",
            Fit::Within | Fit::MaskWithin => "only ",
            Fit::Covers => "also ",
        }
    }
}

/// Judges `host` by `profile`.
pub(crate) fn check(profile: &Profile, inputs: &Inputs, host: &impl Host) -> Vec<Finding> {
    profile.knobs.iter().map(|knob| finding(knob, inputs, host)).collect()
}

fn finding(knob: &Knob, inputs: &Inputs, host: &impl Host) -> Finding {
    let places: Vec<Place> = probe::instances(knob, inputs, host)
        .into_iter()
        .map(|instance| place(knob, instance, host))
        .collect();
    let verdict = places.iter().map(|place| place.verdict).max().unwrap_or(Verdict::NotHere);
    let wanted = |place: &Place| place.want.clone();
    let want = summary(places.iter().filter_map(wanted)).unwrap_or_else(|| knob.want.join(" or "));
    let want = knob.fit.words().to_owned() + &want;
    let have = summary(places.iter().filter_map(|place| place.have.clone())).unwrap_or_else(|| "-".into());
    let by_hand = knob.by_hand.as_ref().map(|text| inputs.fill(text, "").unwrap_or_else(|_| text.clone()));
    Finding {
        knob: knob.name.clone(),
        verdict,
        want,
        have,
        why: knob.why.clone(),
        risk: knob.risk.clone(),
        by_hand,
        places,
    }
}

fn place(knob: &Knob, instance: Instance, host: &impl Host) -> Place {
    let Instance { place, target, have, want } = instance;
    let (have, verdict, reason) = match have {
        Have::NotHere(why) => (None, Verdict::NotHere, Some(why)),
        Have::Unknown(why) => (None, Verdict::Unknown, Some(why)),
        Have::Value(have) => {
            let (verdict, reason) = match fits(knob.fit, &have, &want) {
                Ok(true) => (Verdict::Ok, None),
                Ok(false) => difference(knob, target.as_ref(), host),
                Err(why) => (Verdict::Unknown, Some(why)),
            };
            (Some(have), verdict, reason)
        }
    };
    let value = want.first().cloned();
    let want = value.as_ref().map(|_| want.join(" or "));
    Place { place, target, have, want, value, verdict, reason }
}

fn difference(knob: &Knob, target: Option<&Target>, host: &impl Host) -> (Verdict, Option<String>) {
    if let Source::KernelLine(_) = knob.source {
        return (Verdict::NeedsReboot, None);
    }
    let Some(target) = target.filter(|_| knob.by_hand.is_none()) else { return (Verdict::ByHand, None) };
    match target.may_write(host) {
        Ok(()) => (Verdict::Differs, None),
        Err(error) => (Verdict::NeedsRoot, Some(error.to_string())),
    }
}

/// Each value once, with how often it is there.
fn summary(values: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let text = |(value, count): &(String, usize)| match count {
        1 => value.clone(),
        _ => format!("{value} (x{count})"),
    };
    (!counts.is_empty()).then(|| counts.iter().map(text).collect::<Vec<_>>().join(", "))
}

/// Whether `have` fits one of `wants`.
///
/// # Errors
/// They cannot be compared: why.
pub(crate) fn fits(fit: Fit, have: &str, wants: &[String]) -> Result<bool, String> {
    for want in wants {
        if fits_one(fit, have, want)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn fits_one(fit: Fit, have: &str, want: &str) -> Result<bool, String> {
    let list = |text: &str| text.parse::<CpuSet>();
    // A value may begin with words: isolcpus=managed_irq,domain,2-3.
    let listed = |text: &str| {
        let is_word = |part: &&str| part.starts_with(|c: char| c.is_ascii_alphabetic());
        list(&text.split(',').filter(|part| !is_word(part)).collect::<Vec<_>>().join(","))
    };
    let mask = |text: &str| CpuSet::from_mask(text).ok_or_else(|| format!("{text:?} is no mask of cores"));
    match fit {
        Fit::Equal => Ok(have.split_whitespace().eq(want.split_whitespace())),
        Fit::AtLeast => ordered(have, want, |have, want| have >= want),
        Fit::AtMost => ordered(have, want, |have, want| have <= want),
        Fit::Within => Ok(list(have)?.is_within(&list(want)?)),
        Fit::MaskWithin => Ok(mask(have)?.is_within(&mask(want)?)),
        Fit::Covers => Ok(list(want)?.is_within(&listed(have)?)),
    }
}

fn ordered(have: &str, want: &str, is_right: fn(i128, i128) -> bool) -> Result<bool, String> {
    let numbers = |text: &str| text.split_whitespace().map(number).collect::<Result<Vec<_>, _>>();
    let (have, want) = (numbers(have)?, numbers(want)?);
    if have.len() != want.len() {
        return Err(format!("{} numbers are there, {} are wanted", have.len(), want.len()));
    }
    Ok(have.into_iter().zip(want).all(|(have, want)| is_right(have, want)))
}

fn number(text: &str) -> Result<i128, String> {
    if text == "unlimited" {
        return Ok(i128::MAX);
    }
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(fit: Fit, have: &str, want: &str) -> Option<bool> {
        fits(fit, have, &[want.to_owned()]).ok()
    }

    #[test]
    fn values_fit_as_the_knob_says() {
        assert_eq!(fit(Fit::Equal, "4096\t87380", "4096 87380"), Some(true));
        assert_eq!(fit(Fit::Equal, "10", "1"), Some(false));
        assert_eq!(fit(Fit::AtLeast, "212992", "67108864"), Some(false));
        assert_eq!(fit(Fit::AtLeast, "unlimited", "67108864"), Some(true));
        assert_eq!(fit(Fit::AtLeast, "5 5", "4 6"), Some(false));
        assert_eq!(fit(Fit::AtLeast, "5", "4 6"), None);
        assert_eq!(fit(Fit::AtLeast, "a lot", "4"), None);
        assert_eq!(fit(Fit::AtMost, "10", "10"), Some(true));
        assert_eq!(fit(Fit::Within, "0-1", "0-1,4"), Some(true));
        assert_eq!(fit(Fit::Within, "0-3", "0-1"), Some(false));
        assert_eq!(fit(Fit::MaskWithin, "3", "00000003"), Some(true));
        assert_eq!(fit(Fit::MaskWithin, "ff", "3"), Some(false));
        assert_eq!(fit(Fit::Covers, "managed_irq,domain,2-5", "2-3"), Some(true));
        assert_eq!(fit(Fit::Covers, "absent", "2-3"), Some(false));
        assert!(fits(Fit::Equal, "b", &["a".into(), "b".into()]).unwrap());
    }
}
