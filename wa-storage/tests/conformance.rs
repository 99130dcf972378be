//! Every backend of this crate against every case of the ports it serves.

#[cfg(feature = "media")]
#[path = "media/hostile.rs"]
mod hostile;

use std::collections::BTreeSet;
use std::path::Path;

use wa_storage::StorageConfig;
use wa_storage::conformance::Subject;

async fn in_memory() -> Subject {
    Subject::open(&StorageConfig::in_memory()).await.expect("a store in memory opens")
}

async fn in_a_file() -> Subject {
    let folder = tempfile::tempdir().expect("a temporary folder is made").keep();
    // Removed when the file is closed; on a failed case it stays for a look.
    let subject = Subject::open(&StorageConfig::new(format!("sqlite://{}", folder.join("wa.db").display()))).await.expect("a store in a file opens");
    subject.removing(folder)
}

wa_storage::conformance_tests! { sqlite_memory: in_memory() }
wa_storage::conformance_tests! { sqlite_file: in_a_file() }

/// A store in a database of its own on the server that `WA_TEST_POSTGRES` names.
#[cfg(feature = "postgres")]
async fn in_postgres() -> Subject {
    let scratch = wa_storage::conformance::ScratchDatabase::on_test_server().await;
    let config = StorageConfig { postgres_connections: 9, ..StorageConfig::new(scratch.url()) };
    Subject::open(&config).await.expect("a store in PostgreSQL opens").dropping(scratch)
}

#[cfg(feature = "postgres")]
wa_storage::conformance_tests! { postgres: in_postgres(), #[ignore = "needs PostgreSQL"] }

/// A store whose files lie in a fresh bucket of the server that `WA_TEST_S3` names.
#[cfg(feature = "s3")]
async fn in_a_bucket() -> Subject {
    let server = std::env::var("WA_TEST_S3").expect("WA_TEST_S3 names an S3 server: run `make services-up` and do what it says");
    let bucket = format!("whatsapp-media-{}", uuid::Uuid::now_v7().simple());
    let mut config = StorageConfig::in_memory();
    config.media.url = server.replace("whatsapp-media", &bucket);
    Subject::open(&config).await.expect("a store in a bucket opens")
}

/// Stores whose cache is the Redis that `WA_TEST_REDIS` names, under a prefix of their own, and on their own clock.
#[cfg(feature = "redis")]
async fn in_redis() -> Subject {
    let server = std::env::var("WA_TEST_REDIS").expect("WA_TEST_REDIS names a Redis: run `make services-up` and do what it says");
    let cache = format!("{server}?prefix={}:&clock=own", uuid::Uuid::now_v7().simple());
    Subject::open(&StorageConfig { cache, ..StorageConfig::in_memory() }).await.expect("a store on Redis opens")
}

/// Tests of the cases of the ports that Redis serves.
#[cfg(feature = "redis")]
macro_rules! redis_tests {
    (() $($port:ident: [$($case:ident)*])*) => {
        mod redis {
            $(redis_tests! { @ $port $($case)* })*
        }
    };
    (@ otp_store $($case:ident)*) => { redis_tests! { @@ otp_store $($case)* } };
    (@ presence_store $($case:ident)*) => { redis_tests! { @@ presence_store $($case)* } };
    (@ typing_store $($case:ident)*) => { redis_tests! { @@ typing_store $($case)* } };
    (@ rate_limiter $($case:ident)*) => { redis_tests! { @@ rate_limiter $($case)* } };
    (@ $port:ident $($case:ident)*) => {};
    (@@ $port:ident $($case:ident)*) => {
        mod $port {
            $(wa_storage::conformance_test! { [#[ignore = "needs a Redis"]] $port $case super::super::in_redis() })*
        }
    };
}

#[cfg(feature = "redis")]
wa_storage::conformance_cases! { [redis_tests] () }

/// Stores that keep what is known of files in a database of their own of the server that `WA_TEST_MONGO` names.
#[cfg(feature = "mongo")]
async fn in_mongo() -> Subject {
    let server = std::env::var("WA_TEST_MONGO").expect("WA_TEST_MONGO names a MongoDB: run `make services-up` and do what it says");
    let url = server.replace("/?", &format!("/wa_{}?", uuid::Uuid::now_v7().simple()));
    Subject::open(&StorageConfig { messages: Some(url), ..StorageConfig::in_memory() }).await.expect("a store on MongoDB opens")
}

/// Tests of the cases of the one port that MongoDB serves.
#[cfg(feature = "mongo")]
macro_rules! mongo_tests {
    (() $($port:ident: [$($case:ident)*])*) => {
        $(mongo_tests! { @ $port $($case)* })*
    };
    (@ media_store $($case:ident)*) => {
        mod mongo {
            mod media_store {
                $(wa_storage::conformance_test! { [#[ignore = "needs a MongoDB"]] media_store $case super::super::in_mongo() })*
            }
        }
    };
    (@ $port:ident $($case:ident)*) => {};
}

#[cfg(feature = "mongo")]
wa_storage::conformance_cases! { [mongo_tests] () }

/// Tests of the cases of the one port that a bucket serves.
#[cfg(feature = "s3")]
macro_rules! bucket_tests {
    (() $($port:ident: [$($case:ident)*])*) => {
        $(bucket_tests! { @ $port $($case)* })*
    };
    (@ blob_store $($case:ident)*) => {
        mod s3 {
            mod blob_store {
                $(wa_storage::conformance_test! { [#[ignore = "needs an S3 server"]] blob_store $case super::super::in_a_bucket() })*
            }
        }
    };
    (@ $port:ident $($case:ident)*) => {};
}

#[cfg(feature = "s3")]
wa_storage::conformance_cases! { [bucket_tests] () }

macro_rules! case_names {
    (() $($port:ident: [$($case:ident)*])*) => {
        &[$((stringify!($port), &[$(stringify!($case)),*])),*]
    };
}

/// Ports and the names of their cases.
type Cases = &'static [(&'static str, &'static [&'static str])];

const CASES: Cases = wa_storage::conformance_cases! { [case_names] () };
const BUS_CASES: [&str; 5] = [
    "every_subscriber_gets_every_event_in_order",
    "a_subscriber_gets_what_is_published_after_it_subscribed",
    "dropping_the_subscription_ends_it",
    "an_event_is_settled_once_every_subscriber_has_handled_it",
    "what_could_not_be_handled_is_handed_in_again",
];

#[test]
fn every_bullet_of_every_port_has_a_case_of_its_name() {
    let ports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wa-core/src/ports");
    if !ports.is_dir() {
        // A packaged crate comes without its neighbours.
        return;
    }
    let all = CASES.iter().map(|(port, cases)| (*port, cases.to_vec())).chain([("event_bus", BUS_CASES.to_vec())]);
    let cases: BTreeSet<(String, String)> = all.flat_map(|(port, cases)| cases.into_iter().map(move |case| (port.to_owned(), case.to_owned()))).collect();
    let mut bullets = BTreeSet::new();
    for file in std::fs::read_dir(ports).expect("the ports are listed") {
        let path = file.expect("a file is listed").path();
        let port = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&path).expect("a port is read").lines() {
            if let Some(bullet) = line.trim().strip_prefix("/// * `").and_then(|rest| rest.strip_suffix('`')) {
                bullets.insert((port.clone(), bullet.to_owned()));
            }
        }
    }
    assert_eq!(cases.symmetric_difference(&bullets).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "cases without a bullet, or bullets without a case");
}

/// `make conformance` makes it of a run.
#[test]
fn the_table_in_the_docs_has_every_case_and_none_that_failed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let Ok(text) = std::fs::read_to_string(path) else {
        // A packaged crate comes without it.
        return;
    };
    let (mut port, mut listed) = ("", BTreeSet::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            port = name;
        } else if let Some((case, results)) = line.strip_prefix("| `").and_then(|row| row.split_once("` |")) {
            assert!(results.contains('\u{2713}') && results.split('|').all(|cell| matches!(cell.trim(), "" | "\u{2713}")), "{port}: {line}");
            listed.insert((port, case));
        }
    }
    let exist: BTreeSet<(&str, &str)> =
        CASES.iter().flat_map(|(port, cases)| cases.iter().map(move |case| (*port, *case))).chain(BUS_CASES.map(|case| ("event_bus", case))).collect();
    assert_eq!(listed.symmetric_difference(&exist).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "run `make conformance`");
}

/// The suites can fail: run again with a planted defect, the case that guards against it does.
#[cfg(feature = "planted")]
#[test]
fn planted_defects_are_caught() {
    for (defect, case) in [
        ("seq_gap", "sqlite_file::message_store::concurrent_appends_leave_no_gap_and_no_repeat"),
        ("any_membership", "sqlite_file::message_store::an_append_on_an_old_membership_stores_nothing"),
    ] {
        let program = std::env::current_exe().expect("the program of the tests is known");
        let run = std::process::Command::new(program).args([case, "--exact"]).env("WA_PLANTED", defect).output().expect("it runs again");
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(said.contains("running 1 test"), "there is no case {case}");
        assert!(!run.status.success(), "{case} passes in spite of the defect {defect}");
    }
}
