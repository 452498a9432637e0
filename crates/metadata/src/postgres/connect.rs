//! How to connect: with TLS or without, to a server or to a pooler before it. Found out once, at the start.
//!
//! `sslmode` means what it means in libpq. The driver knows the modes that are one attempt; `allow` and `prefer` are two,
//! and what worked at the start is what later connections use, so that none falls back to less.
//!
//! A pooler shows itself: a connection brings parameters (`options`) that only a server of its own takes. One of them is a
//! mark, read back on every connection. A pooler refuses the parameters, or drops them and with them the mark.

use std::io::{Error, ErrorKind};
use std::str::FromStr;
use std::time::Duration;

use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use uuid::Uuid;

use super::link::{Link, SETTINGS};

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The parameter that nobody but this process sets.
const MARK: &str = "streamhouse.connection";
/// Classes of SQLSTATE by which parameters of a connection are refused: protocol violation, feature not supported.
const PARAMETERS_REFUSED: [&str; 2] = ["08P01", "0A000"];

/// The one way in.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    options: PgConnectOptions,
    /// The mark that the server must know; `None` behind a pooler.
    mark: Option<String>,
}

/// Reads a URL. `Err` says what is wrong with it.
pub(super) fn parse(url: &str) -> Result<Vec<PgConnectOptions>, String> {
    let options = PgConnectOptions::from_str(url).map_err(|error| error.to_string())?;
    let options = options.application_name("streamhouse").disable_statement_logging();
    let has_root = ["sslrootcert=", "ssl-root-cert=", "ssl-ca="].iter().any(|parameter| url.contains(parameter));
    Ok(tls_attempts(options.get_ssl_mode(), has_root).into_iter().map(|mode| options.clone().ssl_mode(mode)).collect())
}

/// The driver's modes to try, in this order. Where a root certificate is named, TLS without a check of the chain would
/// surprise: libpq checks it too.
fn tls_attempts(mode: PgSslMode, has_root: bool) -> Vec<PgSslMode> {
    let encrypted = if has_root { PgSslMode::VerifyCa } else { PgSslMode::Require };
    match mode {
        PgSslMode::Allow => vec![PgSslMode::Disable, encrypted],
        PgSslMode::Prefer => vec![encrypted, PgSslMode::Disable],
        PgSslMode::Require => vec![encrypted],
        mode => vec![mode],
    }
}

/// Host, port and name of a database, for people.
pub(super) fn name(options: &PgConnectOptions) -> String {
    format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or("postgres"))
}

impl Connector {
    /// Tries the ways until one works. `mark` is a value that no other process has.
    ///
    /// # Errors
    /// That of the encrypted attempt, which says more than "no encryption"; unless it is that the server has no TLS.
    pub(super) async fn find(attempts: &[PgConnectOptions], mark: Uuid) -> Result<(Self, Link), sqlx::Error> {
        let mut refusal = sqlx::Error::Tls("no way to connect".into());
        for options in attempts {
            match Self::at(options, mark).await {
                Ok(found) => return Ok(found),
                Err(sqlx::Error::Io(error)) if error.kind() == ErrorKind::TimedOut => return Err(error.into()),
                Err(error) => {
                    let is_encrypted = !matches!(options.get_ssl_mode(), PgSslMode::Disable);
                    let says_more = is_encrypted && !matches!(error, sqlx::Error::Tls(_));
                    if says_more || matches!(refusal, sqlx::Error::Tls(_)) {
                        refusal = error;
                    }
                }
            }
        }
        Err(refusal)
    }

    async fn at(options: &PgConnectOptions, mark: Uuid) -> Result<(Self, Link), sqlx::Error> {
        let own = Self::own(options, mark);
        match own.connect().await {
            Ok(link) => return Ok((own, link)),
            Err(error) if is_pooler(&error) => {}
            Err(error) => return Err(error),
        }
        if options.get_options().is_some() {
            let lost =
                "options= in the URL do not reach the server through a pooler; set them for the role or the database";
            return Err(sqlx::Error::Configuration(lost.into()));
        }
        let pooled = Self { options: options.clone().extra_float_digits(None), mark: None };
        let link = pooled.connect().await?;
        Ok((pooled, link))
    }

    /// To a server itself.
    fn own(options: &PgConnectOptions, mark: Uuid) -> Self {
        let mark = mark.simple().to_string();
        let options = options.clone().options(SETTINGS).options([(MARK, mark.as_str())]);
        Self { options, mark: Some(mark) }
    }

    /// Whether sessions of the server are shared with others.
    pub(super) fn is_pooled(&self) -> bool {
        self.mark.is_none()
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        name(&self.options)
    }

    /// What the driver needs, for a connection that it opens itself.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A new connection, which is what this connector takes it for.
    pub(super) async fn connect(&self) -> Result<Link, sqlx::Error> {
        let connecting = tokio::time::timeout(CONNECT_MAX, self.open());
        connecting.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "no answer in time").into()))
    }

    async fn open(&self) -> Result<Link, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        if let Some(mark) = &self.mark
            && !is_marked(&mut connection, mark).await?
        {
            let _ = connection.close().await;
            return Err(sqlx::Error::Configuration(Box::new(Unmarked)));
        }
        Ok(Link::new(connection, self.is_pooled()))
    }
}

/// The connection's parameters did not reach the server.
#[derive(Debug, thiserror::Error)]
#[error("the settings of the connection did not reach the server; was a pooler put before it?")]
struct Unmarked;

fn is_pooler(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(cause) => cause.is::<Unmarked>(),
        sqlx::Error::Database(refusal) => {
            refusal.code().is_some_and(|code| PARAMETERS_REFUSED.contains(&code.as_ref()))
        }
        _ => false,
    }
}

/// In the simple protocol, which leaves nothing behind should this be a pooler.
async fn is_marked(connection: &mut PgConnection, mark: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT current_setting('streamhouse.connection', TRUE)").fetch_one(connection).await?;
    let found: Option<String> = sqlx::Row::try_get(&row, 0)?;
    Ok(found.as_deref() == Some(mark))
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
