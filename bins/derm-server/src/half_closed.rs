//! Half-closed connections: a client that has closed its side may still read (`nc -N`, some health
//! checkers), or may be gone. TCP does not tell which, until something is sent.
//!
//! While a request is in work, the end of the client's side is kept from the protocol layer, and the
//! bytes that every answer begins with are sent ahead. A client that still reads finds its answer
//! continued; one that is gone resets the connection, and its request is dropped.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The beginning of every answer.
const AHEAD: &[u8] = b"HTTP/1.1 ";
/// Time from one look at a half-closed connection to the next.
const TICK: Duration = Duration::from_millis(200);

/// What a connection's requests and its stream tell each other.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Whether a request has arrived whole and is not answered yet.
    in_work: Cell<bool>,
    half_closed: Cell<bool>,
}

impl Peer {
    /// Says that a request has arrived whole, until what is returned is dropped.
    pub(crate) fn in_work(self: &Rc<Peer>) -> InWork {
        self.in_work.set(true);
        InWork(Rc::clone(self))
    }

    /// Whether the client has closed its side.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.half_closed.get()
    }
}

/// A request that is in work.
#[derive(Debug)]
pub(crate) struct InWork(Rc<Peer>);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.in_work.set(false);
    }
}

/// A stream whose reader's end is told apart from a client that is gone.
pub(crate) struct HalfClosed<T> {
    stream: T,
    peer: Rc<Peer>,
    /// Runs while the client's side is closed and a request is in work.
    tick: Option<Pin<Box<Sleep>>>,
    /// Bytes of the next answer that were sent ahead.
    ahead: usize,
    /// Whether the last write found no room.
    is_blocked: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> HalfClosed<T> {
    pub(crate) fn new(stream: T) -> HalfClosed<T> {
        let peer = Rc::default();
        HalfClosed { stream, peer, tick: None, ahead: 0, is_blocked: false }
    }

    /// The stream itself.
    pub(crate) fn inner(&self) -> &T {
        &self.stream
    }

    pub(crate) fn peer(&self) -> Rc<Peer> {
        Rc::clone(&self.peer)
    }

    /// Called when the client's side was found closed. Ready: that is to be told.
    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.peer.half_closed.replace(true) {
            // A request that came with the end begins now; only then is it known to be in work.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.peer.in_work.get() {
            self.tick = None;
            return Poll::Ready(Ok(()));
        }
        // Once it is sent, writing nothing tells whether the client has reset the connection; reading
        // would find the end of its side again. No part of an earlier answer may be waiting.
        let ahead = if self.ahead == 0 { AHEAD } else { &[] };
        if !self.is_blocked
            && let Poll::Ready(sent) = Pin::new(&mut self.stream).poll_write(context, ahead)
        {
            self.ahead += sent?;
        }
        let tick = self.tick.get_or_insert_with(|| Box::pin(sleep(TICK)));
        while tick.as_mut().poll(context).is_ready() {
            tick.set(sleep(TICK));
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for HalfClosed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_closed(context)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HalfClosed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let ahead = self.ahead.min(bytes.len());
        if ahead == bytes.len() && ahead > 0 {
            self.ahead -= ahead;
            return Poll::Ready(Ok(ahead));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[ahead..]);
        self.is_blocked = written.is_pending();
        let written = ready!(written)?;
        self.ahead -= ahead;
        Poll::Ready(Ok(ahead + written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
