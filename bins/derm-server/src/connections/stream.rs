//! The stream of a connection: notes what is read and written, and ends when it is told to.

use super::{Connection, Connections, Ending};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream that has its place among the connections until it is dropped.
#[derive(Debug)]
pub(crate) struct GuardedStream {
    stream: TcpStream,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl GuardedStream {
    /// `None` where there is no place for it.
    pub(crate) fn new(
        stream: TcpStream,
        peer: IpAddr,
        connections: Arc<Connections>,
    ) -> Option<GuardedStream> {
        let connection = connections.admit(peer)?;
        Some(GuardedStream { stream, connection, connections })
    }

    pub(crate) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }

    /// How it ends, if it does; else its task is woken when it will.
    fn ending(&self, context: &Context<'_>) -> Option<Ending> {
        let mut activity = self.connection.activity();
        if activity.ending.is_none()
            && !activity.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
        {
            activity.waker = Some(context.waker().clone());
        }
        activity.ending
    }

    /// The error of an answer that is cut off. The system drops what it has not sent yet.
    fn aborted(&self, context: &Context<'_>) -> Option<io::Error> {
        if self.ending(context) != Some(Ending::Abort) {
            return None;
        }
        let _ = self.stream.set_zero_linger();
        Some(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.aborted(context) {
            return Poll::Ready(Err(error));
        }
        if self.ending(context).is_some() {
            // As if the client had closed.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.activity().has_read();
        }
        read
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.aborted(context) {
            return Poll::Ready(Err(error));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.connection.activity().has_written();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.connection.activity().has_flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        self.connections.remove(&self.connection);
    }
}
