//! `volume-permissions`: gives all of a folder, nothing else, and with no right but `CAP_CHOWN`.
//!
//! Only root can give files away. For anyone else, the tests that do so are left out.

use std::fs::{self, Permissions, hard_link};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use sidecar_testing::Program;
use tempfile::TempDir;

use crate::restore::RESTORE;
use crate::run;

const PROGRAM: &str = env!("CARGO_BIN_EXE_volume-permissions");

const APP: u32 = 65532;
const OWNER: &str = "65532:65532";

/// A volume with a restored folder.
struct Volume {
    root: TempDir,
}

impl Volume {
    /// `None` for who cannot give files away.
    fn restored() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("left out, since only root can give files away");
            return None;
        }
        let volume = Self {
            root: tempfile::tempdir().unwrap(),
        };
        let folder = volume.folder();
        let settings = [("DATA_PATH", folder.to_str().unwrap())];
        let (good, said) = run(&mut Command::new(RESTORE), &settings);
        assert!(good, "{said}");
        Some(volume)
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("journal")
    }

    /// A path in the restored folder.
    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Runs the program with the rights that the manifest grants.
    fn give(&self) -> (bool, String) {
        self.give_by(&format!("exec {ONLY_CHOWN} '{PROGRAM}'"))
    }

    /// Runs a script that ends in the program. Mounts that it makes are its own.
    fn give_by(&self, script: &str) -> (bool, String) {
        let mut unshare = Command::new("/usr/bin/unshare");
        unshare.args(["--mount", "/bin/sh", "-ec", script]);
        let folder = self.folder();
        let settings = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("DATA_PATH", folder.to_str().unwrap()),
            ("OWNER", OWNER),
        ];
        run(&mut unshare, &settings)
    }

    /// That all is the app's now.
    fn gave(&self, how_many: &str) -> (bool, String) {
        let folder = self.folder();
        (
            true,
            format!("gave {} to {OWNER}: {how_many}", folder.display()),
        )
    }
}

/// Root, and of all that root may do, one thing.
const ONLY_CHOWN: &str = "setpriv --bounding-set=-all,+chown --inh-caps=-all --no-new-privs";

/// Who a file, or a link itself, belongs to.
fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let is = fs::symlink_metadata(path).unwrap();
    (is.uid(), is.gid())
}

#[test]
fn gives_all_that_was_restored() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    assert_eq!(volume.give(), volume.gave("5 of 5 files and folders"));
    for name in ["", "entries.txt", "archive", "archive/2025.txt", "latest"] {
        assert_eq!(owner(volume.path(name)), (APP, APP), "{name}");
    }
    // It changes owners, and no permissions.
    let archive = fs::metadata(volume.path("archive")).unwrap();
    assert_eq!(archive.mode() & 0o7777, 0o700);
}

#[test]
fn does_nothing_where_nothing_is_to_be_done() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    // What is the app's already is not written to.
    let ours = volume.path("entries.txt");
    chown(&ours, Some(APP), Some(APP)).unwrap();
    let changed = |path: &Path| {
        let is = fs::metadata(path).unwrap();
        (is.ctime(), is.ctime_nsec())
    };
    let before = changed(&ours);
    assert_eq!(volume.give(), volume.gave("4 of 5 files and folders"));
    assert_eq!(changed(&ours), before);

    let folder = volume.folder();
    let before = changed(&folder);
    let nothing = format!("nothing to do: {} belongs to {OWNER}", folder.display());
    assert_eq!(volume.give(), (true, nothing));
    assert_eq!(changed(&folder), before);
}

#[test]
fn follows_no_link() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("file");
    fs::write(&file, "").unwrap();
    symlink(&file, volume.path("to-a-file")).unwrap();
    symlink(elsewhere.path(), volume.path("to-a-folder")).unwrap();
    symlink("..", volume.path("to-the-volume")).unwrap();
    assert_eq!(volume.give(), volume.gave("8 of 8 files and folders"));
    for link in ["to-a-file", "to-a-folder", "to-the-volume"] {
        assert_eq!(owner(volume.path(link)), (APP, APP), "{link}");
    }
    for path in [&file, elsewhere.path(), volume.root.path()] {
        assert_eq!(owner(path), (0, 0), "{path:?}");
    }
}

#[test]
fn a_link_in_the_place_of_the_folder_is_refused() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    let elsewhere = tempfile::tempdir().unwrap();
    fs::remove_dir_all(volume.folder()).unwrap();
    symlink(elsewhere.path(), volume.folder()).unwrap();
    let (good, said) = volume.give();
    let refusal = format!(
        "{:?} is no folder; DATA_PATH must name one",
        volume.folder()
    );
    assert_eq!((good, said), (false, refusal));
    assert_eq!(owner(elsewhere.path()), (0, 0));
}

#[test]
fn goes_on_where_it_was_broken_off() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    // The archive is given, and closed to everyone but the app; the rest is still root's.
    for name in ["archive/2025.txt", "archive"] {
        lchown(volume.path(name), Some(APP), Some(APP)).unwrap();
    }
    assert_eq!(volume.give(), volume.gave("3 of 5 files and folders"));
    assert_eq!(owner(volume.path("archive")), (APP, APP));
}

#[test]
fn gives_what_is_closed_to_root_without_rights() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    // A backup that was restored with its owners: some third user's, in folders that are closed
    // in every way.
    for (name, mode) in [("closed", 0o700), ("closed/deeper", 0o744)] {
        fs::create_dir(volume.path(name)).unwrap();
        fs::write(volume.path(name).join("file"), "").unwrap();
        fs::set_permissions(volume.path(name), Permissions::from_mode(mode)).unwrap();
    }
    for name in [
        "closed/deeper/file",
        "closed/deeper",
        "closed/file",
        "closed",
        "",
    ] {
        lchown(volume.path(name), Some(1000), Some(1000)).unwrap();
    }
    assert_eq!(volume.give(), volume.gave("9 of 9 files and folders"));
    for name in ["", "closed", "closed/deeper", "closed/deeper/file"] {
        assert_eq!(owner(volume.path(name)), (APP, APP), "{name}");
    }
}

#[test]
fn a_file_that_has_a_name_elsewhere_is_not_given() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    // On the same volume, and not the app's.
    let elsewhere = volume.root.path().join("key");
    fs::write(&elsewhere, "secret").unwrap();
    let inside = volume.path("archive/key");
    hard_link(&elsewhere, &inside).unwrap();
    let (good, said) = volume.give();
    let refusal = format!(
        "cannot give {inside:?} to {OWNER}: it has 2 names, and 1 of them in {:?}; \
         put a copy in its place",
        volume.folder()
    );
    assert_eq!((good, said), (false, refusal));
    assert_eq!(owner(&elsewhere), (0, 0));
    // Not done: the next start looks again.
    assert_eq!(owner(volume.folder()), (0, 0));

    fs::remove_file(&elsewhere).unwrap();
    assert!(volume.give().0);
    assert_eq!(owner(&inside), (APP, APP));
}

#[test]
fn a_file_with_several_names_in_the_folder_is_given() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    hard_link(
        volume.path("entries.txt"),
        volume.path("archive/entries.txt"),
    )
    .unwrap();
    assert_eq!(volume.give(), volume.gave("6 of 6 files and folders"));
    assert_eq!(owner(volume.path("entries.txt")), (APP, APP));
}

#[test]
fn what_is_mounted_in_the_folder_is_passed_over() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    // Of the same disk, as two volumes of one node are.
    let other = volume.root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "").unwrap();
    fs::create_dir(volume.path("cache")).unwrap();
    fs::write(volume.path("settings"), "").unwrap();
    let folder = volume.folder();
    let script = format!(
        "mount --bind {} {}; mount --bind {} {}; exec {ONLY_CHOWN} '{PROGRAM}'",
        other.display(),
        folder.join("cache").display(),
        other.join("file").display(),
        folder.join("settings").display(),
    );
    let (good, said) = volume.give_by(&script);
    let (_, gave) = volume.gave("5 of 5 files and folders");
    let passed_over = format!("{gave}; passed over what is mounted in it: 2");
    assert_eq!((good, said), (true, passed_over));
    assert_eq!(owner(&other), (0, 0));
    assert_eq!(owner(other.join("file")), (0, 0));
}

#[test]
fn says_what_it_cannot_give_and_why() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    let folder = volume.folder();
    let nothing = ONLY_CHOWN.replace(",+chown", "");
    // The folder's own entries come first, in an order of the file system's choice.
    let (good, said) = volume.give_by(&format!("exec {nothing} '{PROGRAM}'"));
    assert!(!good);
    let (begins, ends) = (
        format!("cannot give \"{}/", folder.display()),
        format!(" to {OWNER} without the capability CHOWN: Operation not permitted (os error 1)"),
    );
    assert!(said.starts_with(&begins) && said.ends_with(&ends), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let at = folder.display();
    let read_only = format!(
        "mount --bind {at} {at}; mount -o remount,bind,ro {at}; exec {ONLY_CHOWN} '{PROGRAM}'"
    );
    let (good, said) = volume.give_by(&read_only);
    assert!(!good);
    let ends = format!(" to {OWNER}: Read-only file system (os error 30)");
    assert!(said.starts_with(&begins) && said.ends_with(&ends), "{said}");

    // A name cannot make two lines of one.
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(volume.path("a\nb"), "").unwrap();
    let (_, said) = volume.give_by(&format!("exec {nothing} '{PROGRAM}'"));
    assert!(said.contains("journal/a\\nb\""), "{said}");
}

#[test]
fn a_deep_tree_is_given_too() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    let mut deep = volume.path("deep");
    for _ in 0..800 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(volume.give(), volume.gave("806 of 806 files and folders"));
    assert_eq!(owner(&deep), (APP, APP));
}

#[test]
fn when_told_to_end_it_ends_and_the_next_start_finishes() {
    let Some(volume) = Volume::restored() else {
        return;
    };
    let folder = volume.folder();
    let settings = [("DATA_PATH", folder.to_str().unwrap()), ("OWNER", OWNER)];
    let mut files = 0;
    loop {
        // Until there are too many to be done before the signal comes.
        for _ in 0..10_000 {
            fs::write(volume.path(&files.to_string()), "").unwrap();
            files += 1;
        }
        lchown(&folder, Some(0), Some(0)).unwrap();
        let program = Program::start(PROGRAM, &settings);
        program.wait_until_it_handles_sigterm();
        let (status, said) = program.end();
        if status.code() == Some(1) {
            assert_eq!(said, ["told to end before all was given"]);
            break;
        }
        assert!(status.success(), "{said:?}");
    }
    // The mark that all is done is not there.
    assert_eq!(owner(&folder), (0, 0));
    assert!(volume.give().0);
    for file in 0..files {
        assert_eq!(owner(volume.path(&file.to_string())), (APP, APP), "{file}");
    }
}

#[test]
fn what_it_cannot_understand_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    for (settings, says) in [
        (
            [("OWNER", "nobody:nogroup"), ("DATA_PATH", file)],
            "OWNER=\"nobody:nogroup\" cannot be understood (`nobody` is no id); 65532:65532 would do"
                .to_owned(),
        ),
        (
            [("OWNER", "65532"), ("DATA_PATH", file)],
            "OWNER=\"65532\" cannot be understood (it is not two numbers with a colon between); \
             65532:65532 would do"
                .to_owned(),
        ),
        (
            [("OWNER", "1:4294967295"), ("DATA_PATH", file)],
            "OWNER=\"1:4294967295\" cannot be understood (`4294967295` is no id); \
             65532:65532 would do"
                .to_owned(),
        ),
        (
            [("OWNER", OWNER), ("DATA_PATH", "/nowhere")],
            "cannot find \"/nowhere\": No such file or directory (os error 2)".to_owned(),
        ),
        (
            [("OWNER", OWNER), ("DATA_PATH", file)],
            format!("{file:?} is no folder; DATA_PATH must name one"),
        ),
    ] {
        let (good, said) = run(&mut Command::new(PROGRAM), &settings);
        assert_eq!((good, said), (false, says));
    }
}
