//! Memory that is mapped once at start and never grows.

mod region;

pub use region::{Region, RegionError, RegionSpec, RegionView, Shortfall, ViewWord};
