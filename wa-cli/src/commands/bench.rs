//! `wa bench`: puts a running server under load and tells what it did and what that took.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use serde::Serialize;
use url::Url;
use wa_cli::load::{self, Connected, Idle, Offline, Pair, Plan, Storm, Traffic, Usage, User};

use crate::failure::Failure;
use crate::output::Output;

/// Measure a running server: messages between pairs, and on demand idle sockets, connecting, and stored messages.
///
/// The server must tell its codes and have its rate limits off: WA_DEV__ECHO_OTP=true WA_LIMITS__ENABLED=false wa-server
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// How many pairs talk.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pairs: u32,
    /// Messages of one pair on their way at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    window: u32,
    /// How many seconds are measured, after one second to warm up.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    duration: u32,
    /// End after so many messages, if earlier.
    #[arg(long)]
    messages: Option<u64>,
    /// Messages a second of all pairs together; as many as the window allows if absent.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// Open so many idle sockets first, and tell the memory and the rate of connecting.
    #[arg(long, value_name = "SOCKETS", value_parser = clap::value_parser!(u32).range(1..=19_000))]
    idle: Option<u32>,
    /// Open so many sockets first, cut them all at once, and tell how long it takes until all are back.
    #[arg(long, value_name = "SOCKETS", value_parser = clap::value_parser!(u32).range(1..=19_000))]
    storm: Option<u32>,
    /// Store so many messages for the pairs first while their receivers are away, and tell how fast these get them.
    #[arg(long, value_name = "MESSAGES")]
    offline: Option<u32>,
    /// Another node of the same cluster, to which receivers connect.
    #[arg(long, value_name = "URL")]
    receivers: Option<String>,
    /// The server's process on this machine, for CPU and memory; found by itself where possible.
    #[arg(long)]
    pid: Option<u32>,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or_else(|| "must be a number above 0".to_owned())
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    pairs: u32,
    window: u32,
    #[serde(flatten)]
    traffic: Traffic,
    /// CPU seconds of the server for 1,000 delivered messages.
    cpu_seconds_per_1000: Option<f64>,
    idle: Option<Idle>,
    connect: Option<Connected>,
    storm: Option<Storm>,
    offline: Option<Offline>,
}

impl Bench {
    pub(crate) async fn run(self, server: &str, output: Output) -> Result<(), Failure> {
        let target = address(server)?;
        // A thread of its own with a runtime of one thread: the command line's runtime has two.
        let receivers = self.receivers.as_deref().map(address).transpose()?;
        let report = tokio::task::spawn_blocking(move || load::run(self.measure(target, receivers))).await.map_err(|e| Failure::general(e.to_string()))??;
        let Report { traffic, .. } = &report;
        let whole = |number: f64| format!("{number:.0}");
        let latency = |of: &load::Quantiles| format!("p50 {:.2}  p95 {:.2}  p99 {:.2}  max {:.2}", of.p50, of.p95, of.p99, of.max);
        let unknown = || "unknown: name the process with --pid".to_owned();
        let unasked = || "not measured".to_owned();
        output.thing(
            &report,
            [
                ("delivered/s", whole(traffic.delivered_per_second)),
                ("delivered", traffic.delivered.to_string()),
                ("acknowledged, ms", latency(&traffic.acknowledged_ms)),
                ("delivered, ms", latency(&traffic.delivered_ms)),
                ("receipts", traffic.receipts.to_string()),
                ("lost", traffic.lost.to_string()),
                ("duplicated", traffic.duplicated.to_string()),
                ("CPU s / 1,000", report.cpu_seconds_per_1000.map_or_else(unknown, |cpu| format!("{cpu:.4}"))),
                ("bytes / idle socket", report.idle.map_or_else(unasked, |idle| idle.bytes_per_socket.to_string())),
                ("connects/s", report.connect.map_or_else(unasked, |connect| whole(connect.per_second))),
                (
                    "storm, s",
                    report.storm.map_or_else(unasked, |storm| format!("{:.1} (slowest {:.0} ms, refused {})", storm.seconds, storm.slowest_ms, storm.refused)),
                ),
                (
                    "offline/s",
                    report
                        .offline
                        .map_or_else(unasked, |offline| format!("{:.0} (lost {}, duplicated {})", offline.per_second, offline.lost, offline.duplicated)),
                ),
            ],
        )?;
        let offline = report.offline.unwrap_or_default();
        if traffic.lost + traffic.duplicated + offline.lost + offline.duplicated > 0 {
            return Err(Failure::general("messages were lost or came twice"));
        }
        Ok(())
    }

    async fn measure(self, target: SocketAddr, receivers: Option<SocketAddr>) -> io::Result<Report> {
        let pid = self.pid.or_else(|| listening(target));
        let (mut idle, mut connect, mut offline) = (None, None, None);
        if let Some(sockets) = self.idle {
            let pid = pid.ok_or_else(|| io::Error::other("--idle needs --pid of a server on this machine"))?;
            let users = users(target, sockets as usize).await?;
            eprintln!("Opening {sockets} sockets");
            let (connected, found) = load::idle(target, &users, Duration::from_secs(3), || Usage::of(pid).map(|usage| usage.memory)).await?;
            (idle, connect) = (Some(found), Some(connected));
        }
        let mut storm = None;
        if let Some(sockets) = self.storm {
            let users = users(target, sockets as usize).await?;
            storm = Some(load::storm(target, &users, || eprintln!("Cut {sockets} sockets")).await?);
        }
        let pairs = pairs(target, self.pairs as usize).await?;
        if let Some(messages) = self.offline {
            let each = (messages as usize).div_ceil(pairs.len());
            eprintln!("Storing {} messages", each * pairs.len());
            offline = Some(load::offline(target, &pairs, each).await?);
        }
        let plan = Plan {
            window: self.window as usize,
            duration: Duration::from_secs(self.duration.into()),
            warm_up: Duration::from_secs(1),
            messages: self.messages,
            rate: self.rate,
            bare: false,
            receivers,
        };
        let mut cpu = [None; 2];
        let progress = |at: f64, delivered: u64| eprintln!("{at:>4.0} s  {delivered} delivered/s");
        let traffic = load::traffic(target, &pairs, plan, progress, |begins| {
            cpu[usize::from(!begins)] = pid.and_then(|pid| Usage::of(pid).ok()).map(|usage| usage.cpu);
        })
        .await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let thousands = traffic.delivered as f64 / 1000.0;
        let cpu_seconds_per_1000 = cpu[0].zip(cpu[1]).map(|(before, after)| (after - before) / thousands);
        Ok(Report { pairs: self.pairs, window: self.window, traffic, cpu_seconds_per_1000, idle, connect, storm, offline })
    }
}

async fn pairs(target: SocketAddr, count: usize) -> io::Result<Vec<Pair>> {
    eprintln!("Logging in {count} pairs");
    load::pairs(target, 0, count, true, |_| ()).await
}

async fn users(target: SocketAddr, count: usize) -> io::Result<Vec<User>> {
    eprintln!("Logging in {count} users");
    let progress = |done: usize| {
        if done.is_multiple_of(1000) {
            eprintln!("{} logged in", done * 2);
        }
    };
    // Numbers of their own, so that none of them talks.
    let pairs = load::pairs(target, 100_000, count.div_ceil(2), false, progress).await?;
    Ok(pairs.into_iter().flat_map(|pair| [pair.sender, pair.receiver]).take(count).collect())
}

fn address(server: &str) -> Result<SocketAddr, Failure> {
    let url = Url::parse(server).map_err(|e| Failure::usage(format!("{server}: {e}")))?;
    if url.scheme() != "http" {
        return Err(Failure::usage(format!("{server}: the load speaks plain http, name the server behind the TLS proxy")));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Failure::usage(format!("{server} names no host")));
    };
    (host.trim_matches(['[', ']']), port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| Failure::usage(format!("{host} has no address")))
}

/// The process of this machine that listens there, if this user may see that.
fn listening(target: SocketAddr) -> Option<u32> {
    let port = format!(":{:04X}", target.port());
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        // 0A is LISTEN.
        (fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A").then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
    })?;
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let holds = std::fs::read_dir(process.path().join("fd"))
            .ok()?
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == inode.as_str()));
        holds.then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        assert_eq!(listening(address), Some(std::process::id()));
    }

    #[test]
    fn only_plain_http_is_taken() {
        assert_eq!(address("http://127.0.0.1:9").ok(), Some(SocketAddr::from(([127, 0, 0, 1], 9))));
        assert!(address("https://127.0.0.1:9").is_err() && address("nonsense").is_err());
    }
}
