//! The rewind server: answers requests for what is committed, from the journal, in place.

use std::net::SocketAddrV4;

use seqcast_wire::SeqNo;

use super::meter::Meter;
use crate::frame::Kind;
use crate::io::{Bind, Destination, Driver, EndpointId, EndpointSpec};
use crate::journal::JournalReader;
use crate::rewind::{Server, ServerConfig};
use crate::runtime::{Agent, AgentError};
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// Datagrams taken from the driver in one duty cycle at most.
const RECEIVE_LIMIT: usize = 128;
/// Replies sent in one duty cycle at most.
const REPLY_LIMIT: usize = 64;

/// The agent.
pub struct Rewind<D> {
    driver: D,
    endpoint: EndpointId,
    server: Server,
    journal: JournalReader,
    committed: Watermark,
    answered: Watermark,
    over: Flag,
    damaged: u64,
    meter: Meter,
}

impl<D: Driver> Rewind<D> {
    /// Opens its endpoint at `bind`; moves `answered` with every message sent again; finishes when `over` is raised.
    ///
    /// # Errors
    /// What the driver refused, or a setting that cannot work.
    pub fn open(
        mut driver: D,
        bind: SocketAddrV4,
        config: ServerConfig,
        journal: JournalReader,
        (committed, answered): (Watermark, Watermark),
        over: Flag,
        meter: Meter,
    ) -> Result<Rewind<D>, AgentError> {
        let endpoint = driver.open(&EndpointSpec {
            bind: Bind::Local { local: bind, multicast_ttl: 1 },
            receive_buffer_bytes: 1 << 20,
            send_buffer_bytes: 4 << 20,
        })?;
        let server = Server::new(config).map_err(AgentError::failed)?;
        Ok(Rewind { driver, endpoint, server, journal, committed, answered, over, damaged: 0, meter })
    }

    /// Where it takes requests, its port filled in.
    pub fn local_addr(&self) -> SocketAddrV4 {
        self.driver.local_addr(self.endpoint)
    }

    fn reply(&mut self) -> usize {
        let mut sent = 0;
        while sent < REPLY_LIMIT {
            let Some(reply) = self.server.poll_reply() else { break };
            let committed = self.committed.load();
            let Some(mut cursor) = self.journal.cursor_at(reply.first) else { continue };
            let to = [Destination { endpoint: self.endpoint, to: reply.to }];
            let (server, damaged) = (&mut self.server, &mut self.damaged);
            let size = server.max_datagram_bytes();
            let fill = |buffer: &mut [u8]| {
                server.fill_reply(&reply, buffer, |push| {
                    while cursor.seq() < committed {
                        match cursor.peek_frame() {
                            Ok(Some(frame)) if frame.kind() == Kind::Message => {
                                if !push(frame.seq(), frame.payload()) {
                                    return;
                                }
                            }
                            Ok(_) => return,
                            Err(_) => {
                                *damaged += 1;
                                return;
                            }
                        }
                        cursor.advance();
                    }
                })
            };
            if self.driver.transmit(&to, size, fill).is_err() {
                self.server.put_back(reply);
                break;
            }
            sent += 1;
        }
        sent
    }

    fn report(&mut self) {
        self.meter.rewind(self.server.stats());
        self.meter.set("damaged_frames_total", self.damaged);
        self.meter.driver(&self.driver.counters());
    }
}

impl<D: Driver + Send> Agent for Rewind<D> {
    fn name(&self) -> &str {
        "rewind"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let Rewind { driver, server, journal, committed, .. } = self;
        let available = journal.oldest()..committed.load();
        let mut work = driver.poll_rx(now, RECEIVE_LIMIT, |request| {
            server.on_request(now, request.from, request.bytes, available.clone());
        })?;
        server.poll(now, &available);
        work += self.reply();
        self.answered.advance(SeqNo::FIRST.saturating_add(self.server.stats().messages));
        self.driver.flush(now)?;
        if self.meter.is_due(now) {
            self.report();
        }
        if self.over.is_raised() { Err(AgentError::Finished) } else { Ok(work) }
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
    }
}
