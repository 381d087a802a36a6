//! What one poll of an HTTP/2 connection writes goes to TLS together. h2 flushes after each DATA frame, and each flush is a record or two and a
//! system call of their own: more than a hundred for a megabyte of a large answer, where 22 do.
//!
//! So a flush is only noted while hyper's connection is polled, and [`Gatherer::drive`] makes up for it when the poll is over: everything that
//! hyper writes it writes in there.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

struct Shared<Io> {
    io: BufWriter<Io>,
    /// A flush is wanted.
    flush: bool,
    /// Why the last one failed: the next call that writes says so.
    failed: Option<io::Error>,
}

/// A connection as hyper sees it.
pub(super) struct Gathering<Io>(Arc<Mutex<Shared<Io>>>);

/// Of the same connection, what flushes it.
pub(super) struct Gatherer<Io>(Arc<Mutex<Shared<Io>>>);

/// Gathers up to `bytes` of what is written to `io`.
pub(super) fn gathering<Io: AsyncWrite>(bytes: usize, io: Io) -> (Gathering<Io>, Gatherer<Io>) {
    let shared = Shared { io: BufWriter::with_capacity(bytes, io), flush: false, failed: None };
    let shared = Arc::new(Mutex::new(shared));
    (Gathering(shared.clone()), Gatherer(shared))
}

impl<Io> Gathering<Io> {
    fn lock(&self) -> MutexGuard<'_, Shared<Io>> {
        self.0.lock().expect("no panic while it is held")
    }
}

impl<Io: AsyncWrite + Unpin> Shared<Io> {
    fn io(&mut self) -> io::Result<Pin<&mut BufWriter<Io>>> {
        self.failed.take().map_or_else(|| Ok(Pin::new(&mut self.io)), Err)
    }
}

impl<Io: AsyncWrite + Unpin> Gatherer<Io> {
    /// Polls `connection`, the only one that writes, and flushes what it wrote.
    pub(super) async fn drive<C: Future>(&self, mut connection: Pin<&mut C>) -> C::Output {
        std::future::poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            self.flush(cx);
            polled
        })
        .await
    }

    fn flush(&self, cx: &mut Context<'_>) {
        let mut shared = self.0.lock().expect("no panic while it is held");
        if !shared.flush {
            return;
        }
        match Pin::new(&mut shared.io).poll_flush(cx) {
            // Woken when the client reads, and polled again.
            Poll::Pending => {}
            Poll::Ready(flushed) => {
                shared.flush = false;
                if let Err(error) = flushed {
                    shared.failed = Some(error);
                    cx.waker().wake_by_ref();
                }
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathering<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Gathering<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().io()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().io()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.lock();
        shared.flush = true;
        Poll::Ready(shared.io().map(drop))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().io()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;

    const ROOM: usize = 64;

    /// Counts how often something is written.
    struct Counting(tokio::io::DuplexStream, Arc<Mutex<Vec<usize>>>);

    impl AsyncWrite for Counting {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let polled = Pin::new(&mut self.0).poll_write(cx, buf);
            if let Poll::Ready(Ok(n)) = polled {
                self.1.lock().unwrap().push(n);
            }
            polled
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn what_one_poll_writes_leaves_together_however_often_it_is_flushed() {
        let ((near, mut far), writes) = (duplex(1 << 10), Arc::default());
        let (mut io, gatherer) = gathering(ROOM, Counting(near, Arc::clone(&writes)));
        let connection = std::pin::pin!(async {
            for _ in 0..3 {
                io.write_all(&[7; 16]).await.unwrap();
                io.flush().await.unwrap();
            }
            pending::<()>().await;
        });
        let read = async {
            let mut read = [0; 48];
            far.read_exact(&mut read).await.unwrap();
            read
        };
        tokio::select! {
            () = gatherer.drive(connection) => unreachable!("it never ends"),
            read = read => assert_eq!(read, [7; 48]),
        }
        assert_eq!(*writes.lock().unwrap(), [48]);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_stops_the_writer_and_gets_everything_later() {
        let (near, mut far) = duplex(ROOM);
        let (mut io, gatherer) = gathering(ROOM, near);
        let written = Arc::new(Mutex::new(0));
        let mut connection = std::pin::pin!(async {
            for _ in 0..10 {
                io.write_all(&[7; ROOM]).await.unwrap();
                io.flush().await.unwrap();
                *written.lock().unwrap() += ROOM;
            }
            io.shutdown().await.unwrap();
        });
        assert!(timeout(Duration::from_millis(50), gatherer.drive(connection.as_mut())).await.is_err());
        assert!(*written.lock().unwrap() <= 3 * ROOM, "more than there is room for");
        let mut read = Vec::new();
        let (_, all) = tokio::join!(gatherer.drive(connection), far.read_to_end(&mut read));
        assert_eq!((all.unwrap(), read), (10 * ROOM, vec![7; 10 * ROOM]));
    }

    #[tokio::test]
    async fn a_flush_that_fails_ends_the_connection() {
        let (near, far) = duplex(ROOM);
        drop(far);
        let (mut io, gatherer) = gathering(ROOM, near);
        let connection = std::pin::pin!(async {
            io.write_all(b"frame").await?;
            io.flush().await?;
            tokio::task::yield_now().await;
            io.flush().await
        });
        let ended = timeout(Duration::from_secs(5), gatherer.drive(connection)).await.expect("told");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
