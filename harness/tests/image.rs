//! Images of real programs, compiled by the cargo that runs these tests.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use harness::image::{self, BuildError, Image, Progress};
use tempfile::TempDir;

/// A workspace with one program and a library that it uses.
///
/// Its name is the program's and the package's. Each test has another one, since there can be a
/// folder that is everybody's `target`.
struct Fixture {
    name: &'static str,
    folder: TempDir,
}

impl Fixture {
    fn new(name: &'static str) -> Self {
        let fixture = Self {
            name,
            folder: TempDir::new().unwrap(),
        };
        fixture.write(
            "Cargo.toml",
            &format!(
                "[workspace]\nmembers = [\"greeting\"]\n\
                 [package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                 [dependencies]\ngreeting = {{ path = \"greeting\" }}\n\
                 [profile.image]\ninherits = \"release\"\nstrip = true\n"
            ),
        );
        fixture.write(
            "src/main.rs",
            "fn main() { println!(\"{}\", greeting::hello(1)); }\n",
        );
        fixture.write(
            "greeting/Cargo.toml",
            "[package]\nname = \"greeting\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        );
        fixture.write(
            "greeting/src/lib.rs",
            "pub fn hello(count: usize) -> String {\n    \
             assert!(count > 0, \"the message of this has the file's path\");\n    \
             \"hello\".repeat(count)\n}\n",
        );
        fixture
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn build(&self) -> Result<Vec<Image>, BuildError> {
        image::build(self.path(), self.name, &mut |_| {})
    }

    /// Builds the only program, and says whether its image is another one now.
    fn build_one(&self) -> (Image, bool) {
        let mut changes = Vec::new();
        let mut images = image::build(self.path(), self.name, &mut |progress| {
            if let Progress::Ready { changed, .. } = progress {
                changes.push(changed);
            }
        })
        .unwrap();
        assert_eq!((images.len(), changes.len()), (1, 1));
        (images.remove(0), changes.remove(0))
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn each_program_of_a_package_gets_an_image() {
    let fixture = Fixture::new("image-of-each");
    fixture.write("src/bin/image-of-each-naive.rs", "fn main() {}\n");
    let images = fixture.build().unwrap();
    let names: Vec<&str> = images.iter().map(|image| &*image.name).collect();
    assert_eq!(
        names,
        [
            "sidecar-examples:image-of-each",
            "sidecar-examples:image-of-each-naive"
        ]
    );
    for image in &images {
        assert_eq!(image.package, "image-of-each");
        assert_eq!(image.config.entrypoint, [format!("/{}", image.program)]);
        assert!(
            image
                .archive
                .ends_with(format!("workbook/images/{}.tar", image.program))
        );
        assert_eq!(Image::open(&image.archive).unwrap(), *image);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_program_in_an_image_is_static_and_runs() {
    let fixture = Fixture::new("image-runs");
    let (image, _) = fixture.build_one();
    let root = TempDir::new().unwrap();
    image::unpack_layer(&image.open_archive().unwrap(), root.path()).unwrap();
    let program = root.path().join("image-runs");
    // An ELF file names the loader of its shared libraries, if it has some.
    let bytes = fs::read(&program).unwrap();
    for loader in [&b"/ld-linux"[..], b"/ld-musl"] {
        assert!(!bytes.windows(loader.len()).any(|window| window == loader));
    }
    // A process that another test has just begun may for a moment hold the file as this one did
    // that wrote it.
    let output = loop {
        match Command::new(&program).output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::yield_now(),
            result => break result.unwrap(),
        }
    };
    assert!(output.status.success());
    assert_eq!(output.stdout, b"hello\n");
}

#[test]
fn an_image_changes_when_its_program_does_and_only_then() {
    let fixture = Fixture::new("image-changes");
    let (first, changed) = fixture.build_one();
    assert!(changed);
    let (second, changed) = fixture.build_one();
    assert_eq!((&second, changed), (&first, false));

    fixture.write("src/main.rs", "fn main() { println!(\"another\"); }\n");
    let (third, changed) = fixture.build_one();
    assert!(changed);
    assert_ne!(third.id, first.id);
}

#[test]
fn the_same_sources_make_the_same_image_in_another_folder() {
    let [one, other] = [(); 2].map(|()| {
        let fixture = Fixture::new("image-same");
        // What a build script writes is compiled by its full path.
        fixture.write(
            "build.rs",
            "fn main() {\n    \
             let file = std::env::var(\"OUT_DIR\").unwrap() + \"/made.rs\";\n    \
             std::fs::write(file, \"assert!(std::env::args().count() < 9)\").unwrap();\n}\n",
        );
        fixture.write(
            "src/main.rs",
            "fn main() {\n    \
             println!(\"{}\", greeting::hello(1));\n    \
             include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n}\n",
        );
        fixture
    });
    let (image, _) = one.build_one();
    let archive = fs::read(&image.archive).unwrap();
    fs::remove_file(&image.archive).unwrap();
    let (again, _) = other.build_one();
    assert_eq!(again.id, image.id);
    assert!(
        fs::read(&again.archive).unwrap() == archive,
        "the archives differ"
    );
}

#[test]
fn a_damaged_archive_is_made_again() {
    let fixture = Fixture::new("image-damaged");
    let (image, _) = fixture.build_one();
    let whole = fs::read(&image.archive).unwrap();
    fs::write(&image.archive, &whole[..whole.len() / 2]).unwrap();
    assert!(Image::open(&image.archive).is_err());
    let (again, changed) = fixture.build_one();
    assert_eq!((&again, changed), (&image, true));
    assert!(
        fs::read(&image.archive).unwrap() == whole,
        "the archives differ"
    );
}

#[test]
fn builds_at_the_same_time_make_the_same_image() {
    let fixture = Fixture::new("image-at-once");
    let images: Vec<Image> = thread::scope(|scope| {
        let builds = [(); 3].map(|()| scope.spawn(|| fixture.build_one().0));
        builds.map(|build| build.join().unwrap()).into()
    });
    assert_eq!(images[0], images[1]);
    assert_eq!(images[0], images[2]);
    assert_eq!(Image::open(&images[0].archive).unwrap(), images[0]);
}

#[test]
fn a_program_that_does_not_compile_is_shown_as_the_compiler_does() {
    let fixture = Fixture::new("image-broken");
    fixture.write("src/main.rs", "fn main() {\n    missing();\n}\n");
    let mut shown = String::new();
    let result = image::build(fixture.path(), fixture.name, &mut |progress| {
        if let Progress::Message(line) = progress {
            shown.push_str(line);
            shown.push('\n');
        }
    });
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cargo could not build the programs of image-broken (exit status: 101)"
    );
    let BuildError::Compile { messages, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(messages, shown);
    for part in [
        "cannot find function `missing`",
        "src/main.rs:2:5",
        "missing();",
        "could not compile",
    ] {
        assert!(messages.contains(part), "{part} is not in: {messages}");
    }
    assert!(!messages.contains("Compiling"), "{messages}");
}

#[test]
fn a_warning_is_shown_and_does_no_harm() {
    let fixture = Fixture::new("image-warning");
    fixture.write("src/main.rs", "fn main() { let unused = 1; }\n");
    let mut shown = String::new();
    image::build(fixture.path(), fixture.name, &mut |progress| {
        if let Progress::Message(line) = progress {
            shown.push_str(line);
        }
    })
    .unwrap();
    assert!(shown.contains("unused variable"), "{shown}");
}

#[test]
fn a_package_without_programs_is_an_error() {
    let fixture = Fixture::new("image-none");
    let error = image::build(fixture.path(), "greeting", &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, BuildError::NoProgram { package } if package == "greeting"),
        "{error:?}"
    );
    let error = image::build(fixture.path(), "absent", &mut |_| {}).unwrap_err();
    let BuildError::Compile { messages, .. } = error else {
        panic!("{error:?}")
    };
    assert!(messages.contains("absent"), "{messages}");
}

/// A workspace in a folder of this name is built by [`in_an_environment`], in a process whose
/// environment is not this one's.
const FOLDER: &str = "IMAGE_TEST_FOLDER";

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn in_an_environment() {
    let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
    image::build(&folder, "image-flags", &mut |_| {}).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn flags_in_the_environment_do_not_make_a_program_dynamic() {
    let fixture = Fixture::new("image-flags");
    for (variable, flags) in [
        ("RUSTFLAGS", ""),
        ("RUSTFLAGS", "-Cdebuginfo=0 --cfg something"),
        ("RUSTFLAGS", "-Ctarget-feature=-crt-static"),
        ("CARGO_ENCODED_RUSTFLAGS", ""),
        ("CARGO_BUILD_RUSTFLAGS", "-Ctarget-feature=-crt-static"),
    ] {
        let status = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "in_an_environment",
                "--include-ignored",
                "--quiet",
            ])
            .env(FOLDER, fixture.path())
            .env(variable, flags)
            .status()
            .unwrap();
        // A program that is not static is an error.
        assert!(status.success(), "{variable}={flags:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_that_is_not_static_is_refused() {
    let fixture = Fixture::new("image-dynamic");
    fixture.write(
        "build.rs",
        "fn main() { println!(\"cargo::rustc-link-arg=-Wl,--dynamic-linker=/lib/ld.so\"); }\n",
    );
    let error = fixture.build().unwrap_err();
    assert!(
        matches!(&error, BuildError::NotStatic { loader, .. } if loader == "/lib/ld.so"),
        "{error:?}"
    );
}

/// The names of the packages in `chapters/`, which are the folders' without their numbers.
fn chapters() -> Vec<String> {
    let folders = fs::read_dir(workspace().join("chapters")).unwrap();
    let names = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| Some(name.split_once('-')?.1.to_owned()))
        .collect()
}

/// A reader must get the images that everybody gets, and a published one must not tell who
/// made it.
#[test]
fn no_image_has_a_path_of_this_machine() {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.unwrap_or_else(|| env::home_dir().unwrap().join(".cargo"));
    let folders = [workspace().canonicalize().unwrap(), cargo_home];
    for chapter in chapters() {
        for image in image::build(workspace(), &chapter, &mut |_| {}).unwrap() {
            let bytes = fs::read(&image.archive).unwrap();
            for folder in &folders {
                let folder = folder.to_str().unwrap().as_bytes();
                let place = bytes
                    .windows(folder.len())
                    .position(|window| window == folder);
                if let Some(place) = place {
                    let around = &bytes[place..bytes.len().min(place + 120)];
                    panic!("{}: {}", image.name, String::from_utf8_lossy(around));
                }
            }
        }
    }
}
