//! Every bound of the engine, in one place.
//!
//! A bound that a user may want to move is a default in [`crate::config`]; what stands here is what the memory
//! layout and the state machines are built for.

/// Largest UDP payload over IPv4, and so the largest datagram a driver carries.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;
/// UDP payload that fits an Ethernet frame of 1,500 bytes: the default size to pack datagrams to.
pub const ETHERNET_PAYLOAD_BYTES: usize = 1_472;
/// Longest message that a feed carries: what fits the largest datagram beside the headers of MoldUDP64.
pub const MAX_MESSAGE_BYTES: usize = MAX_DATAGRAM_BYTES - 22;
/// Redundant lines of one feed.
pub const MAX_LINES: usize = 8;
/// Sources that one sequencer orders.
pub const MAX_SOURCES: usize = 64;
/// Rewind servers that one feed is told of.
pub const MAX_REWIND_SERVERS: usize = 8;
/// Endpoints of one driver.
pub const MAX_ENDPOINTS: usize = 256;
/// Stock locates of a feed.
pub const MAX_LOCATES: usize = 1 << 16;
/// Price levels on one side of one book. Bounds what inserting one may move: 512 KiB. Real books reach about 3,000.
pub const MAX_LEVELS_PER_SIDE: usize = 1 << 16;
/// Nodes of one in-sync set.
pub const MAX_NODES: usize = 8;
/// Readers of one broadcast ring that its writer waits for.
pub const MAX_RING_READERS: usize = 64;
/// Longest message of a broadcast ring: a frame around the longest message of a feed fits with room to spare.
pub const MAX_RING_MESSAGE_BYTES: usize = 128 << 10;
/// Bytes of messages for which a publisher's history has a place to remember one: most market-data messages are longer.
pub const HISTORY_MESSAGE_BYTES: usize = 16;
/// Smallest ring between agents: room for some of the longest messages.
pub const MIN_RING_BYTES: usize = 1 << 20;
/// Smallest segment of a journal: room for some of the longest frames.
pub const MIN_SEGMENT_BYTES: u64 = 1 << 20;

const _: () = assert!(MAX_MESSAGE_BYTES <= u16::MAX as usize, "a MoldUDP64 block has a 16-bit length");
const _: () = assert!(MAX_SOURCES <= u16::MAX as usize, "a frame has a 16-bit source");
const _: () = assert!(MAX_ENDPOINTS <= u16::MAX as usize, "an endpoint's number has 16 bits");
