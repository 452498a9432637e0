//! The methods of `ProducerService`: who asks, for what, and how long it took.

use std::time::Duration;

use broker::{Broker, FrontEnd};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait, codegen::BoxStream, metadata::MetadataMap};

use crate::{
    admission::RequestBytes,
    convert,
    organization::organization,
    produce::{Appender, Arrival},
    produce_stream::{Conversation, converse},
    proto::{
        AbortTransactionRequest, AbortTransactionResponse, BeginTransactionRequest, BeginTransactionResponse,
        CommitTransactionRequest, CommitTransactionResponse, HeartbeatRequest, HeartbeatResponse, InitProducerRequest,
        InitProducerResponse, ProduceRequest, ProduceResponse, ProduceStreamResponse,
        producer_service_server::ProducerService,
    },
    status::{Failure, Refusal},
};

/// The service; one per server.
pub(crate) struct Producers {
    broker: Broker,
    appender: Appender,
    shutdown: CancellationToken,
}

impl Producers {
    /// `shutdown` ends streams.
    pub(crate) fn new(broker: Broker, shutdown: CancellationToken) -> Self {
        Self { appender: Appender::new(broker.clone()), broker, shutdown }
    }

    fn count<T>(&self, api: &'static str, started: Instant, answer: &Result<T, Failure>) {
        self.broker.metrics().request(FrontEnd::Grpc, api, started.elapsed().as_secs_f64(), answer.is_err());
    }

    async fn init_producer_id(&self, request: &Request<InitProducerRequest>) -> Result<InitProducerResponse, Failure> {
        let message = request.get_ref();
        organization(&self.broker, request.metadata(), message.organization_id.as_deref())?;
        if message.transactional_id.is_some() {
            return Err(Refusal::Transactions("transactional_id").into());
        }
        let (producer_id, epoch) = self.broker.init_producer_id().await?;
        let epoch = u32::try_from(epoch).expect("epochs handed out are not negative");
        Ok(InitProducerResponse { producer_id: producer_id.to_string(), epoch })
    }

    async fn append(&self, request: Request<ProduceRequest>) -> Result<ProduceResponse, Failure> {
        let arrival = Arrival {
            organization: organization(&self.broker, request.metadata(), None)?,
            received: received(&request).take(),
            deadline: grpc_timeout(request.metadata()),
            memory_wait: Duration::ZERO,
        };
        self.appender.place(arrival, request.into_inner()).await?.answer().await
    }

    async fn is_valid(&self, request: &Request<HeartbeatRequest>) -> Result<HeartbeatResponse, Failure> {
        organization(&self.broker, request.metadata(), None)?;
        let message = request.get_ref();
        if message.transaction_id.is_some() {
            return Err(Refusal::Transactions("transaction_id").into());
        }
        let producer_id = convert::producer_id(&message.producer_id)?;
        let epoch = convert::producer_epoch(message.producer_epoch)?;
        if self.broker.producer_is_valid(producer_id, epoch).await {
            return Ok(HeartbeatResponse { valid: true, error: None });
        }
        let error = "this cluster never gave out that producer id: call InitProducer and start over at sequence 0";
        Ok(HeartbeatResponse { valid: false, error: Some(error.to_owned()) })
    }
}

#[async_trait]
impl ProducerService for Producers {
    type ProduceStreamStream = BoxStream<ProduceStreamResponse>;

    async fn init_producer(
        &self,
        request: Request<InitProducerRequest>,
    ) -> Result<Response<InitProducerResponse>, Status> {
        let started = Instant::now();
        let answer = self.init_producer_id(&request).await;
        self.count("InitProducer", started, &answer);
        Ok(Response::new(answer?))
    }

    async fn produce(&self, request: Request<ProduceRequest>) -> Result<Response<ProduceResponse>, Status> {
        let started = Instant::now();
        let answer = self.append(request).await;
        self.count("Produce", started, &answer);
        Ok(Response::new(answer?))
    }

    async fn produce_stream(
        &self,
        request: Request<Streaming<ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let conversation = Conversation {
            broker: self.broker.clone(),
            appender: self.appender.clone(),
            organization: organization(&self.broker, request.metadata(), None)?,
            received: received(&request),
            requests: request.into_inner(),
            shutdown: self.shutdown.clone(),
        };
        Ok(Response::new(Box::pin(converse(conversation))))
    }

    async fn begin_transaction(
        &self,
        _: Request<BeginTransactionRequest>,
    ) -> Result<Response<BeginTransactionResponse>, Status> {
        Err(Refusal::Transactions("BeginTransaction").into())
    }

    async fn commit_transaction(
        &self,
        _: Request<CommitTransactionRequest>,
    ) -> Result<Response<CommitTransactionResponse>, Status> {
        Err(Refusal::Transactions("CommitTransaction").into())
    }

    async fn abort_transaction(
        &self,
        _: Request<AbortTransactionRequest>,
    ) -> Result<Response<AbortTransactionResponse>, Status> {
        Err(Refusal::Transactions("AbortTransaction").into())
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        let started = Instant::now();
        let answer = self.is_valid(&request).await;
        self.count("Heartbeat", started, &answer);
        Ok(Response::new(answer?))
    }
}

/// What admission took for the request's bytes.
fn received<T>(request: &Request<T>) -> RequestBytes {
    request.extensions().get::<RequestBytes>().cloned().unwrap_or_default()
}

/// The call's deadline as the client's library sends it (at most 8 digits and a unit; gRPC over HTTP/2). A malformed one
/// counts as none, as it does for tonic.
fn grpc_timeout(metadata: &MetadataMap) -> Option<Duration> {
    let value = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let amount = (digits.len() <= 8).then(|| digits.parse::<u32>().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(u64::from(amount) * 3_600)),
        "M" => Some(Duration::from_secs(u64::from(amount) * 60)),
        "S" => Some(Duration::from_secs(amount.into())),
        "m" => Some(Duration::from_millis(amount.into())),
        "u" => Some(Duration::from_micros(amount.into())),
        "n" => Some(Duration::from_nanos(amount.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        let read = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", value.parse().unwrap());
            grpc_timeout(&metadata)
        };
        assert_eq!(read("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("6n"), Some(Duration::from_nanos(6)));
        for malformed in ["", "S", "1", "1x", "-1S", "100000000S"] {
            assert_eq!(read(malformed), None, "{malformed:?}");
        }
    }
}
