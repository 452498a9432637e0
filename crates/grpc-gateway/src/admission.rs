//! Takes a request's bytes from the memory budget as they arrive, before anything buffers them.
//!
//! tonic collects a message whole before it decodes it, so this wraps the request body: each HTTP/2 data frame is paid for,
//! then passed on. What is paid grows with bytes received, never with a length that is only claimed. A single call that
//! cannot pay fails at once (RESOURCE_EXHAUSTED); a `ProduceStream` waits a bounded time, which stops the client by flow
//! control. A message that begins and then stands still is given up, or a few silent clients could hold the whole budget.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use broker::{MemoryBudget, MemoryPermit};
use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep, timeout};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::{limits, status::Refusal};

/// What the bytes of a request that were received and not yet taken over by its handler cost. In the request's extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestBytes(Arc<Mutex<Option<MemoryPermit>>>);

impl RequestBytes {
    /// Takes over what was received so far. On a stream that may include the beginning of the next message, which is
    /// then paid for a little too short; at most a flow-control window.
    pub(crate) fn take(&self) -> Option<MemoryPermit> {
        self.0.lock().take()
    }

    fn add(&self, permit: MemoryPermit) {
        let mut held = self.0.lock();
        match &mut *held {
            Some(held) => held.merge(permit),
            None => *held = Some(permit),
        }
    }
}

/// A service whose request bodies are paid for from a budget.
#[derive(Clone, Debug)]
pub(crate) struct Admitted<S> {
    inner: S,
    budget: MemoryBudget,
}

impl<S> Admitted<S> {
    /// Wraps `inner`.
    pub(crate) fn new(inner: S, budget: MemoryBudget) -> Self {
        Self { inner, budget }
    }
}

impl<S: NamedService> NamedService for Admitted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Admitted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let waits = request.uri().path().ends_with("/ProduceStream");
        let received = RequestBytes::default();
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(received.clone());
        let body = AdmittedBody {
            inner: body,
            budget: self.budget.clone(),
            received,
            waits,
            waiting: None,
            framing: Framing::default(),
            stalled: None,
            failed: false,
        };
        self.inner.call(http::Request::from_parts(parts, Body::new(body)))
    }
}

type PermitFuture = Pin<Box<dyn Future<Output = Option<MemoryPermit>> + Send>>;

struct AdmittedBody {
    inner: Body,
    budget: MemoryBudget,
    received: RequestBytes,
    /// Whether a frame that cannot be paid for waits, or fails the request.
    waits: bool,
    /// The frame that waits, and for what.
    waiting: Option<(Bytes, PermitFuture)>,
    framing: Framing,
    /// Armed while a message is incomplete and nothing comes.
    stalled: Option<Pin<Box<Sleep>>>,
    failed: bool,
}

impl AdmittedBody {
    fn fail(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.failed = true;
        Poll::Ready(Some(Err(refusal.into())))
    }

    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.framing.is_within_message() {
            return Poll::Pending;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limits::MESSAGE_STALL_TIMEOUT)));
        stalled.as_mut().poll(context)
    }

    fn wait_for(&self, bytes: usize) -> PermitFuture {
        let budget = self.budget.clone();
        Box::pin(async move { timeout(limits::STREAM_MEMORY_WAIT, budget.acquire(bytes)).await.ok() })
    }
}

impl HttpBody for AdmittedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.failed {
            return Poll::Ready(None);
        }
        if let Some((_, waiting)) = &mut this.waiting {
            let permit = ready!(waiting.as_mut().poll(context));
            let data = this.waiting.take().map(|(data, _)| data).unwrap_or_default();
            let Some(permit) = permit else { return this.fail(Refusal::OutOfMemoryBudget) };
            this.received.add(permit);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let frame = match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.poll_stalled(context));
                return this.fail(Refusal::Stalled(limits::MESSAGE_STALL_TIMEOUT));
            }
        };
        this.stalled = None;
        let data = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            },
            end_or_error => return Poll::Ready(end_or_error),
        };
        if let Err(refusal) = this.framing.advance(&data) {
            return this.fail(refusal);
        }
        if let Some(permit) = this.budget.try_acquire(data.len()) {
            this.received.add(permit);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !this.waits {
            return this.fail(Refusal::OutOfMemoryBudget);
        }
        let permit = this.wait_for(data.len());
        this.waiting = Some((data, permit));
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Follows gRPC's message frames (flag, 4-byte length, message) to know whether one has begun and is not complete.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; 5],
    prefix_bytes: usize,
    message_bytes_left: usize,
}

impl Framing {
    fn is_within_message(&self) -> bool {
        self.prefix_bytes > 0 || self.message_bytes_left > 0
    }

    /// Follows `data`.
    ///
    /// # Errors
    /// `InvalidArgument` if a message claims to be larger than the limit.
    fn advance(&mut self, mut data: &[u8]) -> Result<(), Refusal> {
        while !data.is_empty() {
            if self.message_bytes_left > 0 {
                let passed = self.message_bytes_left.min(data.len());
                self.message_bytes_left -= passed;
                data.advance(passed);
                continue;
            }
            self.prefix[self.prefix_bytes] = data.get_u8();
            self.prefix_bytes += 1;
            if self.prefix_bytes == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length) as usize;
                if length > limits::MESSAGE_BYTES_MAX {
                    return Err(Refusal::InvalidArgument(format!(
                        "the message has {length} bytes, more than {}: send fewer records in a request",
                        limits::MESSAGE_BYTES_MAX
                    )));
                }
                self.prefix_bytes = 0;
                self.message_bytes_left = length;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
