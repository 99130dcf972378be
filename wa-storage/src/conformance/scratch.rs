//! A place on a PostgreSQL server for one test alone: a schema, which is made and dropped in a moment where a database takes
//! a second.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

/// A schema that was made for a test. On a failed test it stays for a look.
#[derive(Debug, Clone)]
pub struct ScratchDatabase {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl ScratchDatabase {
    /// Makes one in the database at this URL.
    pub async fn on(url: &str) -> Self {
        let name = format!("wa_{}", uuid::Uuid::now_v7().simple());
        let joined = if url.contains('?') { '&' } else { '?' };
        // Its connections are known by their name.
        let own = format!("{url}{joined}application_name={name}&options[search_path]={name}");
        let scratch = Self { server: url.parse().expect("the URL of a PostgreSQL database"), name, url: own };
        scratch.execute(&format!("CREATE SCHEMA {}", scratch.name)).await;
        scratch
    }

    /// One on the server that `WA_TEST_POSTGRES` names.
    pub async fn on_test_server() -> Self {
        Self::on(&std::env::var("WA_TEST_POSTGRES").expect("WA_TEST_POSTGRES names a PostgreSQL server: run `make services-up` and do what it says")).await
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection to it, as a server does that is shut down.
    pub async fn cut_connections(&self) {
        self.execute(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'", self.name)).await;
    }

    /// Drops it.
    pub async fn drop(&self) {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.name)).await;
    }

    /// Runs a statement there.
    pub async fn execute(&self, sql: &str) {
        let options = self.server.clone().options([("search_path", &self.name), ("synchronous_commit", &"off".to_owned())]);
        let mut connection = options.connect().await.expect("the server is reached");
        connection.execute(AssertSqlSafe(sql.to_owned())).await.expect("the statement runs");
        connection.close().await.expect("the connection closes");
    }
}
