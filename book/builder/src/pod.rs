//! The figure of a pod: its containers, its volumes, what is mounted where and who calls whom,
//! as far as the manifest says.

use std::fmt::Write as _;

use harness::manifest::Manifest;
use harness::manifest::pod::{Container, Pod, Probe, Role, Volume};
use mdbook_core::utils::escape_html as escape;

// All lengths are in units of the picture, which is as wide as a telephone shows it legibly.
const WIDTH: usize = 460;
const MARGIN: usize = 14;
const ROW: usize = 19;
/// Between boxes.
const GAP: usize = 14;
/// Within a box, beside its text.
const PADDING: usize = 12;
/// Where a container's box begins: calls are drawn on its left.
const LEFT: usize = 42;
const VOLUME_WIDTH: usize = 122;
const VOLUME_LEFT: usize = WIDTH - MARGIN - VOLUME_WIDTH - 4;
/// Where a container's box ends, when there are volumes.
const RIGHT: usize = VOLUME_LEFT - 40;
/// The width of a character, rather more than it has.
const CHARACTER: usize = 8;

/// A box, with its rows of text.
struct Block {
    top: usize,
    left: usize,
    width: usize,
    class: &'static str,
    rows: Vec<Row>,
}

struct Row {
    class: &'static str,
    text: String,
}

impl Block {
    fn height(&self) -> usize {
        self.rows.len() * ROW + PADDING
    }

    fn bottom(&self) -> usize {
        self.top + self.height()
    }

    /// The middle of a row.
    fn at(&self, row: usize) -> usize {
        self.top + PADDING / 2 + row * ROW + ROW / 2
    }

    /// Adds text, in as many rows as it needs. Returns the first one's number.
    fn add(&mut self, class: &'static str, text: &str) -> usize {
        let first = self.rows.len();
        let fits = (self.width - 2 * PADDING) / CHARACTER;
        for text in wrap(text, fits) {
            self.rows.push(Row { class, text });
        }
        first
    }

    fn draw(&self, svg: &mut String) {
        let Self {
            top,
            left,
            width,
            class,
            ..
        } = self;
        let height = self.height();
        let _ = write!(
            svg,
            r#"<rect class="{class}" x="{left}" y="{top}" width="{width}" height="{height}" rx="5"/>"#
        );
        for (number, row) in self.rows.iter().enumerate() {
            let (x, y) = (left + PADDING, self.at(number) + 5);
            text(svg, row.class, x, y, &row.text);
        }
    }
}

fn text(svg: &mut String, class: &str, x: usize, y: usize, text: &str) {
    let text = escape(text);
    let _ = write!(
        svg,
        r#"<text class="{class}" x="{x}" y="{y}">{text}</text>"#
    );
}

/// Text in lines of so many characters, divided after a character that divides names.
fn wrap(text: &str, fits: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for piece in text.split_inclusive([' ', ':', '/', '-']) {
        let mut piece = piece;
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let room = fits.saturating_sub(line.chars().count());
            if piece.trim_end().chars().count() <= room {
                line.push_str(piece);
                break;
            }
            if line.is_empty() {
                let end = piece.char_indices().nth(fits).map_or(piece.len(), |c| c.0);
                line.push_str(&piece[..end]);
                piece = &piece[end..];
            }
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// Draws the pods of a manifest, one below the other, as one line of SVG. `number` tells the
/// figures of a page apart.
pub(crate) fn draw(manifest: &Manifest, number: usize) -> String {
    let (mut svg, mut words) = (String::new(), String::new());
    let mut top = 1;
    for pod in &manifest.pods {
        top = draw_pod(pod, number, top, &mut svg, &mut words) + GAP;
    }
    let height = top - GAP + 1;
    let names: Vec<_> = manifest
        .pods
        .iter()
        .map(|pod| &*pod.metadata.name)
        .collect();
    let names = names.join(", ");
    let names = escape(&names);
    let words = escape(words.trim());
    format!(
        r#"<svg class="anatomy" role="img" aria-labelledby="pod-{number}-title pod-{number}-words" viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg"><title id="pod-{number}-title">The pod {names}</title><desc id="pod-{number}-words">{words}</desc><defs><marker id="pod-{number}-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>{svg}</svg>"#
    )
}

/// Draws a pod whose frame begins at `top`. Returns where it ends.
fn draw_pod(pod: &Pod, number: usize, top: usize, svg: &mut String, words: &mut String) -> usize {
    let mut y = top + MARGIN + ROW + 4;
    let right = if pod.spec.volumes.is_empty() {
        WIDTH - MARGIN - 4
    } else {
        RIGHT
    };
    let has_init = !pod.spec.init_containers.is_empty();
    let mut headings = Vec::new();
    let mut heading = |y: &mut usize, text: &'static str| {
        headings.push((*y + 10, text));
        *y += ROW + 2;
    };
    let _ = write!(words, "The pod {}. ", pod.metadata.name);
    if has_init {
        heading(&mut y, "init containers: one after the other");
    }
    let mut was_init = true;
    let mut blocks = Vec::new();
    let mut mounts = Vec::new();
    for (index, (role, container)) in pod.spec.all_containers().enumerate() {
        if has_init && was_init && role == Role::Main {
            heading(&mut y, "then the containers: all at once");
        }
        was_init = role != Role::Main;
        let mut block = Block {
            top: y,
            left: LEFT,
            width: right - LEFT,
            class: match role {
                Role::Main => "container",
                Role::Init => "container init",
                Role::Sidecar => "container sidecar",
            },
            rows: Vec::new(),
        };
        let name = match role {
            Role::Main => container.name.clone(),
            _ => format!("{} {}", index + 1, container.name),
        };
        block.add("name", &name);
        for line in facts(role, container) {
            block.add("fact", &line);
        }
        let _ = write!(words, "{} ", in_words(role, container));
        for mount in &container.volume_mounts {
            let how = if mount.read_only { ", read-only" } else { "" };
            let row = block.add("path", &mount.mount_path);
            if mount.read_only {
                block.add("fact", "read-only");
            }
            mounts.push((index, row, mount.name.as_str()));
            let _ = write!(
                words,
                "It mounts the volume {} at {}{how}. ",
                mount.name, mount.mount_path
            );
        }
        y = block.bottom() + GAP;
        blocks.push(block);
    }

    // A volume stands beside the middle of what mounts it, below the one before.
    let mut below = top + MARGIN + ROW + 4;
    let mut volumes = Vec::new();
    for volume in &pod.spec.volumes {
        let mut block = Block {
            top: 0,
            left: VOLUME_LEFT,
            width: VOLUME_WIDTH,
            class: "volume",
            rows: Vec::new(),
        };
        block.add("name", &volume.name);
        block.add("fact", &kind(volume));
        let rows = mounts.iter().filter(|mount| mount.2 == volume.name);
        let rows = Vec::from_iter(rows.map(|(index, row, _)| blocks[*index].at(*row)));
        let middle = rows
            .iter()
            .sum::<usize>()
            .checked_div(rows.len())
            .unwrap_or(0);
        block.top = middle.saturating_sub(block.height() / 2).max(below);
        below = block.bottom() + GAP;
        let _ = write!(words, "The volume {} is {}. ", volume.name, kind(volume));
        volumes.push(block);
    }
    let bottom = y.max(below);

    // The frame lies under all else.
    let footer = (blocks.len() > 1).then_some("one network: the same localhost for all of them");
    let end = bottom + if footer.is_some() { ROW } else { 0 } + MARGIN - GAP + 4;
    let (width, height) = (WIDTH - 2, end - top);
    let _ = write!(
        svg,
        r#"<rect class="frame" x="1" y="{top}" width="{width}" height="{height}" rx="8"/>"#
    );
    let title = format!("Pod {}", pod.metadata.name);
    text(svg, "title", MARGIN + 2, top + MARGIN + 9, &title);
    for (y, heading) in headings {
        text(svg, "fact", LEFT, y, heading);
    }
    if let Some(footer) = footer {
        text(svg, "fact", LEFT, end - MARGIN, footer);
    }

    for (at, (block, volume)) in volumes.iter().zip(&pod.spec.volumes).enumerate() {
        // Each volume has a track of its own between the columns.
        let track = RIGHT + 10 + (at * 7).min(26);
        let to = block.top + block.height() / 2;
        for (index, row, _) in mounts.iter().filter(|mount| mount.2 == volume.name) {
            let from = blocks[*index].at(*row);
            let _ = write!(
                svg,
                r#"<path class="mount" d="M{right} {from}H{track}V{to}H{VOLUME_LEFT}"/>"#
            );
        }
    }
    let mut track = LEFT - 10;
    for (from, to) in calls(pod) {
        let _ = write!(
            svg,
            r#"<path class="call" marker-end="url(#pod-{number}-head)" d="M{LEFT} {}H{track}V{}H{}"/>"#,
            blocks[from].bottom() - 14,
            blocks[to].at(0),
            LEFT - 1,
        );
        track = track.saturating_sub(8).max(10);
    }
    for block in blocks.iter().chain(&volumes) {
        block.draw(svg);
    }
    end
}

/// What a container's box says below its name.
fn facts(role: Role, container: &Container) -> Vec<String> {
    let mut facts = vec![container.image.clone()];
    if role == Role::Sidecar {
        facts.push("keeps running: a sidecar".to_owned());
    }
    for port in &container.ports {
        let name = port.name.as_ref().map(|name| format!(" ({name})"));
        let number = port.container_port;
        facts.push(format!("listens on {number}{}", name.unwrap_or_default()));
    }
    for (host, port) in upstreams(container) {
        facts.push(format!("calls {host}:{port}"));
    }
    let is_probed = |probe: &Option<Probe>| probe.is_some();
    let probes = [
        ("startup", is_probed(&container.startup_probe)),
        ("liveness", is_probed(&container.liveness_probe)),
        ("readiness", is_probed(&container.readiness_probe)),
    ];
    let probes = Vec::from_iter(probes.iter().filter(|probe| probe.1).map(|probe| probe.0));
    if !probes.is_empty() {
        facts.push(format!("probes: {}", probes.join(", ")));
    }
    facts
}

fn in_words(role: Role, container: &Container) -> String {
    let what = match role {
        Role::Main => "The container",
        Role::Init => "The init container",
        Role::Sidecar => "The sidecar container",
    };
    let mut words = format!("{what} {}:", container.name);
    words.push_str(&format!(" {}.", facts(role, container).join(", ")));
    words
}

/// Where the container's environment says that it calls: hosts and ports of its URLs.
fn upstreams(container: &Container) -> Vec<(String, u16)> {
    let values = container
        .env
        .iter()
        .filter_map(|variable| variable.value.as_deref());
    let urls = values.filter_map(|value| {
        let rest = value.strip_prefix("http://")?;
        let authority = rest.split('/').next()?;
        match authority.rsplit_once(':') {
            Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
            None => Some((authority.to_owned(), 80)),
        }
    });
    urls.collect()
}

/// Who calls whom in a pod, by their places in it: a call is drawn where the environment has a
/// URL on the pod's own loopback, and another container states that port.
fn calls(pod: &Pod) -> Vec<(usize, usize)> {
    let containers = Vec::from_iter(pod.spec.all_containers().map(|(_, container)| container));
    let mut calls = Vec::new();
    for (from, caller) in containers.iter().enumerate() {
        for (host, port) in upstreams(caller) {
            let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str());
            let listens = |other: &&Container| {
                other.name != caller.name
                    && other
                        .ports
                        .iter()
                        .any(|stated| stated.container_port == port)
            };
            if is_local && let Some(to) = containers.iter().position(listens) {
                calls.push((from, to));
            }
        }
    }
    calls
}

fn kind(volume: &Volume) -> String {
    if let Some(folder) = &volume.empty_dir {
        match folder.medium.as_str() {
            "" => "emptyDir".to_owned(),
            medium => format!("emptyDir, {medium}"),
        }
    } else if let Some(map) = &volume.config_map {
        format!("ConfigMap {}", map.name)
    } else if let Some(secret) = &volume.secret {
        format!("Secret {}", secret.secret_name)
    } else {
        "of a cluster".to_owned()
    }
}
