/// A rule of failover, named by what happens without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A member leaves the local set before the swap that takes it out is confirmed.
    LocalShrinkFirst,
    /// A standby accepts datagrams of an epoch below the one it promised.
    StaleEpochAccepted,
    /// A node that the record does not list may take over.
    OutsiderElected,
    /// A node whose journal was lost may take over in its earlier incarnation's name.
    LostJournalEligible,
    /// An acknowledgement of an earlier incarnation counts.
    StaleIncarnationCounted,
    /// A member joins the stored set before commits wait for it.
    GrowAfterSwap,
    /// A change of the set begins while another is outstanding.
    OverlappingChanges,
    /// Messages are published before they are committed.
    PublishBeforeCommit,
    /// A standby compares its tail with the primary's by number alone.
    TruncationByNumber,
    /// A candidate goes on acknowledging the old epoch.
    PromiseAfterSwap,
    /// A primary takes members out of the set until it is below its minimum.
    ShrinkBelowMinimum,
    /// A standby goes on following a primary that hears nobody.
    DeafPrimaryKept,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 12] = [
        Rule::LocalShrinkFirst,
        Rule::StaleEpochAccepted,
        Rule::OutsiderElected,
        Rule::LostJournalEligible,
        Rule::StaleIncarnationCounted,
        Rule::GrowAfterSwap,
        Rule::OverlappingChanges,
        Rule::PublishBeforeCommit,
        Rule::TruncationByNumber,
        Rule::PromiseAfterSwap,
        Rule::ShrinkBelowMinimum,
        Rule::DeafPrimaryKept,
    ];

    /// Short name for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::LocalShrinkFirst => "local shrink before the swap",
            Rule::StaleEpochAccepted => "stale epoch accepted",
            Rule::OutsiderElected => "outsider elected",
            Rule::LostJournalEligible => "lost journal still eligible",
            Rule::StaleIncarnationCounted => "stale incarnation's acknowledgement counted",
            Rule::GrowAfterSwap => "grow after the swap",
            Rule::OverlappingChanges => "overlapping changes",
            Rule::PublishBeforeCommit => "publish before commit",
            Rule::TruncationByNumber => "truncation by number alone",
            Rule::PromiseAfterSwap => "acknowledging goes on after the swap was sent",
            Rule::ShrinkBelowMinimum => "shrink below the minimum",
            Rule::DeafPrimaryKept => "deaf primary kept",
        }
    }
}

/// The rule that is broken on purpose, so that the simulator can show that it would notice. Without the feature `sim`
/// no rule can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    #[cfg(feature = "sim")]
    rule: Option<Rule>,
}

impl Broken {
    /// All rules hold.
    pub const NONE: Broken = Broken {
        #[cfg(feature = "sim")]
        rule: None,
    };

    /// `rule` is broken.
    #[cfg(feature = "sim")]
    pub const fn rule(rule: Rule) -> Broken {
        Broken { rule: Some(rule) }
    }

    /// Whether `rule` is broken.
    #[inline]
    pub fn is(self, rule: Rule) -> bool {
        #[cfg(feature = "sim")]
        return self.rule == Some(rule);
        #[cfg(not(feature = "sim"))]
        {
            let _ = rule;
            false
        }
    }
}
