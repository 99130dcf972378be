//! The load generator of `wa bench`, for benchmarks that measure something else with the same load.

pub mod load;
