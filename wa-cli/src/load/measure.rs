//! What is measured: latencies in a histogram of fixed size, and what a process on this machine takes of it.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets for each doubling; a value is off by 3 % at the most.
const STEPS: usize = 32;

/// Counts durations in buckets that grow with them.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; STEPS * 32], count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, duration: Duration) {
        let micros = usize::try_from(duration.as_micros()).unwrap_or(usize::MAX);
        let last = self.buckets.len() - 1;
        self.buckets[bucket(micros).min(last)] += 1;
        self.count += 1;
        self.max = self.max.max(duration);
    }

    fn quantile(&self, share: f64) -> f64 {
        // Counts are far below 2^52.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a count is a count")]
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return millis(Duration::from_micros(upper_end(index) as u64).min(self.max));
            }
        }
        millis(self.max)
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        Quantiles { p50: self.quantile(0.5), p95: self.quantile(0.95), p99: self.quantile(0.99), max: millis(self.max) }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn bucket(value: usize) -> usize {
    let doublings = (value / STEPS).checked_ilog2().map_or(0, |log| log as usize + 1);
    if doublings == 0 { value } else { doublings * STEPS + ((value >> (doublings - 1)) - STEPS) }
}

fn upper_end(bucket: usize) -> usize {
    let doublings = bucket / STEPS;
    if doublings == 0 { bucket } else { ((bucket % STEPS + STEPS + 1) << (doublings - 1)) - 1 }
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half took no longer.
    pub p50: f64,
    /// 95 % took no longer.
    pub p95: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What a process of this machine has taken so far. Linux only.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU seconds, in the kernel and outside of it.
    pub cpu: f64,
    /// Resident memory in bytes.
    pub memory: u64,
}

impl Usage {
    /// Of the process of this id.
    ///
    /// # Errors
    /// If there is no such process, or no `/proc`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        parse(&stat, &status).ok_or_else(|| io::Error::other("/proc is not as expected"))
    }
}

/// Ticks of /proc a second: a constant of the Linux interface.
const TICKS: f64 = 100.0;

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The second field is the name in brackets, which may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    let kilobytes: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Usage { cpu: ticks / TICKS, memory: kilobytes << 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent() {
        let mut histogram = Histogram::default();
        for micros in 1..=100_000 {
            histogram.add(Duration::from_micros(micros));
        }
        let found = histogram.quantiles();
        for (found, expected) in [(found.p50, 50.0), (found.p95, 95.0), (found.p99, 99.0), (found.max, 100.0)] {
            assert!((found - expected).abs() <= expected * 0.033, "{found} instead of {expected}");
        }
    }

    #[test]
    fn buckets_are_in_order_and_hold_their_values() {
        for value in 0..100_000 {
            assert!(bucket(value) <= bucket(value + 1) && upper_end(bucket(value)) >= value, "{value}");
        }
    }

    #[test]
    fn the_use_of_a_process_is_read_from_proc() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 1 1 1";
        let usage = parse(stat, "Name:\tx\nVmRSS:\t     2048 kB\n").expect("it is as the kernel writes it");
        assert!((usage.cpu - 2.0).abs() < f64::EPSILON);
        assert_eq!(usage.memory, 2 << 20);
    }
}
