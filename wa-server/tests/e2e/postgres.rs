//! The flows of the other modules once more, with servers that keep everything in PostgreSQL.

/// Modules that do not care where things are stored.
const FLOWS: [&str; 10] = ["messages::", "message_life::", "chats::", "groups::", "sync::", "search::", "media::", "push::", "statuses::", "users::"];

#[test]
#[ignore = "needs PostgreSQL"]
fn the_flows_run_on_postgres_too() {
    let server = std::env::var("WA_TEST_POSTGRES").expect("WA_TEST_POSTGRES names a PostgreSQL server: run `make services-up` and do what it says");
    let program = std::env::current_exe().expect("the program of the tests is known");
    let run = std::process::Command::new(program).args(FLOWS).env("WA_E2E_POSTGRES", server).output().expect("it runs again");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && !said.contains("running 0 tests"), "{said}");
}
