//! Waking at a moment more precisely than tokio's timer, which counts whole milliseconds:
//! a kernel timer (timerfd) among the sockets on Linux, tokio's own elsewhere.

use std::time::{Duration, Instant};

/// Below this no timer is set: the caller yields until the moment has come. Setting one takes as long.
const TOO_SOON: Duration = Duration::from_micros(20);

#[cfg(target_os = "linux")]
pub(crate) use linux::Timer;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use super::{Duration, Instant, TOO_SOON};
    use anyhow::{Context, Result};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io::{self, ErrorKind};
    use tokio::net::unix::pipe;

    pub(crate) struct Timer {
        /// A timer reads like a pipe; tokio has no other type that takes any owned descriptor without unsafe code.
        file: pipe::Receiver,
        armed: Option<Instant>,
    }

    impl Timer {
        /// Must be called within a tokio runtime.
        ///
        /// # Errors
        /// No descriptor is left.
        pub(crate) fn new() -> Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let file =
                timerfd_create(TimerfdClockId::Monotonic, flags).context("no timer from the kernel")?;
            Ok(Self { file: pipe::Receiver::from_owned_fd_unchecked(file)?, armed: None })
        }

        /// Returns at `moment` or soon after; may be dropped and called again.
        pub(crate) async fn until(&mut self, moment: Instant) {
            loop {
                let left = moment.saturating_duration_since(Instant::now());
                if left < TOO_SOON {
                    return tokio::task::yield_now().await;
                }
                if self.expires(moment, left).await.is_err() {
                    return tokio::time::sleep(left).await;
                }
            }
        }

        /// Sets the timer, unless it is already, and returns when it may have expired.
        async fn expires(&mut self, moment: Instant, left: Duration) -> io::Result<()> {
            if self.armed != Some(moment) {
                let value = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
                let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
                timerfd_settime(&self.file, TimerfdTimerFlags::empty(), &once)?;
                self.armed = Some(moment);
            }
            self.file.readable().await?;
            match self.file.try_read(&mut [0; 8]) {
                Ok(_) => self.armed = None,
                // Word of an expiry before the timer was set again.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use super::{Instant, TOO_SOON};

    pub(crate) struct Timer;

    impl Timer {
        #[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
        pub(crate) fn new() -> anyhow::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn until(&mut self, moment: Instant) {
            let left = moment.saturating_duration_since(Instant::now());
            if left < TOO_SOON {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(left).await;
            }
        }
    }
}
