//! What `--dev` says once it serves: where everything is, and commands to try, ready to be copied.

use std::fmt::Write as _;

use crate::demo::{ALICE, BOB};
use crate::server::Server;

/// The text of the banner.
#[must_use]
pub fn dev_banner(server: &Server) -> String {
    let config = server.config();
    let url = format!("http://{}", server.local_addr());
    // The command line tool looks at the default port by itself.
    let elsewhere = if server.local_addr().port() == 8080 { String::new() } else { format!(" --server {url}") };
    let wa = "cargo run -q -p wa-cli --";
    let (alice, bob) = (ALICE.name, BOB.name);
    let data = std::path::absolute(&config.server.data_dir).unwrap_or_else(|_| config.server.data_dir.clone());
    let mut text = String::from("\nThe chat server runs, in development mode: on this machine only, and login codes are told.\n\n");
    if config.server.web_client {
        let _ = writeln!(text, "  Web client   {url}/");
    }
    let _ = writeln!(text, "  API          {url}/api/v1       WebSocket  ws://{}/ws", server.local_addr());
    let _ = writeln!(text, "  Reference    {url}/docs         OpenAPI    {url}/openapi.json");
    let _ = writeln!(text, "  Health       {url}/ready        Metrics    {url}/metrics");
    let _ = writeln!(text, "  Data         {}", data.display());
    let _ = writeln!(text, "  Demo users   {alice} {}, {bob} {}", ALICE.phone, BOB.phone);
    let _ = writeln!(text, "\nTry it: in a second terminal, and in a third");
    let _ = writeln!(text, "  {wa} chat{elsewhere} --as {alice} {bob}");
    let _ = writeln!(text, "  {wa} chat{elsewhere} --as {bob} {alice}");
    let _ = writeln!(text, "\nOr without the tool:");
    let _ = writeln!(text, "  curl -s {url}/api/v1/auth/request-otp -H 'content-type: application/json' -d '{{\"phone\":\"{}\"}}'", ALICE.phone);
    let _ = writeln!(text, "\nStop it with Ctrl-C and start it again: nothing gets lost.\n");
    text
}
