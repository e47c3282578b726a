//! A connection to a port of a pod, as `kubectl port-forward` makes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::kubelet::runtime::Connection;

/// Connects to a port of a pod, on its `localhost`.
///
/// The cluster tells whether the port accepts only after it has accepted itself: a port that
/// refuses is an error of the first read.
pub(super) async fn open(pods: &Api<Pod>, pod: &str, port: u16) -> io::Result<Connection> {
    let mut forwarder = pods
        .portforward(pod, &[port])
        .await
        .map_err(io::Error::other)?;
    let stream = forwarder.take_stream(port);
    let trouble = forwarder.take_error(port);
    let (Some(stream), Some(trouble)) = (stream, trouble) else {
        return Err(io::Error::other("the cluster forwards no stream"));
    };
    Ok(Box::new(Forwarded {
        stream,
        trouble: Some(trouble.boxed()),
    }))
}

struct Forwarded {
    stream: DuplexStream,
    /// Resolves to what went wrong in the pod, until it has.
    trouble: Option<BoxFuture<'static, Option<String>>>,
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() > before {
            return read;
        }
        // The end of a stream, or none yet, may have a reason.
        if let Some(trouble) = &mut self.trouble
            && let Poll::Ready(told) = trouble.as_mut().poll(context)
        {
            self.trouble = None;
            if let Some(words) = told {
                let kind = if words.contains("refused") {
                    io::ErrorKind::ConnectionRefused
                } else {
                    io::ErrorKind::Other
                };
                return Poll::Ready(Err(io::Error::new(kind, words)));
            }
        }
        read
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
