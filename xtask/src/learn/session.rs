//! `cargo xtask learn`: shows an exercise, watches its file, and checks it on every save. `cargo
//! xtask fault` does so with a pod that breaks, when its cause was named.
//!
//! The file is looked at again and again, since not every file system tells of changes: those of a
//! virtual machine's host and of a network do not.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anstream::{print, println};
use anyhow::{Context, ensure};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use harness::engine::Engine;
use harness::exercise::{Cause, Checked, Exercise, Finding, Seed, Work};
use harness::image::Image;
use harness::recording::Recording;
use harness::workspace::{Chapter, Workspace};
#[cfg(unix)]
use rustix::process::Signal;
#[cfg(unix)]
use rustix::termios::{OptionalActions, OutputModes, QueueSelector, tcflush, tcgetattr, tcsetattr};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};

use super::{
    after, ask, ask_again, build, figure, find, foretold, handle, happened, open, solutions, text,
    timeline, title, was_set_aside,
};
use crate::report::{BAD, BOLD, DIM, GOOD, columns, fact, paragraph, rows};
use crate::{On, Verdict};
use crate::{book, engine};

/// How often the file is looked at. What was read is taken when it is the same twice, since an
/// editor may not have written all of it yet.
const LOOK: Duration = Duration::from_millis(25);
/// A check that takes longer than this is told to be at work.
const SOON: Duration = Duration::from_millis(300);

/// Begins with the exercise that is named, else with the first that is not solved.
pub(crate) async fn run(wanted: Option<&str>, on: On) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let work = open(&workspace)?;
    let exercise = find(&workspace, &work, wanted)?;
    let all = workspace.exercises()?;
    hold(workspace, work, exercise, all, on).await
}

/// Begins with a fault of a chapter: one that was begun, else any that is not mended, else any. Or
/// with the one of that number.
pub(crate) async fn fault(wanted: &str, on: On) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let work = open(&workspace)?;
    let mut all = workspace.faults()?;
    let number = all.iter().find(|fault| wanted.parse() == Ok(fault.number));
    let (chapter, number) = match number {
        Some(fault) => (fault.chapter.number, Some(fault.number)),
        None => (workspace.select(wanted)?[0].number, None),
    };
    let chapters = BTreeSet::from_iter(all.iter().map(|fault| fault.chapter.number.to_string()));
    all.retain(|fault| fault.chapter.number == chapter);
    ensure!(
        !all.is_empty(),
        "chapter {chapter} has no faults; these chapters have some: {}",
        Vec::from_iter(chapters).join(", ")
    );
    let is_meant = |fault: &&Exercise| match number {
        Some(number) => fault.number == number,
        None => !work.is_solved(fault) && work.file(fault).exists(),
    };
    let chosen = match all.iter().find(is_meant) {
        Some(meant) => meant.clone(),
        None => another(&all, &work, None),
    };
    hold(workspace, work, chosen, all, on).await
}

/// One of the faults that chance picks: not this one, and one that is not mended, if it can be.
fn another(all: &[Exercise], work: &Work, not: Option<&Exercise>) -> Exercise {
    let others = |is_left: bool| {
        let is_other = |fault: &&Exercise| not.is_none_or(|not| not.number != fault.number);
        let left = all.iter().filter(is_other);
        Vec::from_iter(left.filter(|fault| !is_left || !work.is_solved(fault)))
    };
    let left = match others(true) {
        none if none.is_empty() => others(false),
        some => some,
    };
    fastrand::choice(left).unwrap_or(&all[0]).clone()
}

async fn hold(
    workspace: Workspace,
    work: Work,
    exercise: Exercise,
    all: Vec<Exercise>,
    on: On,
) -> anyhow::Result<Verdict> {
    ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "this needs a terminal, as it reads single keys; without one, `cargo xtask check {}` does \
         one step",
        handle(&exercise)
    );
    let engine = engine::open_for_exercises(on.engine).await?;
    let mut session = Session {
        workspace,
        work,
        exercise,
        all,
        engine,
        images: BTreeMap::new(),
        checked: None,
        found: None,
        diagnosis: None,
        opened: None,
        shown: Cell::new(Shown::Exercise),
        is_running: Cell::new(false),
    };
    let (terminal, mut input) = (Terminal::take()?, Input::new()?);
    let done = session.conduct(&mut input, &terminal).await;
    drop(terminal);
    println!();
    done.map(|()| Verdict::Good)
}

/// A terminal of so many rows has room for the events of a fault beside the question for its cause.
const ROOMY: usize = 60;

/// The file with what the broken pod of a fault did.
const EVENTS: &str = "events.txt";

/// What is on the screen below the exercise's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// What the last check has found.
    Exercise,
    Hint,
    List,
    /// Whether the solution is really wanted.
    AskSolution,
    Solution,
    AskReset,
    Events,
}

/// What is known of a fault before it is mended.
struct Diagnosis {
    /// What the broken pod did.
    broken: Recording,
    /// The cause that was named last, by its place.
    named: Option<usize>,
}

struct Session {
    workspace: Workspace,
    work: Work,
    exercise: Exercise,
    /// All that there are to do.
    all: Vec<Exercise>,
    engine: Box<dyn Engine>,
    /// The images of the exercises that were opened, by their folders.
    images: BTreeMap<String, Vec<Image>>,
    /// What the reader had written when it was last checked, or why it could not be read.
    checked: Option<Result<Vec<u8>, String>>,
    /// What the last check has found, how long it took, and its seed.
    found: Option<(Checked, Duration, Seed)>,
    /// Of a fault.
    diagnosis: Option<Diagnosis>,
    shown: Cell<Shown>,
    /// What came of opening the page, until the next key.
    opened: Option<String>,
    /// Whether the pod runs.
    is_running: Cell<bool>,
}

impl Session {
    /// Gets all that the exercise needs. Returns whether to go on.
    async fn open(&mut self, input: &mut Input, terminal: &Terminal) -> anyhow::Result<bool> {
        let folder = self.exercise.folder.clone();
        if !self.images.contains_key(&folder) {
            let only = std::slice::from_ref(&self.exercise);
            let images = tokio::select! {
                images = build(&self.workspace, only) => images?,
                told = input.told_to_end(terminal) => return told.map(|()| false),
            };
            self.images.insert(folder, images);
        }
        (self.checked, self.found) = (None, None);
        self.shown.set(Shown::Exercise);
        // An exercise that nobody has answered begins with its text, and not with what is wrong.
        let (answer, starter) = (self.work.answer(&self.exercise), self.exercise.starter()?);
        if answer.is_ok_and(|answer| answer.text == starter.text) {
            self.checked = Some(Ok(starter.text.into_bytes()));
        }
        self.diagnosis = None;
        match self.exercise.is_fault() {
            true => self.break_it(input, terminal).await,
            false => Ok(true),
        }
    }

    /// Runs the broken pod, and puts what it did into a file beside it; nothing is known where the
    /// machine cannot run it. Returns whether to go on.
    async fn break_it(&mut self, input: &mut Input, terminal: &Terminal) -> anyhow::Result<bool> {
        println!("{DIM}the pod runs, and breaks; this takes some seconds{DIM:#}");
        let (seed, begin) = (Seed::any(), Instant::now());
        let (starter, images) = (
            self.exercise.starter()?,
            &self.images[&self.exercise.folder],
        );
        let (ask, asked) = watch::channel(false);
        let checked = {
            let engine = self.engine.as_ref();
            let check = self.exercise.check(&starter, engine, images, seed, asked);
            tokio::pin!(check);
            loop {
                tokio::select! {
                    checked = &mut check => break checked?,
                    told = input.told_to_end(terminal), if !*ask.borrow() => {
                        told?;
                        ask.send_replace(true);
                    }
                }
            }
        };
        if *ask.borrow() {
            return Ok(false);
        }
        if let Finding::NotHere(_) = checked.finding {
            self.found = Some((checked, begin.elapsed(), seed));
            return Ok(true);
        }
        let broken = checked
            .recording
            .context("the broken pod of this fault does not run")?;
        let events = timeline::all_events(&broken).join("\n");
        let file = self.work.file(&self.exercise).with_file_name(EVENTS);
        fs::write(&file, events + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        let named = self.work.is_solved(&self.exercise);
        let right = self.exercise.causes.iter().position(is_right);
        self.diagnosis = Some(Diagnosis {
            broken,
            named: right.filter(|_| named),
        });
        Ok(true)
    }

    /// Whether the cause of a fault is still to be named.
    fn is_open(&self) -> bool {
        let named = self.diagnosis.as_ref().map(|diagnosis| diagnosis.named);
        let cause = named.map(|named| self.exercise.causes.get(named?));
        cause.is_some_and(|cause| !cause.is_some_and(is_right))
    }

    /// Watches the file and the keys until it is time to go.
    async fn conduct(&mut self, input: &mut Input, terminal: &Terminal) -> anyhow::Result<()> {
        if !self.open(input, terminal).await? {
            return Ok(());
        }
        let mut looks = interval(LOOK);
        let mut last = None;
        self.draw(terminal)?;
        loop {
            tokio::select! {
                event = input.next() => match event {
                    Some(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                        if !self.press(key, input, terminal).await? {
                            return Ok(());
                        }
                    }
                    Some(Event::Resize(..)) => self.draw(terminal)?,
                    Some(_) => {}
                    None => return Ok(()),
                },
                _ = looks.tick() => {
                    // A file that is being written is away for a moment.
                    let now = self.work.look(&self.exercise);
                    let is_new = now.is_some() && now != self.checked && now == last;
                    last.clone_from(&now);
                    if !is_new || self.is_open() {
                        continue;
                    }
                    self.checked = now;
                    if !self.check(input, terminal).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Checks the answer. A key that needs nothing but the screen does what it does otherwise, and
    /// any other one ends the check first. Returns whether to go on.
    async fn check(&mut self, input: &mut Input, terminal: &Terminal) -> anyhow::Result<bool> {
        let (seed, begin) = (Seed::any(), Instant::now());
        let answer = match self.work.answer(&self.exercise) {
            Ok(answer) => answer,
            Err(error) => {
                let checked = Checked::unreadable(&error);
                self.found = Some((checked, begin.elapsed(), seed));
                self.draw(terminal)?;
                return Ok(true);
            }
        };
        let (ask, asked) = watch::channel(false);
        let images = &self.images[&self.exercise.folder];
        let (mut pressed, mut is_over) = (None, false);
        self.shown.set(Shown::Exercise);
        let found = {
            let check = self
                .exercise
                .check(&answer, self.engine.as_ref(), images, seed, asked);
            tokio::pin!(check);
            let soon = sleep(SOON);
            tokio::pin!(soon);
            loop {
                tokio::select! {
                    found = &mut check => break found,
                    () = &mut soon, if !self.is_running.get() => {
                        self.is_running.set(true);
                        self.draw(terminal)?;
                    }
                    event = input.next(), if !is_over && pressed.is_none() => {
                        let key = match event {
                            Some(Event::Key(key)) if key.kind == KeyEventKind::Press => key,
                            Some(_) => continue,
                            None => {
                                is_over = true;
                                ask.send_replace(true);
                                continue;
                            }
                        };
                        match key.code {
                            KeyCode::Char('h') => {
                                self.shown.set(Shown::Hint);
                                self.draw(terminal)?;
                            }
                            KeyCode::Char('l') => {
                                self.shown.set(Shown::List);
                                self.draw(terminal)?;
                            }
                            _ => {
                                pressed = Some(key);
                                ask.send_replace(true);
                            }
                        }
                    }
                }
            }
        };
        self.is_running.set(false);
        let found = found?;
        if found.finding == Finding::Solved {
            self.work.mark_solved(&self.exercise)?;
        }
        self.found = Some((found, begin.elapsed(), seed));
        self.draw(terminal)?;
        match pressed {
            Some(key) => self.press(key, input, terminal).await,
            None => Ok(!is_over),
        }
    }

    /// Does what a key is for. Returns whether to go on.
    async fn press(
        &mut self,
        key: KeyEvent,
        input: &mut Input,
        terminal: &Terminal,
    ) -> anyhow::Result<bool> {
        self.opened = None;
        let shown = match (key.code, self.shown.get()) {
            (KeyCode::Char('c' | 'd'), _) if is_control(key) => return Ok(false),
            (KeyCode::Char('z'), shown) if is_control(key) => {
                terminal.suspend()?;
                shown
            }
            (KeyCode::Char('q'), _) => return Ok(false),
            (KeyCode::Char('h'), _) => Shown::Hint,
            (KeyCode::Char('l'), _) => Shown::List,
            (KeyCode::Char('e'), _) => Shown::Events,
            (KeyCode::Char('o'), shown) => {
                self.opened = Some(self.open_page()?);
                shown
            }
            (KeyCode::Char(digit), _) if self.is_open() && digit.is_ascii_digit() => {
                let place = digit.to_digit(10).map(|digit| digit as usize);
                let place = place.and_then(|place| place.checked_sub(1));
                let place = place.filter(|place| *place < self.exercise.causes.len());
                if let Some(diagnosis) = &mut self.diagnosis {
                    diagnosis.named = place;
                }
                Shown::Exercise
            }
            (KeyCode::Char('s'), Shown::AskSolution) => Shown::Solution,
            (KeyCode::Char('s'), _) if self.work.is_solved(&self.exercise) => Shown::Solution,
            (KeyCode::Char('s'), _) => Shown::AskSolution,
            (KeyCode::Char('r'), Shown::AskReset) => {
                self.work.reset(&self.exercise)?;
                self.checked = Some(Ok(self.work.answer(&self.exercise)?.text.into_bytes()));
                self.found = None;
                Shown::Exercise
            }
            (KeyCode::Char('r'), _) => Shown::AskReset,
            (KeyCode::Char('n'), _) => {
                if let Some(next) = self.next() {
                    self.exercise = next;
                    terminal.show(|| {})?;
                    if !self.open(input, terminal).await? {
                        return Ok(false);
                    }
                }
                Shown::Exercise
            }
            _ => Shown::Exercise,
        };
        self.shown.set(shown);
        self.draw(terminal)?;
        Ok(true)
    }

    /// Opens the chapter's page, if the book was built, and says what came of it.
    fn open_page(&self) -> anyhow::Result<String> {
        let page = format!("book/chapters/{}.html", self.exercise.chapter.folder);
        let page = self.workspace.target()?.join(page);
        if !page.is_file() {
            return Ok("not built yet: `cargo xtask book --open` builds the book".to_owned());
        }
        Ok(match book::open(&page) {
            Ok(()) => format!("opened: {}", page.display()),
            Err(error) => format!("{error:#}"),
        })
    }

    /// What comes after the exercise at hand.
    fn next(&self) -> Option<Exercise> {
        if self.exercise.is_fault() {
            return Some(another(&self.all, &self.work, Some(&self.exercise)));
        }
        after(&self.all, &self.work, &self.exercise)
    }

    fn draw(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let mut said = Ok(());
        terminal.show(|| said = self.print())?;
        said
    }

    fn print(&self) -> anyhow::Result<()> {
        let exercise = &self.exercise;
        title(exercise);
        let solved = self.all.iter().filter(|one| self.work.is_solved(one));
        fact(
            "solved",
            &format!("{} of {}", solved.count(), self.all.len()),
        );
        if let Some(kept) = self.work.set_aside() {
            println!("{}", was_set_aside(&kept));
        }
        fact("answer", &self.work.name(exercise));
        if exercise.is_fault() {
            let events = Path::new(&self.work.name(exercise)).with_file_name(EVENTS);
            fact("events", &events.display().to_string());
        }
        match self.shown.get() {
            Shown::List => super::list(&self.workspace)?,
            Shown::Solution => {
                solutions(exercise)?;
                println!();
                text(&exercise.texts.explains);
            }
            Shown::AskReset => {
                println!("\nPut back what it began with? Your answer is kept beside it.");
                println!("{BOLD}r{BOLD:#} again does it; any other key leaves it.");
            }
            Shown::AskSolution => {
                println!("\nIt is not solved yet, and what one finds oneself, one keeps.");
                println!("{BOLD}s{BOLD:#} again shows the solutions; {BOLD}h{BOLD:#} a hint.");
            }
            Shown::Events => self.events(),
            Shown::Exercise | Shown::Hint => {
                // The screen is for what is new.
                match self.found.is_some() || self.is_open() {
                    true => ask_again(exercise),
                    false => ask(exercise),
                }
                println!();
                match &self.found {
                    _ if self.is_open() => self.question(),
                    _ if self.is_running.get() => {
                        println!("{DIM}its pod runs; this may take some seconds{DIM:#}");
                    }
                    None => {
                        self.confirm();
                        println!("{DIM}It is checked as soon as you save it.{DIM:#}");
                    }
                    Some((checked, took, seed)) => {
                        if checked.finding == Finding::Interrupted {
                            println!("{BAD}interrupted{BAD:#}");
                        }
                        if let Some(recording) = foretold(exercise, checked) {
                            figure("what happened", recording);
                            println!();
                        }
                        super::tell(exercise, checked, *took, *seed);
                        self.compare(checked);
                    }
                }
                if self.shown.get() == Shown::Hint {
                    println!();
                    text(&exercise.texts.hint);
                }
            }
        }
        println!();
        let keys = [
            ("h", "hint"),
            ("e", "events"),
            ("n", "next"),
            ("l", "list"),
            ("r", "reset"),
            ("s", "solution"),
            ("o", "page"),
            ("q", "quit"),
        ];
        let mut column = 0;
        for (key, word) in keys {
            let width = key.len() + 1 + word.len();
            if column + width > columns() {
                println!();
                column = 0;
            }
            print!("{BOLD}{key}{BOLD:#} {DIM}{word}{DIM:#}   ");
            column += width + 3;
        }
        println!();
        let Chapter { number, title, .. } = &exercise.chapter;
        let page = match &self.opened {
            Some(opened) => opened.clone(),
            None => format!("chapter {number}, {title}"),
        };
        paragraph(&format!("{DIM}the page{DIM:#}  "), 10, &page);
        Ok(())
    }
}

/// What is printed of a fault.
impl Session {
    /// What the broken pod did, and the question for the cause.
    fn question(&self) {
        let Some(diagnosis) = &self.diagnosis else {
            return;
        };
        // A screen on which the question is seen, too.
        match rows() >= ROOMY {
            true => happened(&diagnosis.broken),
            false => {
                figure("what happened", &diagnosis.broken);
                println!("{BOLD}e{BOLD:#} shows all of it, one after the other");
            }
        }
        println!("\n{BOLD}What is the cause?{BOLD:#}");
        for (number, cause) in (1..).zip(&self.exercise.causes) {
            paragraph(&format!("{BOLD}{number}{BOLD:#}  "), 3, &cause.text);
        }
        let named = diagnosis
            .named
            .and_then(|named| self.exercise.causes.get(named));
        if let Some(cause) = named
            && let Some(says) = &cause.says
        {
            println!("\n{BAD}no:{BAD:#} {}", cause.text);
            text(says);
        }
    }

    /// That the cause is the one that was named.
    fn confirm(&self) {
        let cause = self.exercise.causes.iter().find(|cause| is_right(cause));
        if let Some(cause) = cause {
            println!("{GOOD}yes:{GOOD:#} {}\nNow mend the pod.\n", cause.text);
        }
    }

    /// The run of the broken pod and that of the mended one.
    fn compare(&self, checked: &Checked) {
        if let (Some(diagnosis), Some(mended), Finding::Solved) =
            (&self.diagnosis, &checked.recording, &checked.finding)
        {
            println!();
            figure("broken", &diagnosis.broken);
            println!();
            figure("mended", mended);
        }
    }

    /// All that happened in the last run.
    fn events(&self) {
        let found = self.found.as_ref().map(|(checked, ..)| checked);
        let last = found.and_then(|checked| checked.recording.as_ref());
        let broken = self.diagnosis.as_ref().map(|diagnosis| &diagnosis.broken);
        println!();
        match last.or(broken) {
            Some(recording) => happened(recording),
            None => println!("{DIM}Its pod did not run yet.{DIM:#}"),
        }
    }
}

fn is_right(cause: &Cause) -> bool {
    cause.says.is_none()
}

fn is_control(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL)
}

/// What comes from outside: keys, and signals.
struct Input {
    keys: mpsc::UnboundedReceiver<Event>,
    ends: Ends,
}

impl Input {
    fn new() -> anyhow::Result<Self> {
        let ends = Ends::new()?;
        Ok(Self { keys: keys(), ends })
    }

    /// What the terminal tells next; nothing when it is time to go.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            () = self.ends.come() => None,
            event = self.keys.recv() => event,
        }
    }

    /// While there is something to wait for, all keys do nothing but those that a terminal makes
    /// signals of. Returns when it is time to go.
    async fn told_to_end(&mut self, terminal: &Terminal) -> anyhow::Result<()> {
        while let Some(event) = self.next().await {
            match event {
                Event::Key(key) if is_control(key) => match key.code {
                    KeyCode::Char('c') => {
                        #[cfg(unix)]
                        tell_all(Signal::INT)?;
                        return Ok(());
                    }
                    KeyCode::Char('z') => terminal.suspend()?,
                    _ => {}
                },
                _ => {}
            }
        }
        Ok(())
    }
}

/// Tells all that belongs to this command, as a compiler at work, what a terminal does when it reads
/// keys by the line.
#[cfg(unix)]
fn tell_all(signal: Signal) -> anyhow::Result<()> {
    rustix::process::kill_current_process_group(signal)?;
    Ok(())
}

/// The keys that are pressed, read by a thread that ends with this process.
fn keys() -> mpsc::UnboundedReceiver<Event> {
    let (sender, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            if sender.send(event).is_err() {
                break;
            }
        }
    });
    keys
}

/// The signals that end a program.
struct Ends {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 3],
}

impl Ends {
    #[cfg(unix)]
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
        ];
        let signals = kinds.map(signal);
        let [terminate, hangup, interrupt] = signals;
        Ok(Self {
            signals: [terminate?, hangup?, interrupt?],
        })
    }

    #[cfg(unix)]
    async fn come(&mut self) {
        let [one, two, three] = &mut self.signals;
        tokio::select! {
            _ = one.recv() => {}
            _ = two.recv() => {}
            _ = three.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> anyhow::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn come(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// The terminal, whose keys come one by one and are not shown. Dropped, it is as it was.
struct Terminal {
    _guard: Option<Guard>,
}

impl Terminal {
    fn take() -> anyhow::Result<Self> {
        let guard = Guard::start();
        by_keys().context("the terminal does not give its keys one by one")?;
        // What was typed before is for nobody.
        #[cfg(unix)]
        tcflush(std::io::stdin(), QueueSelector::IFlush)?;
        Ok(Self { _guard: guard })
    }

    /// Does what the terminal does at Ctrl-Z when it reads keys by the line, and returns when this
    /// program goes on.
    fn suspend(&self) -> anyhow::Result<()> {
        #[cfg(unix)]
        {
            disable_raw_mode()?;
            tell_all(Signal::TSTP)?;
            by_keys()?;
        }
        Ok(())
    }

    /// Prints on an empty screen.
    fn show(&self, print: impl FnOnce()) -> anyhow::Result<()> {
        // Not by way of what leaves out colours: a screen is cleared without them, too.
        let mut screen = std::io::stdout();
        screen.write_all(b"\x1b[H\x1b[2J")?;
        screen.flush()?;
        print();
        std::io::stdout().flush()?;
        Ok(())
    }
}

/// Has the terminal give its keys one by one, and end lines as usual.
fn by_keys() -> std::io::Result<()> {
    enable_raw_mode()?;
    #[cfg(unix)]
    {
        let mut settings = tcgetattr(std::io::stdin())?;
        settings.output_modes |= OutputModes::OPOST;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &settings)?;
    }
    Ok(())
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

/// A process that puts the terminal back when this one is gone, however it ended: a killed process
/// can do nothing any more.
struct Guard {
    child: Child,
    /// Closed by the kernel when this process ends.
    alive: Option<ChildStdin>,
}

impl Guard {
    /// Nothing, where there is no `stty`: then the terminal is put back unless this is killed.
    fn start() -> Option<Self> {
        let settings = Command::new("stty")
            .arg("-g")
            .stdin(Stdio::inherit())
            .output()
            .ok()?;
        let settings = String::from_utf8(settings.stdout).ok()?;
        let script = "trap '' HUP INT QUIT TERM TSTP TTOU; read -r _; stty \"$1\" </dev/tty";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", settings.trim()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let alive = child.stdin.take();
        Some(Self { child, alive })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.child.wait();
    }
}
