//! A publisher's process.

use super::{Environment, Host, Node, plan};
use crate::agents::meter::Meter;
use crate::agents::publisher::{Publisher, PublisherPlan, Script};
use crate::agents::trace::Trace;
use crate::config::Config;
use crate::limits::HISTORY_MESSAGE_BYTES;
use crate::runtime::AgentError;
use crate::stat::Counters;

/// The publisher of `[publisher]`, which sends what `script` says. `instance` tells its counters apart from those of
/// another publisher in this process.
///
/// # Errors
/// The section is missing or a setting cannot work; what the driver refused.
pub fn publisher(
    config: &Config,
    script: impl Script + 'static,
    counters: &Counters,
    instance: &str,
    trace: Option<Trace>,
) -> Result<Node, AgentError> {
    publisher_in(&mut Host, config, script, counters, instance, trace)
}

/// As [`publisher()`], in an environment of the caller's choice.
///
/// # Errors
/// As [`publisher()`].
pub fn publisher_in<E: Environment>(
    environment: &mut E,
    config: &Config,
    script: impl Script + 'static,
    counters: &Counters,
    instance: &str,
    trace: Option<Trace>,
) -> Result<Node, AgentError> {
    let section = config.publisher().map_err(AgentError::failed)?;
    let mut node = Node::default();
    let driver = environment.driver("publisher", config, &mut node)?;
    let server = plan::rewind_server(config, section.session, &section.allow, &section.limits);
    let agent = Publisher::open(
        driver,
        script,
        PublisherPlan {
            name: "publisher".into(),
            session: section.session,
            lines: plan::out_lines(config, &section.lines),
            rewind: section.rewind_bind,
            sender: plan::sender(config),
            server,
            history_bytes: section.retain_bytes,
            history_messages: section.retain_bytes / HISTORY_MESSAGE_BYTES,
            window_messages: section.window_messages,
        },
        Meter::new(counters, "publisher", instance),
    )?;
    match trace {
        Some(trace) => node.add_hot("publisher", agent.traced(trace)),
        None => node.add_hot("publisher", agent),
    }
    Ok(node)
}
