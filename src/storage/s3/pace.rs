//! Bodies of requests and answers that flow no faster than a throttle lets them.
//!
//! A request's body is exchanged just before it is sent, after it was signed, for one that books
//! its next piece whenever the connection can take more. An answer's body is not read further
//! before its last piece was booked: the store's own sending comes to a stand when the buffers of
//! the connection are full. What a limit holds back doesn't count as a stalled connection: the
//! time limit of the request is longer by it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::failure::Failure;
use crate::storage::throttle::{Direction, Throttle};

/// The pace of one request.
#[derive(Clone)]
pub(super) struct Pace {
    throttle: Arc<Throttle>,
    held_ns: Arc<AtomicU64>,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pace(held {:?})", self.held())
    }
}

impl Pace {
    /// For a request that moves bytes in this direction; `None` when nothing limits it.
    pub(super) fn of(throttle: Option<&Arc<Throttle>>, direction: Direction) -> Option<Self> {
        let throttle = Arc::clone(throttle.filter(|throttle| throttle.limits(direction))?);
        Some(Self { throttle, held_ns: Arc::default() })
    }

    /// How long its bytes were, or are about to be, held back.
    pub(super) fn held(&self) -> Duration {
        Duration::from_nanos(self.held_ns.load(Ordering::Relaxed))
    }

    /// Whether the request ended because somebody asked to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.throttle.is_cancelled()
    }

    fn book(&self, direction: Direction, wanted: usize) -> (usize, Duration) {
        let booked = self.throttle.book(direction, wanted);
        let nanos = u64::try_from(booked.wait.as_nanos()).unwrap_or(u64::MAX);
        self.held_ns.fetch_add(nanos, Ordering::Relaxed);
        (booked.bytes, booked.wait)
    }

    /// Waits for what has just come in.
    pub(super) async fn came(&self, mut bytes: usize) -> Result<(), Failure> {
        while bytes > 0 {
            let (booked, mut wait) = self.book(Direction::Down, bytes);
            bytes -= booked;
            while !wait.is_zero() {
                if self.is_cancelled() {
                    return Err(Failure::Cancelled);
                }
                let piece = Throttle::piece(wait);
                tokio::time::sleep(piece).await;
                wait -= piece;
            }
        }
        Ok(())
    }

    /// What a paced request does without: the SDK's own idea of a connection that stalls, and
    /// on the way up of an answer that is late.
    pub(super) fn settings(direction: Direction) -> Builder {
        let settings = Builder::new().stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        match direction {
            Direction::Down => settings,
            Direction::Up => settings.timeout_config(
                TimeoutConfig::builder().disable_read_timeout().disable_operation_timeout().build(),
            ),
        }
    }
}

/// Exchanges the body of a request for these bytes, which it holds already, when it is about to
/// be sent.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) bytes: Bytes,
    pub(super) pace: Pace,
}

impl Intercept for Upload {
    fn name(&self) -> &'static str {
        "Upload"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let paced = Paced::new(self.bytes.clone(), self.pace.clone());
        *context.request_mut().body_mut() = SdkBody::from_body_1_x(paced);
        Ok(())
    }
}

/// A body that gives its next piece away when it was booked.
struct Paced {
    /// Not booked yet.
    rest: Bytes,
    /// Booked.
    piece: Bytes,
    /// Still to wait before it may go.
    wait: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    pace: Pace,
}

impl Paced {
    fn new(bytes: Bytes, pace: Pace) -> Self {
        Self { rest: bytes, piece: Bytes::new(), wait: Duration::ZERO, sleep: None, pace }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            if self.pace.is_cancelled() {
                return Poll::Ready(Some(Err(io::Error::other("somebody asked to stop"))));
            }
            if !self.wait.is_zero() {
                let part = Throttle::piece(self.wait);
                self.wait -= part;
                self.sleep = Some(Box::pin(tokio::time::sleep(part)));
            } else if !self.piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.piece)))));
            } else if self.rest.is_empty() {
                return Poll::Ready(None);
            } else {
                let (bytes, wait) = self.pace.book(Direction::Up, self.rest.len());
                self.piece = self.rest.split_to(bytes);
                self.wait = wait;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.piece.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.len() + self.piece.len();
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}
