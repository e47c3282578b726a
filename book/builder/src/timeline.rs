//! The figure of a run: what its containers did when, above the log of the same events. A mark
//! in the picture is a link to its line in the log.

use std::fmt::Write as _;
use std::time::Duration;

use harness::diagnosis::in_words;
use harness::engine::{Change, Event, PodChange, What};
use harness::manifest::pod::Pod;
use harness::names;
use harness::recording::Recording;
use mdbook_core::utils::escape_html as escape;

use crate::pod::narrow;

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

/// Whom something happened to. A pod and a container of it may have the same name.
#[derive(Clone, Copy, PartialEq)]
struct Lane<'r> {
    pod: &'r str,
    /// None for the pod itself.
    container: Option<&'r str>,
}

impl Lane<'_> {
    fn name(&self, pods: &[Pod]) -> String {
        match self.container {
            Some(container) => names::of(pods, self.pod, container),
            None => format!("Pod {}", self.pod),
        }
    }
}

/// A row of the log.
struct Entry<'r> {
    at: Duration,
    lane: Lane<'r>,
    what: String,
    is_line: bool,
}

/// Draws a recording, as one line of HTML. `number` tells the figures of a page apart.
pub(crate) fn draw(recording: &Recording, pods: &[Pod], number: usize) -> String {
    let lanes = Vec::from_iter(pods.iter().flat_map(lanes));
    // Without a readiness probe a container is ready as long as it runs, which is no news.
    let tells_readiness = |pod: &str, name: &str| {
        let pod = pods.iter().find(|of| of.metadata.name == pod);
        let mut containers = pod.into_iter().flat_map(|pod| pod.spec.all_containers());
        let container = containers.find(|(_, container)| container.name == name);
        container.is_some_and(|(_, container)| container.readiness_probe.is_some())
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
    for lane in lanes {
        let name = lane.name(pods);
        let narrow = narrow(&name, (WIDTH - LEFT - RIGHT) as usize);
        let _ = write!(
            svg,
            r#"<text class="lane" x="{LEFT}" y="{}"{narrow}>{}</text>"#,
            top + NAME - 2.0,
            escape(&name)
        );
        if lane.container.is_some() {
            states(&mut svg, &scale, recording, lane, end, top + BAR);
        }
        let of_lane = (lane, &*name);
        marks(&mut svg, &scale, &entries, of_lane, number, top + BAR);
        top += LANE;
    }
    let rows = log(&scale, &entries, pods, number);
    format!(
        r#"<svg class="timeline" role="group" aria-label="{}" viewBox="0 0 {WIDTH} {top}" xmlns="http://www.w3.org/2000/svg">{svg}</svg><p class="legend">Pale bars: the container runs; strong ones: it is ready. Long marks: a change of state, short ones: a line that it printed. Each leads to its row.</p><div class="log" role="region" aria-label="The log of the run of {}" tabindex="0"><table><thead><tr><th>at</th><th>who</th><th>what</th></tr></thead><tbody>{rows}</tbody></table></div>"#,
        escape(&title),
        escape(&recording.scenario)
    )
}

/// A pod's lanes: its own, and one for each container.
fn lanes(pod: &Pod) -> impl Iterator<Item = Lane<'_>> {
    let containers = pod.spec.all_containers();
    let containers = containers.map(|(_, container)| Some(container.name.as_str()));
    let pod = pod.metadata.name.as_str();
    [None]
        .into_iter()
        .chain(containers)
        .map(move |container| Lane { pod, container })
}

fn entry<'r>(event: &'r Event, tells_readiness: impl Fn(&str, &str) -> bool) -> Option<Entry<'r>> {
    let (container, what, is_line) = match &event.what {
        What::Pod(change) => (None, pod_in_words(change), false),
        What::Container { name, change } => match change {
            Change::Line(line) => (Some(name.as_str()), line.text(), true),
            Change::Ready(_) if !tells_readiness(&event.pod, name) => return None,
            other => (Some(name.as_str()), in_words(other)?, false),
        },
    };
    Some(Entry {
        at: event.at,
        lane: Lane {
            pod: &event.pod,
            container,
        },
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
    lane: Lane<'_>,
    end: Duration,
    top: f64,
) {
    // How long a pale bar is turns out at its end, and the strong ones lie on it.
    let mut strong = String::new();
    let bar = |svg: &mut String, class: &str, from: &mut Option<Duration>, to: Duration| {
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
    let of_lane = recording
        .events
        .iter()
        .filter(|event| event.pod == lane.pod);
    let changes = of_lane.filter_map(|event| match &event.what {
        What::Container { name, change } if lane.container == Some(name) => {
            Some((event.at, change))
        }
        _ => None,
    });
    for (at, change) in changes {
        match change {
            Change::Started { .. } => running = Some(at),
            Change::Ready(true) => ready = ready.or(Some(at)),
            Change::Ready(false) => bar(&mut strong, "ready", &mut ready, at),
            Change::Ended { .. } => {
                bar(svg, "running", &mut running, at);
                bar(&mut strong, "ready", &mut ready, at);
            }
            Change::Waiting { .. } | Change::Unhealthy { .. } | Change::Line(_) => {}
        }
    }
    bar(svg, "running", &mut running, end);
    bar(&mut strong, "ready", &mut ready, end);
    svg.push_str(&strong);
}

/// The marks of a lane, each a link to its row.
fn marks(
    svg: &mut String,
    scale: &Scale,
    entries: &[Entry<'_>],
    (lane, name): (Lane<'_>, &str),
    number: usize,
    top: f64,
) {
    let of_lane = entries.iter().enumerate().take(ROWS);
    let of_lane = Vec::from_iter(of_lane.filter(|(_, entry)| entry.lane == lane));
    let mut rest = &of_lane[..];
    while let [(row, first), ..] = rest {
        let x = scale.x(first.at);
        let is_close = |(_, entry): &&(usize, &Entry<'_>)| scale.x(entry.at) - x < CLOSE;
        let count = rest.iter().take_while(is_close).count();
        let (here, after) = rest.split_at(count);
        rest = after;
        // Lines are seen beside a change that is close to them: one short mark from the first
        // line to the last, and a long one for the change, or the first of several.
        let mut seen = String::new();
        for (is_line, class, up, height) in
            [(true, "line", 4.0, 8.0), (false, "change", -2.0, 20.0)]
        {
            let mut of_kind = here.iter().filter(|(_, entry)| entry.is_line == is_line);
            let Some((_, first)) = of_kind.next() else {
                continue;
            };
            let last = of_kind.next_back().map_or(first, |(_, last)| last);
            let from = scale.x(first.at);
            let width = ((scale.x(last.at) - from + 2.0) * 100.0).round() / 100.0;
            let width = if is_line { width } else { width.min(4.0) };
            let _ = write!(
                seen,
                r#"<rect class="{class}" x="{}" y="{}" width="{width}" height="{height}"/>"#,
                from - 1.0,
                top + up
            );
        }
        let (time, what, lane) = (scale.words(first.at), escape(&first.what), escape(name));
        let more = match count - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        // What is aimed at is wider than what is seen.
        let _ = write!(
            svg,
            r##"<a href="#timeline-{number}-{row}" aria-label="{time}, {lane}: {what}{more}"><title>{time}: {what}{more}</title>{seen}<rect class="aim" x="{}" y="{top}" width="8" height="16"/></a>"##,
            x - 4.0,
        );
    }
}

/// The rows of the log.
fn log(scale: &Scale, entries: &[Entry<'_>], pods: &[Pod], number: usize) -> String {
    let mut rows = String::new();
    for (row, entry) in entries.iter().enumerate().take(ROWS) {
        let (time, who) = (scale.words(entry.at), entry.lane.name(pods));
        let who = escape(&who);
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

#[cfg(test)]
mod tests {
    use harness::engine::EngineKind;
    use harness::manifest::Manifest;

    use super::*;

    const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: same}
spec:
  containers:
    - {name: same, image: 'sidecar-examples:app', imagePullPolicy: Never}
    - {name: other, image: 'sidecar-examples:app', imagePullPolicy: Never}
";

    fn figure(changes: Vec<(u64, Option<&str>, Change)>) -> String {
        let manifest = Manifest::parse("same.yaml", MANIFEST).expect("a manifest");
        let mut recording = Recording::new("01-same", "healthy", EngineKind::Sandbox);
        recording.events = Vec::from_iter(changes.into_iter().map(|(at, name, change)| Event {
            at: Duration::from_millis(at),
            pod: "same".to_owned(),
            what: match name {
                None => What::Pod(PodChange::Initialized),
                Some(name) => What::Container {
                    name: name.to_owned(),
                    change,
                },
            },
        }));
        draw(&recording, &manifest.pods, 1)
    }

    fn started() -> Change {
        Change::Started {
            restarts: 0,
            image: String::new(),
        }
    }

    fn line() -> Change {
        Change::Line("Hello".into())
    }

    #[test]
    fn a_container_that_is_named_as_its_pod_has_marks_in_its_own_lane() {
        let html = figure(vec![
            (0, None, line()),
            (100, Some("same"), started()),
            (200, Some("other"), started()),
            (300, Some("same"), line()),
        ]);
        assert_eq!(html.matches("<a href=").count(), 4, "{html}");
        assert!(html.contains("0 ms, Pod same: initialized"), "{html}");
        assert!(html.contains("100 ms, same: started"), "{html}");
        assert!(html.contains("<td>Pod same</td>"), "{html}");
    }

    #[test]
    fn a_time_of_not_being_ready_is_seen_between_two_strong_bars() {
        let ended = Change::Ended {
            exit_code: 0,
            reason: "Completed".to_owned(),
            message: String::new(),
        };
        let html = figure(vec![
            (0, Some("same"), started()),
            (100, Some("same"), Change::Ready(true)),
            (200, Some("same"), Change::Ready(false)),
            (300, Some("same"), Change::Ready(true)),
            (400, Some("same"), ended),
        ]);
        let bars = html.split(r#"<rect class=""#).skip(1);
        let bars = bars.filter_map(|bar| bar.split('"').next());
        let bars = bars.filter(|class| ["running", "ready"].contains(class));
        // What is drawn later lies on top.
        assert_eq!(
            Vec::from_iter(bars),
            ["running", "ready", "ready"],
            "{html}"
        );
    }

    #[test]
    fn pods_whose_containers_have_one_name_are_told_apart() {
        let other = MANIFEST.replace("name: same}\nspec", "name: twin}\nspec");
        let manifest = format!("{MANIFEST}---{other}");
        let manifest = Manifest::parse("two.yaml", &manifest).expect("a manifest");
        let mut recording = Recording::new("01-same", "healthy", EngineKind::Docker);
        recording.events = Vec::from_iter(["same", "twin"].map(|pod| Event {
            at: Duration::from_millis(1),
            pod: pod.to_owned(),
            what: What::Container {
                name: "other".to_owned(),
                change: started(),
            },
        }));
        let html = draw(&recording, &manifest.pods, 1);
        for pod in ["same", "twin"] {
            assert!(html.contains(&format!("<td>{pod}/other</td>")), "{html}");
            assert!(
                html.contains(&format!("1 ms, {pod}/other: started")),
                "{html}"
            );
            assert!(html.contains(&format!(">Pod {pod}</text>")), "{html}");
        }
    }

    #[test]
    fn lines_are_seen_beside_a_change_at_nearly_the_same_time() {
        let html = figure(vec![
            (0, Some("same"), started()),
            (2, Some("same"), line()),
            (4, Some("same"), line()),
            (1000, Some("other"), started()),
        ]);
        let (marks, _) = html.split_once("</svg>").expect("a picture");
        assert_eq!(marks.matches("<a href=").count(), 2, "{html}");
        assert_eq!(marks.matches(r#"class="line""#).count(), 1, "{html}");
        assert!(marks.contains("started, and 2 more"), "{html}");
    }

    #[test]
    fn a_long_name_stays_in_the_picture() {
        let name = "a".repeat(63);
        let manifest = MANIFEST.replace("name: same}", &format!("name: {name}}}"));
        let manifest = Manifest::parse("long.yaml", &manifest).expect("a manifest");
        let recording = Recording::new("01-long", "healthy", EngineKind::Sandbox);
        let html = draw(&recording, &manifest.pods, 1);
        assert_eq!(html.matches(r#"textLength="440""#).count(), 1, "{html}");
    }
}
