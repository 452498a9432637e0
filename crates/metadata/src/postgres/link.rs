//! A connection to the database, and what is different about it when a pooler stands between.
//!
//! A pooler in transaction mode (PgBouncer, and what is like it) gives each *transaction* some connection to the server, so
//! nothing may be left behind in a session or be expected there:
//!
//! - statements are not prepared under a name: the name could be another client's, or already there;
//! - every statement is inside a transaction, also a single one: what is parsed and then executed would otherwise be two
//!   visits to the server, and the second might meet another client's unnamed statement;
//! - what each connection says first to a server of its own is said first in every transaction ([`BEGIN_POOLED`]).

use futures::{future::BoxFuture, stream::BoxStream};
use sqlx::{
    Connection, Either, Execute, Executor, PgConnection, Postgres, SqlStr,
    error::BoxDynError,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

/// What holds in every transaction. An ack rests on `synchronous_commit`, whatever a role's default is; a transaction that
/// stands still (its agent is stopped) must not hold its locks for long: a fence waits for them, and is not to wait beyond any
/// sensible `LEASE_DURATION`.
pub(super) const SETTINGS: [(&str, &str); 4] = [
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("statement_timeout", "30s"),
    ("default_transaction_isolation", "read committed"),
];

/// [`SETTINGS`] for one transaction, in one message.
const BEGIN_POOLED: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL synchronous_commit = on;
    SET LOCAL idle_in_transaction_session_timeout = '2s';
    SET LOCAL statement_timeout = '30s'";

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    connection: PgConnection,
    is_pooled: bool,
}

impl Link {
    pub(super) fn new(connection: PgConnection, is_pooled: bool) -> Self {
        Self { connection, is_pooled }
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let begin = if self.is_pooled { BEGIN_POOLED } else { "BEGIN" };
        sqlx::raw_sql(begin).execute(self).await.map(|_| ())
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(self).await.map(|_| ())
    }

    pub(super) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("ROLLBACK").execute(self).await.map(|_| ())
    }

    /// Whether the other end answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }

    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }
}

impl<'c> Executor<'c> for &'c mut Link {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.connection.fetch_many(Unnamed { query, keep_name: !self.is_pooled })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.connection.fetch_optional(Unnamed { query, keep_name: !self.is_pooled })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.connection.prepare_with(sql, parameters)
    }
}

/// A statement that is prepared without a name, unless it may keep it.
struct Unnamed<E> {
    query: E,
    keep_name: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Unnamed<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.keep_name && self.query.persistent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooled_transaction_begins_with_every_setting() {
        for (setting, value) in SETTINGS {
            let said = match setting {
                "default_transaction_isolation" => format!("BEGIN ISOLATION LEVEL {}", value.to_uppercase()),
                _ => format!("SET LOCAL {setting} = "),
            };
            assert!(
                BEGIN_POOLED.contains(&said) && (BEGIN_POOLED.contains(value) || said.contains("ISOLATION")),
                "{said}"
            );
        }
    }
}
