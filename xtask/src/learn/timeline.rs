//! A recording in text: a figure of what each container did when, and what happened one after the
//! other.

use std::time::Duration;

use harness::diagnosis::in_words;
use harness::engine::{Change, Event, PodChange, What};
use harness::recording::Recording;

/// The columns of a figure's time.
const COLUMNS: usize = 56;
/// The columns of its names.
const NAMES: usize = 20;
/// Of more lines that a container prints at a stretch, the first ones and the last are shown.
const AT_A_STRETCH: usize = 5;

/// What the signs of a figure mean.
pub(super) const LEGEND: &str =
    "= runs  # ready  | ended with 0  x ended otherwise  v told to end  1-9+ lines";

/// A figure of a recording: a row for each container's states, and one for when it printed how many
/// lines.
pub(super) fn figure(recording: &Recording) -> Vec<String> {
    let last = recording
        .events
        .last()
        .map_or(Duration::ZERO, |event| event.at);
    let column = |at: Duration| {
        let share = at.as_secs_f64() / last.as_secs_f64().max(0.001);
        ((share * (COLUMNS - 1) as f64).round() as usize).min(COLUMNS - 1)
    };
    let end = match last.as_millis() {
        milliseconds @ ..1000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", last.as_secs_f64()),
    };
    // From the left edge to the right one.
    let mut rows = vec![row("", &format!("0{end:>width$}", width = COLUMNS - 1))];
    for (pod, name) in recording.containers() {
        let events = recording.events.iter().filter(|event| event.pod == pod);
        let changes = events.filter_map(|event| match &event.what {
            What::Container { name: of, change } if of == name => Some((column(event.at), change)),
            _ => None,
        });
        let (mut states, mut lines) = ([' '; COLUMNS], [0_u32; COLUMNS]);
        let (mut now, mut from) = (' ', 0);
        let mut marks = Vec::new();
        for (at, change) in changes {
            let next = match change {
                Change::Line(_) => {
                    lines[at] += 1;
                    continue;
                }
                Change::Started { .. } | Change::Ready(false) => '=',
                Change::Ready(true) => '#',
                Change::Ended { exit_code, .. } => {
                    marks.push((at, if *exit_code == 0 { '|' } else { 'x' }));
                    ' '
                }
                Change::Waiting { .. } => ' ',
                Change::Unhealthy { .. } => continue,
            };
            // Telling that it is not ready is no sign that it runs.
            let next = match (next, now, change) {
                ('=', ' ', Change::Ready(false)) => ' ',
                _ => next,
            };
            states[from..at].fill(now);
            (now, from) = (next, at);
        }
        states[from..].fill(now);
        for (at, mark) in marks {
            states[at] = mark;
        }
        rows.push(row(name, &String::from_iter(states)));
        if lines.iter().any(|count| *count > 0) {
            let digits = lines.iter().map(|count| match count {
                0 => ' ',
                1..=9 => char::from_digit(*count, 10).unwrap_or('+'),
                _ => '+',
            });
            rows.push(row("  lines", &String::from_iter(digits)));
        }
    }
    let stopping = recording.events.iter().find_map(|event| match &event.what {
        What::Pod(PodChange::Stopping) => Some(column(event.at)),
        _ => None,
    });
    if let Some(at) = stopping {
        rows.push(row("the pod", &format!("{}v", " ".repeat(at))));
    }
    rows
}

fn row(name: &str, rest: &str) -> String {
    let name: String = name.chars().take(NAMES).collect();
    format!("{name:<NAMES$}  {rest}").trim_end().to_owned()
}

/// What happened, a line each; of many lines at a stretch, some.
pub(super) fn events(recording: &Recording) -> Vec<String> {
    let events = &recording.events;
    let mut told = Vec::new();
    let mut begin = 0;
    while begin < events.len() {
        let by = printer(&events[begin]);
        let same = events[begin..]
            .iter()
            .take_while(|event| by.is_some() && printer(event) == by);
        let stretch = same.count().max(1);
        let (first, rest) = match stretch > AT_A_STRETCH {
            true => (AT_A_STRETCH - 2, 1),
            false => (stretch, 0),
        };
        let end = begin + stretch;
        told.extend(events[begin..begin + first].iter().filter_map(line));
        if rest > 0 {
            let more = stretch - first - rest;
            told.push(format!("{:>8}  … {more} more lines …", ""));
            told.extend(events[end - rest..end].iter().filter_map(line));
        }
        begin = end;
    }
    told
}

/// Everything that happened, a line each.
pub(super) fn all_events(recording: &Recording) -> Vec<String> {
    recording.events.iter().filter_map(line).collect()
}

/// Who printed a line, if the event is one.
fn printer(event: &Event) -> Option<(&str, &str)> {
    match &event.what {
        What::Container {
            name,
            change: Change::Line(_),
        } => Some((&event.pod, name)),
        _ => None,
    }
}

fn line(event: &Event) -> Option<String> {
    let at = format!("{:>7.3}s", event.at.as_secs_f64());
    let words = match &event.what {
        What::Pod(PodChange::Initialized) => return None,
        What::Pod(PodChange::Ready(true)) => "the pod is ready".to_owned(),
        What::Pod(PodChange::Ready(false)) => "the pod is not ready".to_owned(),
        What::Pod(PodChange::Stopping) => "the pod is told to end".to_owned(),
        What::Pod(PodChange::Succeeded) => "the pod has succeeded".to_owned(),
        What::Pod(PodChange::Failed { reason, message }) => match reason.as_str() {
            "" => format!("the pod has failed: {message}"),
            reason => format!("the pod has failed ({reason}): {message}"),
        },
        What::Container {
            name,
            change: Change::Line(line),
        } => format!("{name} | {}", line.text()),
        What::Container { name, change } => format!("{name} · {}", in_words(change)?),
    };
    Some(format!("{at} {words}").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use harness::engine::EngineKind;

    use super::*;

    fn recording(changes: Vec<(u64, Change)>) -> Recording {
        let mut recording = Recording::new("chapter", "scenario", EngineKind::Sandbox);
        for (milliseconds, change) in changes {
            recording.add(Event {
                at: Duration::from_millis(milliseconds),
                pod: "pod".to_owned(),
                what: What::Container {
                    name: "app".to_owned(),
                    change,
                },
            });
        }
        recording
    }

    fn ended(exit_code: i32) -> Change {
        Change::Ended {
            exit_code,
            reason: String::new(),
            message: String::new(),
        }
    }

    fn started(restarts: u32) -> Change {
        Change::Started {
            restarts,
            image: String::new(),
        }
    }

    #[test]
    fn a_figure_shows_states_and_lines_where_they_belong() {
        let recording = recording(vec![
            (0, started(0)),
            (100, Change::Line("a".into())),
            (101, Change::Line("b".into())),
            (200, Change::Ready(true)),
            (300, ended(1)),
            (310, Change::Ready(false)),
            (440, started(1)),
            (550, ended(0)),
        ]);
        let expected = format!(
            "{:22}0{:>55}\n\
             app                   ===================={}x{}{}|\n  lines               {:10}2",
            "",
            "550 ms",
            "#".repeat(10),
            " ".repeat(13),
            "=".repeat(11),
            ""
        );
        assert_eq!(figure(&recording).join("\n"), expected);
        assert!(
            figure(&recording)
                .iter()
                .all(|row| row.chars().count() <= 80)
        );
    }

    #[test]
    fn of_many_lines_at_a_stretch_some_are_told() {
        let lines =
            (1..=9).map(|number| (number, Change::Line(number.to_string().as_str().into())));
        let mut changes = vec![(0, started(0))];
        changes.extend(lines);
        changes.push((20, ended(0)));
        let recording = recording(changes);
        let told = events(&recording);
        let words = Vec::from_iter(told.iter().map(|line| line[8..].trim()));
        let expected = [
            "app · started",
            "app | 1",
            "app | 2",
            "app | 3",
            "… 5 more lines …",
            "app | 9",
            "app · ended with exit code 0 ()",
        ];
        assert_eq!(words, expected);
        assert_eq!(all_events(&recording).len(), 11);
    }
}
