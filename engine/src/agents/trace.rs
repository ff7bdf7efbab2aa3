//! Latency by stage inside one process: the demo and the benches hang one of these on the agents they run.

use std::sync::Arc;

use seqcast_wire::SeqNo;

use crate::runtime::Clock;
use crate::stat::StageStamps;
use crate::time::Nanos;
