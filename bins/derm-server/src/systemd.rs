//! systemd: the socket that it hands over, and what it is told. Without systemd, nothing happens.

use sd_notify::NotifyState;
use std::net::TcpListener;

/// The first socket that was handed over (`LISTEN_FDS`), if any.
///
/// # Errors
/// If it is not a TCP socket that listens.
pub(crate) fn listener() -> std::io::Result<Option<TcpListener>> {
    listenfd::ListenFd::from_env().take_tcp_listener(0)
}

/// Says that requests are answered from now on (`Type=notify`), and then that the server lives, as
/// often as the watchdog wants to hear it.
pub(crate) fn notify_ready() {
    notify(&[NotifyState::Ready]);
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    actix_web::rt::spawn(async move {
        let mut tick = tokio::time::interval(limit / 3);
        loop {
            tick.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    });
}

/// Says that the server is about to stop.
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd does not listen");
    }
}
