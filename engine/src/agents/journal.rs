//! The journal's agents: the hot one that appends what the sequencer ordered, and the cold ones that prepare segments
//! and make it durable.

use super::meter::Meter;
use crate::journal::{AppendError, Journal, Preparer, Syncer};
use crate::ring::broadcast::Reader;
use crate::runtime::{Agent, AgentError};
use crate::sync::Watermark;
use crate::time::Nanos;

/// Frames appended in one duty cycle at most; published to readers together.
const LIMIT: usize = 1024;
