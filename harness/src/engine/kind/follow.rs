//! The log of one start of a container, from its first line to its last, each line once.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::byte_string::ByteString;

/// A longer line is passed on in pieces, in bytes.
const LONGEST_LINE: usize = 16 << 20;
/// The first pause before a log is asked for again; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the status may take to tell that a container has ended, after its log has. Asked for
/// sooner, the log may be that of the next start already.
const STATUS: Duration = Duration::from_secs(60);
/// The kubelet looks each second whether a container whose log it streams still runs. It is given
/// some more time to say that the log ends.
const END_OF_STREAM: Duration = Duration::from_secs(5);
/// How often the rest of a log is asked for before it is given up.
const ATTEMPTS: u32 = 6;

/// What is known of the container's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has not ended, as far as the status tells.
    Unknown,
    /// It has ended and will not be started again: what the cluster calls its log is this one.
    Last,
    /// It has ended and may have been started again meanwhile.
    MayStartAgain,
    /// It has ended, and the next one has been seen: this is the log of the previous one.
    Previous,
}

impl End {
    pub(super) fn has_come(self) -> bool {
        self != Self::Unknown
    }
}

/// Whose log is followed, and where its lines go.
pub(super) struct Follower<S> {
    pub(super) pods: Api<Pod>,
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) end: watch::Receiver<End>,
    pub(super) send: S,
    pub(super) passed: Passed,
}

/// How many lines of each second have been passed on.
///
/// A log that is asked for again comes from a second on, in the order of its file. So the lines
/// that are known come first, and their number tells them: times would not, since they are not
/// unique, and those of standard output and standard error can cross.
#[derive(Debug, Default)]
pub(super) struct Passed(BTreeMap<i64, usize>);

impl Passed {
    fn add(&mut self, time: Timestamp) {
        *self.0.entry(time.as_second()).or_default() += 1;
    }

    fn lines(&self) -> usize {
        self.0.values().sum()
    }

    /// The second from which on to ask again, and what of what comes is known. One second earlier
    /// than the last line: another may still come that was printed before it.
    fn again(&self) -> (Option<Timestamp>, Known) {
        let Some((last, _)) = self.0.last_key_value() else {
            return (None, Known::default());
        };
        let since = last - 1;
        let known = Known {
            lines: self.0.range(since..).map(|(_, lines)| lines).sum(),
            last: *last,
        };
        (Timestamp::from_second(since).ok(), known)
    }
}

/// The lines at the beginning of a log that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    lines: usize,
    /// The second of the last of them.
    last: i64,
}

/// How a stream was left.
enum Left {
    /// The kubelet has ended it: the container has ended.
    Ended,
    /// All of the log has been read elsewhere.
    Read,
    /// It broke, or did not end in time.
    Broken(String),
}

impl<S, F> Follower<S>
where
    S: FnMut(ByteString) -> F,
    F: Future<Output = ()>,
{
    /// Passes on every line until the container has ended. Returns what may be missing.
    pub(super) async fn follow(mut self) -> Option<String> {
        let mut pause = PAUSE;
        let mut trouble = String::new();
        // The kubelet has ended the stream itself, whatever the status tells.
        let mut ended = false;
        loop {
            if self.end.borrow_and_update().has_come() {
                let missing = self.rest(trouble).await;
                // A status can come so late that the pod is gone by then; the log was whole.
                return missing.filter(|_| !ended);
            }
            let lines = self.passed.lines();
            if let Ok(reader) = self.open(true, false).await {
                match self.stream(reader).await {
                    Left::Read => return None,
                    Left::Ended => {
                        let end = *self.end.borrow();
                        if end.has_come() && end != End::Last {
                            // What the cluster calls its log now may be that of the next one.
                            return None;
                        }
                        ended = true;
                        pause = pause.max(STATUS);
                    }
                    Left::Broken(why) => {
                        // Asked again after its end, the kubelet may no longer have the log.
                        ended &= self.passed.lines() == lines;
                        trouble = why;
                    }
                }
            }
            // Either the status will tell next that the container has ended, or the connection
            // has broken.
            tokio::select! {
                () = has_come(&mut self.end) => {}
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// Reads a stream that the kubelet ends when the container has.
    async fn stream(&mut self, mut reader: Reader) -> Left {
        let mut end = self.end.clone();
        let mut deadline = None;
        loop {
            tokio::select! {
                biased;
                line = reader.next() => match line {
                    Ok(Some(line)) => self.pass(line).await,
                    Ok(None) => return Left::Ended,
                    Err(error) => return Left::Broken(error.to_string()),
                },
                () = has_come(&mut end), if deadline.is_none() => {
                    deadline = Some(Instant::now() + END_OF_STREAM);
                    // The last one can be asked for in full, which is quicker than the kubelet's
                    // next look. Where that fails, the stream is still there: a pod that is
                    // deleted takes its logs along.
                    if *end.borrow() == End::Last {
                        match self.read_now(false).await {
                            (_, Ok(())) => return Left::Read,
                            (passed, Err(_)) => {
                                reader.known.lines += passed;
                                reader.known.last = self.passed.again().1.last;
                            }
                        }
                    }
                }
                () = over(deadline) => return Left::Broken("its stream does not end".to_owned()),
            }
        }
    }

    /// What is left of the log of a container that has ended.
    async fn rest(&mut self, mut trouble: String) -> Option<String> {
        let mut pause = PAUSE;
        for _ in 0..ATTEMPTS {
            let previous = *self.end.borrow_and_update() == End::Previous;
            match self.read_now(previous).await {
                (_, Ok(())) => return None,
                (_, Err(error)) => {
                    if trouble.is_empty() {
                        trouble = error.to_string();
                    }
                    if error.kind() == io::ErrorKind::NotFound {
                        break;
                    }
                }
            }
            sleep(pause).await;
            pause *= 2;
        }
        Some(format!(
            "the last lines of {}, whose log can no longer be read: {trouble}",
            self.container
        ))
    }

    /// Reads what there is of the log. Returns how many lines were new.
    async fn read_now(&mut self, previous: bool) -> (usize, io::Result<()>) {
        let mut passed = 0;
        let mut reader = match self.open(false, previous).await {
            Ok(reader) => reader,
            Err(error) => return (passed, Err(in_words(error))),
        };
        loop {
            match reader.next().await {
                Ok(Some(line)) => {
                    passed += usize::from(line.time.is_some());
                    self.pass(line).await;
                }
                Ok(None) => return (passed, Ok(())),
                Err(error) => return (passed, Err(error)),
            }
        }
    }

    async fn pass(&mut self, line: Line) {
        if let Some(time) = line.time {
            self.passed.add(time);
        }
        (self.send)(ByteString(line.bytes)).await;
    }

    async fn open(&self, follow: bool, previous: bool) -> kube::Result<Reader> {
        let (since_time, known) = self.passed.again();
        let parameters = LogParams {
            container: Some(self.container.clone()),
            follow,
            previous,
            timestamps: true,
            // It counts whole seconds, and the client would round others up.
            since_time,
            ..LogParams::default()
        };
        let stream = self.pods.log_stream(&self.pod, &parameters).await?;
        Ok(Reader {
            stream: Box::pin(stream),
            known,
            line: Vec::new(),
            place: Place::Begin,
            follow,
        })
    }
}

async fn has_come(end: &mut watch::Receiver<End>) {
    if end.wait_for(|end| end.has_come()).await.is_err() {
        // Nobody will ever tell.
        std::future::pending().await
    }
}

async fn over(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A line, or a piece of a very long one.
struct Line {
    bytes: Vec<u8>,
    /// When it was printed; only the first piece of a line has it.
    time: Option<Timestamp>,
}

/// Reads the lines of a log that are not known yet.
struct Reader {
    stream: Pin<Box<dyn AsyncBufRead + Send>>,
    /// The next lines that are known.
    known: Known,
    /// What has been read of the next line.
    line: Vec<u8>,
    place: Place,
    /// Whether more may come: then an end in the middle of a line is none.
    follow: bool,
}

/// Where in the log a reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A line begins, with its time.
    Begin,
    /// In a long line that is passed on in pieces.
    Within,
    /// In a long line that is known.
    WithinKnown,
}

impl Reader {
    /// The next line that is not known, or nothing at the log's end. Nothing is lost if this is
    /// cancelled.
    async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let Some(whole) = self.fill().await? else {
                return Ok(None);
            };
            let mut bytes = std::mem::take(&mut self.line);
            let begin = self.place == Place::Begin;
            let mut time = None;
            if begin {
                let Some((at, start)) = split_time(&bytes) else {
                    // Every line of a container has a time: these are the kubelet's own words.
                    return Err(words(&bytes));
                };
                bytes.drain(..start);
                time = Some(at);
            }
            let known = if begin {
                self.known.lines > 0
            } else {
                self.place == Place::WithinKnown
            };
            if known && time.is_some_and(|time| time.as_second() > self.known.last) {
                return Err(words(b"the log is that of another start"));
            }
            self.known.lines -= usize::from(begin && known);
            self.place = match (whole, known) {
                (true, _) => Place::Begin,
                (false, true) => Place::WithinKnown,
                (false, false) => Place::Within,
            };
            if !known {
                return Ok(Some(Line { bytes, time }));
            }
        }
    }

    /// Reads up to the end of a line, or as much of it as is passed on at once. Returns whether
    /// the line is whole, or nothing at the log's end.
    async fn fill(&mut self) -> io::Result<Option<bool>> {
        loop {
            let bytes = self.stream.fill_buf().await?;
            if bytes.is_empty() {
                return if self.line.is_empty() {
                    Ok(None)
                } else if !self.follow
                    && (self.place != Place::Begin || split_time(&self.line).is_some())
                {
                    // The container's last words need no newline.
                    Ok(Some(true))
                } else {
                    // It broke in the middle of a line, which will come again as a whole.
                    Err(words(&self.line))
                };
            }
            let room = LONGEST_LINE - self.line.len();
            let newline = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let taken = newline.unwrap_or(bytes.len().min(room));
            self.line.extend_from_slice(&bytes[..taken]);
            self.stream
                .as_mut()
                .consume(taken + usize::from(newline.is_some()));
            if newline.is_some() || self.line.len() == LONGEST_LINE {
                return Ok(Some(newline.is_some()));
            }
        }
    }
}

/// What the API server says, without the client's debugging form of it.
fn in_words(error: kube::Error) -> io::Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            io::Error::new(io::ErrorKind::NotFound, status.message)
        }
        kube::Error::Api(status) => io::Error::other(status.message),
        error => io::Error::other(error),
    }
}

fn words(bytes: &[u8]) -> io::Error {
    io::Error::other(String::from_utf8_lossy(bytes).into_owned())
}

/// The time that a line begins with, and where the line itself begins.
fn split_time(line: &[u8]) -> Option<(Timestamp, usize)> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    Some((time, space + 1))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn reader(log: &'static [u8], lines: usize) -> Reader {
        let last: Timestamp = "2026-01-01T00:00:03Z".parse().unwrap();
        Reader {
            stream: Box::pin(log),
            known: Known {
                lines,
                last: last.as_second(),
            },
            line: Vec::new(),
            place: Place::Begin,
            follow: false,
        }
    }

    fn all(mut reader: Reader) -> (Vec<Vec<u8>>, Passed, Option<String>) {
        let mut passed = Passed::default();
        let mut lines = Vec::new();
        loop {
            match reader.next().now_or_never().unwrap() {
                Ok(Some(line)) => {
                    line.time.into_iter().for_each(|time| passed.add(time));
                    lines.push(line.bytes);
                }
                Ok(None) => return (lines, passed, None),
                Err(error) => return (lines, passed, Some(error.to_string())),
            }
        }
    }

    /// The times of the third and the fourth are the same, and that of the last is before them.
    const LOG: &[u8] = b"\
2026-01-01T00:00:00.1Z one
2026-01-01T00:00:02.2Z two
2026-01-01T00:00:03.3Z \xff
2026-01-01T00:00:03.3Z  four
2026-01-01T00:00:03.2Z 
";

    #[test]
    fn a_log_that_is_asked_for_again_repeats_nothing() {
        let (lines, passed, error) = all(reader(LOG, 0));
        let expected: [&[u8]; 5] = [b"one", b"two", b"\xff", b" four", b""];
        assert_eq!(
            (lines, error),
            (expected.map(<[u8]>::to_vec).to_vec(), None)
        );
        // From a second before the last line on, four lines are known.
        let (since, known) = passed.again();
        assert_eq!(since, Some("2026-01-01T00:00:02Z".parse().unwrap()));
        assert_eq!((known.lines, known.last % 60), (4, 3));
        let again = &LOG[LOG.iter().position(|byte| *byte == b'\n').unwrap() + 1..];
        assert_eq!(all(reader(again, known.lines)).0, Vec::<Vec<u8>>::new());
        assert_eq!(all(reader(again, known.lines - 1)).0, [b""]);
    }

    /// A status that tells of a restart can come long after the new log is there.
    #[test]
    fn the_log_of_the_next_start_is_not_taken_for_the_rest_of_this_one() {
        let next = b"2026-01-01T00:00:04Z one\n2026-01-01T00:00:04Z two\n";
        let (lines, _, error) = all(reader(next, 1));
        assert_eq!(lines, Vec::<Vec<u8>>::new());
        assert_eq!(error.as_deref(), Some("the log is that of another start"));
    }

    #[test]
    fn what_the_kubelet_says_is_no_line() {
        let (lines, _, error) = all(reader(
            b"2026-01-01T00:00:00Z one\nunable to retrieve logs",
            0,
        ));
        assert_eq!(lines, [b"one"]);
        assert_eq!(error.as_deref(), Some("unable to retrieve logs"));
        let (_, _, error) = all(reader(b"rpc error: no such container\n", 0));
        assert_eq!(error.as_deref(), Some("rpc error: no such container"));
    }
}
