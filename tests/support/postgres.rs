//! A database of a test's own in the PostgreSQL that `scripts/postgres.sh run` has started. Shared, with `#[path]`, by the tests of
//! the library and by those of the program.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Where the server is; its path is replaced by the new database's name.
const VARIABLE: &str = "FRAMEWRIGHT_TEST_POSTGRES";

/// Makes an empty database and gives its URL. Without a server: `None`, and a line that says what was not tested.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the server is")]
pub(crate) async fn create_database() -> Option<String> {
    let Ok(server) = std::env::var(VARIABLE) else {
        println!("SKIPPED: {VARIABLE} is not set; 'scripts/postgres.sh run COMMAND...' starts a PostgreSQL and sets it");
        return None;
    };
    let mut url = url::Url::parse(&server).expect("FRAMEWRIGHT_TEST_POSTGRES is a URL");
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.expect("a database is made");
    connection.close().await.ok();
    url.set_path(&name);
    Some(url.into())
}
