//! Writing, rotating and restarting in random order, at any moment: each line comes exactly once,
//! or after SIGKILL at least once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use crate::support::*;

/// Late writes go to this many renamed files; the sidecar keeps more of them open.
const LATE: usize = 6;

#[test]
fn each_line_exactly_once() {
    for seed in 0..25 {
        Run::new(seed, Signal::TERM).go(150);
    }
}

#[test]
fn each_line_at_least_once_after_sigkill() {
    for seed in 0..25 {
        Run::new(seed, Signal::KILL).go(150);
    }
}

/// One random run.
struct Run {
    seed: u64,
    random: Random,
    volumes: Volumes,
    sidecar: Option<Program>,
    /// How the sidecar is ended in this run.
    signal: Signal,
    /// What the sidecars before this one have printed.
    before: Vec<Vec<u8>>,
    /// The files of the log, the oldest first.
    files: Vec<AppFile>,
    lines: usize,
}

/// A file of the log as the app knows it.
struct AppFile {
    /// Which one it is, of all.
    index: usize,
    handle: File,
    /// The line that it has begun.
    begun: Vec<u8>,
    /// The lines that are complete.
    complete: Vec<Vec<u8>>,
}

impl Run {
    fn new(seed: u64, signal: Signal) -> Run {
        let volumes = Volumes::new();
        let sidecar = Some(volumes.sidecar());
        let mut run = Run {
            seed,
            random: Random::seeded(seed),
            volumes,
            sidecar,
            signal,
            before: Vec::new(),
            files: Vec::new(),
            lines: 0,
        };
        run.begin_file();
        run
    }

    fn go(mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.below(100) {
                0..45 => self.write(self.files.len() - 1),
                45..60 => {
                    let late = self.random.below(LATE.min(self.files.len()));
                    self.write(self.files.len() - 1 - late);
                }
                60..78 => {
                    self.volumes.rotate();
                    self.begin_file();
                }
                78..84 => self.away_and_back(),
                84..94 => self.restart(),
                94..97 => self.wait(),
                _ => self.remove_oldest(),
            }
        }
        self.finish();
    }

    fn begin_file(&mut self) {
        let index = self.files.last().map_or(0, |file| file.index + 1);
        let handle = open(self.volumes.log());
        self.files.push(AppFile {
            index,
            handle,
            begun: Vec::new(),
            complete: Vec::new(),
        });
    }

    /// Writes up to five lines or pieces of lines at once.
    fn write(&mut self, file: usize) {
        let mut bytes = Vec::new();
        let file = &mut self.files[file];
        for _ in 0..=self.random.below(5) {
            if file.begun.is_empty() {
                file.begun = format!("{} {} ", file.index, self.lines).into_bytes();
                self.lines += 1;
                bytes.extend(&file.begun);
            }
            let length = if self.random.below(20) == 0 {
                100_000
            } else {
                30
            };
            let more = vec![b'.'; self.random.below(length)];
            file.begun.extend(&more);
            bytes.extend(more);
            if self.random.below(4) > 0 {
                file.begun.push(b'\n');
                bytes.push(b'\n');
                file.complete.push(std::mem::take(&mut file.begun));
            }
        }
        file.handle.write_all(&bytes).unwrap();
    }

    /// The folder, or the file, is moved away and back, with or without a pause.
    fn away_and_back(&mut self) {
        let path: PathBuf = if self.random.below(2) == 0 {
            self.volumes.folder()
        } else {
            self.volumes.log()
        };
        let elsewhere = self.volumes.path("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        if self.random.below(2) == 0 {
            self.write(self.files.len() - 1);
        }
        fs::rename(&elsewhere, &path).unwrap();
    }

    /// Ends the sidecar where it is running, and starts one where none is.
    fn restart(&mut self) {
        self.sidecar = match self.sidecar.take() {
            Some(sidecar) => {
                sidecar.signal(self.signal);
                let (code, printed) = sidecar.ended();
                let expected = (self.signal == Signal::TERM).then_some(0);
                assert_eq!(code, expected, "seed {}", self.seed);
                self.before.push(printed);
                None
            }
            None => Some(self.volumes.sidecar()),
        };
    }

    /// Waits until all that is complete has been printed.
    fn wait(&mut self) {
        let Some(sidecar) = &self.sidecar else { return };
        let expected: usize = self
            .files
            .iter()
            .flat_map(|file| &file.complete)
            .map(Vec::len)
            .sum();
        let before: usize = self
            .before
            .iter()
            .map(|printed| without_notes(printed).len())
            .sum();
        if self.signal == Signal::TERM {
            sidecar.wait_until(&format!("all lines with seed {}", self.seed), |printed| {
                before + without_notes(printed).len() >= expected
            });
        }
    }

    /// The oldest file is removed, when all of it has been printed. Its inode will be used again.
    fn remove_oldest(&mut self) {
        let rotated = self.files.len() - 1;
        if rotated == 0 || self.sidecar.is_none() || self.signal != Signal::TERM {
            return;
        }
        let oldest = self.volumes.rotated(rotated);
        if oldest.exists() && self.files[0].begun.is_empty() {
            self.wait();
            fs::remove_file(oldest).unwrap();
            let removed = self.files.remove(0);
            // What it held is still to be found in what was printed.
            self.files[0].complete.splice(0..0, removed.complete);
        }
    }

    fn finish(mut self) {
        if self.sidecar.is_none() {
            self.restart();
        }
        let last = self.sidecar.take().unwrap().terminate();
        self.before.push(last);

        let mut times = HashMap::new();
        let mut printed = Vec::new();
        for output in &self.before {
            let mut lines: Vec<Vec<u8>> = without_notes(output)
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            // SIGKILL may come in the middle of a line.
            if lines.last().is_some_and(|line| !line.ends_with(b"\n")) {
                assert_eq!(
                    self.signal,
                    Signal::KILL,
                    "seed {}: half a line was printed",
                    self.seed
                );
                lines.pop();
            }
            for line in lines {
                let times: &mut usize = times.entry(line.clone()).or_default();
                *times += 1;
                if *times == 1 {
                    printed.push(line);
                }
            }
        }
        let expected: Vec<&Vec<u8>> = self.files.iter().flat_map(|file| &file.complete).collect();
        for line in &expected {
            let name = String::from_utf8_lossy(&line[..line.len().min(20)]);
            match times.get(*line) {
                None => panic!("seed {}: {name:?} is missing", self.seed),
                Some(1) => {}
                Some(times) if self.signal == Signal::KILL => assert!(*times <= self.before.len()),
                Some(times) => panic!("seed {}: {name:?} was printed {times} times", self.seed),
            }
        }
        assert_eq!(
            printed.len(),
            expected.len(),
            "seed {}: lines that nobody wrote",
            self.seed
        );

        // The lines of one file come in order.
        let mut last_of_file = HashMap::new();
        for line in &printed {
            let text = String::from_utf8_lossy(line);
            let mut numbers = text.split(' ').map(|number| number.parse::<usize>());
            let (Some(Ok(file)), Some(Ok(number))) = (numbers.next(), numbers.next()) else {
                panic!("seed {}: no line of the app: {text:?}", self.seed);
            };
            let last = last_of_file.insert(file, number);
            assert!(
                last < Some(number),
                "seed {}: {last:?} before {number} in file {file}",
                self.seed
            );
        }
    }
}
