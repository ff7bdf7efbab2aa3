//! Aeron's own loss injector, which its C interface does not export to Rust: two functions of `media/
//! aeron_udp_channel_transport_loss.h`.
//!
//! Its rate is one for the whole process, and is read anew from the environment when the first channel with it is opened:
//! so it is [`begin`] that sets it, once the ends are connected.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_ulong, c_ulonglong};

use anyhow::bail;
use rusteron_media_driver::bindings::aeron_udp_channel_interceptor_bindings_t;
use rusteron_media_driver::{AeronDriverContext, AeronUdpChannelInterceptorBindings};

/// Frames of type data, heartbeats and retransmissions among them.
const DATA: c_ulong = 1 << 1;

#[repr(C)]
struct Params {
    rate: f64,
    recv_msg_type_mask: c_ulong,
    seed: c_ulonglong,
}

unsafe extern "C" {
    fn aeron_udp_channel_interceptor_loss_load(
        next: *mut aeron_udp_channel_interceptor_bindings_t,
    ) -> *mut aeron_udp_channel_interceptor_bindings_t;
    fn aeron_udp_channel_interceptor_loss_configure(params: *const Params) -> c_int;
}

/// Puts the injector before whatever the driver of `context` receives.
pub(super) fn install(context: &AeronDriverContext) -> anyhow::Result<()> {
    // SAFETY: it allocates bindings with nobody behind them; the context frees them with itself.
    let bindings = unsafe { aeron_udp_channel_interceptor_loss_load(std::ptr::null_mut()) };
    if bindings.is_null() {
        bail!("Aeron has no memory for its loss injector");
    }
    context.set_udp_channel_incoming_interceptors(&AeronUdpChannelInterceptorBindings::from(bindings))?;
    Ok(())
}

/// From now on this part of the data is lost.
pub(super) fn begin(rate: f64, seed: u64) -> anyhow::Result<()> {
    let params = Params { rate, recv_msg_type_mask: DATA, seed };
    // SAFETY: it copies the parameters. Its other reader, the driver's thread, is not running yet.
    let result = unsafe { aeron_udp_channel_interceptor_loss_configure(&params) };
    if result < 0 {
        bail!("Aeron refuses a loss of {rate}");
    }
    Ok(())
}
