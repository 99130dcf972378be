//! The core stands alone: no runtime, no database, no web framework is in its dependency tree (DESIGN.md, section 1).

use std::collections::BTreeSet;
use std::process::Command;

/// Runtimes, databases, web frameworks, clients of services: whatever does I/O.
const KEPT_OUT: [&str; 22] = [
    "tokio",
    "tokio-util",
    "async-std",
    "smol",
    "mio",
    "sqlx",
    "sqlx-core",
    "sqlx-sqlite",
    "rusqlite",
    "libsqlite3-sys",
    "mongodb",
    "redis",
    "async-nats",
    "axum",
    "hyper",
    "hyper-util",
    "tower",
    "tonic",
    "reqwest",
    "rustls",
    "wa-storage",
    "wa-transport",
];

#[test]
fn the_core_depends_on_no_runtime_no_database_and_no_web_framework() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--package", "wa-core", "--all-features", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("names of crates are text");
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(crates.contains("serde") && crates.contains("jsonwebtoken"), "this is not the tree of wa-core: {crates:?}");
    let found: Vec<&&str> = KEPT_OUT.iter().filter(|name| crates.contains(*name)).collect();
    assert!(found.is_empty(), "wa-core must not depend on {found:?}; `cargo tree -p wa-core -e normal -i <crate>` shows why it does");
}
