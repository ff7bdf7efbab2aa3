//! One hop of Aeron: a publication and a subscription, each on its own thread with its own client and its own C media
//! driver in invoker mode, so that two cores are enough and nobody waits for a third thread. Term buffers are not sparse,
//! so that no page is faulted in while it is measured.

mod loss;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rusteron_media_driver::{
    Aeron, AeronAsyncAddExclusivePublication, AeronAsyncAddSubscription, AeronContext, AeronDriver,
    AeronDriverContext, AeronExclusivePublication, AeronOfferError, AeronSubscription, Handlers,
    bindings::aeron_threading_mode_t,
};
use seqcast::bench::echo::{Addressing, Wire};
use seqcast::ports::free_ports;
use seqcast_engine::agents::publisher::Script;
use seqcast_engine::runtime::{Agent, AgentError};
use seqcast_engine::time::Nanos;

use crate::flow::{Far, Flow, Near};
use crate::hop::{self, Ends};

const STREAM: i32 = 1_001;
/// Both ends see each other within this, or never will.
const CONNECTING: Duration = Duration::from_secs(10);
/// Messages offered, and fragments taken, in one duty cycle at most.
const OFFER_LIMIT: usize = 512;
const POLL_LIMIT: usize = 1_024;
/// The client's own upkeep has its turn once in so many duty cycles: it is not on the data path.
const UPKEEP: u32 = 64;

/// How far the defaults are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tuning {
    /// Not at all.
    Defaults,
    /// For throughput: socket buffers and windows of 2 MiB, as many datagrams in a system call as there can be.
    Load,
    /// For loss: 0.5 ms of NAK backoff, a group of 3, 2 ms of retransmit linger.
    Loss,
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tuning::Defaults => "defaults",
            Tuning::Load => "tuned for load",
            Tuning::Loss => "tuned for loss",
        })
    }
}

/// How it is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Longest datagram (UDP payload).
    pub(crate) mtu: usize,
    pub(crate) tuning: Tuning,
    /// Part of the data that the receiving end loses, and the start of the chances.
    pub(crate) loss: Option<(f64, u64)>,
}

/// A client and its driver. The client ends before its driver does.
struct End {
    client: Aeron,
    driver: AeronDriver,
    cycles: u32,
    /// Removed at the end.
    dir: PathBuf,
}

impl End {
    fn new(settings: Settings, is_lossy: bool) -> anyhow::Result<End> {
        static ENDS: AtomicU64 = AtomicU64::new(0);
        let number = ENDS.fetch_add(1, Ordering::Relaxed);
        let shm = PathBuf::from("/dev/shm");
        let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
        let dir = base.join(format!("seqcast-rivals-aeron-{}-{number}", std::process::id()));
        let name = CString::new(dir.to_str().context("the directory's name is no text")?)?;
        let context = AeronDriverContext::new()?;
        context.set_dir(&name)?;
        context.set_dir_delete_on_start(true)?;
        context.set_dir_delete_on_shutdown(true)?;
        context.set_threading_mode(aeron_threading_mode_t::AERON_THREADING_MODE_INVOKER)?;
        context.set_term_buffer_sparse_file(false)?;
        context.set_mtu_length(settings.mtu)?;
        match settings.tuning {
            Tuning::Defaults => {}
            Tuning::Load => {
                context.set_socket_so_rcvbuf(2 << 20)?;
                context.set_socket_so_sndbuf(2 << 20)?;
                context.set_rcv_initial_window_length(2 << 20)?;
                context.set_network_publication_max_messages_per_send(16)?;
                context.set_sender_io_vector_capacity(16)?;
                context.set_receiver_io_vector_capacity(16)?;
            }
            Tuning::Loss => {
                context.set_nak_multicast_max_backoff_ns(500_000)?;
                context.set_nak_multicast_group_size(3)?;
                context.set_retransmit_unicast_linger_ns(2_000_000)?;
            }
        }
        if is_lossy {
            loss::install(&context)?;
        }
        let driver = AeronDriver::new(&context).context("Aeron's driver")?;
        driver.start(true)?;
        driver.main_do_work()?;
        let client_context = AeronContext::new()?;
        client_context.set_dir(&name)?;
        client_context.set_use_conductor_agent_invoker(true)?;
        let client = Aeron::new(&client_context).context("Aeron's client")?;
        client.start()?;
        Ok(End { client, driver, cycles: 0, dir })
    }

    /// One duty cycle of the driver and, now and then, of the client.
    fn work(&mut self) -> anyhow::Result<usize> {
        let work = self.driver.main_do_work()?;
        self.cycles = self.cycles.wrapping_add(1);
        if self.cycles.is_multiple_of(UPKEEP) {
            self.client.main_do_work()?;
        }
        Ok(work as usize)
    }

    fn publication(&mut self, channel: &Channel) -> anyhow::Result<AeronExclusivePublication> {
        let adding = AeronAsyncAddExclusivePublication::new(&self.client, &channel.0, STREAM)?;
        self.until("no publication", || Ok(adding.poll()?))
    }

    fn subscription(&mut self, channel: &Channel) -> anyhow::Result<AeronSubscription> {
        let adding =
            AeronAsyncAddSubscription::new(&self.client, &channel.0, STREAM, Handlers::NONE, Handlers::NONE)?;
        self.until("no subscription", || Ok(adding.poll()?))
    }

    fn until<T>(
        &mut self,
        what: &str,
        mut is: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + CONNECTING;
        while Instant::now() < deadline {
            self.driver.main_do_work()?;
            self.client.main_do_work()?;
            if let Some(found) = is()? {
                return Ok(found);
            }
        }
        bail!("Aeron: {what} within {} s", CONNECTING.as_secs())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // The driver removes it too, where it ends well.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A channel's URI.
struct Channel(CString);

impl Channel {
    fn multicast(group: SocketAddrV4) -> anyhow::Result<Channel> {
        Ok(Channel(CString::new(format!("aeron:udp?endpoint={group}|interface=127.0.0.1|ttl=1"))?))
    }

    fn unicast() -> anyhow::Result<Channel> {
        let port = free_ports(1)?[0];
        Ok(Channel(CString::new(format!("aeron:udp?endpoint=127.0.0.1:{port}"))?))
    }
}

/// Lets both ends work until all is connected.
fn connect(ends: [&mut End; 2], is_connected: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + CONNECTING;
    let [a, b] = ends;
    while !is_connected() {
        if Instant::now() > deadline {
            bail!("Aeron: the ends do not see each other within {} s", CONNECTING.as_secs());
        }
        for end in [&mut *a, &mut *b] {
            end.driver.main_do_work()?;
            end.client.main_do_work()?;
        }
    }
    Ok(())
}

/// Offers `message`; `false` when there is no room now.
fn offer(publication: &AeronExclusivePublication, message: &[u8]) -> io::Result<bool> {
    match publication.offer(message) {
        Ok(_) => Ok(true),
        Err(AeronOfferError::BackPressured | AeronOfferError::AdminAction) => Ok(false),
        Err(error) => Err(io::Error::other(format!("Aeron does not take a message: {error:?}"))),
    }
}

fn failed(error: impl fmt::Display) -> io::Error {
    io::Error::other(format!("Aeron: {error}"))
}

/// The sending end.
struct Sending {
    near: Near,
    publication: AeronExclusivePublication,
    end: End,
}

impl Agent for Sending {
    fn name(&self) -> &str {
        "publication"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = 0;
        while work < OFFER_LIMIT
            && let Some((_, message)) = self.near.peek(now)
            && offer(&self.publication, message)?
        {
            self.near.advance();
            work += 1;
        }
        Ok(work + self.end.work().map_err(AgentError::failed)?)
    }
}

/// The receiving end.
struct Receiving {
    far: Far,
    subscription: AeronSubscription,
    end: End,
}

impl Agent for Receiving {
    fn name(&self) -> &str {
        "subscription"
    }

    fn do_work(&mut self, _now: Nanos) -> Result<usize, AgentError> {
        let work = self.end.work().map_err(AgentError::failed)?;
        let far = &mut self.far;
        let polled = self.subscription.poll_fn(|message, _| far.on_message(message), POLL_LIMIT);
        Ok(work + polled.map_err(AgentError::failed)? as usize)
    }

    fn on_close(&mut self, _now: Nanos) {
        self.far.close();
    }
}

/// Both ends, for `flow`, connected by multicast.
pub(crate) fn ends(settings: Settings, flow: &Flow) -> anyhow::Result<Ends> {
    let channel = Channel::multicast(hop::groups(1)?[0])?;
    let mut near = End::new(settings, false)?;
    let mut far = End::new(settings, settings.loss.is_some())?;
    let subscription = far.subscription(&channel)?;
    let publication = near.publication(&channel)?;
    connect([&mut near, &mut far], || publication.is_connected() && subscription.is_connected())?;
    if let Some((rate, seed)) = settings.loss {
        loss::begin(rate, seed)?;
    }
    Ok(Ends {
        sending: Box::new(Sending { near: flow.near(), publication, end: near }),
        receiving: Box::new(Receiving { far: flow.far(), subscription, end: far }),
        layout: "each thread has its driver in invoker mode".into(),
        notices: Vec::new(),
        told: Box::new(Vec::new),
    })
}

/// One end of a ping-pong.
pub(crate) struct AeronWire {
    publication: AeronExclusivePublication,
    subscription: AeronSubscription,
    end: End,
}

impl AeronWire {
    /// Both ends, connected.
    pub(crate) fn pair(addressing: Addressing) -> anyhow::Result<[AeronWire; 2]> {
        let [there, back] = match addressing {
            Addressing::Unicast => [Channel::unicast()?, Channel::unicast()?],
            Addressing::Multicast => {
                let groups = hop::groups(2)?;
                [Channel::multicast(groups[0])?, Channel::multicast(groups[1])?]
            }
        };
        let settings = Settings { mtu: 1_408, tuning: Tuning::Defaults, loss: None };
        let (mut a, mut b) = (End::new(settings, false)?, End::new(settings, false)?);
        let (a_in, b_in) = (a.subscription(&back)?, b.subscription(&there)?);
        let (a_out, b_out) = (a.publication(&there)?, b.publication(&back)?);
        connect([&mut a, &mut b], || {
            a_out.is_connected() && b_out.is_connected() && a_in.is_connected() && b_in.is_connected()
        })?;
        Ok([
            AeronWire { publication: a_out, subscription: a_in, end: a },
            AeronWire { publication: b_out, subscription: b_in, end: b },
        ])
    }
}

impl Wire for AeronWire {
    fn send(&mut self, _now: Nanos, bytes: &[u8]) -> io::Result<bool> {
        let is_taken = offer(&self.publication, bytes)?;
        // It leaves now, not in the next duty cycle.
        self.end.work().map_err(failed)?;
        Ok(is_taken)
    }

    fn receive(&mut self, _now: Nanos, mut on: impl FnMut(&[u8])) -> io::Result<()> {
        self.end.work().map_err(failed)?;
        self.subscription.poll_fn(|message, _| on(message), 16).map_err(failed)?;
        Ok(())
    }
}
