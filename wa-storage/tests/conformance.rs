//! Every backend of this crate against every case of the ports it serves.

use wa_storage::StorageConfig;
use wa_storage::conformance::Subject;

async fn in_memory() -> Subject {
    Subject::open(&StorageConfig::in_memory()).await.expect("a store in memory opens")
}

wa_storage::conformance_tests! { sqlite_memory: in_memory() }
