//! Makes the archive of an image, the same bytes from the same program each time, and keeps it
//! in a file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::layout::{
    CONFIG_TYPE, Config, DOCKER_FILE, Descriptor, DockerImage, Execution, INDEX_FILE, INDEX_TYPE,
    Index, LAYER_TYPE, LAYOUT_FILE, Layout, MANIFEST_TYPE, Manifest, NAME_ANNOTATION, Platform,
    RootFs, TAG_ANNOTATION, blob_path, digest,
};
use super::{Image, PACKAGE_LABEL, REPOSITORY};

/// The user and group that programs run as unless a manifest says otherwise: a number, so that
/// `runAsNonRoot` can be checked, and one that no machine gives to a person. Distroless images
/// call it `nonroot`.
const USER: &str = "65532:65532";

/// The bytes of an archive, as parts that follow one another. The program is much the largest
/// part, and is not copied.
pub(super) type Parts<'p> = [Cow<'p, [u8]>; 3];

/// Makes an image of a static program, and returns it with the bytes that its archive has to have.
pub(super) fn pack<'p>(
    package: &str,
    program: &str,
    binary: &'p [u8],
    archive: PathBuf,
) -> (Image, Parts<'p>) {
    // The program is all that the layer has. `/proc`, `/dev`, `/sys` and the three files of
    // `/etc` are made by container runtimes, which do so before a root filesystem becomes
    // read-only; and a folder for a volume is made where the manifest mounts it.
    let layer_head = header(program, 0o755, binary.len());
    let layer_tail = vec![0; padding(binary.len()) + END];
    let layer = Descriptor {
        media_type: LAYER_TYPE.to_owned(),
        digest: digest(&[&layer_head, binary, &layer_tail]),
        size: (layer_head.len() + binary.len() + layer_tail.len()) as u64,
        platform: None,
        annotations: BTreeMap::new(),
    };

    let config = configuration(package, program, &layer.digest);
    let config_blob = json(&config);
    let config_at = descriptor(CONFIG_TYPE, &config_blob);
    let manifest_blob = json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        config: config_at.clone(),
        layers: vec![layer.clone()],
    });

    // containerd wants the name in full; Docker gives and takes it without its own registry.
    let name = format!("{REPOSITORY}:{program}");
    let manifest_at = Descriptor {
        platform: Some(config.platform.clone()),
        annotations: BTreeMap::from([
            (
                NAME_ANNOTATION.to_owned(),
                format!("docker.io/library/{name}"),
            ),
            (TAG_ANNOTATION.to_owned(), program.to_owned()),
        ]),
        ..descriptor(MANIFEST_TYPE, &manifest_blob)
    };
    let image = Image {
        name: name.clone(),
        program: program.to_owned(),
        package: package.to_owned(),
        id: config_at.digest.clone(),
        manifest_digest: manifest_at.digest.clone(),
        layer_digest: layer.digest.clone(),
        archive,
        config: config.config.into(),
    };

    let paths = [&manifest_at, &config_at, &layer].map(|blob| blob_path(&blob.digest));
    let [manifest_path, config_path, layer_path] = &paths;
    let docker = [DockerImage {
        config: config_path.clone(),
        repo_tags: vec![name],
        layers: vec![layer_path.clone()],
    }];
    let index = Index {
        schema_version: 2,
        media_type: INDEX_TYPE.to_owned(),
        manifests: vec![manifest_at],
    };
    let layout = Layout {
        image_layout_version: "1.0.0".to_owned(),
    };

    let mut head = Vec::new();
    for (path, content) in [
        (LAYOUT_FILE, &json(&layout)),
        (INDEX_FILE, &json(&index)),
        (DOCKER_FILE, &json(&docker)),
        (manifest_path, &manifest_blob),
        (config_path, &config_blob),
    ] {
        head.extend(header(path, 0o644, content.len()));
        head.extend(content);
        head.resize(head.len() + padding(content.len()), 0);
    }
    head.extend(header(layer_path, 0o644, layer.size as usize));
    head.extend(layer_head);
    let mut tail = layer_tail;
    tail.resize(tail.len() + END, 0);
    (image, [head.into(), binary.into(), tail.into()])
}

fn configuration(package: &str, program: &str, layer_digest: &str) -> Config {
    let labels = [
        ("org.opencontainers.image.title", program),
        (PACKAGE_LABEL, package),
    ];
    Config {
        // A time of its own would give each build an id of its own.
        created: "1970-01-01T00:00:00Z".to_owned(),
        platform: Platform {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
        },
        config: Execution {
            user: USER.to_owned(),
            // Where a runtime looks for a program that is named without its folder. Left out,
            // each engine would set a default of its own.
            env: vec!["PATH=/".to_owned()],
            entrypoint: vec![format!("/{program}")],
            cmd: Vec::new(),
            working_dir: "/".to_owned(),
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        },
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![layer_digest.to_owned()],
        },
    }
}

/// What OCI calls this machine's processor: programs are built for no other.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn descriptor(media_type: &str, blob: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest(&[blob]),
        size: blob.len() as u64,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("every map of these types has strings for keys")
}

/// A tar file consists of blocks of so many bytes.
const BLOCK: usize = 512;
/// The zeros that it ends with.
const END: usize = 2 * BLOCK;

/// What comes before a file's content. Owner, group and time are 0.
fn header(path: &str, mode: u32, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header
        .set_path(path)
        .expect("digests and the names of programs are short and have no `..`");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// The zeros after a content, up to the next block.
fn padding(size: usize) -> usize {
    size.next_multiple_of(BLOCK) - size
}

/// Makes `path` a file with these bytes, unless it is one already, and says whether it was
/// written.
///
/// Whoever reads the file meanwhile sees the old bytes or the new ones, never a part. That the
/// old ones are right is not taken from a time or a name: they are read. An archive that was
/// damaged, or cut short, is written again.
pub(super) fn store(path: &Path, parts: &Parts<'_>) -> io::Result<bool> {
    // An old file that cannot be read is replaced too.
    let is_there = holds(path, parts).unwrap_or(false);
    if !is_there {
        replace(path, |file| {
            parts.iter().try_for_each(|part| file.write_all(part))
        })?;
    }
    Ok(!is_there)
}

fn holds(path: &Path, parts: &Parts<'_>) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let size: usize = parts.iter().map(|part| part.len()).sum();
    if file.metadata()?.len() != size as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0; 128 << 10];
    for expected in parts.iter().flat_map(|part| part.chunks(128 << 10)) {
        let found = &mut buffer[..expected.len()];
        file.read_exact(found)?;
        if found != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Replaces a file in one step with what `write` puts into another.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // The kernel gives the lock back when this process ends, in whatever way. So the unfinished
    // file has one name, and what a killed process left of it is overwritten by the next.
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;

    let unfinished = unfinished(path);
    let result = File::create(&unfinished)
        .and_then(|mut file| write(&mut file))
        .and_then(|()| fs::rename(&unfinished, path));
    if result.is_err() {
        // The first error is the one to tell; this file may not even exist.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("unfinished")
}
