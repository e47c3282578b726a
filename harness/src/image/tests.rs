//! Archives: the same bytes each time, whole or refused, and nothing outside the folder that a
//! layer is unpacked into.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::archive::{pack, replace, store};
use super::{Image, unpack_layer};

/// Something that stands for a program. Its size is not one of a tar file's blocks.
const PROGRAM: &[u8] = &[7; 70_001];

fn stored(folder: &Path, binary: &[u8]) -> (Image, PathBuf) {
    let path = folder.join("images/app.tar");
    let (image, parts) = pack("chapter", "app", binary, path.clone());
    store(&path, &parts).unwrap();
    (image, path)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_same_program_makes_the_same_bytes() {
    let pack = || pack("chapter", "app", PROGRAM, PathBuf::from("app.tar"));
    let ((image, parts), (again, parts_again)) = (pack(), pack());
    assert_eq!(parts.concat(), parts_again.concat());
    assert_eq!(image, again);
}

/// Whoever changes what an image consists of changes the id of every image: on purpose, then,
/// and here.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_id_of_a_program_is_known() {
    let (image, _) = pack("chapter", "app", PROGRAM, PathBuf::from("app.tar"));
    assert_eq!(
        image.id,
        "sha256:a69068bd14fba811e8d16fdfbc876d2f7706daabd619a915ec302eac4c3badc9"
    );
    assert_eq!(
        image.manifest_digest,
        "sha256:4d9c7a0538707370cf4cf049c8f0da367112a870565721e82cf54622f95fbb31"
    );
}

#[test]
fn another_program_is_another_image() {
    let folder = TempDir::new().unwrap();
    let (image, _) = stored(folder.path(), PROGRAM);
    let (other, _) = stored(folder.path(), b"another");
    assert_ne!(image.id, other.id);
    assert_ne!(image.manifest_digest, other.manifest_digest);
    assert_ne!(image.layer_digest, other.layer_digest);
}

#[test]
fn an_archive_says_what_its_image_is() {
    let folder = TempDir::new().unwrap();
    let (image, path) = stored(folder.path(), PROGRAM);
    assert_eq!(Image::open(&path).unwrap(), image);
    assert_eq!(image.name, "sidecar-examples:app");
    assert_eq!(image.config.entrypoint, ["/app"]);
    assert_eq!(image.config.user, "65532:65532");
}

#[test]
fn every_reader_of_tar_files_can_read_an_archive() {
    let folder = TempDir::new().unwrap();
    let (image, path) = stored(folder.path(), PROGRAM);
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let entries = archive.entries().unwrap();
    let paths: Vec<String> = entries
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    let blob = |digest: &str| digest.replace("sha256:", "blobs/sha256/");
    let blobs = [&image.manifest_digest, &image.id, &image.layer_digest].map(|digest| blob(digest));
    assert_eq!(paths[..3], ["oci-layout", "index.json", "manifest.json"]);
    assert_eq!(paths[3..], blobs);
}

#[test]
fn a_layer_has_the_program_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let (_, path) = stored(folder.path(), PROGRAM);
    let root = TempDir::new().unwrap();
    let mut archive = File::open(path).unwrap();
    archive.seek(SeekFrom::End(0)).unwrap();
    unpack_layer(&archive, root.path()).unwrap();
    assert_eq!(names_in(root.path()), ["app"]);
    assert_eq!(fs::read(root.path().join("app")).unwrap(), PROGRAM);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = root.path().join("app").metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}

#[test]
fn an_archive_that_is_right_is_not_written_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("app.tar");
    let (_, parts) = pack("chapter", "app", PROGRAM, path.clone());
    assert!(store(&path, &parts).unwrap());
    let written = path.metadata().unwrap();
    assert!(!store(&path, &parts).unwrap());
    let after = path.metadata().unwrap();
    assert_eq!(after.modified().unwrap(), written.modified().unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(after.ino(), written.ino());
    }
}

/// Places all over an archive: where a part of it can begin, and elsewhere.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length)
        .step_by(512)
        .chain((0..length).step_by(997))
        .chain([length - 1])
}

#[test]
fn an_archive_that_is_damaged_or_cut_short_is_written_again() {
    let folder = TempDir::new().unwrap();
    let (_, path) = stored(folder.path(), PROGRAM);
    let whole = fs::read(&path).unwrap();
    let (_, parts) = pack("chapter", "app", PROGRAM, path.clone());
    for place in places(whole.len()) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        for wrong in [&damaged[..], &whole[..place]] {
            fs::write(&path, wrong).unwrap();
            assert!(store(&path, &parts).unwrap(), "wrong at {place}");
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
}

#[test]
fn an_archive_that_is_damaged_is_not_opened() {
    let folder = TempDir::new().unwrap();
    let (_, path) = stored(folder.path(), PROGRAM);
    let whole = fs::read(&path).unwrap();
    for part in [
        &b"imageLayoutVersion"[..],
        b"manifests",
        b"RepoTags",
        b"application/vnd.oci.image.layer",
        b"rootfs",
        b"/app",
        PROGRAM,
    ] {
        let at = whole.windows(part.len()).rposition(|window| window == part);
        let mut damaged = whole.clone();
        damaged[at.unwrap() + part.len() - 1] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let error = Image::open(&path).expect_err(&String::from_utf8_lossy(part));
        assert!(
            error.to_string().starts_with(&path.display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn an_archive_that_is_cut_short_is_neither_opened_nor_unpacked() {
    let folder = TempDir::new().unwrap();
    let (_, path) = stored(folder.path(), PROGRAM);
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for place in places(end) {
        fs::write(&path, &whole[..place]).unwrap();
        assert!(Image::open(&path).is_err(), "cut at {place}");
        let root = TempDir::new().unwrap();
        let archive = File::open(&path).unwrap();
        assert!(
            unpack_layer(&archive, root.path()).is_err(),
            "cut at {place}"
        );
    }
}

#[test]
fn an_image_that_was_built_again_meanwhile_is_not_taken_for_the_old_one() {
    let folder = TempDir::new().unwrap();
    let (old, _) = stored(folder.path(), PROGRAM);
    let open = old.open_archive().unwrap();
    let (new, _) = stored(folder.path(), b"another");
    new.open_archive().unwrap();
    let error = old.open_archive().unwrap_err().to_string();
    assert!(
        error.contains("sidecar-examples:app was built again"),
        "{error}"
    );

    // Who had it open goes on with what it was.
    let root = TempDir::new().unwrap();
    unpack_layer(&open, root.path()).unwrap();
    assert_eq!(fs::read(root.path().join("app")).unwrap(), PROGRAM);
}

#[test]
fn a_full_disk_leaves_the_old_file_and_no_part_of_the_new_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("app.tar");
    fs::write(&path, "old").unwrap();
    let error = replace(&path, |file| {
        file.write_all(b"the first half")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(folder.path()), [".lock", "app.tar"]);
}

#[test]
fn what_a_killed_process_left_is_in_nobodys_way() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("app.tar");
    fs::write(path.with_extension("unfinished"), vec![1; 200_000]).unwrap();
    let (_, parts) = pack("chapter", "app", PROGRAM, path.clone());
    assert!(store(&path, &parts).unwrap());
    Image::open(&path).unwrap();
    assert_eq!(names_in(folder.path()), [".lock", "app.tar"]);
}

#[test]
fn many_who_store_at_once_do_not_disturb_each_other() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("app.tar");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let program = vec![number; 300_000];
                let (_, parts) = pack("chapter", "app", &program, path.clone());
                for _ in 0..20 {
                    store(path, &parts).unwrap();
                    Image::open(path).unwrap();
                }
            });
        }
    });
    assert_eq!(names_in(folder.path()), [".lock", "app.tar"]);
}

/// An archive whose layer has one entry, which the writers of tar files would not write.
fn archive_with(kind: tar::EntryType, path: &str, target: &str, content: &[u8]) -> File {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_cksum();
    layer.append(&header, content).unwrap();
    archive_of(&layer.into_inner().unwrap())
}

fn archive_of(layer: &[u8]) -> File {
    let docker = br#"[{"Config":"blobs/c","RepoTags":["x:y"],"Layers":["blobs/l"]}]"#;
    let mut archive = tar::Builder::new(tempfile::tempfile().unwrap());
    for (path, content) in [("manifest.json", &docker[..]), ("blobs/l", layer)] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn a_layer_that_ends_within_a_file_is_an_error() {
    let mut header = tar::Header::new_ustar();
    header.set_path("app").unwrap();
    header.set_mode(0o755);
    header.set_size(PROGRAM.len() as u64);
    header.set_cksum();
    for length in [0, 512, PROGRAM.len() - 1] {
        let layer = [header.as_bytes(), &PROGRAM[..length]].concat();
        let root = TempDir::new().unwrap();
        unpack_layer(&archive_of(&layer), root.path()).expect_err("a part of a program");
    }
}

#[test]
fn a_layer_writes_nothing_outside_of_its_root() {
    use tar::EntryType;
    let folder = TempDir::new().unwrap();
    let victim = folder.path().join("victim");
    let absolute = victim.display().to_string();
    for (kind, path, target, content) in [
        (EntryType::Regular, "../victim", "", &b"x"[..]),
        (EntryType::Regular, "a/../../victim", "", b"x"),
        (EntryType::Regular, &absolute, "", b"x"),
        (EntryType::Regular, "", "", b"x"),
        (EntryType::Directory, "../victim", "", b""),
        (EntryType::Symlink, "link", &absolute, b""),
        (EntryType::Link, "link", &absolute, b""),
        (EntryType::Fifo, "fifo", "", b""),
        (EntryType::Char, "device", "", b""),
    ] {
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let archive = archive_with(kind, path, target, content);
        unpack_layer(&archive, &root).expect_err(path);
        assert_eq!(names_in(&root), [""; 0], "{path}");
        assert!(!victim.exists(), "{path}");
        fs::remove_dir(&root).unwrap();
    }
}

#[test]
#[cfg(unix)]
fn a_layer_follows_no_link_that_is_there_already() {
    let folder = TempDir::new().unwrap();
    let (outside, root) = (folder.path().join("outside"), folder.path().join("root"));
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("folder")).unwrap();
    let archive = archive_with(tar::EntryType::Regular, "folder/file", "", b"x");
    let error = unpack_layer(&archive, &root).unwrap_err().to_string();
    assert!(error.ends_with("is not empty"), "{error}");
    assert_eq!(names_in(&outside), [""; 0]);
}
