//! The body of an answer while it is sent: what the connection and the memory budget know of it.

use crate::connections::Connection;
use crate::permits::AnswerPermit;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes that are handed to the connection at once; it takes the next when these are sent.
const CHUNK: usize = 16 << 10;

/// A body whose memory stays reserved until the client has taken it.
#[derive(Debug)]
pub(crate) struct HeldBody {
    rest: Bytes,
    _permit: AnswerPermit,
}

impl HeldBody {
    pub(crate) fn new(bytes: Vec<u8>, permit: AnswerPermit) -> HeldBody {
        HeldBody { rest: bytes.into(), _permit: permit }
    }
}

impl MessageBody for HeldBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(CHUNK);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

/// Any body; tells its connection when the last of it is in the connection's buffer.
pub(crate) struct TrackedBody {
    body: BoxBody,
    connection: Arc<Connection>,
}

impl TrackedBody {
    pub(crate) fn new(body: BoxBody, connection: Arc<Connection>) -> TrackedBody {
        let bytes = if let BodySize::Sized(bytes) = body.size() { bytes } else { 0 };
        connection.answer(bytes);
        TrackedBody { body, connection }
    }
}

impl MessageBody for TrackedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.connection.last_bytes();
    }
}
