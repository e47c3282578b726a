//! What happens when something changes: what no longer agrees is told, and a page that is open is
//! loaded again.

use tempfile::TempDir;

use crate::kit::{Reader, book, change, copy};

const PAGE: &str = "book/src/chapters/02-input-poller.md";

/// Builds the book of a copy: where to, the exit code and what was said of errors.
fn built(copy: &TempDir) -> (TempDir, Option<i32>, String) {
    let target = tempfile::tempdir().unwrap();
    let output = book(copy.path(), target.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (target, output.status.code(), said)
}

#[test]
fn whatever_does_not_agree_with_what_it_includes_is_told_with_its_place() {
    let copy = copy();
    let mut lines = 0;
    change(&copy, PAGE, |page| {
        lines = page.lines().count();
        page + "\
```
typed
```

    indented

<pre>tagged</pre>

`cargo xtask chaptr 2`
`cargo xtask chapter 2 --scenario gone`

{{#run cargo xtask chapter 99}}
{{#code kit/src/lib.rs:gone}}
{{#code kit/src/gone.rs}}
{{#output 2 healthy gone}}
{{#pod 2 gone}}
{{#typed book/typed/gone.console}}
{{#measured chapters/gone.json What it measured.}}
{{#exercises 99}}

See {{#chapters}}

It is simply there. [A page](gone.md) and [a heading](#gone).
"
    });
    change(
        &copy,
        "book/src/chapters/03-output-interceptor.md",
        |page| page.replace("{{#exercises 3}}", ""),
    );
    change(&copy, "kit/src/lib.rs", |text| {
        text + "// ANCHOR: unused\n// ANCHOR_END: unused\n"
    });
    change(
        &copy,
        "chapters/02-input-poller/snapshots/slow-start/input-sidecar.snap",
        |text| text.replace("Hello", "Good day"),
    );

    let (_, code, said) = built(&copy);
    assert_eq!(code, Some(2), "{said}");
    for (line, what) in [
        (1, "a listing is included, not typed"),
        (5, "a listing is included, not typed"),
        (7, "a listing is included, not typed"),
        (9, "unrecognized subcommand 'chaptr'"),
        (10, "has no scenario `gone`"),
        (12, "there is no chapter `99`"),
        (13, "kit/src/lib.rs has no region `gone`"),
        (14, "cannot read kit/src/gone.rs"),
        (15, "cannot read the snapshot"),
        (16, "has no scenario `gone`"),
        (17, "cannot read book/typed/gone.console"),
        (18, "cannot read chapters/gone.json"),
        (19, "there is no exercise of chapter 99"),
        (21, "a directive begins at the beginning of a line"),
        (23, "say it without `simply`"),
    ] {
        let place = format!("{PAGE}:{}: ", lines + line);
        let told = said
            .lines()
            .any(|said| said.contains(&place) && said.contains(what));
        assert!(told, "not told: {place}{what}\n{said}");
    }
    for told in [
        "kit/src/lib.rs:unused: no page shows this region",
        "03-output-interceptor.md does not lead to it: {{#exercises 3}} does",
        "02-input-poller.html links to gone.html: there is no such file",
        "02-input-poller.html links to #gone: that page has nothing of the id",
    ] {
        assert!(said.contains(told), "not told: {told}\n{said}");
    }
}

#[test]
fn a_timeline_of_a_run_that_is_no_longer_as_recorded_is_told() {
    let copy = copy();
    let snapshot = "chapters/02-input-poller/snapshots/healthy/input-sidecar.snap";
    change(&copy, snapshot, |text| text.replace("Hello", "Good day"));
    let (_, code, said) = built(&copy);
    assert_eq!(code, Some(2), "{said}");
    for told in [
        "recording.json is not as the snapshot of input-sidecar",
        "`cargo xtask chapter 2 --scenario healthy --bless` records it again",
    ] {
        assert!(said.contains(told), "not told: {told}\n{said}");
    }
}

#[test]
fn a_figure_is_made_from_the_manifest() {
    let copy = copy();
    let manifest = "manifests/01-shared-volume-logs/healthy.yaml";
    change(&copy, manifest, |text| {
        text.replace("containerPort: 8080", "containerPort: 8181")
            .replace("mountPath: /var/log/webserver", "mountPath: /var/elsewhere")
    });
    let (target, code, said) = built(&copy);
    assert_eq!(code, Some(0), "{said}");
    let page = target
        .path()
        .join("book/chapters/01-shared-volume-logs.html");
    let page = std::fs::read_to_string(page).unwrap();
    let start = page.find("<svg class=\"anatomy\"").unwrap();
    let figure = &page[start..start + page[start..].find("</svg>").unwrap()];
    for drawn in [
        "listens on 8181",
        "/var/elsewhere",
        "read-only",
        "shared-logs",
    ] {
        assert!(figure.contains(drawn), "no {drawn} in {figure}");
    }
}

#[tokio::test]
async fn a_page_that_is_open_is_loaded_again_when_a_file_changes() {
    let copy = copy();
    let reader = Reader::of(copy.path()).await;
    reader.open("chapters/02-input-poller.html").await;
    change(&copy, PAGE, |page| {
        page.replacen("The problem", "Another", 1)
    });
    reader
        .until("return document.querySelector('main h2')?.textContent === 'Another'")
        .await;
}
