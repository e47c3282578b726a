//! Whether the API server still answers. A watch that has no news is as silent as one whose
//! cluster is gone, and one that broke begins again by itself for ever: neither tells.

use std::io;
use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, sleep, timeout};

/// How often the API server is asked, and how long it may be silent.
#[derive(Clone, Copy)]
pub(super) struct Rhythm {
    /// The pause after an answer; also the longest that one is waited for.
    pub(super) every: Duration,
    /// The first pause after a question that had no answer; each next one is twice as long.
    pub(super) again: Duration,
    /// How long no question may be answered, until the cluster is given up.
    pub(super) limit: Duration,
}

/// Most runs are over before they ask once. A busy machine's API server may take seconds.
pub(super) const RHYTHM: Rhythm = Rhythm {
    every: Duration::from_secs(5),
    again: Duration::from_millis(250),
    limit: Duration::from_secs(15),
};

/// Waits until the API server has not answered for too long. Returns what came instead.
pub(super) async fn silence(client: &Client, rhythm: Rhythm) -> String {
    let Rhythm {
        every,
        again,
        limit,
    } = rhythm;
    let mut answered = Instant::now();
    let mut pause = every;
    let mut next = again;
    loop {
        sleep(pause).await;
        let trouble = match timeout(every, client.apiserver_version()).await {
            // A refusal is an answer.
            Ok(Ok(_) | Err(kube::Error::Api(_))) => {
                (answered, pause, next) = (Instant::now(), every, again);
                continue;
            }
            Ok(Err(error)) if !is_timeout(&error) => cause(&error),
            _ => format!("it says nothing within {every:?}"),
        };
        if answered.elapsed() >= limit {
            return trouble;
        }
        pause = next.min(every);
        next *= 2;
    }
}

/// Whether the client itself has given up.
fn is_timeout(error: &kube::Error) -> bool {
    let error: &dyn std::error::Error = error;
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// What lies at the bottom of an error.
fn cause(mut error: &dyn std::error::Error) -> String {
    while let Some(deeper) = error.source() {
        error = deeper;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use kube::Config;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    use super::*;

    const QUICK: Rhythm = Rhythm {
        every: Duration::from_millis(50),
        again: Duration::from_millis(5),
        limit: Duration::from_secs(2),
    };
    /// Longer than it takes to give up, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn listen(address: &str) -> (TcpListener, Client, String) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = Config::new(format!("http://{address}").parse().unwrap());
        (listener, Client::try_from(config).unwrap(), address)
    }

    /// Answers each question, and tells how often.
    async fn serve(listener: TcpListener, answered: tokio::sync::watch::Sender<u32>) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answered = answered.clone();
            connections.spawn(answer(stream, answered));
        }
    }

    async fn answer(mut stream: TcpStream, answered: tokio::sync::watch::Sender<u32>) {
        const BODY: &str = r#"{"major":"1","minor":"37","gitVersion":"","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        let mut question = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            question.push(byte);
            if question.ends_with(b"\r\n\r\n") {
                question.clear();
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                answered.send_modify(|count| *count += 1);
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_is_not_given_up() {
        let (listener, client, _) = listen("127.0.0.1:0").await;
        let (sender, mut answered) = tokio::sync::watch::channel(0);
        let server = tokio::spawn(serve(listener, sender));
        // More than twice the limit.
        let enough = answered.wait_for(|count| *count > 100);
        tokio::select! {
            why = silence(&client, QUICK) => panic!("given up: {why}"),
            _ = enough => {}
        }
        server.abort();
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_given_up() {
        let (listener, client, _) = listen("127.0.0.1:0").await;
        let (sender, mut answered) = tokio::sync::watch::channel(0);
        let server = tokio::spawn(serve(listener, sender));
        let gone = async {
            answered.wait_for(|count| *count > 2).await.unwrap();
            server.abort();
            std::future::pending::<()>().await;
        };
        // It refuses at once, however long one may wait for what it says.
        let patient = Rhythm {
            every: Duration::from_millis(500),
            ..QUICK
        };
        let silence = timeout(PATIENCE, silence(&client, patient));
        tokio::select! {
            why = silence => assert!(why.unwrap().contains("refused")),
            () = gone => {}
        }
    }

    #[tokio::test]
    async fn a_server_that_stands_still_is_given_up() {
        let (listener, client, _) = listen("127.0.0.1:0").await;
        let why = timeout(PATIENCE, silence(&client, QUICK)).await.unwrap();
        assert!(why.contains("says nothing"), "{why}");
        drop(listener);
    }

    #[tokio::test]
    async fn a_server_that_comes_back_in_time_is_not_given_up() {
        let (listener, client, address) = listen("127.0.0.1:0").await;
        drop(listener);
        let (sender, mut answered) = tokio::sync::watch::channel(0);
        let back = async {
            // Half of the limit, in which it refuses.
            sleep(QUICK.limit / 2).await;
            let (listener, ..) = listen(&address).await;
            let server = tokio::spawn(serve(listener, sender));
            answered.wait_for(|count| *count > 50).await.unwrap();
            server.abort();
        };
        tokio::select! {
            why = silence(&client, QUICK) => panic!("given up: {why}"),
            () = back => {}
        }
    }
}
