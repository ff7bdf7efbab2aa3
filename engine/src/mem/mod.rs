//! Memory: mapped once at start where it can be, and asked for in time.

mod prefetch;
mod region;
mod reserve;

pub use prefetch::prefetch;
pub use region::{Region, RegionError, RegionSpec, RegionView, Shortfall, ViewWord};
pub use reserve::reserve;
