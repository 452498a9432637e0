//! Opening the database: the checks, the schema, and how to connect from then on.

use uuid::Uuid;

use super::{
    PostgresOptions,
    connect::{self, Connector},
    link::Link,
    migrate::{self, MigrateError},
};

/// Why the database was not opened. Each is one line for a person, without the password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The URL says something we cannot read.
    #[error("{setting} is not a PostgreSQL URL: {reason}")]
    Url {
        /// METADATA_STORE or METADATA_SESSION_STORE.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or not as this user.
    #[error("metadata database {database} cannot be reached: {reason}")]
    Connect {
        /// Host, port and name.
        database: String,
        /// What the driver said.
        reason: String,
    },
    /// A newer version of the agent wrote it.
    #[error(
        "metadata database {database} has schema version {found}, this agent knows up to {known}: use a newer agent"
    )]
    Newer {
        /// Host, port and name.
        database: String,
        /// Version found.
        found: i64,
        /// Greatest version this binary knows.
        known: i64,
    },
    /// The connection that should own its session does not.
    #[error("METADATA_SESSION_STORE: {database} is a pooler; name the database server itself")]
    SessionIsPooled {
        /// Host, port and name.
        database: String,
    },
    /// The two URLs lead to different data.
    #[error("METADATA_SESSION_STORE: {database} is not the database that METADATA_STORE leads to")]
    OtherDatabase {
        /// Host, port and name of the second.
        database: String,
    },
    /// Anything else it objects to.
    #[error("metadata database {database} cannot be used: {reason}")]
    Database {
        /// Host, port and name.
        database: String,
        /// What the server said.
        reason: String,
    },
}

/// How to connect, for transactions and for what owns its session.
pub(super) struct Opened {
    pub(super) transactions: Connector,
    /// `None`: there is only a pooler.
    pub(super) session: Option<Connector>,
}

impl Opened {
    /// Says once what a pooler changes.
    pub(super) fn tell(&self) {
        let database = self.transactions.name();
        match &self.session {
            _ if !self.transactions.is_pooled() => {}
            Some(session) => {
                tracing::info!(
                    database,
                    session = session.name(),
                    "the metadata database is behind a connection pooler"
                );
            }
            None => tracing::warn!(
                database,
                "the metadata database is behind a connection pooler: changes of other agents are found by polling, not by \
                 LISTEN; METADATA_SESSION_STORE may name the server itself"
            ),
        }
    }
}

/// Connects, migrates, and returns how to connect from then on.
pub(super) async fn prepare_database(url: &str, options: &PostgresOptions) -> Result<Opened, PostgresOpenError> {
    let new_cluster_id = options.new_cluster_id;
    let (transactions, mut link) = find("METADATA_STORE", url, new_cluster_id).await?;
    let Some(session_url) = &options.session_url else {
        prepare_schema(&mut link, &transactions, new_cluster_id).await?;
        link.close().await;
        let session = (!transactions.is_pooled()).then(|| transactions.clone());
        return Ok(Opened { transactions, session });
    };
    let (session, mut own) = find("METADATA_SESSION_STORE", session_url, new_cluster_id).await?;
    if session.is_pooled() {
        return Err(PostgresOpenError::SessionIsPooled { database: session.name() });
    }
    let cluster = prepare_schema(&mut own, &session, new_cluster_id).await?;
    own.close().await;
    if migrate::cluster_id(&mut link).await.ok() != Some(cluster) {
        return Err(PostgresOpenError::OtherDatabase { database: session.name() });
    }
    link.close().await;
    Ok(Opened { transactions, session: Some(session) })
}

/// `new_cluster_id`, which no other process has, is the mark too.
async fn find(setting: &'static str, url: &str, new_cluster_id: Uuid) -> Result<(Connector, Link), PostgresOpenError> {
    let attempts = connect::parse(url).map_err(|reason| PostgresOpenError::Url { setting, reason })?;
    let database = attempts.first().map(connect::name).unwrap_or_default();
    let found = Connector::find(&attempts, new_cluster_id).await;
    found.map_err(|error| PostgresOpenError::Connect { database, reason: error.to_string() })
}

/// Brings the schema up to date; the id of the cluster, which is written now if it was not yet.
async fn prepare_schema(
    link: &mut Link,
    connector: &Connector,
    new_cluster_id: Uuid,
) -> Result<Uuid, PostgresOpenError> {
    let database = connector.name();
    migrate::migrate(link, new_cluster_id).await.map_err(|error| match error {
        MigrateError::Newer { found, known } => PostgresOpenError::Newer { database, found, known },
        other => PostgresOpenError::Database { database, reason: other.to_string() },
    })
}
