//! The figure of a run: what its containers did when, above the log of the same events. A mark
//! in the picture is a link to its line in the log.

use std::fmt::Write as _;
use std::time::Duration;

use harness::diagnosis::in_words;
use harness::engine::{Change, Event, PodChange, What};
use harness::manifest::Manifest;
use harness::recording::Recording;
use mdbook_core::utils::escape_html as escape;

// All lengths are in units of the picture, which is as wide as a telephone shows it legibly.
const WIDTH: f64 = 460.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 12.0;
/// The axis and its numbers.
const AXIS: f64 = 26.0;
/// A lane: its name, and below that its bar.
const LANE: f64 = 46.0;
const NAME: f64 = 14.0;
const BAR: f64 = 18.0;
/// Marks that are closer than this are drawn as one, which leads to the first of them.
const CLOSE: f64 = 7.0;
/// The most rows of the log.
const ROWS: usize = 200;

/// A row of the log.
struct Entry<'r> {
    at: Duration,
    /// The container, or the pod.
    who: &'r str,
    what: String,
    is_line: bool,
}

/// Draws a recording, as one line of HTML. `number` tells the figures of a page apart.
pub(crate) fn draw(recording: &Recording, manifest: &Manifest, number: usize) -> String {
    let containers = manifest
        .pods
        .iter()
        .flat_map(|pod| pod.spec.all_containers());
    let containers = Vec::from_iter(containers.map(|(_, container)| container));
    let pods = manifest.pods.iter().map(|pod| pod.metadata.name.as_str());
    let lanes = Vec::from_iter(pods.chain(containers.iter().map(|c| c.name.as_str())));
    // Without a readiness probe a container is ready as long as it runs, which is no news.
    let tells_readiness = |name: &str| {
        let of_name = containers.iter().find(|container| container.name == name);
        of_name.is_some_and(|container| container.readiness_probe.is_some())
    };
    let entries = recording.events.iter();
    let entries = Vec::from_iter(entries.filter_map(|event| entry(event, tells_readiness)));

    let end = recording
        .events
        .last()
        .map_or(Duration::ZERO, |event| event.at);
    let scale = Scale::new(end);
    let title = format!(
        "A run of {}, scenario {}, on the engine {}, in {}",
        recording.chapter,
        recording.scenario,
        recording.engine,
        scale.words(end)
    );
    let mut svg = axis(&scale, lanes.len());
    let mut top = AXIS;
    for (index, lane) in lanes.iter().enumerate() {
        let _ = write!(
            svg,
            r#"<text class="lane" x="{LEFT}" y="{}">{}{}</text>"#,
            top + NAME - 2.0,
            if index < manifest.pods.len() {
                "Pod "
            } else {
                ""
            },
            escape(lane)
        );
        if index >= manifest.pods.len() {
            states(&mut svg, &scale, recording, lane, end, top + BAR);
        }
        marks(&mut svg, &scale, &entries, lane, number, top + BAR);
        top += LANE;
    }
    let rows = log(&scale, &entries, number);
    format!(
        r#"<svg class="timeline" role="group" aria-label="{}" viewBox="0 0 {WIDTH} {top}" xmlns="http://www.w3.org/2000/svg">{svg}</svg><p class="legend">Pale bars: the container runs; strong ones: it is ready. Long marks: a change of state, short ones: a line that it printed. Each leads to its row.</p><div class="log" role="region" aria-label="The log of the run of {}" tabindex="0"><table><thead><tr><th>at</th><th>who</th><th>what</th></tr></thead><tbody>{rows}</tbody></table></div>"#,
        escape(&title),
        escape(&recording.scenario)
    )
}

fn entry<'r>(event: &'r Event, tells_readiness: impl Fn(&str) -> bool) -> Option<Entry<'r>> {
    let (who, what, is_line) = match &event.what {
        What::Pod(change) => (event.pod.as_str(), pod_in_words(change), false),
        What::Container { name, change } => match change {
            Change::Line(line) => (name.as_str(), line.text(), true),
            Change::Ready(_) if !tells_readiness(name) => return None,
            other => (name.as_str(), in_words(other)?, false),
        },
    };
    Some(Entry {
        at: event.at,
        who,
        what,
        is_line,
    })
}

fn pod_in_words(change: &PodChange) -> String {
    match change {
        PodChange::Initialized => "initialized: the containers are started".to_owned(),
        PodChange::Ready(true) => "ready".to_owned(),
        PodChange::Ready(false) => "not ready".to_owned(),
        PodChange::Stopping => "told to end".to_owned(),
        PodChange::Succeeded => "succeeded".to_owned(),
        PodChange::Failed { reason, message } => format!("failed {reason} {message}"),
    }
}

/// Time along the picture.
struct Scale {
    end: Duration,
    /// Between two numbers of the axis.
    step: Duration,
}

impl Scale {
    fn new(end: Duration) -> Self {
        let end = end.max(Duration::from_millis(1));
        // The roundest step that makes six numbers or fewer.
        let mut steps = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
        let step = steps.find(|step| end.as_micros() <= u128::from(6 * step));
        Self {
            end,
            step: Duration::from_micros(step.unwrap_or(u64::MAX)),
        }
    }

    fn x(&self, at: Duration) -> f64 {
        let part = at.as_secs_f64() / self.end.as_secs_f64();
        // A hundredth of a unit cannot be seen.
        ((LEFT + part * (WIDTH - LEFT - RIGHT)) * 100.0).round() / 100.0
    }

    /// A time, in milliseconds where the run took less than a second.
    fn words(&self, at: Duration) -> String {
        if self.end < Duration::from_secs(1) {
            format!("{} ms", at.as_millis())
        } else {
            format!("{:.2} s", at.as_secs_f64())
        }
    }
}

fn axis(scale: &Scale, lanes: usize) -> String {
    let mut svg = String::new();
    let bottom = AXIS + LANE * lanes as f64;
    for number in 0.. {
        let at = scale.step * number;
        if at > scale.end {
            break;
        }
        let x = scale.x(at);
        // The first and the last number stay in the picture.
        let anchor = match x {
            x if x < 20.0 => "start",
            x if x > WIDTH - 30.0 => "end",
            _ => "middle",
        };
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{x} {}V{bottom}"/><text class="tick" text-anchor="{anchor}" x="{x}" y="12">{}</text>"#,
            AXIS - 9.0,
            scale.words(at)
        );
    }
    svg
}

/// The bars of a container: a pale one while it runs, a strong one while it is ready.
fn states(
    svg: &mut String,
    scale: &Scale,
    recording: &Recording,
    container: &str,
    end: Duration,
    top: f64,
) {
    let mut bar = |class: &str, from: &mut Option<Duration>, to: Duration| {
        if let Some(from) = from.take() {
            let (x, until) = (scale.x(from), scale.x(to));
            let width = ((until - x).max(1.0) * 100.0).round() / 100.0;
            let _ = write!(
                svg,
                r#"<rect class="{class}" x="{x}" y="{top}" width="{width}" height="16"/>"#
            );
        }
    };
    let (mut running, mut ready) = (None, None);
    for (at, change) in recording.changes(container) {
        match change {
            Change::Started { .. } => running = Some(at),
            Change::Ready(true) => ready = ready.or(Some(at)),
            Change::Ready(false) => bar("ready", &mut ready, at),
            Change::Ended { .. } => {
                bar("running", &mut running, at);
                bar("ready", &mut ready, at);
            }
            Change::Waiting { .. } | Change::Unhealthy { .. } | Change::Line(_) => {}
        }
    }
    bar("running", &mut running, end);
    bar("ready", &mut ready, end);
}

/// The marks of a lane, each a link to its row.
fn marks(
    svg: &mut String,
    scale: &Scale,
    entries: &[Entry<'_>],
    lane: &str,
    number: usize,
    top: f64,
) {
    let of_lane = entries.iter().enumerate().take(ROWS);
    let of_lane = Vec::from_iter(of_lane.filter(|(_, entry)| entry.who == lane));
    let mut rest = &of_lane[..];
    while let [(row, first), ..] = rest {
        let x = scale.x(first.at);
        let is_close = |(_, entry): &&(usize, &Entry<'_>)| scale.x(entry.at) - x < CLOSE;
        let count = rest.iter().take_while(is_close).count();
        let (here, after) = rest.split_at(count);
        rest = after;
        let is_line = here.iter().all(|(_, entry)| entry.is_line);
        let (class, up, height) = if is_line {
            ("line", 4.0, 8.0)
        } else {
            ("change", -2.0, 20.0)
        };
        let (time, what) = (scale.words(first.at), escape(&first.what));
        let more = match count - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        // What is aimed at is wider than what is seen.
        let _ = write!(
            svg,
            r##"<a href="#timeline-{number}-{row}" aria-label="{time}, {lane}: {what}{more}"><rect class="aim" x="{}" y="{top}" width="8" height="16"/><rect class="{class}" x="{}" y="{}" width="{}" height="{height}"><title>{time}: {what}{more}</title></rect></a>"##,
            x - 4.0,
            x - 1.0,
            top + up,
            if count > 1 { 4 } else { 2 },
        );
    }
}

/// The rows of the log.
fn log(scale: &Scale, entries: &[Entry<'_>], number: usize) -> String {
    let mut rows = String::new();
    for (row, entry) in entries.iter().enumerate().take(ROWS) {
        let (time, who) = (scale.words(entry.at), escape(entry.who));
        let what = match (entry.is_line, escape(&entry.what)) {
            (true, line) => format!("<code>{line}</code>"),
            (false, change) => format!("<i>{change}</i>"),
        };
        let _ = write!(
            rows,
            r#"<tr id="timeline-{number}-{row}"><td>{time}</td><td>{who}</td><td>{what}</td></tr>"#
        );
    }
    if let Some(more) = entries.len().checked_sub(ROWS + 1) {
        let _ = write!(rows, "<tr><td colspan=3>and {} more</td></tr>", more + 1);
    }
    // Markdown ends a block of HTML at an empty line.
    rows.replace('\n', "&#10;")
}
