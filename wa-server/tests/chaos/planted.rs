//! Defects that are planted on purpose, each with the check that must find it: a check that cannot fail is none. What the
//! crash and power campaigns find stands beside them.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A defect, the check that finds it, and a part of what that check says then.
struct Defect {
    name: &'static str,
    check: &'static str,
    says: &'static str,
}

const fn defect(name: &'static str, check: &'static str, says: &'static str) -> Defect {
    Defect { name, check, says }
}

const SIMULATION: &str = "simulation::random_histories_keep_every_promise";
const ORDER: &str = "order::eight_writers_leave_one_order_for_every_reader";
const REVOCATION: &str = "races::revocations_take_effect_at_once_under_a_race_of_sends";

const DEFECTS: &[Defect] = &[
    defect("seq_gap", ORDER, "a gap or out of order"),
    defect("events_out_of_order", ORDER, "out of order"),
    defect("skip_cut", REVOCATION, "accepted after the session's end"),
    defect("block_ignored", REVOCATION, "after the block"),
    defect("drop_frames", "bounds::readers_that_stop_reading_cost_only_themselves", "a close did not come"),
    defect("reuse_forgiven", "races::reuse_by_a_thief_always_ends_the_session", "success"),
    defect("repeat_punished", "races::honest_refreshes_never_log_out_whatever_answers_are_lost", "UNAUTHORIZED"),
    defect("attempts_lost", "races::a_code_is_compared_five_times_however_many_guess_at_once", "more than five comparisons"),
    defect("failed_commit_acknowledged", "disk::a_disk_that_fails_to_sync_refuses_and_recovers", "the trouble does not show"),
    defect("seq_gap", SIMULATION, "place 8 after 6"),
    defect("key_ignored", SIMULATION, "key"),
    defect("own_unread", SIMULATION, "unread of user"),
    defect("withheld_shown", SIMULATION, "must not see place"),
    defect("withheld_announced", SIMULATION, "a withheld message"),
    defect("block_ignored", SIMULATION, "USER_BLOCKED"),
    defect("hidden_shown", SIMULATION, "must not see place"),
    defect("rev_kept", SIMULATION, "did not converge"),
    defect("receipts_fall", SIMULATION, "a read of user"),
    defect("silent_reads_told", SIMULATION, "read"),
    defect("event_lost", SIMULATION, "did not converge"),
    defect("outbox_skipped", SIMULATION, "did not converge"),
    defect("left_still_told", SIMULATION, "after they left"),
    defect("left_let_in", SIMULATION, "NOT_CHAT_MEMBER"),
    defect("joined_seq_ignored", SIMULATION, "must not see place"),
    defect("role_unchecked", SIMULATION, "NOT_ADMIN"),
    defect("admin_only_ignored", SIMULATION, "FORBIDDEN"),
    defect("star_shared", SIMULATION, "the star"),
    defect("anybody_buries", SIMULATION, "a deletion for everyone"),
    defect("reaction_past_block", SIMULATION, "reaction"),
    defect("sync_cut_short", SIMULATION, "did not converge"),
    defect("stale_search", SIMULATION, "a search for"),
];

/// Runs a check of this program again with a planted defect. It must fail, and say so.
fn must_catch(defect: &Defect) -> Result<(), String> {
    let Defect { name, check, says } = defect;
    // A defect may keep a check from ever ending.
    let mut program = Command::new("timeout");
    program
        .args(["--signal=KILL", "300"])
        .arg(std::env::current_exe().unwrap())
        .args([check, "--exact", "--nocapture", "--test-threads=1"])
        .env("WA_PLANTED", name)
        .env("WA_CAMPAIGN_SEED", "1")
        .env("WA_HISTORIES", "60")
        .env("RUST_BACKTRACE", "0");
    let run = program.output().unwrap();
    let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    if !said.contains("running 1 test") {
        return Err(format!("there is no check {check}:\n{said}"));
    }
    if run.status.code() == Some(128 + 9) {
        return Err(format!("with {name}, {check} does not end:\n{said}"));
    }
    if run.status.success() {
        return Err(format!("{check} passes in spite of the defect {name}"));
    }
    if said.contains(says) { Ok(()) } else { Err(format!("with {name}, {check} failed for another reason than {says:?}:\n{said}")) }
}

#[test]
fn every_planted_defect_is_caught_by_the_check_that_is_named() {
    let next = AtomicUsize::new(0);
    let missed: Vec<String> = std::thread::scope(|scope| {
        let search = || {
            let mine = std::iter::from_fn(|| DEFECTS.get(next.fetch_add(1, Ordering::SeqCst)));
            mine.filter_map(|defect| must_catch(defect).err()).collect::<Vec<_>>()
        };
        let searches = [scope.spawn(search), scope.spawn(search)];
        searches.into_iter().flat_map(|search| search.join().unwrap()).collect()
    });
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}
