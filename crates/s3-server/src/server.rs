//! Connections: every request meets its fate before and after the bucket sees it.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::time::{ClockId, clock_gettime};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpRequest, HttpResponse};
use tokio::net::TcpListener;

use crate::bucket::Bucket;
use crate::damage::damaged;
use crate::faults::{Fate, Faults};

/// Largest body that is taken, in bytes.
const BODY_MAX: usize = 256 << 20;

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one bucket.
    pub bucket: String,
    /// Region that signatures must name.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Seed of latencies and faults.
    pub seed: u64,
    /// Latencies and faults at first.
    pub faults: Faults,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bucket: "streamhouse".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "test".to_owned(),
            secret_key: "testtest".to_owned(),
            seed: 0,
            faults: Faults::default(),
        }
    }
}

/// A server; cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    s3: S3Service,
    region: String,
    faults: Mutex<(Faults, StdRng)>,
    requests: Mutex<BTreeMap<String, u64>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Server {
    /// A server with an empty bucket.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut s3 = S3ServiceBuilder::new(Bucket::new(&settings.bucket));
        s3.set_auth(SimpleAuth::from_single(settings.access_key, settings.secret_key));
        Self(Arc::new(Inner {
            s3: s3.build(),
            region: settings.region,
            faults: Mutex::new((settings.faults, StdRng::seed_from_u64(settings.seed))),
            requests: Mutex::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }))
    }

    /// Changes what goes wrong, as [`Faults::change`] says.
    ///
    /// # Errors
    /// As there.
    pub fn change_faults(&self, query: &str) -> anyhow::Result<()> {
        self.0.faults.lock().0.change(query)
    }

    /// Requests of a kind (a method, or LIST) so far, whatever became of them.
    #[must_use]
    pub fn requests(&self, kind: &str) -> u64 {
        self.0.requests.lock().get(kind).copied().unwrap_or(0)
    }

    /// Binds, and serves in the background until the runtime ends. Returns the address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        tokio::spawn(self.clone().accept(listener));
        Ok(bound)
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Without it small answers wait for the other side's delayed acknowledgement.
            let _ = stream.set_nodelay(true);
            let server = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| server.clone().answer(request));
                // An error is a client that went away, or a connection closed on purpose.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    /// `Err` closes the connection without an answer.
    async fn answer(self, request: Request<Incoming>) -> io::Result<HttpResponse> {
        if let Some(control) = request.uri().path().strip_prefix("/-/") {
            return Ok(self.control(control, request.uri().query().unwrap_or_default()));
        }
        let request = whole(request).await?;
        let method = request.method().clone();
        let kind = kind(&request);
        let reads_object = kind == "GET";
        *self.0.requests.lock().entry(kind).or_default() += 1;
        let (wait, fate) = {
            let (faults, rng) = &mut *self.0.faults.lock();
            faults.decide(&method, rng)
        };
        tokio::time::sleep(wait).await;
        match fate {
            Fate::Serve => self.serve(request).await,
            Fate::Unavailable => {
                Ok(error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate."))
            }
            Fate::Denied => Ok(error(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied")),
            Fate::Lost => {
                self.serve(request).await?;
                Err(io::Error::other("the answer is lost"))
            }
            Fate::Stall(stall) => {
                // Spawned: it is applied although the client has gone.
                let stalled = tokio::spawn(async move {
                    tokio::time::sleep(stall).await;
                    self.serve(request).await
                });
                stalled.await.map_err(io::Error::other)?
            }
            Fate::Hang => pending().await,
            Fate::Damaged(damage) if reads_object => {
                *self.0.requests.lock().entry("damaged".to_owned()).or_default() += 1;
                damaged(self.serve(request).await?, damage).await
            }
            Fate::Damaged(_) => self.serve(request).await,
        }
    }

    async fn serve(&self, request: HttpRequest) -> io::Result<HttpResponse> {
        if !is_signed_for(&request, &self.0.region) {
            let message = format!("the region is wrong; expecting '{}'", self.0.region);
            return Ok(error(StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed", &message));
        }
        self.0.bytes_in.fetch_add(content_length(request.headers()), Ordering::Relaxed);
        let answer = self.0.s3.call(request).await.map_err(|error| io::Error::other(format!("{error:?}")))?;
        self.0.bytes_out.fetch_add(content_length(answer.headers()), Ordering::Relaxed);
        Ok(answer)
    }

    fn control(&self, what: &str, query: &str) -> HttpResponse {
        let (status, body) = match what {
            "faults" => match self.change_faults(query) {
                Ok(()) => (StatusCode::OK, String::new()),
                Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")),
            },
            "stats" => (StatusCode::OK, self.stats().to_string()),
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        plain(status, body)
    }

    fn stats(&self) -> serde_json::Value {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_ms = cpu.tv_sec * 1_000 + cpu.tv_nsec / 1_000_000;
        serde_json::json!({
            "requests": &*self.0.requests.lock(),
            "bytes_in": self.0.bytes_in.load(Ordering::Relaxed),
            "bytes_out": self.0.bytes_out.load(Ordering::Relaxed),
            "cpu_ms": cpu_ms,
        })
    }
}

/// The request with its whole body, so that it can be applied after its connection has gone.
async fn whole(request: Request<Incoming>) -> io::Result<HttpRequest> {
    let (head, body) = request.into_parts();
    let mut body = Body::from(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk: Bytes = chunk.map_err(io::Error::other)?;
        if bytes.len() + chunk.len() > BODY_MAX {
            return Err(io::Error::other("body too large"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Request::from_parts(head, Body::from(Bytes::from(bytes))))
}

/// What S3 bills: the method, and LIST for a listing.
fn kind(request: &HttpRequest) -> String {
    let is_list = request.method() == Method::GET && request.uri().query().is_some_and(|q| q.contains("list-type"));
    if is_list { "LIST".to_owned() } else { request.method().to_string() }
}

/// Whether the signature's scope names the region; requests without one are for the signature check to refuse.
fn is_signed_for(request: &HttpRequest, region: &str) -> bool {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    authorization.is_none_or(|scope| !scope.contains("/s3/aws4_request") || scope.contains(&format!("/{region}/s3/")))
}

fn content_length(headers: &hyper::HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn error(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    plain(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"))
}

fn plain(status: StatusCode, body: String) -> HttpResponse {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}
