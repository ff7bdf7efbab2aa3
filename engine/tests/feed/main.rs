//! The receive path, the send path and the rewind server, alone and against one another, in simulated time.

mod golden;
mod hostile;
mod sender;
mod server;
mod support;
mod world;
