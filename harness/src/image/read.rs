//! Reads image archives back: all of one, to prove that it is whole, or its layer, to run it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path};

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::layout::{
    Config, DOCKER_FILE, Descriptor, DockerImage, INDEX_FILE, Index, LAYOUT_FILE, Layout, Manifest,
    blob_path, finish,
};
use super::{Image, PACKAGE_LABEL};

/// Bytes that are read at once.
const BUFFER: usize = 128 << 10;
/// More bytes than any JSON file of an image has.
const JSON_LIMIT: u64 = 1 << 20;

impl Image {
    /// Reads the image in an archive, and checks every digest.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, if a part of it is damaged or lacking, or if it is not an
    /// archive of the workbook.
    pub fn open(archive: &Path) -> io::Result<Self> {
        let read = || {
            let file = File::open(archive)?;
            read_image(&mut Archive::scan(&file)?, archive)
        };
        read().map_err(|error| about(archive, &error))
    }

    /// Opens the image's archive, and checks that it still holds this image: another build may
    /// have put a newer one in its place. The open file stays what it is, and is
    /// read from its beginning.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds another image.
    pub fn open_archive(&self) -> io::Result<File> {
        let open = || {
            let mut file = File::open(&self.archive)?;
            let index: Index = Archive::scan(&file)?.json(INDEX_FILE)?;
            if only(index.manifests, "manifest")?.digest != self.manifest_digest {
                return Err(invalid(format!(
                    "{} was built again, and is another image now",
                    self.name
                )));
            }
            file.rewind()?;
            Ok(file)
        };
        open().map_err(|error| about(&self.archive, &error))
    }
}

fn read_image(archive: &mut Archive<'_>, path: &Path) -> io::Result<Image> {
    let layout: Layout = archive.json(LAYOUT_FILE)?;
    if layout.image_layout_version != "1.0.0" {
        return Err(invalid("an OCI layout of an unknown version"));
    }
    let index: Index = archive.json(INDEX_FILE)?;
    let manifest_blob = only(index.manifests, "manifest")?;
    archive.verify(&manifest_blob)?;
    let manifest: Manifest = archive.json(&blob_path(&manifest_blob.digest))?;
    archive.verify(&manifest.config)?;
    let config: Config = archive.json(&blob_path(&manifest.config.digest))?;
    let layer = only(manifest.layers, "layer")?;
    archive.verify(&layer)?;
    if only(config.rootfs.diff_ids, "layer")? != layer.digest {
        return Err(invalid("the configuration is of another layer"));
    }

    // What old Docker daemons read must be the same image.
    let docker = only(archive.json::<Vec<DockerImage>>(DOCKER_FILE)?, "image")?;
    if docker.config != blob_path(&manifest.config.digest)
        || docker.layers != [blob_path(&layer.digest)]
    {
        return Err(invalid(format!("{DOCKER_FILE} names another image")));
    }
    let name = only(docker.repo_tags, "name")?;
    let (_, program) = name
        .rsplit_once(':')
        .ok_or_else(|| invalid(format!("{name} has no tag")))?;
    let package = config.config.labels.get(PACKAGE_LABEL);
    let package = package.ok_or_else(|| invalid(format!("no label {PACKAGE_LABEL}")))?;

    Ok(Image {
        program: program.to_owned(),
        package: package.clone(),
        name,
        id: manifest.config.digest,
        manifest_digest: manifest_blob.digest,
        layer_digest: layer.digest,
        archive: path.to_owned(),
        config: config.config.into(),
    })
}

/// Unpacks the layer of an image into `root`, which must be an empty folder.
///
/// The archive is read from its beginning, wherever its file position is. All files belong to
/// whoever calls this, which in a pod is root. A layer has files and folders: anything else in
/// it, a path that is not plain, or one that is there already is an error. So nothing can be
/// written outside of `root`.
///
/// # Errors
///
/// If the archive cannot be read or is not the workbook's, if `root` is not empty, or if a file
/// cannot be written.
pub fn unpack_layer(archive: &File, root: &Path) -> io::Result<()> {
    if fs::read_dir(root)?.next().is_some() {
        return Err(io::Error::new(
            io::ErrorKind::DirectoryNotEmpty,
            format!("{} is not empty", root.display()),
        ));
    }
    let mut archive = Archive::scan(archive)?;
    let image = only(archive.json::<Vec<DockerImage>>(DOCKER_FILE)?, "image")?;
    let layer = archive.file(&only(image.layers, "layer")?)?;
    for entry in tar::Archive::new(BufReader::with_capacity(BUFFER, layer)).entries()? {
        unpack(entry?, root)?;
    }
    Ok(())
}

fn unpack(entry: tar::Entry<'_, impl Read>, root: &Path) -> io::Result<()> {
    let path = entry.path()?.into_owned();
    let is_plain = |component| matches!(component, Component::Normal(_));
    if !path.components().all(is_plain) {
        return Err(invalid(format!("{} leaves the image", path.display())));
    }
    let place = root.join(&path);
    let header = entry.header();
    let (kind, mode) = (header.entry_type(), header.mode()?);
    match kind {
        EntryType::Directory => {
            fs::create_dir(&place)?;
            set_mode(&File::open(&place)?, mode)
        }
        EntryType::Regular => {
            let mut file = File::create_new(&place)?;
            // If the layer ends within this file, the search for the next one says so.
            io::copy(&mut BufReader::with_capacity(BUFFER, entry), &mut file)?;
            set_mode(&file, mode)
        }
        _ => Err(invalid(format!(
            "{} is neither a file nor a folder",
            path.display()
        ))),
    }
}

/// Sets the mode that the layer says, whatever this process' mask is.
#[cfg(unix)]
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Only Linux runs what is unpacked.
#[cfg(not(unix))]
fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// An archive's files, and where in it each is.
struct Archive<'f> {
    file: &'f File,
    /// Where a file begins, and its size, in bytes.
    places: HashMap<String, (u64, u64)>,
}

impl<'f> Archive<'f> {
    fn scan(mut file: &'f File) -> io::Result<Self> {
        file.rewind()?;
        let end = file.metadata()?.len();
        let mut places = HashMap::new();
        for entry in tar::Archive::new(file).entries_with_seek()? {
            let entry = entry?;
            let (path, begin, size) = (
                entry.path()?.to_string_lossy().into_owned(),
                entry.raw_file_position(),
                entry.size(),
            );
            if begin.checked_add(size).is_none_or(|last| last > end) {
                return Err(invalid(format!("the archive ends within {path}")));
            }
            places.insert(path, (begin, size));
        }
        Ok(Self { file, places })
    }

    fn file(&mut self, path: &str) -> io::Result<io::Take<&'f File>> {
        let place = self.places.get(path);
        let &(begin, size) = place.ok_or_else(|| invalid(format!("it has no {path}")))?;
        self.file.seek(SeekFrom::Start(begin))?;
        Ok(self.file.take(size))
    }

    fn json<T: DeserializeOwned>(&mut self, path: &str) -> io::Result<T> {
        let mut text = Vec::new();
        self.file(path)?.take(JSON_LIMIT).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(|error| invalid(format!("{path}: {error}")))
    }

    /// Checks that a blob has the size and the digest that it should.
    fn verify(&mut self, blob: &Descriptor) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(BUFFER, self.file(&blob_path(&blob.digest))?);
        let mut hasher = HashWriter(Sha256::new());
        let size = io::copy(&mut reader, &mut hasher)?;
        let digest = finish(hasher.0);
        if (size, &digest) != (blob.size, &blob.digest) {
            return Err(invalid(format!(
                "{} is damaged: it has the digest {digest}",
                blob.digest
            )));
        }
        Ok(())
    }
}

/// Puts what is written to it into a digest.
struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The one item of a list that must have one.
fn only<T>(items: Vec<T>, what: &str) -> io::Result<T> {
    let count = items.len();
    let mut items = items.into_iter();
    match (items.next(), items.next()) {
        (Some(item), None) => Ok(item),
        _ => Err(invalid(format!("it has {count} {what}s, not one"))),
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

fn about(archive: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", archive.display()))
}
