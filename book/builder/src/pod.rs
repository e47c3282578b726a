//! The figure of a pod: its containers, its volumes, what is mounted where and who calls whom,
//! as far as the manifest says.

use std::fmt::Write as _;

use harness::manifest::Manifest;
use harness::manifest::pod::{Container, Pod, Probe, Role, Volume};
use harness::manifest::service::Service;
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

/// How far from the first one of several tracks is: `step`, or less where all would not have
/// room.
fn spread(at: usize, of: usize, step: usize, room: usize) -> usize {
    match of.saturating_sub(1) {
        0 => 0,
        last => (at * step).min(at * room / last),
    }
}

/// A name of 63 characters, as Kubernetes allows, is drawn narrower: the attributes for that.
pub(crate) fn narrow(text: &str, room: usize) -> String {
    if text.chars().count() * CHARACTER > room {
        format!(r#" textLength="{room}" lengthAdjust="spacingAndGlyphs""#)
    } else {
        String::new()
    }
}

/// Draws the pods of a manifest, one below the other, as one line of SVG. `number` tells the
/// figures of a page apart.
pub(crate) fn draw(manifest: &Manifest, number: usize) -> String {
    let (mut svg, mut words) = (String::new(), String::new());
    let mut top = 1;
    for (names, pod) in groups(manifest) {
        let title = match &names[..] {
            [name] => format!("Pod {name}"),
            names => format!("Pods {}", names.join(", ")),
        };
        top = draw_pod(pod, &title, number, top, &mut svg, &mut words) + GAP;
    }
    for service in &manifest.services {
        top = draw_service(service, manifest, top, &mut svg, &mut words) + GAP;
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

/// The pods of a manifest, those together of which all is the same but the name.
fn groups(manifest: &Manifest) -> Vec<(Vec<&str>, &Pod)> {
    let specs = manifest
        .objects
        .iter()
        .filter(|object| object.kind == "Pod")
        .map(|object| &object.value["spec"]);
    let mut groups: Vec<(Vec<&str>, &Pod, _)> = Vec::new();
    for (pod, spec) in manifest.pods.iter().zip(specs) {
        let name = &*pod.metadata.name;
        match groups.iter_mut().find(|(_, _, of)| *of == spec) {
            Some((names, ..)) => names.push(name),
            None => groups.push((vec![name], pod, spec)),
        }
    }
    groups
        .into_iter()
        .map(|(names, pod, _)| (names, pod))
        .collect()
}

/// Draws a Service whose box begins at `top`. Returns where it ends.
fn draw_service(
    service: &Service,
    manifest: &Manifest,
    top: usize,
    svg: &mut String,
    words: &mut String,
) -> usize {
    let pods = manifest.pods.iter().map(|pod| &pod.metadata);
    let pods = pods.filter(|pod| service.selects(pod));
    let pods = Vec::from_iter(pods.map(|pod| &*pod.name)).join(", ");
    let name = &service.metadata.name;
    let (title, fact) = (format!("Service {name}"), format!("leads to {pods}"));
    let _ = write!(words, "The {title} {fact}. ");
    let mut block = Block {
        top,
        left: 1,
        width: WIDTH - 2,
        class: "volume",
        rows: Vec::new(),
    };
    block.add("name", &title);
    block.add("fact", &fact);
    block.draw(svg);
    block.bottom()
}

/// Draws a pod whose frame begins at `top`. Returns where it ends.
fn draw_pod(
    pod: &Pod,
    title: &str,
    number: usize,
    top: usize,
    svg: &mut String,
    words: &mut String,
) -> usize {
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
    let _ = write!(words, "{title}. ");
    if has_init {
        heading(&mut y, "init containers: one after the other");
    }
    let mut was_init = true;
    let mut blocks = Vec::new();
    let mut mounts = Vec::new();
    // Where each container's calls are told of.
    let mut call_rows = Vec::new();
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
        let mut rows = Vec::new();
        for line in facts(role, container) {
            let row = block.add("fact", &line);
            if line.starts_with(CALLS) {
                rows.push(row);
            }
        }
        call_rows.push(rows);
        let _ = write!(words, "{} ", in_words(role, container));
        for mount in &container.volume_mounts {
            let how = if mount.read_only { ", read-only" } else { "" };
            let row = block.add("path", &mount.mount_path);
            if mount.read_only {
                block.add("fact", "└ read-only");
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
    let _ = write!(
        svg,
        r#"<text class="title" x="{}" y="{}"{}>{}</text>"#,
        MARGIN + 2,
        top + MARGIN + 9,
        narrow(title, WIDTH - 2 * MARGIN - 4),
        escape(title)
    );
    for (y, heading) in headings {
        text(svg, "fact", LEFT, y, heading);
    }
    if let Some(footer) = footer {
        text(svg, "fact", LEFT, end - MARGIN, footer);
    }

    for (at, (block, volume)) in volumes.iter().zip(&pod.spec.volumes).enumerate() {
        // Each volume has a track of its own between the columns.
        let track = RIGHT + 8 + spread(at, volumes.len(), 7, 24);
        let to = block.top + block.height() / 2;
        for (index, row, _) in mounts.iter().filter(|mount| mount.2 == volume.name) {
            let from = blocks[*index].at(*row);
            let _ = write!(
                svg,
                r#"<path class="mount" d="M{right} {from}H{track}V{to}H{VOLUME_LEFT}"/>"#
            );
        }
    }
    // Each call has a track of its own too.
    let calls = calls(pod);
    for (at, (from, nth, to)) in calls.iter().enumerate() {
        let track = LEFT - 10 - spread(at, calls.len(), 8, 24);
        let _ = write!(
            svg,
            r#"<path class="call" marker-end="url(#pod-{number}-head)" d="M{LEFT} {}H{track}V{}H{}"/>"#,
            blocks[*from].at(call_rows[*from][*nth]),
            blocks[*to].at(0),
            LEFT - 1,
        );
    }
    for block in blocks.iter().chain(&volumes) {
        block.draw(svg);
    }
    end
}

/// How a container's box begins to tell whom it calls.
const CALLS: &str = "calls ";

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
        facts.push(format!("{CALLS}{host}:{port}"));
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
        let (rest, usual) = match value.split_once("://")? {
            ("http", rest) => (rest, 80),
            ("https", rest) => (rest, 443),
            _ => return None,
        };
        let authority = rest.split('/').next()?;
        match authority.rsplit_once(':') {
            // An address such as `[::1]` has colons of its own.
            Some((host, port)) if !port.ends_with(']') => {
                Some((host.to_owned(), port.parse().ok()?))
            }
            _ => Some((authority.to_owned(), usual)),
        }
    });
    urls.collect()
}

/// Who calls whom in a pod, by their places in it, and which of the caller's calls it is: a call
/// is drawn where the environment has a URL on the pod's own loopback, and another container
/// states that port.
fn calls(pod: &Pod) -> Vec<(usize, usize, usize)> {
    let containers = Vec::from_iter(pod.spec.all_containers().map(|(_, container)| container));
    let mut calls = Vec::new();
    for (from, caller) in containers.iter().enumerate() {
        for (nth, (host, port)) in upstreams(caller).into_iter().enumerate() {
            let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str());
            let listens = |other: &&Container| {
                other.name != caller.name
                    && other
                        .ports
                        .iter()
                        .any(|stated| stated.container_port == port)
            };
            if is_local && let Some(to) = containers.iter().position(listens) {
                calls.push((from, nth, to));
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

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: crowd}
spec:
  volumes:
    - {name: a, emptyDir: {}}
    - {name: b, emptyDir: {}}
    - {name: c, emptyDir: {}}
    - {name: d, emptyDir: {}}
    - {name: e, emptyDir: {}}
    - {name: f, emptyDir: {}}
  initContainers:
    - name: prepare
      image: 'sidecar-examples:prepare'
      imagePullPolicy: Never
      volumeMounts: [{name: a, mountPath: /a}, {name: f, mountPath: /f}]
    - name: proxy
      image: 'sidecar-examples:proxy'
      imagePullPolicy: Never
      restartPolicy: Always
      ports: [{containerPort: 7979}]
      env: [{name: UPSTREAM, value: 'https://example.com'}]
      volumeMounts: [{name: b, mountPath: /b}, {name: c, mountPath: /c, readOnly: true}]
  containers:
    - name: app
      image: 'sidecar-examples:app'
      imagePullPolicy: Never
      ports: [{containerPort: 7878}]
      env:
        - {name: UPSTREAM, value: 'http://localhost:7979/path'}
        - {name: OTHER, value: 'http://[::1]:9000'}
      volumeMounts: [{name: a, mountPath: /a}, {name: d, mountPath: /d}]
    - name: other
      image: 'sidecar-examples:other'
      imagePullPolicy: Never
      ports: [{containerPort: 9000}]
      env: [{name: UPSTREAM, value: 'http://127.0.0.1:7979'}]
      volumeMounts: [{name: a, mountPath: /a}, {name: e, mountPath: /e}]
";

    fn parse(text: &str) -> Manifest {
        Manifest::parse("crowd.yaml", text).expect("a manifest")
    }

    /// Where the upright parts of the lines of a kind are.
    fn tracks(svg: &str, class: &str) -> Vec<usize> {
        let lines = svg.split("<path ").filter(|line| line.contains(class));
        let lines = lines.filter_map(|line| line.split_once('H')?.1.split_once('V'));
        lines.map(|(x, _)| x.parse().expect("a number")).collect()
    }

    #[test]
    fn a_call_begins_at_the_row_that_tells_of_it_and_has_a_track_of_its_own() {
        let manifest = parse(MANIFEST);
        let pod = &manifest.pods[0];
        assert_eq!(calls(pod), [(2, 0, 1), (2, 1, 3), (3, 0, 1)]);
        let svg = draw(&manifest, 1);
        let (_, row) = svg
            .split_once(r#"<text class="fact" x="54" y=""#)
            .expect("a fact");
        let row = row.split(r#"<text class="fact" x="54" y=""#);
        let mut row = row.filter(|text| text.contains(">calls [::1]:9000<"));
        let (row, _) = row
            .next()
            .expect("the call")
            .split_once('"')
            .expect("its place");
        // The middle of a row is above the foot of its text.
        let begin = format!(
            r#"d="M{LEFT} {}H"#,
            row.parse::<usize>().expect("a number") - 5
        );
        assert_eq!(svg.matches(&begin).count(), 1, "{begin} in {svg}");
        let mut tracks = tracks(&svg, r#"class="call""#);
        tracks.dedup();
        assert_eq!(tracks.len(), 3, "{tracks:?}");
        assert!(tracks.iter().all(|x| (2..LEFT).contains(x)), "{tracks:?}");
    }

    #[test]
    fn each_volume_has_a_track_between_the_columns() {
        let mut tracks = tracks(&draw(&parse(MANIFEST), 1), r#"class="mount""#);
        tracks.dedup();
        assert_eq!(tracks.len(), 6, "{tracks:?}");
        let between = RIGHT + 1..VOLUME_LEFT;
        assert!(tracks.iter().all(|x| between.contains(x)), "{tracks:?}");
    }

    #[test]
    fn pods_that_differ_by_name_alone_are_drawn_once() {
        let crowd = MANIFEST.replace("name: crowd}", "name: crowd, labels: {a: b}}");
        let twin = crowd.replace("name: crowd", "name: crowd-2");
        let other = crowd.replace("name: crowd", "name: other");
        let other = other.replace("7979/path", "7979/else");
        let service = "
apiVersion: v1
kind: Service
metadata: {name: all}
spec: {clusterIP: None, selector: {a: b}}
";
        let manifest = parse(&format!("{crowd}---{twin}---{other}---{service}"));
        let svg = draw(&manifest, 1);
        assert!(svg.contains(">Pods crowd, crowd-2</text>"), "{svg}");
        assert!(svg.contains(">Pod other</text>"), "{svg}");
        assert_eq!(svg.matches(r#"class="frame""#).count(), 2, "{svg}");
        assert!(svg.contains(">leads to crowd, crowd-2, other<"), "{svg}");
    }

    #[test]
    fn hosts_and_ports_are_those_of_the_urls() {
        let manifest = parse(MANIFEST);
        let calls = |at: usize| {
            let (_, container) = manifest.pods[0].spec.all_containers().nth(at).expect("it");
            upstreams(container)
        };
        assert_eq!(calls(1), [("example.com".to_owned(), 443)]);
        assert_eq!(calls(2)[1], ("[::1]".to_owned(), 9000));
    }

    #[test]
    fn text_is_wrapped_into_its_box_and_none_of_it_is_lost() {
        let name = "a-name-of-some-length".repeat(3);
        let lines = wrap(&name, 20);
        assert!(lines.iter().all(|line| line.chars().count() <= 20));
        assert_eq!(lines.concat(), name);
        let svg = draw(&parse(&MANIFEST.replace("crowd", &name)), 1);
        assert!(svg.contains("textLength"), "{svg}");
    }
}
