//! `restore`: all of the backup or nothing, and once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::run;

pub(crate) const RESTORE: &str = env!("CARGO_BIN_EXE_restore");

fn restore(folder: &Path, settings: &[(&str, &str)]) -> (bool, String) {
    let mut all = vec![("DATA_PATH", folder.to_str().unwrap())];
    all.extend(settings);
    run(&mut Command::new(RESTORE), &all)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn restores_folders_files_and_a_link() {
    let volume = tempfile::tempdir().unwrap();
    let journal = volume.path().join("journal");
    let (good, said) = restore(&journal, &[]);
    assert!(good, "{said}");
    let is = fs::metadata(&journal).unwrap();
    let (user, group) = (is.uid(), is.gid());
    let where_it_is = journal.display();
    let restored = format!("restored {where_it_is}: owner {user}:{group}, mode 755");
    assert_eq!(said, restored);

    let entries = fs::read_to_string(journal.join("entries.txt")).unwrap();
    assert_eq!(entries, "entry 1\nentry 2\n");
    assert_eq!(mode(journal.join("entries.txt")), 0o644);
    assert_eq!(mode(journal.join("archive")), 0o700);
    assert!(journal.join("archive/2025.txt").exists());
    let link = fs::read_link(journal.join("latest")).unwrap();
    assert_eq!(link, Path::new("/srv/journal/entries.txt"));
    // The draft has become the folder.
    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 1);
}

#[test]
fn takes_permissions_away_as_it_is_told() {
    let volume = tempfile::tempdir().unwrap();
    let journal = volume.path().join("journal");
    assert!(restore(&journal, &[("UMASK", "002")]).0);
    assert_eq!(mode(&journal), 0o775);
    assert_eq!(mode(journal.join("entries.txt")), 0o664);
    // What the backup keeps closed stays closed.
    assert_eq!(mode(journal.join("archive")), 0o700);

    let (good, said) = restore(&journal, &[("UMASK", "1002")]);
    assert!(!good);
    let refusal = "UMASK=\"1002\" cannot be understood (it is no octal number up to 777); \
                   022 or 002 would do";
    assert_eq!(said, refusal);
}

#[test]
fn leaves_what_is_there_and_begins_again_what_was_broken_off() {
    let volume = tempfile::tempdir().unwrap();
    let journal = volume.path().join("journal");
    // What a restore that was killed has left.
    let draft = volume.path().join("journal.part");
    fs::create_dir(&draft).unwrap();
    fs::write(draft.join("entries.txt"), "entry 1\nent").unwrap();
    assert!(restore(&journal, &[]).0);
    let file = journal.join("entries.txt");
    assert_eq!(fs::read_to_string(&file).unwrap(), "entry 1\nentry 2\n");

    fs::write(&file, "entry 1\nentry 2\nentry 3\n").unwrap();
    let (good, said) = restore(&journal, &[]);
    let nothing = format!("nothing to restore: {} is there", journal.display());
    assert_eq!((good, said), (true, nothing));
    assert!(fs::read_to_string(&file).unwrap().ends_with("entry 3\n"));
}

#[test]
fn says_where_it_cannot() {
    let (good, said) = restore(Path::new("/nowhere/journal"), &[]);
    let why = "cannot restore /nowhere/journal: No such file or directory (os error 2)";
    assert_eq!((good, said.as_str()), (false, why));
}
