//! A reader: the book, served by the program itself, and a browser to read it with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities;
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;

/// The book and a browser, which are gone when the test ends.
pub(crate) struct Reader {
    pub(crate) browser: WebDriver,
    /// Of the book, as `http://127.0.0.1:3000/`.
    pub(crate) address: String,
    /// Where the book was built.
    folder: PathBuf,
    /// Where the browser's driver listens, as `127.0.0.1:9515`.
    driver: String,
    _programs: [Ended; 2],
    _target: TempDir,
}

/// The folder of the workbook.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `cargo xtask book` in the workbook at `root`, which builds below `target`.
pub(crate) fn book(root: &Path, target: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask-book"));
    command
        .arg("book")
        .current_dir(root)
        .env("CARGO_TARGET_DIR", target);
    command
}

/// A copy of what the book is made from, to be changed.
pub(crate) fn copy() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let files = Command::new("git")
        .args([
            // Whoever owns the checkout.
            "-c",
            "safe.directory=*",
            "ls-files",
            "book",
            "chapters",
            "exercises",
            "faults",
            "harness",
            "kit",
            "manifests",
        ])
        .arg("Cargo.toml")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(files.status.success(), "{files:?}");
    for file in String::from_utf8(files.stdout).unwrap().lines() {
        let to = copy.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join(file), to).unwrap();
    }
    copy
}

/// Changes a file of a copy.
pub(crate) fn change(copy: &TempDir, file: &str, change: impl FnOnce(String) -> String) {
    let file = copy.path().join(file);
    let text = change(fs::read_to_string(&file).unwrap());
    fs::write(file, text).unwrap();
}

impl Reader {
    pub(crate) async fn new() -> Self {
        Self::of(root()).await
    }

    /// Who reads the book of the workbook at `root`.
    pub(crate) async fn of(root: &Path) -> Self {
        let target = tempfile::tempdir().unwrap();
        let mut serve = book(root, target.path());
        serve.args(["--serve", "--port", "0"]);
        let (server, line) = Ended::start(&mut serve, " pages at http");
        let (_, rest) = line.split_once(" at ").unwrap();
        let (address, _) = rest.split_once(',').unwrap();

        let sign = "started successfully on port ";
        let (driver, line) = Ended::start(Command::new("chromedriver").arg("--port=0"), sign);
        let (_, port) = line.split_once(sign).unwrap();
        let driver_at = format!("127.0.0.1:{}", port.trim_end_matches('.'));
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_headless().unwrap();
        // Chromium's own sandbox is not for root, and small machines have a small /dev/shm.
        wanted.set_no_sandbox().unwrap();
        wanted.set_disable_dev_shm_usage().unwrap();
        // A browser whose driver is killed ends, because this pipe does.
        wanted.add_arg("--remote-debugging-pipe").unwrap();
        let profile = target.path().join("profile");
        wanted
            .add_arg(&format!("--user-data-dir={}", profile.display()))
            .unwrap();
        wanted
            .set_logging_prefs("performance", LoggingPrefsLogLevel::All)
            .unwrap();
        wanted
            .set_browser_log_level(LoggingPrefsLogLevel::All)
            .unwrap();
        let url = format!("http://{driver_at}");
        let reader = Self {
            browser: WebDriver::new(url, wanted).await.unwrap(),
            driver: driver_at,
            address: address.to_owned(),
            folder: target.path().join("book"),
            _programs: [server, driver],
            _target: target,
        };
        // What the browser opens with is not the book's.
        reader.browser.goto("about:blank").await.unwrap();
        reader.faults().await;
        reader
    }

    /// The pages of the book, from its root. The printable whole is none.
    pub(crate) fn pages(&self) -> Vec<String> {
        let mut pages = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let page = path.strip_prefix(&self.folder).unwrap().to_str().unwrap();
                if path.is_dir() {
                    folders.push(path);
                } else if page.ends_with(".html") && !["print.html", "toc.html"].contains(&page) {
                    pages.push(page.to_owned());
                }
            }
        }
        pages.sort();
        assert!(pages.len() > 10, "{pages:?}");
        pages
    }

    /// Makes the window so many pixels wide, and prefers the light or the dark theme.
    pub(crate) async fn looks(&self, width: u32, theme: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.tell("Emulation.setDeviceMetricsOverride", size).await;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.tell("Emulation.setEmulatedMedia", media).await;
    }

    /// Tells Chromium what WebDriver has no word for.
    pub(crate) async fn tell(&self, method: &str, parameters: Value) {
        let cdp = self.browser.cdp();
        cdp.send_raw(method, parameters).await.unwrap();
    }

    /// Opens a page of the book, and waits until it is loaded.
    pub(crate) async fn open(&self, page: &str) {
        let url = format!("{}{page}", self.address);
        self.browser.goto(url).await.unwrap();
    }

    /// What a script of the body `script` returns.
    pub(crate) async fn ask(&self, script: &str) -> Value {
        let answer = self.browser.execute(script, Vec::new()).await.unwrap();
        answer.json().clone()
    }

    /// Waits until a script returns something that is true.
    pub(crate) async fn until(&self, script: &str) {
        let asks = async {
            while !self.ask(script).await.as_bool().unwrap() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), asks).await;
        waited.unwrap_or_else(|_| panic!("60 seconds, and not: {script}"));
    }

    /// The one element that a selector of CSS names.
    pub(crate) async fn find(&self, selector: &str) -> WebElement {
        self.browser.find(By::Css(selector)).await.unwrap()
    }

    /// What went wrong since it was last asked: on the console, and with requests.
    pub(crate) async fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for entry in self.browser.browser_log().await.unwrap() {
            if !["INFO", "DEBUG"].contains(&entry.level.as_str()) {
                faults.push(format!("console: {}", entry.message));
            }
        }
        for entry in self.browser.get_log("performance").await.unwrap() {
            let entry: Value = serde_json::from_str(&entry.message).unwrap();
            let (method, of) = (&entry["message"]["method"], &entry["message"]["params"]);
            match method.as_str().unwrap() {
                "Network.requestWillBeSent" => {
                    let url = of["request"]["url"].as_str().unwrap();
                    if !url.starts_with(&self.address) && !url.starts_with("data:") {
                        faults.push(format!("a request to another host: {url}"));
                    }
                }
                "Network.responseReceived" if of["response"]["status"].as_u64() >= Some(400) => {
                    faults.push(format!("a request failed: {}", of["response"]["url"]));
                }
                "Network.loadingFailed" => faults.push(format!("a request failed: {of}")),
                _ => {}
            }
        }
        faults
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The browser must have ended before its profile is removed, also when the test has
        // failed. What asks for that by itself blocks the runtime that it needs.
        let session = self.browser.session_id();
        if let Ok(mut driver) = TcpStream::connect(&self.driver) {
            let _ = write!(
                driver,
                "DELETE /session/{session} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.driver
            );
            // It answers when the browser is gone, and does not hang up.
            let _ = driver.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = driver.read(&mut [0]);
        }
        let _ = self.browser.clone().leak();
    }
}

/// axe-core, which knows what a page needs to be read by everyone.
pub(crate) static AXE: LazyLock<String> = LazyLock::new(|| {
    const PACKAGE: &str = "axe-core@4.14.1";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    let file = folder.join("node_modules/axe-core/axe.min.js");
    if !file.exists() {
        let installed = Command::new("npm")
            .args([
                "install",
                "--no-save",
                "--no-audit",
                "--no-fund",
                "--silent",
            ])
            .arg("--prefix")
            .arg(&folder)
            .arg(PACKAGE)
            .status();
        assert!(installed.unwrap().success(), "npm cannot install {PACKAGE}");
    }
    fs::read_to_string(file).unwrap()
});

/// A program that is ended with the test.
struct Ended(Child);

impl Ended {
    /// Starts it, and waits for a line that has `sign` in it.
    fn start(command: &mut Command, sign: &str) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ended = Self(child);
        let mut said = Vec::new();
        let line = loop {
            match lines.next() {
                Some(line) => {
                    let line = line.unwrap();
                    if line.contains(sign) {
                        break line;
                    }
                    said.push(line);
                }
                None => panic!("{command:?} ended before {sign:?}: {said:?}"),
            }
        };
        // What else it says is read, so that it can say it.
        thread::spawn(move || lines.for_each(drop));
        (ended, line)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
